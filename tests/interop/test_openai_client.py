"""The official client of OpenAI against our counterparts: what stands in for a provider in our tests speaks the provider's protocol."""
import glob
import os
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get("MILLRACE_CACHE") or os.path.expanduser("~/.cache/millrace")  # as scripts/setup has it
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
sys.path += glob.glob(os.path.join(CACHE, "python", "lib", "python3*", "site-packages"))
import openai  # noqa: E402
from counterparts import Embeddings, Model, Obedient  # noqa: E402

QUESTION = [{"role": "user", "content": "a question"}]


def client(server):
    return openai.OpenAI(base_url=server.url, api_key="a-key", max_retries=0, timeout=5)


class Chat(unittest.TestCase):
    def setUp(self):
        self.model = Model("a-model")
        self.client = client(self.model)

    def tearDown(self):
        self.model.close()

    def create(self, **more):
        return self.client.chat.completions.create(model="a-model", messages=QUESTION, **more)

    def test_streams_with_its_usage(self):
        self.model.script = ["It is ", "三か月", "."]
        chunks = list(self.create(stream=True, stream_options={"include_usage": True}))
        self.assertEqual([c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content], self.model.script)
        self.assertEqual([c.choices[0].finish_reason for c in chunks if c.choices], [None, None, None, "stop"])
        self.assertEqual((chunks[-1].choices, chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens), ([], 111, 22))
        self.assertEqual({(c.object, c.model, c.id) for c in chunks}, {("chat.completion.chunk", "a-model", "c1")})
        asked = self.model.requests[0]
        headers = {name.lower(): value for name, value in asked["headers"].items()}
        self.assertEqual((asked["path"], headers["authorization"]), ("/chat/completions", "Bearer a-key"))

    def test_streams_no_usage_unasked(self):
        self.assertTrue(all(c.usage is None for c in self.create(stream=True)))

    def test_answers_at_once(self):
        self.model.script = ["It is ", "so."]
        answer = self.create()
        self.assertEqual((answer.object, answer.model, answer.choices[0].message.role), ("chat.completion", "a-model", "assistant"))
        self.assertEqual((answer.choices[0].message.content, answer.choices[0].finish_reason), ("It is so.", "stop"))
        self.assertEqual((answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens), (111, 22, 133))

    def test_refusals_are_the_client_s_own_errors(self):
        for status, error in ((400, openai.BadRequestError), (401, openai.AuthenticationError), (403, openai.PermissionDeniedError),
                              (404, openai.NotFoundError), (429, openai.RateLimitError), (500, openai.InternalServerError), (503, openai.InternalServerError)):
            with self.subTest(status):
                self.model.script = [status]
                for stream in (False, True):
                    with self.assertRaises(error) as caught:
                        self.create(stream=stream)
                    self.assertEqual((caught.exception.status_code, caught.exception.body["message"], caught.exception.type),
                                     (status, "scripted", "invalid_request_error"))

    def test_a_cut_stream_ends_without_a_reason(self):
        self.model.script = ["It is ", "CUT"]
        chunks = list(self.create(stream=True))
        self.assertEqual([c.choices[0].finish_reason for c in chunks], [None])

    def test_the_obedient_model_is_one_of_them(self):
        obedient = Obedient("obedient", [{"obey": "{url}?d={secret}"}], "https://docs.example/a")
        messages = [{"role": "system", "content": "rules"}, {"role": "user", "content": "INJ000 please"}]
        said = "".join(c.choices[0].delta.content or "" for c in client(obedient).chat.completions.create(model="m", messages=messages, stream=True))
        self.assertIn("https://docs.example/a?d=INJ000%20please", said)
        self.assertEqual(said, obedient.requests[0]["said"])
        obedient.close()


class Vectors(unittest.TestCase):
    def setUp(self):
        self.server = Embeddings(lambda text: [0.5, -1.25, float(len(text))])  # exact in 32 bits
        self.client = client(self.server)

    def tearDown(self):
        self.server.close()

    def test_as_numbers_and_as_base64(self):
        for spelling in ("float", "base64", openai.omit):  # the client's own default is base64
            with self.subTest(str(spelling)):
                answer = self.client.embeddings.create(model="e", input=["ab", "cde"], encoding_format=spelling)
                vectors = [item.embedding for item in answer.data]
                if spelling == "base64":
                    self.assertTrue(all(isinstance(vector, str) for vector in vectors))
                else:
                    self.assertEqual([list(vector) for vector in vectors], [[0.5, -1.25, 2.0], [0.5, -1.25, 3.0]])
                self.assertEqual(([item.index for item in answer.data], answer.usage.total_tokens), ([0, 1], 7))
        self.assertEqual([asked.get("encoding_format") for asked in self.server.requests], ["float", "base64", "base64"])
        self.assertEqual(len(self.client.embeddings.create(model="e", input="one text").data), 1)

    def test_refusals(self):
        self.server.refuses = 500
        with self.assertRaises(openai.InternalServerError) as caught:
            self.client.embeddings.create(model="e", input="x")
        self.assertEqual(caught.exception.type, "server_error")


if __name__ == "__main__":
    unittest.main(verbosity=2)
