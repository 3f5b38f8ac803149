"""A proxy before PostgreSQL, Redis and Kafka slows, slices, resets, refuses and swallows: every request ends in time, and once the
network is well again nothing was lost or doubled."""
import json
import os
import re
import socket
import sys
import threading
import unittest

from checker import Log, check, unfinished
from faults import SERVICES, ChaosStack, account, eventually
from history import History, Workload

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from fault_proxy import FaultProxy  # noqa: E402

HANDLER_DEADLINE = 5  # the edge's own, per request
SLACK = 1.0  # scheduling on a busy machine
FAULT_SECONDS = 6
DEPENDENCIES = {"postgres": "MILLRACE_PG_DSN", "redis": "MILLRACE_REDIS_URL", "kafka": "MILLRACE_KAFKA_BROKERS"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ProxiedStack(ChaosStack):
    """Every service reaches every server through a proxy of ours."""

    def start(self):
        if not hasattr(self, "proxies"):
            port = free_port()
            self.proxies = {"kafka": FaultProxy("127.0.0.1", port)}
            with open(os.path.join(self.home, "state.json"), "w") as file:
                json.dump({"port kafka": port, "kafka advertised": self.proxies["kafka"].port}, file)
        super().start()

    def through_proxies(self):
        with open(os.path.join(self.home, "state.json")) as file:
            state = json.load(file)
        settings = {}
        with open(f"/proc/{self.pid('edge')}/environ") as file:
            environment = dict(item.split("=", 1) for item in file.read().split("\0") if "=" in item)
        for name, variable in DEPENDENCIES.items():
            port = state[f"port {name}"]
            if name not in self.proxies:
                self.proxies[name] = FaultProxy("127.0.0.1", port)
            settings[variable] = re.sub(rf":{port}\b", f":{self.proxies[name].port}", environment[variable])
        self.override({"*": settings})
        self.restart(*SERVICES)


class Network(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = ProxiedStack()
        cls.stack.through_proxies()
        cls.token = account(cls.stack).token
        cls.history = History(os.path.join(cls.stack.home, "history.jsonl"))
        cls.log = Log(cls.stack.env["MILLRACE_KAFKA_BROKERS"])

    @classmethod
    def tearDownClass(cls):
        cls.history.close()
        cls.stack.destroy()

    def during(self, name, fault):
        """Load, the fault for a while, then recovery without help."""
        proxy = self.stack.proxies[name]
        self.history.slowest = 0.0
        workload = Workload(self.history, self.stack.edges(), self.token, f"{self.id()} {name}", rate=150)
        try:
            before = len(self.history.ops)
            eventually(lambda: len(self.history.ops) > before + 100, 30, "load before the fault")
            fault(proxy)
            threading.Event().wait(FAULT_SECONDS)  # how long the fault lasts
            proxy.heal()
            before = len(self.history.ops)
            eventually(lambda: len(self.history.ops) > before + 300, 60, "load after the fault")
        finally:
            proxy.heal()
            workload.stop()
        try:
            eventually(lambda: not unfinished(self.stack), 90, "the drain")
        except AssertionError:
            self.fail(f"there is left: {unfinished(self.stack)}")
        self.stack.recovered()
        print(f"{self.id().rsplit('.', 1)[1]} {name}: slowest request {self.history.slowest:.2f} s", flush=True)
        self.assertLess(self.history.slowest, HANDLER_DEADLINE + SLACK)
        self.assertEqual(check(self.stack, self.history, self.log)[:20], [])

    def each(self, fault):
        for name in DEPENDENCIES:
            with self.subTest(dependency=name):
                self.during(name, fault)

    def test_silence(self):
        self.each(lambda proxy: setattr(proxy, "blackhole", True))

    def test_slow_and_in_small_pieces(self):
        def fault(proxy):
            proxy.latency, proxy.slice = 0.004, 301
        self.each(fault)

    def test_resets(self):
        def fault(proxy):
            proxy.reset_after = 20_000
            proxy.reset_all()
        self.each(fault)

    def test_refusal(self):
        def fault(proxy):
            proxy.refuse = True
            proxy.reset_all()
        self.each(fault)


if __name__ == "__main__":
    unittest.main(verbosity=2)
