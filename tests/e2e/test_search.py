"""Search: filters hold for words and meaning alike and never cost a hit; what is deleted or replaced is not found."""
import json
import os
import sys
import unittest

from support import ROOT, Stack, eventually, register

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from counterparts import Embeddings, Pinecone  # noqa: E402

FILES, RARE = 120, 3


def vector(text):
    """Two meanings: what moves on water, and the rest."""
    return [1.0, 0.0, 0.1] if any(word in text for word in ("vessel", "boat")) else [0.0, 1.0, 0.1]


class Base(unittest.TestCase):
    environment = {}

    @classmethod
    def setUpClass(cls):
        cls.embeddings = Embeddings(vector)
        cls.stack = Stack(probe=False, env={"MILLRACE_EMBEDDING_URL": cls.embeddings.url, **cls.environment})
        cls.stack.env.update({"MILLRACE_EMBEDDING_URL": cls.embeddings.url, **cls.environment})  # millrace-ops asks them too
        cls.me = register(cls.stack.edge())
        cls.domain = cls.me.account["tenant_domain"]
        cls.files = {}
        jobs = []
        for number in range(FILES):
            name = f"note {number:03}.txt"
            tag = "rare, common" if number < RARE else "common"
            jobs.append(cls.put(name, f"A vessel of class {number} waits in the harbour.", {"tags": tag}))
        for job in jobs:
            assert cls.me.wait_job(job)["status"] == "succeeded"

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()
        cls.embeddings.close()

    @classmethod
    def put(cls, name, text, fields=None):
        answer = cls.me.upload(name, text.encode(), fields)
        assert answer.status == 201, answer.text
        cls.files[name] = answer.json["id"]
        return answer.job

    def search(self, question, *options, domain=None):
        done = self.stack.ops("--json", "search", question, "--tenant", domain or self.domain, *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def names(self, *arguments, **more):
        return sorted(hit["file_name"] for hit in self.search(*arguments, **more))


class Filters:
    """Whatever the store is."""

    def test_a_tag_that_few_documents_carry_finds_all_of_them_by_words_and_by_meaning(self):
        rare = [f"note {number:03}.txt" for number in range(RARE)]
        self.assertEqual(self.names("vessel", "--tag", "rare"), rare)
        self.assertEqual(self.names("boat", "--tag", "rare"), rare)  # no document holds the word
        self.assertEqual(len(self.search("boat", "--tag", "rare", "--tag", "common", "--limit", "10")), 10)
        self.assertEqual(self.search("boat", "--tag", "unknown"), [])

    def test_files_and_types(self):
        two = ["note 050.txt", "note 119.txt"]
        options = [part for name in two for part in ("--file", self.files[name])]
        for question in ("vessel", "boat"):
            self.assertEqual(self.names(question, *options), two)
            self.assertEqual(self.search(question, *options, "--tag", "rare"), [])  # the lists must all agree
            self.assertEqual(self.search(question, "--type", "pdf"), [])
            self.assertEqual(len(self.search(question, "--type", "pdf", "--type", "txt", "--limit", "7")), 7)
        done = self.stack.ops("search", "vessel", "--tenant", self.domain, "--file", "x")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--file: x is not an id", done.stderr)

    def test_another_tenant_s_documents_are_not_there_even_when_named(self):
        stranger = register(self.stack.edge())
        answer = stranger.upload("own.txt", b"A vessel of our own.")
        stranger.wait_job(answer.job)
        domain = stranger.account["tenant_domain"]
        self.assertEqual(self.names("boat", "--limit", "100", domain=domain), ["own.txt"])
        self.assertEqual(self.search("boat", "--file", self.files["note 000.txt"], domain=domain), [])

    def test_what_is_deleted_is_not_found(self):
        job = self.put("gone.txt", "A vessel that leaves for Zanzibar.")
        self.assertEqual(self.me.wait_job(job)["status"], "succeeded")
        self.assertIn("gone.txt", self.names("Zanzibar"))
        self.assertEqual(self.me.call("DELETE", f"/api/v1/contents/{self.files['gone.txt']}").status, 200)
        self.assertNotIn("gone.txt", self.names("Zanzibar", "--limit", "100"))
        self.assertEqual(self.search("boat", "--file", self.files["gone.txt"]), [])


class InPostgres(Filters, Base):
    def test_vectors_go_with_their_chunks(self):
        left = "SELECT count(*) FROM chunk_vectors v LEFT JOIN chunks c USING (file_id, generation, chunk_index) WHERE c.file_id IS NULL"
        job = self.put("short-lived.txt", "A vessel that sinks.")
        self.assertEqual(self.me.wait_job(job)["status"], "succeeded")
        count = "SELECT count(*) FROM chunk_vectors WHERE file_id = '%s'" % self.files["short-lived.txt"]
        self.assertEqual(self.stack.sql(count), "1")
        self.me.call("DELETE", f"/api/v1/contents/{self.files['short-lived.txt']}")
        self.assertEqual((self.stack.sql(count), self.stack.sql(left)), ("0", "0"))


class InPinecone(Filters, Base):
    @classmethod
    def setUpClass(cls):
        cls.pinecone = Pinecone("pinecone-key-123", 3)
        cls.environment = {"MILLRACE_PINECONE_URL": cls.pinecone.url + "/", "MILLRACE_PINECONE_KEY": "pinecone-key-123",
                           "MILLRACE_VECTOR_SWEEP": "50ms"}
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.pinecone.close()

    def test_vectors_are_there_and_only_there_a_namespace_per_tenant(self):
        self.assertEqual(self.stack.sql("SELECT count(*) FROM chunk_vectors"), "0")
        tenant = self.stack.sql(f"SELECT id FROM tenants WHERE domain = '{self.domain}'")
        self.assertGreaterEqual(len(self.pinecone.spaces[tenant]), FILES)
        self.names("boat", "--tag", "rare")
        path, asked = [request for request in self.pinecone.requests if request[0] == "/query"][-1]
        self.assertEqual((asked["namespace"], len(asked["filter"]["generation"]["$in"])), (tenant, RARE))

    def test_what_is_gone_here_goes_there(self):
        job = self.put("sunk.txt", "A vessel that sinks.")
        self.assertEqual(self.me.wait_job(job)["status"], "succeeded")
        held = {vector.split("#")[0] for space in self.pinecone.spaces.values() for vector in space}
        self.assertIn(self.files["sunk.txt"], held)
        self.me.call("DELETE", f"/api/v1/contents/{self.files['sunk.txt']}")
        eventually(lambda: not any(vector.startswith(self.files["sunk.txt"]) for space in self.pinecone.spaces.values() for vector in list(space)),
                   what="the removal from the vector store")

    def test_a_write_that_is_seen_late_and_a_removal_that_is_seen_late(self):
        self.pinecone.lag = True
        try:
            job = self.put("late.txt", "A vessel that comes late.")
            self.assertEqual(self.me.wait_job(job)["status"], "succeeded")
            options = ("--file", self.files["late.txt"])
            self.assertEqual(self.search("boat", *options), [])  # not visible there yet
            self.assertEqual(self.names("vessel", *options), ["late.txt"])  # by its words all the same
            self.pinecone.settle()
            self.assertEqual(self.names("boat", *options), ["late.txt"])
            self.pinecone.lag = True
            self.me.call("DELETE", f"/api/v1/contents/{self.files['late.txt']}")
            self.assertNotIn("late.txt", self.names("boat", "--limit", "100"))
        finally:
            self.pinecone.settle()

    def test_without_the_store_words_do_and_uploads_are_tried_again(self):
        self.pinecone.refuse = 503
        try:
            self.assertEqual(len(self.search("vessel", "--limit", "5")), 5)
            self.assertEqual(self.search("boat"), [])
            job = self.put("again.txt", "A vessel that tries again.")
            eventually(lambda: self.stack.sql(f"SELECT status FROM jobs WHERE id = '{job}'") == "waiting", what="the first attempt's failure")
        finally:
            self.pinecone.refuse = None
        self.assertEqual(self.me.wait_job(job, 90)["status"], "succeeded")
        self.assertEqual(self.names("boat", "--file", self.files["again.txt"]), ["again.txt"])

    def test_a_wrong_setting_is_named(self):
        for wrong, said in (({"MILLRACE_PINECONE_KEY": "another"}, "MILLRACE_PINECONE_KEY is refused"),
                            ({"MILLRACE_PINECONE_URL": self.stack.edge()}, "MILLRACE_PINECONE_URL is not the address of an index"),
                            ({"MILLRACE_PINECONE_URL": "pinecone.io"}, "MILLRACE_PINECONE_URL: must start with https://"),
                            ({"MILLRACE_PINECONE_KEY": ""}, "both or neither must be set")):
            with self.subTest(said):
                before = dict(self.stack.env)
                self.stack.env.update(wrong)
                try:
                    done = self.stack.ops("search", "boat", "--tenant", self.domain)
                finally:
                    self.stack.env = before
                self.assertIn(said, done.stdout + done.stderr)


del Base


if __name__ == "__main__":
    unittest.main(verbosity=2)
