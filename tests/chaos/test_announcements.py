"""Whoever commits what must run next also publishes it. The scheduler, and with it the relay, is away all the while: what is left to
it would not run at all."""
import subprocess
import time
import unittest
import uuid

from checker import rows, unfinished
from faults import ChaosStack, account, eventually

AT_ONCE = 3.0  # seconds; the relay would take 6


class Announcements(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = ChaosStack(edges=1, probes=1, env={"MILLRACE_SHUTDOWN_GRACE": "300ms", "MILLRACE_CONCURRENCY": "4"})
        cls.me = account(cls.stack)

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def setUp(self):
        self.stack.hold("scheduler")

    def tearDown(self):
        self.stack.release("scheduler")
        eventually(lambda: not unfinished(self.stack), 30, "the drain")
        self.stack.recovered()
        self.assertTrue(self.stack.verify()["clean"])

    def status(self, *ids):
        listed = ", ".join(f"'{job}'" for job in ids)
        return [row["status"] for row in rows(self.stack, f"SELECT status FROM jobs WHERE id IN ({listed}) ORDER BY seq")]

    def timed(self, condition, what):
        started = time.monotonic()
        eventually(condition, 30, what)
        seconds = time.monotonic() - started
        print(f"{self.id().rsplit('.', 1)[1]}: {what} after {seconds:.2f} s", flush=True)
        self.assertLess(seconds, AT_ONCE)

    def test_a_stop(self):
        """What runs and what has not started: all of it is announced before the process ends."""
        ids = [self.me.enqueue("probe.sleep", {"ms": 2000}) for _ in range(12)]
        eventually(lambda: set(self.status(*ids)) == {"running"}, what="every job to be claimed")
        self.stack.restart("worker-probe")
        listed = ", ".join(f"'{job}'" for job in ids)
        again = f"SELECT count(*) FROM jobs WHERE attempt = 2 AND id IN ({listed})"
        self.timed(lambda: self.stack.sql(again) == "12", "the next process has claimed what was given back")
        eventually(lambda: set(self.status(*ids)) == {"succeeded"}, 30, "the end of every job")
        returned = f"SELECT count(*) FROM job_attempts WHERE outcome = 'returned' AND job_id IN ({listed})"
        self.assertEqual(self.stack.sql(returned), "12")
        eventually(lambda: self.stack.sql("SELECT count(*) FROM outbox") == "0", what="an empty outbox")

    def in_order(self, *inputs):
        """Jobs of one key; all but the first are parked behind it."""
        key = uuid.uuid4().hex
        return [self.me.enqueue("probe.effect_ordered", data, order_key=key) for data in inputs]

    def test_cancel_before_it_starts(self):
        first, second = self.in_order({"times": 1}, {})
        eventually(lambda: self.status(first, second) == ["waiting", "parked"], what="one job behind another")
        self.assertEqual(self.me.call("DELETE", f"/api/jobs/{first}").status, 200)
        self.timed(lambda: self.status(first, second) == ["cancelled", "succeeded"], "the next of the key has run")

    def test_cancel_that_meets_a_failure(self):
        first, second = self.in_order({"times": 9, "ms": 800}, {})
        eventually(lambda: self.status(first, second) == ["running", "parked"], what="one job behind another")
        self.stack.sql(f"UPDATE jobs SET cancel = true WHERE id = '{first}'")
        self.timed(lambda: self.status(first, second) == ["cancelled", "succeeded"], "the next of the key has run")

    def test_functions_tell_what_to_publish(self):
        """A stop, a burial and a lost worker, each with a cancelled or dead job that another one waits behind."""
        acts = {"return_jobs": "SELECT cardinality(return_jobs(-1, ARRAY['{first}'::uuid]))",
                "leave_worker": "SELECT cardinality(leave_worker(-1))",
                "requeue_worker": "SELECT cardinality(announced) FROM requeue_worker(-1, 'crashed', 3)",
                "bury_job": "SELECT (announced IS NOT NULL)::int FROM bury_job('{first}', 1, 'x', 'x', 'x', false, '', 0, 0)",
                "retry_job": "SELECT (announced IS NOT NULL)::int FROM retry_job('{first}', 1, now(), 'x', 'x')"}
        self.stack.hold("worker-probe")
        try:
            for name, act in acts.items():
                with self.subTest(function=name):
                    first, second = self.in_order({}, {})
                    told = self.stack.sql(f"""
                        INSERT INTO workers (epoch, name, role, lease_until, in_flight) VALUES (-1, 'gone', 'none', now(), '{{{first}}}');
                        UPDATE jobs SET status = 'running', worker = -1, attempt = 1, cancel = true WHERE id = '{first}';
                        UPDATE jobs SET status = 'parked' WHERE id = '{second}';
                        {act.format(first=first)};
                        DELETE FROM workers WHERE epoch = -1""")
                    self.assertEqual(told, "1")
                    self.assertEqual(self.status(first, second), ["dead" if name == "bury_job" else "cancelled", "queued"])
                    self.assertEqual(self.stack.sql(f"SELECT count(*) FROM outbox WHERE '{second}' = ANY (jobs)"), "1")
                    if name == "bury_job":
                        self.stack.sql(f"SELECT redrive_job('{first}')")  # a dead one blocks its key
        finally:
            self.stack.release("worker-probe")

    def test_a_claim_that_commits_while_its_worker_leaves(self):
        """The leave waits for it and gives it back: no job stays with a process that is gone."""
        job = self.me.enqueue("probe.sleep", {"ms": 1})
        self.me.wait_job(job)
        claim = subprocess.Popen(["psql", self.stack.env["MILLRACE_PG_ADMIN_DSN"], "-XAtq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        claim.stdin.write(f"""
            INSERT INTO workers (epoch, name, role, lease_until) VALUES (-2, 'leaver', 'none', now());
            UPDATE jobs SET status = 'queued', finished_at = NULL WHERE id = '{job}';
            BEGIN;
            UPDATE workers SET in_flight = ARRAY['{job}'::uuid] WHERE epoch = -2;
            UPDATE jobs SET status = 'running', worker = -2, attempt = attempt + 1 WHERE id = '{job}';
            SELECT 'claimed';\n""")
        claim.stdin.flush()
        self.assertEqual(claim.stdout.readline(), "claimed\n")
        leave = subprocess.Popen(["psql", self.stack.env["MILLRACE_PG_ADMIN_DSN"], "-XAtq", "-c", "SELECT cardinality(leave_worker(-2))"],
                                 stdout=subprocess.PIPE, text=True)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%leave_worker(-2)%'"
        eventually(lambda: self.stack.sql(waiting) == "1", what="the leave to wait for the claim")
        claim.communicate("COMMIT;\n", timeout=30)
        self.assertEqual(leave.communicate(timeout=30)[0], "1\n")
        self.assertEqual(self.status(job), ["queued"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
