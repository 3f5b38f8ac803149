"""Processes and servers die in the middle of work: every accepted job ends once, by itself."""
import threading
import unittest

import documents
from support import Stack, eventually, read_events, register

QUESTION = "How often does the espresso machine have to be descaled?"


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(edges=2, env={"MILLRACE_LEASE": "3s"})
        cls.me = register(cls.stack.edge())
        answer = cls.me.upload("espresso-machine-en.docx", documents.sample("espresso-machine-en.docx"))
        assert answer.status == 201, answer.text

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def tearDown(self):
        self.assertEqual(self.stack.sql("SELECT count(*) FROM jobs WHERE status IN ('queued', 'running', 'waiting', 'parked')"), "0")
        eventually(lambda: self.stack.sql("SELECT count(*) FROM outbox") == "0", what="an empty outbox")

    def enqueue(self, count, kind, data):
        return [self.me.enqueue(kind, {**data, "echo": number}) for number in range(count)]

    def check_all(self, jobs, seconds=60):
        for number, job_id in enumerate(jobs):
            job = self.me.wait_job(job_id, seconds)
            self.assertEqual((job["status"], job["result"]["echo"]), ("succeeded", number))

    def is_running(self, job_id):
        return self.me.call("GET", f"/api/jobs/{job_id}").json["status"] == "running"

    def test_worker_killed(self):
        jobs = self.enqueue(20, "probe.sleep", {"ms": 1500})
        eventually(lambda: self.is_running(jobs[-1]), what="the last job to run")
        self.stack.kill("worker-probe")
        self.check_all(jobs)
        self.assertGreater(self.me.call("GET", f"/api/jobs/{jobs[0]}").json["attempt"], 1)

    def test_worker_that_always_dies_gives_up(self):
        job = self.me.wait_job(self.me.enqueue("probe.abort"), 90)
        self.assertEqual(job["status"], "dead")
        self.assertEqual(self.me.wait_job(self.me.enqueue("probe.ok", {"echo": 1}))["status"], "succeeded")

    def test_worker_killed_in_the_middle_of_a_stream(self):
        job = self.me.enqueue("probe.stream", {"text": "one two three four five six", "ms": 300})
        response = self.me.open("GET", f"/api/jobs/{job}/events")
        killed, said, restarts = False, "", 0
        with response:
            for event in read_events(response):
                if event["event"] == "delta":
                    said += event["data"]["text"]
                    if not killed:
                        self.stack.kill("worker-probe")
                        killed = True
                elif event["event"] == "restart":
                    said, restarts = "", restarts + 1
                elif event["event"] == "result":
                    self.assertEqual(said, event["data"]["answer"])
                    break
        self.assertEqual(restarts, 1)

    def test_edge_killed_while_it_holds_requests(self):
        jobs = self.enqueue(5, "probe.sleep", {"ms": 1500})
        results = []

        def hold():
            try:
                results.append(self.me.call("GET", f"/api/jobs/{jobs[0]}", headers={"Prefer": "wait=20"}))
            except OSError as error:
                results.append(error)
        thread = threading.Thread(target=hold)
        thread.start()
        eventually(lambda: self.is_running(jobs[-1]), what="the last job to run")
        old = self.stack.kill("edge")
        thread.join(30)
        self.assertEqual(len(results), 1)
        eventually(lambda: self.stack.pid("edge") not in (None, old), what="a new edge")
        self.me, before = self.me.on(self.stack.edge(2)), self.me
        self.check_all(jobs)
        self.me = before

        def answers():
            try:
                return self.me.call("GET", "/health").status == 200
            except OSError:
                return False
        eventually(answers, what="the new edge to answer")

    def test_scheduler_killed(self):
        jobs = [self.me.enqueue("probe.fail", {"times": 2, "echo": number}) for number in range(10)]
        self.stack.kill("scheduler")
        self.check_all(jobs)

    def test_kafka_stopped(self):
        self.stack.hold("kafka")
        try:
            jobs = self.enqueue(50, "probe.ok", {})
            answer = self.me.call("POST", "/api/v1/chats/rag", {"query": QUESTION}, {"Prefer": "respond-async"})
            self.assertEqual(answer.status, 202)
            self.assertEqual(self.stack.sql("SELECT count(*) > 0 FROM outbox"), "t")
        finally:
            self.stack.release("kafka")
        self.check_all(jobs, 120)
        self.assertIn("three months", self.me.wait_job(answer.json["job_id"], 120)["result"]["answer"])

    def test_redis_stopped(self):
        self.stack.hold("redis")
        try:
            self.check_all(self.enqueue(10, "probe.ok", {}))
            answer = self.me.call("POST", "/api/v1/chats/rag", {"query": QUESTION})
            self.assertEqual(answer.status, 200)
            self.assertIn("three months", answer.json["answer"])
        finally:
            self.stack.release("redis")
        with self.me.open("POST", "/api/v1/chats/rag", {"query": QUESTION}, {"Accept": "text/event-stream"}) as response:
            events = [event["event"] for event in read_events(response)]
        self.assertEqual(events[-1], "result")
        self.assertIn("delta", events)

    def test_postgres_stopped(self):
        self.stack.hold("postgres")
        try:
            answer = eventually(lambda: self.refused(), what="an honest 503")
            self.assertIn("retry-after", answer.headers)
        finally:
            self.stack.release("postgres")
        eventually(lambda: self.me.call("POST", "/api/jobs", {"kind": "probe.ok", "input": {}}).status == 202, 60, "the accept to work again")
        self.check_all(self.enqueue(5, "probe.ok", {}))

    def refused(self):
        answer = self.me.call("POST", "/api/jobs", {"kind": "probe.ok", "input": {}})
        return answer if answer.status == 503 else None

    def test_embedding_worker_killed(self):
        text = "\n\n".join(f"Paragraph {n}: the {n}th cabinet holds the forms of the year {1900 + n % 100}." for n in range(20000))
        answer = self.me.upload("cabinets.txt", text.encode())
        job_id = answer.job
        eventually(lambda: self.is_running(job_id), what="the document to be read")
        self.stack.kill("worker-embedding")
        job = self.me.wait_job(job_id, 90)
        self.assertEqual(job["status"], "succeeded")
        chunks = self.stack.sql(f"SELECT count(*), max(chunk_index) + 1 FROM chunks WHERE file_id = '{answer.json['id']}'")
        self.assertEqual(chunks, f"{job['result']['chunks']}|{job['result']['chunks']}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
