"""Documents in a bucket of a real S3-compatible server; objects that no document names are removed, and nothing else."""
import json
import os
import shutil
import sys
import tempfile
import unittest
import urllib.request
import uuid

import documents
from support import ROOT, Client, Stack, eventually, register

sys.path.insert(0, os.path.join(ROOT, "tests/support"))
from s3_server import S3Server  # noqa: E402

QUESTION = {"query": "How often does the espresso machine have to be descaled?"}
SECRET = {"MILLRACE_SECRET_KEY": "one secret key of both systems, kept elsewhere"}
OLD, YOUNG = 72, 30  # hours; 48 is the limit


def upload(me, name="espresso-machine-en.docx"):
    answer = me.upload(name, documents.sample(name))
    assert answer.status == 201, answer.text
    job = me.wait_job(answer.job)
    assert job["status"] == "succeeded", job
    return answer.json["id"]


def ops(stack, *arguments):
    done = stack.ops("--json", *arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout) if done.stdout.startswith("{") else None


class Objects(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s3 = S3Server()
        cls.stack = Stack(env={**cls.s3.settings, "MILLRACE_OBJECT_SWEEP": "1s"})

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()
        cls.s3.close()

    def setUp(self):
        self.me = register(self.stack.edge())

    def tearDown(self):
        self.override({})
        for process in ("edge", "scheduler"):
            self.stack.release(process)

    def override(self, settings):
        path = os.path.join(self.stack.home, "overrides.json")
        with open(path + ".new", "w") as file:
            json.dump(settings, file)
        os.replace(path + ".new", path)

    def key(self, file):
        return self.stack.sql(f"SELECT object_key FROM files WHERE id = '{file}'")

    def orphan(self, hours, key=None):
        """An object that no document names, as a server's own file."""
        key = key or f"{uuid.uuid4()}/{uuid.uuid4()}"
        os.makedirs(os.path.dirname(self.s3.path(key)), exist_ok=True)
        with open(self.s3.path(key), "w") as file:
            file.write("nobody's")
        self.s3.age(key, hours)
        return key

    def test_a_document_lives_in_the_bucket(self):
        file = upload(self.me)
        key = self.key(file)
        self.assertIn(key, self.s3.files())
        with open(self.s3.path(key), "rb") as stored:
            self.assertEqual(stored.read(), documents.sample("espresso-machine-en.docx"))
        answer = self.me.call("POST", "/api/v1/chats/rag", QUESTION).json
        self.assertEqual(answer["sources"][0]["file_id"], file)
        again = self.me.call("POST", f"/api/v1/contents/{file}/reindex").json["job_id"]
        self.assertEqual(self.me.wait_job(again)["status"], "succeeded")
        self.assertEqual(self.me.call("DELETE", f"/api/v1/contents/{file}").status, 200)
        self.assertNotIn(key, self.s3.files())
        refused = self.me.upload("wrong.pdf", b"not a document of this type" + b"x" * (6 << 20))
        self.assertEqual(refused.status // 100, 4, refused.text)
        eventually(lambda: not self.s3.unfinished(), what="the end of the refused upload")

    def test_only_old_orphans_are_swept(self):
        file = upload(self.me)
        self.s3.age(self.key(file), OLD)
        self.stack.hold("scheduler")
        before = set(self.s3.files())
        # The edge dies between object and row.
        self.override({"edge": {"MILLRACE_FAILPOINT": "object.stored=crash@1"}})
        old = self.stack.kill("edge")
        eventually(lambda: self.stack.pid("edge") not in (old, None) and self.answers(), 60, "the edge with its failpoint")
        armed = self.stack.pid("edge")
        with self.assertRaises(OSError):
            self.me.upload("espresso-machine-en.docx", documents.sample("espresso-machine-en.docx"))
        self.override({})
        eventually(lambda: self.stack.pid("edge") not in (armed, None) and self.answers(), 60, "the edge after its crash")
        left = set(self.s3.files()) - before
        self.assertEqual(len(left), 1, left)
        crashed = left.pop()
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM files WHERE object_key = '{crashed}'"), "0")
        self.s3.age(crashed, OLD)
        young, foreign = self.orphan(YOUNG), self.orphan(OLD, f"{uuid.uuid4()}/backup-of-somebody")
        everything = self.s3.files()

        # Older than all that this database knows of: perhaps another one's, which waits for its restoration.
        self.stack.sql("UPDATE object_account SET begun_at = now() - interval '1 hour'")
        self.assertEqual(ops(self.stack, "sweep", "objects", "--dry-run")["keys"], [])
        self.assertEqual(ops(self.stack, "sweep", "objects")["orphans"], 0)
        self.stack.sql("UPDATE object_account SET begun_at = now() - interval '100 hours'")
        shown = ops(self.stack, "sweep", "objects", "--dry-run")
        self.assertEqual((shown["keys"], shown["orphans"], shown["seen"]), ([crashed], 1, len(everything)))
        self.assertEqual(shown["bytes"], len(documents.sample("espresso-machine-en.docx")))
        self.assertEqual(self.s3.files(), everything, "a dry run removes nothing")

        self.stack.release("scheduler")
        eventually(lambda: crashed not in self.s3.files(), 60, "the scheduler's sweep")
        second = self.orphan(OLD)
        eventually(lambda: second not in self.s3.files(), 60, "the next sweep")
        self.assertEqual(sorted([*self.s3.files(), crashed]), everything, f"not {young}, {foreign}, nor what a document names")
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port('scheduler')}/metrics", timeout=10) as metrics:
            self.assertIn(b"millrace_orphaned_objects_removed_total 2", metrics.read())

        self.stack.hold("scheduler")
        third = self.orphan(OLD)
        done = ops(self.stack, "sweep", "objects")
        self.assertEqual((done["orphans"], third in self.s3.files()), (1, False))
        self.assertEqual(self.stack.ops("sweep", "objects").returncode, 0)
        again = self.me.call("POST", f"/api/v1/contents/{file}/reindex").json["job_id"]
        self.assertEqual(self.me.wait_job(again)["status"], "succeeded", "its object stayed")

    def answers(self):
        try:
            return self.me.call("GET", "/health", timeout=2).status == 200
        except OSError:
            return False

    def port(self, process):
        with open(os.path.join(self.stack.home, "state.json")) as file:
            return str(json.load(file)[f"port {process} metrics"])

    def test_what_an_absent_store_kept_is_removed_later(self):
        first, second = upload(self.me), register(self.stack.edge())
        theirs = self.key(upload(second))
        mine = self.key(first)
        self.stack.sql("UPDATE object_account SET begun_at = now() - interval '100 hours'")
        self.s3.stop()
        self.assertEqual(self.me.upload("a.txt", b"some text that cannot be kept now").status, 503)
        self.assertEqual(self.me.call("DELETE", f"/api/v1/contents/{first}").status, 200)
        erased = self.stack.ops("users", "erase", "--email", second.account["email"], "--yes")
        self.assertIn("object store", erased.stderr, "says that an object stayed")
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM files WHERE object_key IN ('{mine}', '{theirs}')"), "0")
        self.assertTrue(self.s3.start())
        for key in (mine, theirs):
            self.s3.age(key, OLD)
        eventually(lambda: not {mine, theirs} & set(self.s3.files()), 60, "the sweep once the store is back")
        upload(self.me)

    def test_settings_that_contradict_are_refused(self):
        for wrong, said in (({"MILLRACE_OBJECT_BUCKET": ""}, "MILLRACE_OBJECT_BUCKET: must be set"),
                            ({"MILLRACE_OBJECT_DIR": "/tmp"}, "one place only"),
                            ({"MILLRACE_OBJECT_ORPHAN_AGE": "1h"}, "MILLRACE_OBJECT_ORPHAN_AGE")):
            kept = self.stack.env
            try:
                self.stack.env = {**kept, **wrong}
                done = self.stack.ops("sweep", "objects", "--dry-run")
            finally:
                self.stack.env = kept
            self.assertNotEqual(done.returncode, 0, wrong)
            self.assertIn(said, done.stderr)
            self.assertNotIn(self.s3.settings["MILLRACE_OBJECT_SECRET_KEY"], done.stderr)


class Moved(unittest.TestCase):
    def test_a_folders_backup_is_restored_into_a_bucket(self):
        folder = os.path.join(tempfile.mkdtemp(prefix="millrace-moved-"), "backup")
        self.addCleanup(shutil.rmtree, os.path.dirname(folder))
        old = Stack(probe=False, env=SECRET)
        self.addCleanup(old.destroy)
        me = register(old.edge())
        file = upload(me)
        before = me.call("POST", "/api/v1/chats/rag", QUESTION).json
        self.assertEqual(ops(old, "backup", folder)["objects"], 1)
        old.destroy()
        with S3Server() as s3:
            new = Stack(probe=False, env={**SECRET, **s3.settings})
            self.addCleanup(new.destroy)
            processes = ("edge", "scheduler", "worker-rag", "worker-embedding", "worker-mail")
            for process in processes:
                new.hold(process)
            self.assertEqual(ops(new, "restore", folder, "--force")["objects"], 1)
            self.assertEqual(len(s3.files()), 1)
            for process in processes:
                new.release(process)
            again = Client(new.edge(), me.token)
            eventually(lambda: again.call("GET", "/api/v1/auth/me").status == 200, 60, "the session of before")
            self.assertEqual(again.call("POST", "/api/v1/chats/rag", QUESTION).json["answer"], before["answer"])
            made = again.call("POST", f"/api/v1/contents/{file}/reindex").json["job_id"]
            self.assertEqual(again.wait_job(made)["status"], "succeeded", "the object is there too")
            shutil.rmtree(folder)
            self.assertEqual(ops(new, "backup", folder)["objects"], 1, "and goes back")
            new.destroy()


if __name__ == "__main__":
    unittest.main(verbosity=2)
