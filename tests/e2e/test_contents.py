"""Documents read, searched through, worked on anew; what of them is deleted while somebody works on it."""
import os
import sys
import unittest
import uuid

import documents
from support import ROOT, Stack, eventually, register

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from counterparts import Embeddings  # noqa: E402


class Contents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.embeddings = Embeddings(lambda text: [1.0, 0.5])
        cls.stack = Stack(probe=False, env={"MILLRACE_EMBEDDING_URL": cls.embeddings.url, "MILLRACE_AUTH_RATE": "1000000", "MILLRACE_TENANT_STORAGE": "1"})
        cls.me = register(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()
        cls.embeddings.close()

    def upload(self, name, content, fields=None):
        answer = self.me.upload(name, content, fields)
        self.assertEqual(answer.status, 201, answer.text)
        job = answer.job
        self.assertEqual(self.me.wait_job(job)["status"], "succeeded")
        return "/api/v1/contents/" + answer.json["id"]

    def refused(self, answer, status, code, field=None):
        self.assertEqual((answer.status, answer.json["error_code"], answer.json.get("field")), (status, code, field), answer.text)

    def test_a_document_and_its_passages(self):
        path = self.upload("staff-handbook-ja.pdf", documents.sample("staff-handbook-ja.pdf"), {"title": "就業規則", "description": "全員", "tags": "人事, 公開"})
        file = self.me.call("GET", path).json
        self.assertEqual((file["title"], file["description"], file["tags"], file["status"], file["progress"]), ("就業規則", "全員", ["人事", "公開"], "completed", None))
        passages = self.me.call("GET", path + "/chunks?limit=200").json
        self.assertEqual([p["chunk_index"] for p in passages], list(range(file["chunk_count"])))
        self.assertGreater(passages[-1]["page_last"], 1)
        self.assertEqual(self.me.call("GET", path + "/chunks?skip=1&limit=1").json, passages[1:2])
        self.assertEqual(self.me.call("GET", path + "/chunks?skip=100000").json, [])
        source = self.me.call("POST", "/api/v1/chats/rag", {"query": "有給休暇は何日ですか？"}).json["sources"][0]
        self.assertEqual(self.me.call("GET", f"{path}/chunks/{source['chunk_index']}").json["text"], source["chunk_text"])
        for where in (f"{path}/chunks/100000", f"{path}/chunks/-1", f"{path}/chunks/x", f"/api/v1/contents/{uuid.uuid4()}", "/api/v1/contents/x", f"/api/v1/contents/{uuid.uuid4()}/chunks"):
            self.refused(self.me.call("GET", where), 404, "RESOURCE_NOT_FOUND")
        stranger = register(self.stack.edge())
        for method, where in (("GET", path), ("GET", path + "/chunks"), ("GET", path + "/chunks/0"), ("POST", path + "/reindex")):
            self.refused(stranger.call(method, where), 404, "RESOURCE_NOT_FOUND")
        for query, field in (("skip=-1", "skip"), ("limit=0", "limit"), ("limit=201", "limit")):
            self.refused(self.me.call("GET", f"{path}/chunks?{query}"), 422, "VALIDATION_ERROR", field)
        self.assertEqual([f["title"] for f in self.me.call("GET", "/api/v1/contents?tag=%E4%BA%BA%E4%BA%8B").json], ["就業規則"])
        self.assertEqual(self.me.call("GET", "/api/v1/contents?tag=nobody").json, [])
        self.refused(self.me.call("GET", "/api/v1/contents?tag=" + "a" * 1001), 422, "VALIDATION_ERROR", "tag")

    def test_anew(self):
        path = self.upload("a.txt", b"The grinder must be cleaned every Friday evening.\n")
        before = self.me.call("GET", path + "/chunks").json
        answer = self.me.call("POST", path + "/reindex")
        self.assertEqual((answer.status, answer.json["status"]), (202, "queued"), answer.text)
        self.assertTrue(answer.headers["location"].endswith(answer.json["job_id"]))
        self.assertEqual(self.me.wait_job(answer.json["job_id"])["status"], "succeeded")
        self.assertEqual(self.me.call("GET", path + "/chunks").json, before)
        file = path.rsplit("/", 1)[1]
        self.assertEqual(self.stack.sql(f"SELECT count(DISTINCT generation), min(generation) = (SELECT generation FROM files WHERE id = '{file}') FROM chunks WHERE file_id = '{file}'"), "1|t")

        # What cannot be made anew keeps what it had, and says why.
        os.remove(self.stack.sql(f"SELECT '{self.stack.env['MILLRACE_OBJECT_DIR']}/' || object_key FROM files WHERE id = '{file}'"))
        job = self.me.call("POST", path + "/reindex").json["job_id"]
        self.assertEqual(self.me.wait_job(job)["status"], "failed")
        shown = self.me.call("GET", path).json
        self.assertEqual(shown["status"], "completed")
        self.assertIn("deleted", shown["reason"])
        self.assertEqual(self.me.call("GET", path + "/chunks").json, before)

    def test_a_company_has_so_much_room(self):
        someone = register(self.stack.edge())
        first = someone.upload("a.txt", b"A line of thirty-two characters.\n" * (1 << 15))
        self.assertEqual(first.status, 201, first.text)
        self.refused(someone.upload("b.txt", b"One more.\n"), 413, "STORAGE_QUOTA_EXCEEDED", "file")
        self.assertEqual(someone.call("DELETE", "/api/v1/contents/" + first.json["id"]).status, 200)
        self.assertEqual(someone.upload("b.txt", b"One more.\n").status, 201)

    def test_deleted_while_somebody_works_on_it(self):
        self.embeddings.hold.clear()
        answer = self.me.upload("b.txt", b"The boiler is checked once a year.\n")
        path, job = "/api/v1/contents/" + answer.json["id"], answer.job
        eventually(lambda: self.me.call("GET", path).json["status"] == "processing", 15, "somebody's work on it")
        eventually(lambda: self.embeddings.waiting, 15, "the question for its vectors")
        self.assertEqual(self.me.call("GET", path).json["progress"]["stage"], "chunking")
        self.assertEqual(self.me.call("DELETE", path).status, 200)
        self.refused(self.me.call("DELETE", path), 404, "RESOURCE_NOT_FOUND")
        self.embeddings.hold.set()
        self.assertEqual(self.me.wait_job(job)["error"]["code"], "DOCUMENT_DELETED")
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM chunks WHERE file_id = '{answer.json['id']}'"), "0")


if __name__ == "__main__":
    unittest.main(verbosity=2)
