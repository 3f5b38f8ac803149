"""How well documents are found and questions answered, through the real pipeline: import, ask, count (millrace-ops eval)."""
import collections
import concurrent.futures
import json
import os
import shutil
import tempfile
import unittest

from support import REFERENCE, ROOT, Client, Stack, register

GOLDEN = os.path.join(ROOT, "tests", "golden", "answerability")
JSQUAD = os.path.join(REFERENCE, "data", "jsquad", "valid-v1.3.json")


class Retrieval(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(probe=False)
        cls.folder = tempfile.mkdtemp(prefix="millrace-retrieval-")

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()
        shutil.rmtree(cls.folder)

    def ops(self, *arguments):
        done = self.stack.ops("--json", *arguments, timeout=400)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def evaluate(self, documents, questions):
        """Imports {name: text} into a tenant of its own and asks it; its owner, and the figures."""
        owner = register(self.stack.edge())
        domain = owner.account["tenant_domain"]
        folder = tempfile.mkdtemp(dir=self.folder)
        for name, text in documents.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        path = folder + ".jsonl"
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(question, ensure_ascii=False) + "\n" for question in questions)
        self.assertEqual(self.ops("import", folder, "--tenant", domain)["imported"], len(documents))
        again = self.ops("import", folder, "--tenant", domain)
        self.assertEqual((again["imported"], again["already_there"]), (0, len(documents)))
        figures = self.ops("eval", "--questions", path, "--tenant", domain, "--parallel", "2")
        print(json.dumps(figures))
        return owner, figures

    def ask_as_visitor(self, owner, questions):
        """How many of the answerable questions the widget answers with a citation, and how many of the others it refuses."""
        tenant = owner.call("GET", "/api/v1/auth/me").json["tenant_id"]
        key = owner.call("GET", f"/api/v1/tenants/{tenant}/embed-snippet").json["api_key"]
        visitor = Client(self.stack.edge())

        def cited(question):
            answer = visitor.call("POST", "/api/v1/chats/widget/chat", {"query": question["question"], "top_k": 20}, {"X-API-Key": key})
            self.assertEqual(answer.status, 200, answer.text)
            return any(source.get("cited") for source in answer.json["sources"])
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = list(zip(questions, pool.map(cited, questions)))
        return (sum(found for question, found in answers if question["answerable"]),
                sum(not found for question, found in answers if not question["answerable"]))

    @unittest.skipUnless(os.path.exists(JSQUAD), "the JSQuAD questions are not beside this repository")
    def test_jsquad(self):
        documents, questions = {}, []
        with open(JSQUAD, encoding="utf-8") as file:
            for article in json.load(file)["data"]:
                for number, paragraph in enumerate(article["paragraphs"], 1):
                    name = f"{article['title'].replace('/', '／')} {number}.txt"
                    documents[name] = paragraph["context"].partition(" [SEP] ")[2]
                    questions += [{"question": qa["question"], "files": [name], "answers": [a["text"] for a in qa["answers"]]}
                                  for qa in paragraph["qas"]]
        self.assertEqual((len(documents), len(questions)), (1145, 4442))
        owner, figures = self.evaluate(documents, questions)
        self.assertGreaterEqual(figures["ndcg@10"], 0.95)
        self.assertGreaterEqual(figures["r@1"], 0.92)
        self.assertGreaterEqual(figures["containment"], 0.70)
        hits = self.ops("search", questions[0]["question"], "--tenant", owner.account["tenant_domain"], "--limit", "3")
        self.assertEqual([hit["rank"] for hit in hits], [1, 2, 3])
        self.assertGreaterEqual(hits[0]["score"], hits[1]["score"])

    def test_answers_what_the_documents_answer_and_refuses_the_rest(self):
        corpora = collections.defaultdict(list)
        with open(os.path.join(GOLDEN, "questions.jsonl"), encoding="utf-8") as file:
            for line in file:
                question = json.loads(line)
                corpora[tuple(question.pop("files"))].append({**question, "files": []})
        asked = collections.Counter()
        for names, questions in corpora.items():
            documents = {}
            for name in names:
                with open(os.path.join(GOLDEN, "documents", name), encoding="utf-8") as file:
                    documents[name] = file.read()
            owner, figures = self.evaluate(documents, questions)
            can = sum(question["answerable"] for question in questions)
            answered, refused = self.ask_as_visitor(owner, questions)
            asked.update({"answerable": can, "others": len(questions) - can, "answered": round(figures["answered"] * can),
                          "refused": round(figures["refused"] * (len(questions) - can)), "answered by the widget": answered,
                          "refused by the widget": refused})
        print(json.dumps(asked))
        for way in ("", " by the widget"):
            self.assertGreaterEqual(asked["answered" + way] / asked["answerable"], 0.90)
            self.assertGreaterEqual(asked["refused" + way] / asked["others"], 0.95)


if __name__ == "__main__":
    unittest.main(verbosity=2)
