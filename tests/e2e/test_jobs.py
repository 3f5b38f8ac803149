"""Jobs end to end: enqueue, wait, stream, resume on another edge, cancel, retry, order, idempotency."""
import threading
import time
import unittest
import urllib.parse
import uuid

from support import Client, Stack, eventually, read_events, register


class Jobs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(edges=2, workers={"probe": 2})
        cls.me = register(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def test_enqueue_and_poll(self):
        answer = self.me.call("POST", "/api/jobs", {"kind": "probe.ok", "input": {"echo": {"a": [1, "ü"]}}})
        self.assertEqual(answer.status, 202)
        self.assertEqual(answer.headers["location"], answer.json["status_url"])
        job = self.me.wait_job(answer.json["job_id"])
        self.assertEqual((job["status"], job["result"]["echo"]), ("succeeded", {"a": [1, "ü"]}))
        again = self.me.call("GET", f"/api/jobs/{job['job_id']}")
        cached = self.me.call("GET", f"/api/jobs/{job['job_id']}", headers={"If-None-Match": again.headers["etag"]})
        self.assertEqual(cached.status, 304)

    def test_prefer_wait_answers_with_the_result(self):
        answer = self.me.call("POST", "/api/jobs", {"kind": "probe.ok", "input": {"echo": 1}}, {"Prefer": "wait=30"})
        self.assertEqual((answer.status, answer.json["status"], answer.headers["preference-applied"]), (200, "succeeded", "wait=30"))

    def test_prefer_wait_runs_out(self):
        answer = self.me.call("POST", "/api/jobs", {"kind": "probe.sleep", "input": {"ms": 4000}}, {"Prefer": "wait=1"})
        self.assertEqual(answer.status, 202)
        self.assertEqual(self.me.wait_job(answer.json["job_id"])["status"], "succeeded")

    def test_retries_are_data(self):
        job = self.me.wait_job(self.me.enqueue("probe.fail", {"times": 2}))
        self.assertEqual((job["status"], job["attempt"]), ("succeeded", 3))

    def test_budget_spent_is_dead_with_a_dead_letter(self):
        job_id = self.me.enqueue("probe.fail", {"times": 99})
        self.assertEqual(self.me.wait_job(job_id)["status"], "dead")
        self.assertEqual(self.stack.sql(f"SELECT cause, attempts FROM dead_letters WHERE job_id = '{job_id}'"), "attempts|5")

    def test_input_that_can_never_work_fails_at_once(self):
        job = self.me.wait_job(self.me.enqueue("probe.never"))
        self.assertEqual((job["status"], job["attempt"], job["error"]["code"]), ("failed", 1, "PROBE_NEVER"))

    def test_hanging_attempt_times_out(self):
        job = self.me.wait_job(self.me.enqueue("probe.hang"), seconds=60)
        self.assertEqual((job["status"], job["attempt"]), ("dead", 2))

    def test_cancel_running_and_finished(self):
        job_id = self.me.enqueue("probe.sleep", {"ms": 60000})
        eventually(lambda: self.me.call("GET", f"/api/jobs/{job_id}").json["status"] == "running", what="running")
        self.assertEqual(self.me.call("DELETE", f"/api/jobs/{job_id}").status, 202)
        self.assertEqual(self.me.wait_job(job_id, 10)["status"], "cancelled")
        self.assertEqual(self.me.call("DELETE", f"/api/jobs/{job_id}").status, 409)

    def test_order_by_key_through_retries(self):
        key = uuid.uuid4().hex
        ids = [self.me.enqueue("probe.ordered", {"times": 1 if i == 0 else 0, "echo": i}, order_key=key) for i in range(8)]
        finished = [self.me.wait_job(job)["finished_at"] for job in ids]
        self.assertEqual(finished, sorted(finished))

    def test_idempotency_key_attaches(self):
        key = {"Idempotency-Key": uuid.uuid4().hex}
        body = {"kind": "probe.ok", "input": {"echo": "x"}}
        first = self.me.call("POST", "/api/jobs", body, key)
        second = self.me.on(self.stack.edge(2)).call("POST", "/api/jobs", body, {"Idempotency-Key": f'"{key["Idempotency-Key"]}"'})
        self.assertEqual((second.status, second.json["job_id"]), (202, first.json["job_id"]))
        other = self.me.call("POST", "/api/jobs", {"kind": "probe.ok", "input": {"echo": "y"}}, key)
        self.assertEqual(other.status, 422)
        refused = {"Idempotency-Key": uuid.uuid4().hex}
        self.assertEqual(self.me.call("POST", "/api/jobs", {"kind": "no.such"}, refused).status, 400)
        self.assertEqual(self.me.call("POST", "/api/jobs", body, refused).status, 202)  # a refusal does not burn the key

    def test_64_posts_with_one_key_make_one_job(self):
        key = {"Idempotency-Key": uuid.uuid4().hex}
        ids, lock = set(), threading.Lock()

        def post(number):
            client = self.me.on(self.stack.edge(1 + number % 2))
            answer = client.call("POST", "/api/jobs", {"kind": "probe.ok", "input": {}}, key)
            with lock:
                ids.add(answer.json.get("job_id", answer.text))
        threads = [threading.Thread(target=post, args=(i,)) for i in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(ids), 1, ids)

    def test_list_is_ones_own(self):
        mine = self.me.enqueue("probe.ok")
        other = register(self.stack.edge())
        self.assertIn(mine, [job["job_id"] for job in self.me.call("GET", "/api/jobs").json["jobs"]])
        self.assertEqual(other.call("GET", "/api/jobs").json["jobs"], [])
        self.assertEqual(other.call("GET", f"/api/jobs/{mine}").status, 404)
        self.assertEqual(other.call("DELETE", f"/api/jobs/{mine}").status, 404)
        self.assertEqual(Client(self.stack.edge()).call("GET", f"/api/jobs/{mine}").status, 401)

    def test_stream_cut_and_resumed_on_another_edge(self):
        text = " ".join(f"word{i}" for i in range(120))
        answer = self.me.call("POST", "/api/jobs", {"kind": "probe.stream", "input": {"text": text, "ms": 20}})
        events_url = urllib.parse.urlsplit(answer.json["events_url"])
        path = events_url.path + "?" + events_url.query
        anonymous = Client(self.stack.edge())
        seen, said = [], ""
        with anonymous.open("GET", path) as response:
            for event in read_events(response, stop=lambda e: e["event"] == "delta" and "word40" in e["data"]["text"]):
                seen.append(event)
        last = [e["id"] for e in seen if e["id"]][-1]
        second = Client(self.stack.edge(2))
        with second.open("GET", path, headers={"Last-Event-ID": last}) as response:
            seen += list(read_events(response))
        said = "".join(e["data"]["text"] for e in seen if e["event"] == "delta")
        self.assertEqual(said, text)
        ids = [e["id"] for e in seen if e["id"]]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(seen[-1]["event"], "result")
        self.assertEqual(second.call("GET", path, headers={"Last-Event-ID": ids[-1]}).status, 204)
        # After the end the same answer can be had from any point.
        with second.open("GET", path, headers={"Last-Event-ID": last}) as response:
            rest = "".join(e["data"]["text"] for e in read_events(response) if e["event"] == "delta")
        self.assertTrue(text.endswith(rest))

    def test_events_url_opens_nothing_else(self):
        job_id = self.me.enqueue("probe.ok")
        other_id = self.me.enqueue("probe.ok")
        token = urllib.parse.urlsplit(self.me.call("GET", f"/api/jobs/{job_id}").json["events_url"]).query
        anonymous = Client(self.stack.edge())
        self.assertEqual(anonymous.call("GET", f"/api/jobs/{job_id}?{token}").status, 200)
        self.assertEqual(anonymous.call("GET", f"/api/jobs/{other_id}?{token}").status, 401)
        self.assertEqual(anonymous.call("DELETE", f"/api/jobs/{job_id}?{token}").status, 401)


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.me = register(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def refused(self, body, status, field=None):
        answer = self.me.call("POST", "/api/jobs", body, {"Content-Type": "application/json"})
        self.assertEqual(answer.status, status, answer.text)
        self.assertEqual(answer.headers["content-type"], "application/problem+json")
        if field:
            self.assertEqual(answer.json["field"], field)

    def test_bad_bodies(self):
        self.refused(b"", 400)
        self.refused(b"{", 400)
        self.refused(b'{"kind":"probe.ok"} x', 400)
        self.refused(b'{"kind":"probe.ok","kind":"probe.ok"}', 400, "kind")
        self.refused(b'{"kind":7}', 400, "kind")
        self.refused(b'{"input":{}}', 400, "kind")
        self.refused(b'{"kind":"probe.ok","input":[]}', 400, "input")
        self.refused(b'{"kind":"knowledge.answer","input":{}}', 400, "kind")
        self.refused(b"[" * 100000, 400)
        self.refused(b'{"kind":"' + b"x" * (1 << 20) + b'"}', 413)

    def test_unknown_paths_and_methods(self):
        self.assertEqual(self.me.call("GET", "/nothing").status, 404)
        answer = self.me.call("PUT", "/api/jobs", {})
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, OPTIONS, POST"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
