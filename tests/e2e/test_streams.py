"""Many clients follow one job on one edge: what they share must show in nothing that any of them receives."""
import queue
import threading
import unittest

from support import Stack, eventually, read_events, register

WORDS = 700  # more events than the edge keeps in memory, and more than it reads at once
TEXT = " ".join(f"word{number}" for number in range(WORDS))


class Follower(threading.Thread):
    """One client; `events` grows while it reads. `reached(n)`: it has been sent n deltas."""

    def __init__(self, client, job_id, last=None):
        super().__init__(daemon=True)
        self.client, self.path, self.last = client, f"/api/jobs/{job_id}/events", last
        self.events, self.failures, self.opened = [], queue.Queue(), threading.Event()
        self.start()

    def run(self):
        try:
            with self.client.open("GET", self.path, headers={"Last-Event-ID": self.last} if self.last else {}) as response:
                self.opened.set()
                for event in read_events(response):
                    self.events.append(event)
        except OSError as error:
            self.failures.put(error)

    def deltas(self):
        return [event for event in list(self.events) if event["event"] == "delta"]

    def restarts(self):
        return [event for event in self.events if event["event"] == "restart"]

    def said(self):
        """What a client that obeys restarts shows in the end."""
        text = ""
        for event in self.events:
            if event["event"] == "restart":
                text = ""
            elif event["event"] == "delta":
                text += event["data"]["text"]
        return text


class Streams(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(env={"MILLRACE_LEASE": "3s"})
        cls.me = register(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def stream(self, text=TEXT, ms=5):
        return self.me.enqueue("probe.stream", {"text": text, "ms": ms})

    def follow(self, job_id, count=1, last=None):
        followers = [Follower(self.me, job_id, last) for _ in range(count)]
        for follower in followers:
            self.assertTrue(follower.opened.wait(30))
        return followers

    def release_redis(self):
        """…and wait until worker and edge are both connected again: until then streams are rightly not live."""
        self.stack.release("redis")

        def live():
            follower, = self.follow(self.stream("one two three", ms=50))
            follower.join(30)
            return len(follower.deltas()) == 3
        eventually(live, what="a live stream")

    def check_ended(self, followers, text):
        """Each has ended with the result, has said exactly `text`, and was sent nothing twice."""
        for follower in followers:
            follower.join(60)
            self.assertFalse(follower.is_alive())
            self.assertTrue(follower.failures.empty())
            self.assertEqual(follower.said(), text)
            self.assertEqual([event["event"] for event in follower.events].index("result"), len(follower.events) - 1)
            ids = [event["id"] for event in follower.events if event["id"]]
            self.assertEqual(len(ids), len(set(ids)))

    def test_many_from_before_the_start(self):
        self.stack.hold("worker-probe")
        try:
            job_id = self.stream()
            followers = self.follow(job_id, 100)
        finally:
            self.stack.release("worker-probe")
        self.check_ended(followers, TEXT)
        for follower in followers[1:]:
            self.assertEqual([event for event in follower.events if event["id"]], [event for event in followers[0].events if event["id"]])
        self.assertEqual(len(followers[0].deltas()), WORDS)

    def test_joining_in_the_middle(self):
        job_id = self.stream()
        first, = self.follow(job_id)
        followers, resumed = [first], []
        for reached in (20, 300, 600):
            eventually(lambda n=reached: len(first.deltas()) >= n, what=f"{reached} deltas")
            followers += self.follow(job_id, 5)
            for back in (1, reached // 2, reached - 1):
                seen = first.deltas()[:reached - back]
                resumed += [(seen, follower) for follower in self.follow(job_id, 2, seen[-1]["id"])]
        first.join(60)
        followers += self.follow(job_id, 5)
        self.check_ended(followers, TEXT)
        ids = [event["id"] for event in first.events if event["id"]]
        for follower in followers:
            self.assertEqual([event["id"] for event in follower.events if event["id"]], ids)
        for seen, follower in resumed:
            self.check_ended([follower], TEXT[len("".join(event["data"]["text"] for event in seen)):])
            self.assertEqual([event["id"] for event in follower.events if event["id"]], ids[ids.index(seen[-1]["id"]) + 1:])

    def test_redis_stopped_and_back(self):
        job_id = self.stream(ms=15)
        followers = self.follow(job_id, 50)
        eventually(lambda: len(followers[0].deltas()) >= 50, what="50 deltas")
        self.stack.hold("redis")
        try:
            followers += self.follow(job_id, 5)
        finally:
            self.release_redis()
        followers += self.follow(job_id, 5)
        self.check_ended(followers, TEXT)
        self.assertLessEqual(max(len(follower.restarts()) for follower in followers), 1)

    def test_redis_away_at_the_end(self):
        job_id = self.stream(" ".join(TEXT.split()[:200]), ms=20)
        followers = self.follow(job_id, 50)
        eventually(lambda: len(followers[0].deltas()) >= 20, what="20 deltas")
        self.stack.hold("redis")
        try:
            self.check_ended(followers, " ".join(TEXT.split()[:200]))
        finally:
            self.release_redis()

    def test_a_new_attempt_restarts_each_once(self):
        text = " ".join(TEXT.split()[:60])
        job_id = self.stream(text, ms=30)
        followers = self.follow(job_id, 20)
        eventually(lambda: len(followers[0].deltas()) >= 10, what="10 deltas")
        self.stack.kill("worker-probe")
        self.check_ended(followers, text)
        for follower in followers:
            self.assertEqual([event["data"]["reason"] for event in follower.restarts()], ["a new attempt begins"])

    def test_a_cancelled_job_ends_every_stream(self):
        job_id = self.stream(ms=15)
        followers = self.follow(job_id, 20)
        eventually(lambda: len(followers[0].deltas()) >= 5, what="5 deltas")
        self.assertIn(self.me.call("DELETE", f"/api/jobs/{job_id}").status, (200, 202))
        for follower in followers:
            follower.join(30)
            self.assertFalse(follower.is_alive())
            self.assertEqual(follower.events[-1]["data"]["status"], "cancelled")


if __name__ == "__main__":
    unittest.main(verbosity=2)
