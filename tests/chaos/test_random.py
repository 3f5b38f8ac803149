"""Rounds of random faults while clients post; every round ends with a drained, green system and a clean check.

    test_random.py [--seed N] [--rounds N] [--jobs N] [--keep]      (MILLRACE_TEST_LONG=1: 100,000 jobs)"""
import argparse
import os
import random
import sys
import time
import unittest

from checker import Log, check, unfinished
from faults import SERVER_FAULTS, SERVICE_FAULTS, ChaosStack, account, eventually, kill, run_faults
from history import History, Workload

LONG = os.environ.get("MILLRACE_TEST_LONG") == "1"
OPTIONS = argparse.Namespace(seed=None, rounds=None, jobs=None, keep=False)
DRAIN_SECONDS = 120
RATE = 400


class Chaos(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.seed = OPTIONS.seed if OPTIONS.seed is not None else random.SystemRandom().randrange(1 << 32)
        print(f"seed {cls.seed}", flush=True)
        cls.stack = ChaosStack()
        cls.token = account(cls.stack).token
        cls.history = History(os.path.join(cls.stack.home, "history.jsonl"))
        cls.log = Log(cls.stack.env["MILLRACE_KAFKA_BROKERS"])
        cls.injected, cls.round = 0, 0

    @classmethod
    def tearDownClass(cls):
        cls.history.close()
        duplicates = sum(cls.log.seen.values()) - len(cls.log.seen)
        verified = cls.stack.verify()
        print(f"seed {cls.seed}: {cls.round} rounds, {len(cls.history.ops)} jobs, {cls.injected} faults, {cls.history.counts}, "
              f"slowest request {cls.history.slowest:.1f} s, {duplicates} records twice in the log; verify jobs: {verified['jobs']}, "
              f"{sum(found['violations'] for found in verified['checks'])} violations in {len(verified['checks'])} checks", flush=True)
        if OPTIONS.keep:
            print(f"the stack is left running in {cls.stack.home}")
            os._exit(0)
        cls.stack.destroy()

    def one_round(self, faults, jobs):
        cls = type(self)
        cls.round += 1
        rng = random.Random(f"{cls.seed} {cls.round}")
        started, before = time.monotonic(), len(cls.history.ops)
        workload = Workload(cls.history, cls.stack.edges(), cls.token, f"{cls.seed} {cls.round}", rate=RATE)
        try:
            done = run_faults(cls.stack, rng, faults(rng))
            eventually(lambda: len(cls.history.ops) - before >= jobs, 300, f"{jobs} posted jobs")
        finally:
            workload.stop()
        posted = time.monotonic() - started
        try:
            eventually(lambda: not unfinished(cls.stack), DRAIN_SECONDS, "the drain")
        except AssertionError:
            self.fail(f"round {cls.round}, seed {cls.seed}: after {done} there is left: {unfinished(cls.stack)}")
        cls.stack.recovered()
        drained = time.monotonic() - started
        bad = check(cls.stack, cls.history, cls.log)
        cls.injected += len(done)
        print(f"round {cls.round}: {len(cls.history.ops) - before} jobs, posted {posted:.1f} s, drained +{drained - posted:.1f} s, "
              f"checked +{time.monotonic() - started - drained:.1f} s: {', '.join(done)}", flush=True)
        self.assertEqual(bad[:20], [], f"round {cls.round}, seed {cls.seed}: {len(bad)} violations after {done}")

    def test_1_every_service_is_killed(self):
        self.one_round(lambda rng: [kill(name) for name in ("worker-probe", "edge", "scheduler", "worker-probe-2", "edge-2")], 3000)

    def test_2_random_faults(self):
        rounds = OPTIONS.rounds or (40 if LONG else 7)
        total = OPTIONS.jobs or (100_000 if LONG else 20_000)
        servers = list(SERVER_FAULTS)
        random.Random(self.seed).shuffle(servers)
        for number in range(rounds):
            # Every server fault comes round; the services' faults are drawn.
            picked = [servers[(2 * number) % len(servers)], servers[(2 * number + 1) % len(servers)]]

            def faults(rng, picked=tuple(picked)):
                chosen = [*picked, *rng.sample(SERVICE_FAULTS, 2)]
                rng.shuffle(chosen)
                return chosen
            with self.subTest(round=number + 1):
                self.one_round(faults, max(total // (rounds + 1), 500))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--keep", action="store_true", help="leave the stack running after the end")
    OPTIONS, rest = parser.parse_known_args(namespace=OPTIONS)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2, failfast=True)
