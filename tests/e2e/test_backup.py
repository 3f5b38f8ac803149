"""Everything is destroyed between a backup and its restoration: what people had is there again, and what was not finished ends once."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

import documents
from support import Client, Stack, eventually, register

QUESTION = {"query": "How often does the espresso machine have to be descaled?"}


class Backup(unittest.TestCase):
    def setUp(self):
        self.folder = os.path.join(tempfile.mkdtemp(prefix="millrace-backup-"), "backup")
        self.stack = Stack(env={"MILLRACE_AUTH_RATE": "1000000", "MILLRACE_SECRET_KEY": "one secret key of both systems, kept elsewhere"})
        self.me = register(self.stack.edge())
        self.file = self.upload("espresso-machine-en.docx")
        self.before = self.me.call("POST", "/api/v1/chats/rag", QUESTION).json

    def tearDown(self):
        self.stack.destroy()
        shutil.rmtree(os.path.dirname(self.folder))

    def upload(self, name):
        answer = self.me.upload(name, documents.sample(name))
        self.assertEqual(self.me.wait_job(answer.job)["status"], "succeeded")
        return answer.json["id"]

    def ops(self, *arguments, fails=None):
        done = self.stack.ops("--json", *arguments)
        if fails:
            self.assertNotEqual(done.returncode, 0, done.stdout)
            self.assertIn(fails, done.stderr + done.stdout)
            return None
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return json.loads(done.stdout) if done.stdout.startswith("{") else None

    def test_destroyed_and_restored(self):
        # Two of the probe's jobs cannot end before the backup: their worker is held.
        self.stack.hold("worker-probe")
        unfinished = [self.me.enqueue("probe.ok", {"echo": n}) for n in range(2)]
        made = self.ops("backup", self.folder)
        self.assertEqual(made["objects"], 1)
        self.assertEqual(os.stat(self.folder).st_mode & 0o777, 0o700, "all customers' data")
        self.ops("backup", self.folder, fails="there already")

        old, token = self.stack, self.me.token
        self.stack = Stack(env={"MILLRACE_AUTH_RATE": "1000000", "MILLRACE_SECRET_KEY": "one secret key of both systems, kept elsewhere"})
        old.destroy()
        self.ops("restore", self.folder, fails="--force")
        for process in ("edge", "scheduler", "worker-rag", "worker-embedding", "worker-mail", "worker-probe"):
            self.stack.hold(process)
        restored = self.ops("restore", self.folder, "--force")
        self.assertEqual(restored, {"objects": 1, "unfinished_jobs": 2})
        self.ops("migrate")
        for process in ("edge", "scheduler", "worker-rag", "worker-embedding", "worker-mail", "worker-probe"):
            self.stack.release(process)

        again = Client(self.stack.edge(), token)
        eventually(lambda: again.call("GET", "/api/v1/auth/me").status == 200, 60, "the session of before")
        after = again.call("POST", "/api/v1/chats/rag", QUESTION).json
        self.assertEqual((after["answer"], after["sources"]), (self.before["answer"], self.before["sources"]))
        self.assertEqual(again.call("GET", f"/api/v1/chats/{self.before['conversation_id']}").json["messages"][1]["content"], self.before["answer"])
        for job in unfinished:
            ended = again.wait_job(job)
            self.assertEqual((ended["status"], ended["attempt"]), ("succeeded", 1), ended)
        again_made = again.call("POST", f"/api/v1/contents/{self.file}/reindex").json["job_id"]
        self.assertEqual(again.wait_job(again_made)["status"], "succeeded", "the object is there too")
        self.assertEqual(self.stack.ops("verify", "jobs").returncode, 0)

    def test_a_damaged_backup_is_refused_before_anything_is_written(self):
        self.ops("backup", self.folder)
        damaged = subprocess.run(["find", os.path.join(self.folder, "objects"), "-type", "f"], capture_output=True, text=True).stdout.split()[0]
        with open(damaged, "r+b") as file:
            file.seek(100)
            byte = file.read(1)
            file.seek(100)
            file.write(bytes([byte[0] ^ 1]))
        self.ops("restore", self.folder, "--force", fails=damaged)
        os.remove(damaged)
        self.ops("restore", self.folder, "--force", fails=damaged)
        with open(os.path.join(self.folder, "manifest.json"), "a") as file:
            file.write("}")
        self.ops("restore", self.folder, "--force", fails="manifest.json")
        self.ops("restore", self.folder + "-not", "--force", fails="manifest.json")
        self.assertEqual(self.me.call("POST", "/api/v1/chats/rag", QUESTION).status, 200, "all is as it was")


if __name__ == "__main__":
    unittest.main(verbosity=2)
