"""A crash between any two arrows of the design's picture (shared/base/failpoint.hpp), at a passage in the middle of load."""
import os
import random
import signal
import unittest

import confluent_kafka
from checker import Log, check, unfinished
from faults import ChaosStack, account, eventually, foreign_event
from history import History, Workload

PLACES = [("edge", "accept.committed", 40), ("edge", "publish.before", 40), ("edge", "publish.delivered", 40),
          ("worker-probe", "claim.committed", 25), ("worker-probe", "settle.before", 60), ("worker-probe", "settle.committed", 60),
          ("worker-probe", "publish.delivered", 5), ("scheduler", "publish.delivered", 3)]


class Failpoints(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = ChaosStack()
        cls.token = account(cls.stack).token
        cls.history = History(os.path.join(cls.stack.home, "history.jsonl"))
        cls.log = Log(cls.stack.env["MILLRACE_KAFKA_BROKERS"])

    @classmethod
    def tearDownClass(cls):
        cls.history.close()
        cls.stack.destroy()

    def at(self, process, plan, until, what):
        """Load while `plan` is armed in `process`, until until(its pid) is true; then all recovers without it."""
        self.stack.override({process: {"MILLRACE_FAILPOINT": plan}})
        self.stack.restart(process, number=signal.SIGKILL)
        pid = self.stack.pid(process)
        workload = Workload(self.history, self.stack.edges(), self.token, f"{process} {plan}", rate=300)
        try:
            eventually(lambda: until(pid), 60, what)
            self.stack.override({})
            self.stack.restart(process, number=signal.SIGKILL)  # whichever plan it was started with
            before = len(self.history.ops)
            eventually(lambda: len(self.history.ops) > before + 200, 60, "requests after the fault")
        finally:
            workload.stop()
            self.stack.override({})
        try:
            eventually(lambda: not unfinished(self.stack), 90, "the drain")
        except AssertionError:
            self.fail(f"{process} {plan}: there is left: {unfinished(self.stack)}")
        self.stack.recovered()
        self.assertEqual(check(self.stack, self.history, self.log)[:20], [], plan)

    def test_crash_at_every_place(self):
        for process, place, passage in PLACES:
            with self.subTest(process=process, place=place):
                at = random.Random(place + process).randrange(1, passage)
                self.at(process, f"{place}=crash@{at}", lambda pid, process=process: self.stack.pid(process) not in (pid, None),
                        f"the crash of {process} at {place}")

    def test_a_record_without_a_job_that_is_read_twice(self):
        """The worker dies between its dead letter and its offset: whoever reads it again writes none."""
        producer = confluent_kafka.Producer({"bootstrap.servers": self.stack.env["MILLRACE_KAFKA_BROKERS"]})

        def orphan():
            event = foreign_event("probe.ok")
            producer.produce("probe.interactive", value=b"{}", headers=list(event.items()), partition=0)
            self.assertEqual(producer.flush(30), 0)
            return event["ce_id"]

        def letters(job):
            return int(self.stack.sql(f"SELECT count(*) FROM dead_letters WHERE job_id = '{job}' AND cause = 'orphan'"))
        self.stack.hold("worker-probe-2")
        try:
            self.stack.override({"worker-probe": {"MILLRACE_FAILPOINT": "claim.committed=crash@1"}})
            self.stack.restart("worker-probe", number=signal.SIGKILL)
            pid = self.stack.pid("worker-probe")
            first = orphan()
            eventually(lambda: self.stack.pid("worker-probe") not in (pid, None), 60, "the crash after the dead letter")
            self.assertEqual(letters(first), 1)
            self.stack.override({})
            self.stack.restart("worker-probe", number=signal.SIGKILL)
            second = orphan()  # of the same partition: once it is read, the first was
            eventually(lambda: letters(second), 60, "the next record")
            self.assertEqual((letters(first), letters(second)), (1, 1))
        finally:
            self.stack.override({})
            self.stack.release("worker-probe-2")
        self.stack.recovered()

    @unittest.skipUnless(os.environ.get("MILLRACE_TEST_LONG") == "1", "only with MILLRACE_TEST_LONG=1")
    def test_stall_at_every_place(self):
        """The process stops there for longer than a lease: others take over, and it comes back to find its claims gone."""
        for process, place, passage in PLACES[:6]:
            with self.subTest(process=process, place=place):
                before = len(self.history.ops)
                self.at(process, f"{place}=delay:4000ms@{passage}", lambda _, before=before: len(self.history.ops) > before + 1500,
                        f"load while {process} stalls at {place}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
