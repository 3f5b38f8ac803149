"""Clocks that are wrong by an hour, and disks that are full (Redis writes none)."""
import contextlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import unittest
from datetime import datetime

from checker import Log, check, unfinished
from faults import ChaosStack, account, eventually
from history import History, Op, Poster, Workload

WRONG_CLOCK = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support/wrong_clock.c")
COMPILER = next(name for name in ("clang-19", "clang", "gcc", "cc") if shutil.which(name))
DISK_BYTES = 500 << 20


class Resources(unittest.TestCase):
    def begin(self, stack):
        self.stack = stack
        self.addCleanup(stack.destroy)
        self.token = account(stack).token
        self.history = History(os.path.join(stack.home, "history.jsonl"))
        self.addCleanup(self.history.close)
        self.log = Log(stack.env["MILLRACE_KAFKA_BROKERS"])

    def settle(self):
        try:
            eventually(lambda: not unfinished(self.stack), 90, "the drain")
        except AssertionError:
            self.fail(f"there is left: {unfinished(self.stack)}")
        self.stack.recovered()
        self.assertEqual(check(self.stack, self.history, self.log)[:20], [])

    def test_clocks_wrong_by_an_hour(self):
        """One worker an hour ahead, the scheduler an hour behind, one edge ten minutes ahead (access tokens live for half an
        hour): retries, leases and order keep the database's time."""
        self.begin(ChaosStack())
        library = os.path.join(self.stack.home, "wrong_clock.so")
        subprocess.run([COMPILER, "-O1", "-shared", "-fPIC", "-o", library, WRONG_CLOCK], check=True)
        wrong = {"edge-2": 600, "worker-probe-2": 3600, "scheduler": -3600}
        self.stack.override({process: {"LD_PRELOAD": library, "WRONG_CLOCK_SECONDS": str(seconds), "MILLRACE_LOG_LEVEL": "info"}
                             for process, seconds in wrong.items()})
        self.stack.restart(*wrong)
        for process, seconds in wrong.items():
            self.assertAlmostEqual(self.clock_of(process), seconds, delta=60, msg=process)
        workload = Workload(self.history, self.stack.edges(), self.token, "clocks", rate=200)
        try:
            eventually(lambda: len(self.history.ops) > 1500, 60, "load under wrong clocks")
            self.stack.kill("worker-probe")  # the one with the wrong clock takes over
            eventually(lambda: len(self.history.ops) > 2500, 60, "load under wrong clocks")
        finally:
            workload.stop()
        self.settle()
        self.assertGreater(int(self.stack.sql("SELECT count(*) FROM job_attempts WHERE worker = 'probe-2' AND outcome = 'retried'")), 10)

    def clock_of(self, process):
        """By how many seconds the last line of a process's log is ahead of the file's own time."""
        path = os.path.join(self.stack.home, "logs", process + ".log")
        with open(path) as file:
            last = json.loads(file.readlines()[-1])
        return datetime.fromisoformat(last["time"]).timestamp() - os.path.getmtime(path)

    def small_disk(self):
        """A file system of its own that a test can fill; gone with the test."""
        mount = tempfile.mkdtemp(prefix="millrace-disk-")
        self.addCleanup(shutil.rmtree, mount, True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "tmpfs", mount], capture_output=True, text=True)
        if done.returncode != 0:
            self.skipTest(f"no mount here: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", mount], check=False)
        os.chmod(mount, 0o755)
        return mount

    @staticmethod
    def fill(mount):
        with open(os.path.join(mount, "filler"), "ab") as file:
            try:
                while True:
                    file.write(b"\0" * (64 << 10))
                    file.flush()
            except OSError:
                pass

    @staticmethod
    def make_room(mount):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(mount, "filler"))

    def begin_on(self, mount, server):
        class SmallDisk(ChaosStack):
            def start(self):
                with open(os.path.join(self.home, "state.json"), "w") as file:
                    json.dump({f"{server} folder": os.path.join(mount, "data")}, file)
                super().start()
        self.begin(SmallDisk())

    def test_disk_of_the_database_is_full(self):
        mount = self.small_disk()
        self.begin_on(mount, "postgres")
        workload = Workload(self.history, self.stack.edges(), self.token, "disk", clients=32, rate=400)
        probe = Poster(self.history, self.stack.edges()[:1], self.token, random.Random(0))
        refused = Op("00000000-0000-4000-8000-00000000d15c", "probe.ok", "", {})
        try:
            eventually(lambda: len(self.history.ops) > 500, 30, "load before the disk is full")

            def full():
                self.fill(mount)
                answer = probe.once(refused)
                return answer and answer[0] == 503
            eventually(full, 60, "an honest 503")
            self.make_room(mount)
            before = len(self.history.ops)
            eventually(lambda: len(self.history.ops) > before + 500, 60, "load after there is room again")
        finally:
            workload.stop()
            self.make_room(mount)
        probe.post(refused)
        self.settle()

    def test_disk_of_the_broker_is_full(self):
        """The broker gives up; the edge goes on accepting; with room again all of it is done."""
        mount = self.small_disk()
        self.begin_on(mount, "kafka")
        workload = Workload(self.history, self.stack.edges(), self.token, "disk", clients=32, rate=400)
        try:
            eventually(lambda: len(self.history.ops) > 500, 30, "load before the disk is full")
            first = self.stack.pid("kafka")

            def gone():
                self.fill(mount)
                return self.stack.pid("kafka") != first
            eventually(gone, 90, "the end of a broker that cannot write")
            before = len(self.history.ops)
            eventually(lambda: len(self.history.ops) > before + 500, 30, "jobs that are accepted all the same")
            self.make_room(mount)
            eventually(lambda: len(self.history.ops) > before + 1500, 60, "load after there is room again")
        finally:
            workload.stop()
            self.make_room(mount)
        self.settle()

    def test_disk_of_the_object_store_is_full(self):
        """An upload is refused and leaves nothing behind; with room again it is taken."""
        mount = self.small_disk()
        self.begin(ChaosStack())
        self.stack.override({process: {"MILLRACE_OBJECT_DIR": mount} for process in ("edge", "edge-2")})
        self.stack.restart("edge", "edge-2")
        client = account(self.stack)
        content = b"The wheel turns in the race. " * 40_000
        self.fill(mount)
        answer = client.upload("full.txt", content)
        self.assertIn(answer.status, (500, 503), answer.text)
        self.assertEqual(self.stack.sql("SELECT count(*) FROM files"), "0")
        self.make_room(mount)
        self.assertEqual([name for _, _, files in os.walk(mount) for name in files], [])
        self.assertEqual(client.upload("room.txt", content).status, 201)


if __name__ == "__main__":
    unittest.main(verbosity=2)
