"""Search: filters hold for words and meaning alike and never cost a hit; what is deleted or replaced is not found."""
import json
import os
import sys
import unittest

from support import ROOT, Stack, register

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from counterparts import Embeddings  # noqa: E402

FILES, RARE = 120, 3


def vector(text):
    """Two meanings: what moves on water, and the rest."""
    return [1.0, 0.0, 0.1] if any(word in text for word in ("vessel", "boat")) else [0.0, 1.0, 0.1]


class Search(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.embeddings = Embeddings(vector)
        cls.stack = Stack(probe=False, env={"MILLRACE_EMBEDDING_URL": cls.embeddings.url})
        cls.stack.env["MILLRACE_EMBEDDING_URL"] = cls.embeddings.url  # millrace-ops asks it too
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
        return answer.headers["link"].split(">")[0].rsplit("/", 1)[1]

    def search(self, question, *options, domain=None):
        done = self.stack.ops("--json", "search", question, "--tenant", domain or self.domain, *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def names(self, *arguments, **more):
        return sorted(hit["file_name"] for hit in self.search(*arguments, **more))

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
        stranger.wait_job(answer.headers["link"].split(">")[0].rsplit("/", 1)[1])
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
