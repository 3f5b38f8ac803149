"""A tenant's index made anew beside the one that is searched: live only as a whole and only when it is no worse; and the way back."""
import json
import os
import re
import sys
import threading
import unittest
import uuid
import zlib

from support import ROOT, Client, Stack, eventually, register

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from counterparts import Embeddings  # noqa: E402

WINDOW = 4  # documents of one generation that are worked on at once


def vector(text):
    """What a text is about, as far as its words say."""
    out = [0.01] * 64
    for word in re.findall(r"\w+", text.lower()):
        out[zlib.crc32(word.encode()) % 64] += 1.0
    return out


class Generations(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.embeddings = Embeddings(vector)
        cls.stack = Stack(probe=False, env={"MILLRACE_EMBEDDING_URL": cls.embeddings.url, "MILLRACE_AUTH_RATE": "1000000", "MILLRACE_UPLOAD_RATE": "1000000", "MILLRACE_CHAT_RATE": "1000000"})
        cls.stack.env["MILLRACE_EMBEDDING_URL"] = cls.embeddings.url

    @classmethod
    def tearDownClass(cls):
        cls.embeddings.hold.set()
        cls.stack.destroy()
        cls.embeddings.close()

    def setUp(self):
        self.embeddings.hold.set()
        self.me = register(self.stack.edge())
        self.tenant_id = self.me.call("GET", "/api/v1/auth/me").json["tenant_id"]
        self.tenant = f"/api/v1/tenants/{self.tenant_id}"

    def upload(self, texts):
        """Their ids, once all are searchable."""
        made = [self.me.upload(f"{name}.txt", text.encode()) for name, text in texts.items()]
        for answer in made:
            self.assertEqual(answer.status, 201, answer.text)
        for answer in made:
            self.assertEqual(self.me.wait_job(answer.job)["status"], "succeeded")
        return {name: answer.json["id"] for name, answer in zip(texts, made)}

    def reindex(self):
        answer = self.me.call("POST", self.tenant + "/reindex")
        self.assertEqual((answer.status, answer.json["status"]), (202, "waiting"), answer.text)
        return answer.json["job_id"]

    def generations(self):
        return self.me.call("GET", self.tenant + "/index-generations").json

    def activate(self, generation):
        return self.me.call("POST", f"{self.tenant}/index-generations/{generation['id']}/activate")

    def overwrite(self, file_id, text):
        """An object never changes, but for tests: what the next embedding will read."""
        path = self.stack.sql(f"SELECT '{self.stack.env['MILLRACE_OBJECT_DIR']}/' || object_key FROM files WHERE id = '{file_id}'")
        with open(path + ".new", "wb") as file:
            file.write(text.encode())
        os.rename(path + ".new", path)

    def text_of(self, file_id):
        return "".join(chunk["text"] for chunk in self.me.call("GET", f"/api/v1/contents/{file_id}/chunks").json)

    def chunk_generations(self):
        """How many of chunks of this tenant, by whether they are live."""
        return self.stack.sql(f"SELECT count(DISTINCT (c.file_id, c.generation)) FILTER (WHERE c.generation = f.generation) || '|' || count(DISTINCT (c.file_id, c.generation)) FILTER (WHERE c.generation <> f.generation) "
                              f"FROM chunks c JOIN files f ON f.id = c.file_id WHERE f.tenant_id = '{self.tenant_id}'")

    def in_work(self):
        return int(self.stack.sql(f"SELECT count(*) FROM jobs WHERE tenant_id = '{self.tenant_id}' AND lane = 'bulk' AND kind = 'knowledge.embed' AND finished_at IS NULL"))

    def refused(self, answer, status, code, field=None):
        self.assertEqual((answer.status, answer.json["error_code"], answer.json.get("field")), (status, code, field), answer.text)

    def test_a_new_one_goes_live_as_a_whole_and_back(self):
        files = self.upload({f"doc{i}": f"The lantern of room {i} is lit at dusk.\n" for i in range(WINDOW + 4)})
        self.assertEqual(self.generations(), [])
        self.embeddings.hold.clear()
        job = self.reindex()
        eventually(lambda: self.in_work() == WINDOW and self.embeddings.waiting, 20, "the first documents, and no more")
        building, before = self.generations()
        self.assertEqual((building["status"], building["job_id"], building["files_total"], building["files_done"], building["live_at"], building["can_activate"]), ("building", job, WINDOW + 4, 0, None, False))
        self.assertEqual((before["status"], before["job_id"], before["can_activate"]), ("live", None, False))
        self.assertEqual(self.reindex(), job, "one at a time")
        self.refused(self.activate(building), 409, "CONFLICT")
        old = self.stack.sql(f"SELECT max(generation) FROM files WHERE tenant_id = '{self.tenant_id}'")
        self.embeddings.hold.set()
        ended = self.me.wait_job(job)
        self.assertEqual(ended["status"], "succeeded", ended)
        self.assertEqual(ended["result"], {"index_generation": building["id"], "documents": WINDOW + 4, "unreadable": 0})
        self.assertEqual(self.stack.sql(f"SELECT min(generation) > {old} FROM files WHERE tenant_id = '{self.tenant_id}'"), "t")
        live, before = self.generations()
        self.assertEqual((live["status"], live["files_done"], before["status"], before["can_activate"]), ("live", WINDOW + 4, "retired", True))
        self.assertIsNotNone(live["live_at"])
        self.assertEqual(self.chunk_generations(), f"{WINDOW + 4}|{WINDOW + 4}", "the old ones are kept")
        answer = self.me.call("POST", "/api/v1/chats/rag", {"query": "When is the lantern of room 7 lit?"}).json
        self.assertIn(files["doc7"], [source["file_id"] for source in answer["sources"]])

        back = self.activate(before)
        self.assertEqual((back.status, back.json["status"]), (200, "live"), back.text)
        self.assertEqual(self.stack.sql(f"SELECT max(generation) FROM files WHERE tenant_id = '{self.tenant_id}'"), old)
        self.assertEqual(self.activate(before).status, 200, "it is live already")
        forth = self.activate(live)
        self.assertEqual((forth.status, [one["status"] for one in self.generations()]), (200, ["live", "retired"]), forth.text)
        self.assertEqual(self.chunk_generations(), f"{WINDOW + 4}|{WINDOW + 4}")

        # The next one: what was live before the last is given up.
        self.assertEqual(self.me.wait_job(self.reindex())["status"], "succeeded")
        newest, live, before = self.generations()
        self.assertEqual([(one["status"], one["can_activate"]) for one in (newest, live, before)], [("live", False), ("retired", True), ("retired", False)])
        self.refused(self.activate(before), 409, "CONFLICT")
        eventually(lambda: self.chunk_generations() == f"{WINDOW + 4}|{WINDOW + 4}", 20, "the oldest chunks gone")

    def test_the_way_back_is_open_for_a_week(self):
        self.upload({"a": "The anchor hangs in the hall.\n"})
        self.assertEqual(self.me.wait_job(self.reindex())["status"], "succeeded")
        expire = lambda: self.stack.sql("SELECT expire_index_generations()")  # noqa: E731
        self.stack.sql(f"UPDATE index_generations SET created_at = created_at - interval '8 days' WHERE tenant_id = '{self.tenant_id}'")
        expire()
        self.assertEqual(self.generations()[1]["can_activate"], True, "it was replaced just now")
        self.stack.sql(f"UPDATE index_generations SET live_at = live_at - interval '8 days' WHERE tenant_id = '{self.tenant_id}'")
        self.assertEqual(expire(), "1")
        self.assertEqual(self.generations()[1]["can_activate"], False)
        eventually(lambda: self.chunk_generations() == "1|0", 20, "its chunks gone")
        self.assertIn("anchor", self.text_of(self.me.call("GET", "/api/v1/contents").json[0]["id"]))

    def test_documents_that_change_meanwhile_keep_what_they_have(self):
        files = self.upload({name: f"The {name} is kept in the cellar.\n" for name in ("wine", "cheese", "cider", "apples")})
        self.embeddings.hold.clear()
        job = self.reindex()
        eventually(lambda: self.in_work() == 4 and self.embeddings.waiting, 20, "work")
        self.assertEqual(self.me.call("DELETE", f"/api/v1/contents/{files['cider']}").status, 200)
        fresh = self.me.upload("pears.txt", b"The pears are kept in the attic.\n")
        self.overwrite(files["wine"], "The wine is kept under the stairs.\n")
        single = self.me.call("POST", f"/api/v1/contents/{files['wine']}/reindex").json["job_id"]
        self.embeddings.hold.set()
        self.assertEqual(self.me.wait_job(single)["status"], "succeeded")
        ended = self.me.wait_job(job)
        self.assertEqual(ended["status"], "succeeded", ended)
        self.assertEqual(ended["result"]["documents"], 3)
        eventually(lambda: self.me.call("GET", f"/api/v1/contents/{fresh.json['id']}").json["status"] == "completed", 20, "the new document")
        self.assertEqual(self.text_of(files["wine"]).strip(), "The wine is kept under the stairs.")
        self.assertEqual(self.text_of(fresh.json["id"]).strip(), "The pears are kept in the attic.")
        self.assertEqual(self.activate(self.generations()[-1]).status, 200)
        self.assertEqual(self.text_of(files["cheese"]).strip(), "The cheese is kept in the cellar.")
        self.assertIn("pears", self.text_of(fresh.json["id"]))

    def test_questions_are_answered_while_everything_is_made_anew(self):
        names = [f"{colour} {thing}" for colour in ("red", "green", "blue", "black", "white") for thing in ("boat", "house", "cart", "bell", "kite", "lamp")]
        files = self.upload({name: f"The {name} belongs to owner number {i}.\n" for i, name in enumerate(names)})
        stop, wrong, asked = threading.Event(), [], []

        def ask():
            while not stop.is_set():
                name = names[len(asked) % len(names)]
                answer = self.me.call("POST", "/api/v1/chats/rag", {"query": f"Who owns the {name}?", "top_k": 3})
                found = [source["file_id"] for source in answer.json.get("sources", [])]
                asked.append(name)
                if answer.status != 200 or files[name] not in found:
                    wrong.append((name, answer.status, answer.text[:300]))
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for _ in range(3):
                self.assertEqual(self.me.wait_job(self.reindex())["status"], "succeeded")
        finally:
            stop.set()
            asking.join()
        self.assertEqual(wrong, [])
        self.assertGreater(len(asked), 10)

    def test_one_that_answers_worse_does_not_go_live(self):
        files = self.upload({f"note{i}": f"Note {i} is this: when the gardener waters the roses on day {i}.\n" for i in range(8)} | {"plan": "The boiler is serviced in March.\n"})
        asked = {"questions": [{"question": "When is the boiler serviced?", "file_ids": [files["plan"]]}]}
        self.assertEqual(self.me.call("GET", self.tenant + "/question-set").json, {"questions": []})
        stored = self.me.call("PUT", self.tenant + "/question-set", asked)
        self.assertEqual((stored.status, stored.json), (200, asked), stored.text)
        self.assertEqual(self.me.call("GET", self.tenant + "/question-set").json, asked)
        self.assertEqual(self.me.wait_job(self.reindex())["result"]["score_after"], 1.0)

        self.overwrite(files["plan"], "Nothing of use.\n")
        ended = self.me.wait_job(self.reindex())
        self.assertEqual(ended["status"], "failed", ended)
        self.assertEqual(ended["error"]["code"], "REINDEX_WORSE")
        self.assertIn("from 1.000 to 0.000", ended["error"]["message"])
        rejected, live, _ = self.generations()
        self.assertEqual((rejected["status"], rejected["score_before"], rejected["score_after"], rejected["reason"], live["status"]), ("rejected", 1.0, 0.0, ended["error"]["message"], "live"))
        self.assertIn("serviced in March", self.text_of(files["plan"]))
        # Somebody who knows better.
        self.assertEqual(self.activate(rejected).json["status"], "live")
        self.assertIn("Nothing of use", self.text_of(files["plan"]))
        self.assertEqual(self.activate(live).json["status"], "live")
        self.assertIn("serviced in March", self.text_of(files["plan"]))
        self.assertEqual(self.me.call("PUT", self.tenant + "/question-set", {"questions": []}).json, {"questions": []})
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM question_sets WHERE tenant_id = '{self.tenant_id}'"), "0")

    def test_an_incomplete_one_does_not_go_live(self):
        files = self.upload({"a": "The anchor hangs in the hall.\n", "b": "The bugle hangs in the hall.\n"})
        bad = self.me.upload("c.txt", b"\xff\xfe\x00")
        eventually(lambda: bad.status != 201 or self.me.call("GET", f"/api/v1/contents/{bad.json['id']}").json["status"] == "failed", 20, "an unreadable document")
        self.assertEqual(self.me.wait_job(self.reindex())["status"], "succeeded", "what was never searched stands in nobody's way")
        path = self.stack.sql(f"SELECT '{self.stack.env['MILLRACE_OBJECT_DIR']}/' || object_key FROM files WHERE id = '{files['b']}'")
        os.rename(path, path + "-away")
        ended = self.me.wait_job(self.reindex())
        self.assertEqual((ended["status"], ended["error"]["code"]), ("failed", "REINDEX_INCOMPLETE"), ended)
        self.assertIn("b.txt: the document was deleted", ended["error"]["message"])
        failed = self.generations()[0]
        self.assertEqual((failed["status"], failed["reason"], failed["can_activate"]), ("failed", ended["error"]["message"], True))
        self.assertIn("bugle", self.text_of(files["b"]))
        self.assertNotIn("reason", self.me.call("GET", f"/api/v1/contents/{files['b']}").json)
        os.rename(path + "-away", path)
        self.assertEqual(self.me.wait_job(self.reindex())["status"], "succeeded")

    def test_jobs_that_end_without_a_word(self):
        self.upload({"a": "The anchor hangs in the hall.\n", "b": "The bugle hangs in the hall.\n"})
        self.embeddings.hold.clear()
        job = self.reindex()
        eventually(lambda: self.in_work() == 2 and self.embeddings.waiting, 20, "work")
        child = self.stack.sql(f"SELECT min(job_id::text) FROM generation_files WHERE tenant_id = '{self.tenant_id}'")
        self.assertEqual(self.me.call("DELETE", f"/api/jobs/{child}").status, 202)
        eventually(lambda: self.me.call("GET", f"/api/jobs/{child}").json["status"] == "cancelled", 20, "its end")
        self.embeddings.hold.set()
        self.assertEqual(self.me.wait_job(job)["error"]["code"], "REINDEX_INCOMPLETE")
        self.assertIn("the job was cancelled", self.generations()[0]["reason"])

        self.embeddings.hold.clear()
        job = self.reindex()
        eventually(lambda: self.in_work() == 2 and self.embeddings.waiting, 20, "work")
        self.assertEqual(self.me.call("DELETE", f"/api/jobs/{job}").status, 200, "it waits")
        eventually(lambda: self.generations()[0]["status"] == "failed", 20, "the scheduler noticing")
        self.embeddings.hold.set()
        eventually(lambda: self.in_work() == 0, 20, "the end of what was in work")
        self.assertEqual(self.generations()[0]["reason"], "its job was cancelled or given up")
        self.assertEqual(self.chunk_generations().split("|")[0], "2")
        self.assertEqual(self.me.wait_job(self.reindex())["status"], "succeeded")
        eventually(lambda: self.chunk_generations() == "2|2", 20, "nothing left of the others")

    def test_judging_waits_for_its_provider(self):
        files = self.upload({"a": "The anchor hangs in the hall.\n"})
        self.assertEqual(self.me.call("PUT", self.tenant + "/question-set", {"questions": [{"question": "Where is it?", "file_ids": [files["a"]]}]}).status, 200)

        def last(text):
            self.embeddings.refuses = 503
            return vector(text)
        self.embeddings.vector = last  # the document's; the question's is refused
        job = self.reindex()
        try:
            eventually(lambda: self.me.call("GET", f"/api/jobs/{job}").json["attempt"] == 1 and self.stack.sql(f"SELECT count(*) FROM due WHERE job_id = '{job}' AND at < 'infinity'") == "1", 20, "its wait")
            self.assertEqual(self.generations()[0]["status"], "building")
        finally:
            self.embeddings.vector, self.embeddings.refuses = vector, None
        ended = self.me.wait_job(job)
        self.assertEqual((ended["status"], ended["attempt"]), ("succeeded", 2), ended)

    def test_a_worker_that_dies_in_the_middle(self):
        self.upload({f"doc{i}": f"The ferry number {i} sails at noon.\n" for i in range(WINDOW + 2)})
        self.embeddings.hold.clear()
        job = self.reindex()
        eventually(lambda: self.in_work() == WINDOW and self.embeddings.waiting, 20, "work")
        self.stack.kill("worker-embedding")
        self.embeddings.hold.set()
        ended = self.me.wait_job(job)
        self.assertEqual((ended["status"], ended["result"]["documents"]), ("succeeded", WINDOW + 2), ended)
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM files f WHERE tenant_id = '{self.tenant_id}' AND chunk_count = (SELECT count(*) FROM chunks c WHERE c.file_id = f.id AND c.generation = f.generation)"), str(WINDOW + 2))
        self.assertEqual(self.chunk_generations(), f"{WINDOW + 2}|{WINDOW + 2}", "nothing is left of the attempts that died")

    def test_operators_make_everything_anew(self):
        self.upload({"a": "The anchor hangs in the hall.\n"})
        done = self.stack.ops("--json", "reindex", "--all")
        self.assertEqual(done.returncode, 0, done.stderr)
        mine = [one for one in json.loads(done.stdout) if one["tenant_id"] == self.tenant_id]
        self.assertEqual(len(mine), 1)
        self.assertEqual(self.me.wait_job(mine[0]["job_id"])["status"], "succeeded")
        self.assertEqual(self.generations()[0]["id"], mine[0]["index_generation"])
        nobody = self.stack.ops("reindex", "--tenant", str(uuid.uuid4()))
        self.assertNotEqual(nobody.returncode, 0)
        self.assertIn("there is no tenant", nobody.stderr)
        verified = self.stack.ops("verify", "jobs")
        self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)

    def test_bad_input_and_strangers(self):
        files = self.upload({"a": "The anchor hangs in the hall.\n"})
        path = self.tenant + "/question-set"
        good = {"question": "Where?", "file_ids": [files["a"]]}
        for body, field in (({}, "questions"), ({"questions": 1}, "questions"), ({"questions": [1]}, "questions[0]"), ({"questions": [{**good, "question": ""}]}, "questions[0].question"),
                            ({"questions": [good, {**good, "question": "a" * 1001}]}, "questions[1].question"), ({"questions": [{**good, "question": "a\0b"}]}, "questions[0].question"),
                            ({"questions": [{**good, "file_ids": []}]}, "questions[0].file_ids"), ({"questions": [{**good, "file_ids": ["x"]}]}, "questions[0].file_ids"),
                            ({"questions": [{**good, "file_ids": files["a"]}]}, "questions[0].file_ids"), ({"questions": [{**good, "file_ids": [files["a"]] * 51}]}, "questions[0].file_ids"),
                            ({"questions": [good] * 501}, "questions"), ({"questions": [good, {**good, "file_ids": [str(uuid.uuid4())]}]}, "questions[1].file_ids")):
            self.refused(self.me.call("PUT", path, body), 422, "VALIDATION_ERROR", field)
        self.assertEqual(self.me.call("GET", path).json, {"questions": []})
        self.assertEqual(self.me.call("PUT", path, {"questions": [good] * 500}).status, 200)
        for generation in ("x", str(uuid.uuid4())):
            self.refused(self.activate({"id": generation}), 404, "RESOURCE_NOT_FOUND")
        self.assertEqual(self.me.wait_job(self.reindex())["status"], "succeeded")
        generation = self.generations()[-1]["id"]
        stranger = register(self.stack.edge())
        theirs = f"/api/v1/tenants/{stranger.call('GET', '/api/v1/auth/me').json['tenant_id']}"
        self.refused(stranger.call("POST", f"{theirs}/index-generations/{generation}/activate"), 404, "RESOURCE_NOT_FOUND")
        self.refused(stranger.call("PUT", theirs + "/question-set", {"questions": [good]}), 422, "VALIDATION_ERROR", "questions[0].file_ids")
        nobody = Client(self.stack.edge())
        for method, where in (("POST", "/reindex"), ("GET", "/index-generations"), ("POST", f"/index-generations/{generation}/activate"), ("GET", "/question-set"), ("PUT", "/question-set")):
            self.refused(stranger.call(method, self.tenant + where, {"questions": []} if method == "PUT" else None), 404, "RESOURCE_NOT_FOUND")
            self.assertEqual(nobody.call(method, self.tenant + where).status, 401)


if __name__ == "__main__":
    unittest.main(verbosity=2)
