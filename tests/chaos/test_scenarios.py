"""One fault per test, aimed: a frozen worker, a restart in the middle of commits, one key posted 64 times, poison, a rolling restart,
a topic that grows and one that is made anew."""
import os
import random
import signal
import subprocess
import threading
import time
import unittest
import uuid

import confluent_kafka
import confluent_kafka.admin
from checker import Log, check, rows, unfinished
from faults import ChaosStack, account, eventually, foreign_event, immediate_restart, terminate_backends
from history import History, Op, Poster, Workload

NEIGHBOURS_RATE = 150  # per second, far below what the machine can do: a stall shows, its load does not
WINDOW_SECONDS = 10
KEPT = 0.9


class Scenario(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = ChaosStack()
        cls.me = account(cls.stack)
        cls.history = History(os.path.join(cls.stack.home, "history.jsonl"))
        cls.ends = {}  # of the jobs that are not meant to succeed
        cls.log = Log(cls.stack.env["MILLRACE_KAFKA_BROKERS"])

    @classmethod
    def tearDownClass(cls):
        cls.history.close()
        cls.stack.destroy()

    def poster(self, seed=0):
        return Poster(self.history, self.stack.edges(), self.me.token, random.Random(seed))

    def post(self, kind, order_key="", **data):
        op = Op(str(uuid.uuid4()), kind, order_key, data)
        self.assertTrue(self.poster().post(op), op.failed)
        return op

    def job(self, op, columns="status, attempt, worker"):
        return rows(self.stack, f"SELECT {columns} FROM jobs WHERE id = '{next(iter(op.jobs))}'")[0]

    def settle(self, seconds=60, log=True):
        """Drained, green, and nothing lost or doubled in all that was sent so far."""
        try:
            eventually(lambda: not unfinished(self.stack), seconds, "the drain")
        except AssertionError:
            self.fail(f"there is left: {unfinished(self.stack)}")
        self.stack.recovered()
        bad = check(self.stack, self.history, self.log if log else None, self.ends)
        self.assertEqual(bad[:20], [])


class Faults(Scenario):
    def holder(self, op):
        """The process that runs a job."""
        epoch = eventually(lambda: self.job(op)["status"] == "running" and self.job(op)["worker"], what="the job to run")
        name = self.stack.sql(f"SELECT name FROM workers WHERE epoch = {epoch}")
        return "worker-" + (name.removesuffix("-1"))

    def frozen(self, ops, first_done):
        process = self.holder(ops[0])
        pid = self.stack.kill(process, signal.SIGSTOP)
        try:
            eventually(lambda: self.job(first_done)["status"] == "succeeded", 30, "another worker to finish it")
        finally:
            os.kill(pid, signal.SIGCONT)
        eventually(lambda: self.stack.pid(process) not in (None, pid), 30, "the written-off worker to start anew")
        self.settle()

    def test_worker_frozen_past_its_lease(self):
        ops = [self.post("probe.effect", ms=1500) for _ in range(8)]
        self.frozen(ops, ops[0])
        self.assertEqual(self.job(ops[0])["attempt"], 2)

    def test_worker_frozen_with_ordered_jobs(self):
        ops = [self.post("probe.effect_ordered", order_key="frozen", ms=700 if n == 0 else 20) for n in range(20)]
        self.frozen(ops, ops[-1])

    def test_accept_that_commits_late(self):
        """Of two jobs of one key that are accepted at once, the later seq may be seen first: it runs first, and alone."""
        accept = subprocess.Popen(["psql", self.stack.env["MILLRACE_PG_ADMIN_DSN"], "-XAtq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        late = Op(str(uuid.uuid4()), "probe.effect_ordered", "late", {})
        quick = Op(str(uuid.uuid4()), "probe.effect_ordered", "late", {"ms": 8000})
        template = self.post("probe.ok")
        job = str(uuid.UUID(int=int(time.time() * 1000) << 80 | 7 << 76 | 2 << 62 | random.getrandbits(62)))
        accept.stdin.write(f"""
            BEGIN;
            INSERT INTO jobs (id, tenant_id, owner_id, kind, lane, order_key, input)
                SELECT '{job}', tenant_id, owner_id, '{late.kind}', lane, tenant_id || ':late', convert_to('{{"op": "{late.op}", "echo": "{late.op}"}}', 'UTF8')
                  FROM jobs WHERE id = '{next(iter(template.jobs))}';
            INSERT INTO outbox (id, created_at, jobs) VALUES (gen_random_uuid(), now() - interval '10 seconds', ARRAY['{job}'::uuid]);
            INSERT INTO idempotency (scope_hash, body_hash, job_id) VALUES ('late', '', '{job}');
            SELECT 'accepted';\n""")
        accept.stdin.flush()
        self.assertEqual(accept.stdout.readline(), "accepted\n")
        late.invoked = time.monotonic()
        self.history.add(late)
        self.assertTrue(self.poster().post(quick), quick.failed)
        self.holder(quick)
        accept.communicate("COMMIT;\n", timeout=30)
        late.jobs.add(job)
        eventually(lambda: self.job(late)["status"] == "parked", 8, "the late one to be parked")
        self.assertEqual(self.job(quick)["status"], "running")
        self.settle()

    def test_claim_that_a_crash_of_the_database_took_back(self):
        """Claims commit asynchronously: the row may say again that nobody runs the job. Its attempt ends before another has its number."""
        op = self.post("probe.effect", ms=9000)
        process = self.holder(op)
        ended = self.stack.metric(process, "millrace_attempts_total")
        self.stack.sql(f"UPDATE jobs SET status = 'queued', attempt = 0, worker = NULL WHERE id = '{next(iter(op.jobs))}'")
        self.stack.sql(f"INSERT INTO outbox (id, jobs) VALUES (gen_random_uuid(), ARRAY['{next(iter(op.jobs))}'::uuid])")
        eventually(lambda: self.stack.metric(process, "millrace_attempts_total") > ended, 6, "the end of the attempt that nobody knows of")
        self.assertEqual(self.job(op, "status")["status"], "queued")
        self.settle()
        self.assertEqual(self.job(op, "attempt")["attempt"], 1)

    def test_postgres_restarted_in_the_middle_of_commits(self):
        workload = Workload(self.history, self.stack.edges(), self.me.token, "commits", clients=64, rate=600)
        try:
            for number in range(3):
                before = len(self.history.ops)
                immediate_restart(self.stack, None)
                eventually(lambda before=before: len(self.history.ops) > before + 500, 60, f"accepts after restart {number + 1}")
        finally:
            workload.stop()
        self.settle()

    def test_64_posts_with_one_key_make_one_job(self):
        for race in range(12):
            op = Op(str(uuid.uuid4()), "probe.effect", "", {})
            self.history.add(op)
            gate, told = threading.Barrier(64), []

            def post(number, op=op, gate=gate, told=told):
                poster = self.poster(number)
                gate.wait()
                answer = poster.once(op)
                while not answer or answer[0] in (409, 503):
                    answer = poster.once(op)
                told.append(answer)
            threads = [threading.Thread(target=post, args=(number,)) for number in range(64)]
            for thread in threads:
                thread.start()
            if race % 2:
                terminate_backends(self.stack, random.Random(race))
            for thread in threads:
                thread.join()
            self.assertEqual({answer[0] for answer in told}, {202})
            op.jobs = {answer[1]["job_id"] for answer in told}
            self.assertEqual(len(op.jobs), 1)
        self.settle()

    def test_rolling_restart_of_everything(self):
        workload = Workload(self.history, self.stack.edges(), self.me.token, "rolling", rate=300)
        refused = self.history.counts.get("unknown", 0)
        try:
            for process in ("edge", "worker-probe", "edge-2", "worker-probe-2", "scheduler"):
                self.stack.restart(process)
            unanswered = self.history.counts.get("unknown", 0) - refused
            for process, number in (("redis", signal.SIGTERM), ("kafka", signal.SIGTERM), ("postgres", signal.SIGINT)):
                self.stack.restart(process, number=number)
            before = len(self.history.ops)
            eventually(lambda: len(self.history.ops) > before + 300, 60, "requests after the last restart")
        finally:
            workload.stop()
        self.settle()
        attempts = self.stack.sql("SELECT outcome, count(*) FROM job_attempts WHERE outcome IN ('crashed', 'hung') "
                                  "AND cause LIKE '%worker process%' GROUP BY 1")
        print(f"rolling restart: {len(workload.threads)} clients, {unanswered} requests met a closed connection and were sent again; {attempts}")

    def test_topic_grows_and_is_made_anew(self):
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.stack.env["MILLRACE_KAFKA_BROKERS"]})
        workload = Workload(self.history, self.stack.edges(), self.me.token, "topic", rate=200)
        try:
            admin.create_partitions([confluent_kafka.admin.NewPartitions("probe.interactive", 6)])["probe.interactive"].result(30)
            before = len(self.history.ops)
            eventually(lambda: len(self.history.ops) > before + 1000, 60, "requests while partitions were added")
            admin.delete_topics(["probe.interactive"], operation_timeout=10)["probe.interactive"].result(30)

            def made():
                try:
                    topic = confluent_kafka.admin.NewTopic("probe.interactive", 4, 1)
                    admin.create_topics([topic], operation_timeout=10)["probe.interactive"].result(30)
                    return True
                except confluent_kafka.KafkaException:
                    return False  # the old one is still going
            eventually(made, 30, "the topic made anew")
            before = len(self.history.ops)
            eventually(lambda: len(self.history.ops) > before + 500, 60, "requests after the topic was made anew")
        finally:
            workload.stop()
        self.settle(120, log=False)  # the records of before are gone with their topic
        type(self).log = None


class Neighbours(Scenario):
    """What goes wrong with one job or one key leaves the others their rate."""

    def finished(self, name, trouble):
        """How many neighbours ended while `trouble` was there, of a steady stream."""
        def make(rng):
            key = f"{name}-{rng.randrange(20)}" if rng.random() < 0.5 else ""
            return Op(str(uuid.uuid4()), "probe.effect_ordered" if key else "probe.effect", key, {"neighbour": name})
        workload = Workload(self.history, self.stack.edges(), self.me.token, name, rate=NEIGHBOURS_RATE, make=make)
        started = time.monotonic()
        try:
            trouble()
            threading.Event().wait(max(0, started + WINDOW_SECONDS - time.monotonic()))  # the window that is measured
            return int(self.stack.sql("SELECT count(*) FROM jobs WHERE status = 'succeeded' AND "
                                      f"convert_from(input, 'UTF8')::json->>'neighbour' = '{name}'")) / (time.monotonic() - started)
        finally:
            workload.stop()

    def kept(self, trouble):
        quiet = self.finished("quiet " + uuid.uuid4().hex[:6], lambda: None)
        troubled = self.finished("troubled " + uuid.uuid4().hex[:6], trouble)
        print(f"{self.id().rsplit('.', 1)[1]}: neighbours {quiet:.0f}/s alone, {troubled:.0f}/s beside it", flush=True)
        self.assertGreaterEqual(troubled, KEPT * quiet)

    def test_key_that_retries(self):
        def trouble():
            for key in range(4):
                for number in range(12):
                    self.post("probe.effect_ordered", order_key=f"retrying-{key}", times=5 if number % 4 == 0 else 0)
        self.kept(trouble)
        self.settle()

    def test_poison(self):
        since = f"created_at > '{self.stack.sql('SELECT now()')}'"

        def trouble():
            produce_poison(self.stack)
            for _ in range(3):
                self.ends[self.post("probe.throw").op] = ("dead",)
                self.ends[self.post("probe.hang").op] = ("dead",)
                self.post("probe.large", bytes=5 << 20)
            self.ends[self.post("probe.never").op] = ("failed",)
            self.ends[self.post("probe.abort").op] = ("dead",)
        self.kept(trouble)
        self.settle(120)
        causes = rows(self.stack, f"SELECT cause, count(*) AS n FROM dead_letters WHERE {since} GROUP BY 1")
        causes = {row["cause"]: row["n"] for row in causes}
        self.assertEqual(causes, {"undecodable": 2, "unknown_kind": 1, "orphan": 3, "attempts": 6, "crashed": 1})
        named = int(self.stack.sql(f"SELECT count(*) FROM dead_letters WHERE {since} AND cause IN ('undecodable', 'unknown_kind', 'orphan') "
                                   "AND topic = 'probe.interactive' AND \"offset\" IS NOT NULL AND detail <> ''"))
        self.assertEqual(named, 6)

    def test_job_that_kills_its_process_is_buried_alone(self):
        """It takes the process down while that has claimed many others: none of them pays for it."""
        for process in ("worker-probe", "worker-probe-2"):
            self.stack.hold(process)
        try:
            ops = []
            for number in range(150):
                if number in (0, 75):
                    self.ends[self.post("probe.abort").op] = ("dead",)
                ops.append(self.post("probe.sleep", ms=50))
        finally:
            for process in ("worker-probe", "worker-probe-2"):
                self.stack.release(process)
        self.settle(120)


def produce_poison(stack):
    """Records that no edge wrote: noise, a kind nobody knows, jobs and tenants that do not exist."""
    producer = confluent_kafka.Producer({"bootstrap.servers": stack.env["MILLRACE_KAFKA_BROKERS"]})
    records = [(b"\x00\xff not an event", {}), (b"{}", {**foreign_event("probe.ok"), "ce_id": "no uuid"}), (b"{}", foreign_event("probe.no_such_kind")),
               (b"{}", foreign_event("probe.ok")), (b"{", foreign_event("probe.effect")), (b"{}", foreign_event("probe.effect_ordered", ce_orderkey="nobody's"))]
    for value, headers in records:
        producer.produce("probe.interactive", value=value, headers=list(headers.items()))
    assert producer.flush(30) == 0


if __name__ == "__main__":
    unittest.main(verbosity=2)
