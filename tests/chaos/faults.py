"""The faults, each as a function of the stack. Whatever freezes a process also thaws it; nothing is repaired by hand."""
import json
import os
import signal
import sys
import threading
import time
import urllib.request
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from operations import Account  # noqa: E402
from support import Client, Stack, eventually  # noqa: E402  pylint: disable=unused-import

SERVICES = ("edge", "edge-2", "worker-probe", "worker-probe-2", "scheduler")
SERVERS = ("postgres", "redis", "kafka")


def account(stack):
    """A client that is signed in: its account is written to the database, so that no mail waits for a worker."""
    return Client(stack.edge(), Account(stack, "knowledge").token)


def foreign_event(kind, **more):
    """The headers of a record that no edge wrote: of a job, a tenant and an owner that do not exist."""
    ids = {name: str(uuid.uuid4()) for name in ("ce_id", "ce_tenant", "ce_owner")}
    return {"ce_specversion": "1.0", "ce_type": "millrace.probe.requested.v1", "ce_kind": kind, "ce_time": "2026-01-01T00:00:00Z", **ids, **more}


class ChaosStack(Stack):
    """Two edges, two probe workers, a scheduler and the servers; no other workers."""

    def __init__(self, env=None, edges=2, probes=2):
        super().__init__(edges=edges, workers={"probe": probes, "embedding": 0, "rag": 0, "mail": 0},
                         env={"MILLRACE_LEASE": "3s", "MILLRACE_LOG_LEVEL": "warning", **(env or {})})
        with open(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support/probe_effects.sql")) as file:
            self.sql(file.read())
        self.names = [n for n in SERVICES if (edges > 1 or n != "edge-2") and (probes > 1 or n != "worker-probe-2")]

    def override(self, settings):
        """{process or "*": {variable: value}}: what the processes get beside their environment at their next start."""
        path = os.path.join(self.home, "overrides.json")
        with open(path + ".new", "w") as file:
            json.dump(settings, file)
        os.replace(path + ".new", path)

    def restart(self, *processes, number=signal.SIGTERM):
        """Each ends and is started again by the supervisor, without its pause."""
        for process in processes:
            old = self.kill(process, number)
            eventually(lambda: self.pid(process) != old, 60, f"the end of {process}")
            self.release(process)
            eventually(lambda: self.pid(process) not in (None, old), 60, f"a new {process}")
        for process in processes:
            if process in SERVICES:
                eventually(lambda: self.is_ready(process), 60, f"{process} to be ready")

    def edges(self):
        return [self.edge(1), self.edge(2)] if "edge-2" in self.names else [self.edge(1)]

    def metrics_port(self, process):
        with open(os.path.join(self.home, "state.json")) as file:
            return json.load(file)[f"port {process} metrics"]

    def is_ready(self, process):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port(process)}/readyz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def metric(self, process, name):
        """The sum of a metric over its labels; 0 when the process does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port(process)}/metrics", timeout=2) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0.0
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def live_workers(self):
        """Rows of workers that belong to no living process, or whose process has no row: none when all is well."""
        listed = sorted(self.sql("SELECT name FROM workers ORDER BY name").split())
        running = sorted(name.removeprefix("worker-") if name.count("-") > 1 else name.removeprefix("worker-") + "-1"
                         for name in self.names if name.startswith("worker-"))
        return listed == running

    def verify(self):
        """What `millrace-ops verify jobs` says of the live system."""
        done = self.ops("verify", "jobs", "--json")
        if not done.stdout:
            raise AssertionError(f"millrace-ops verify jobs ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def recovered(self, seconds=60):
        for process in self.names:
            eventually(lambda: self.is_ready(process), seconds, f"{process} to be ready again")
        eventually(self.live_workers, seconds, "a workers row per living worker process and no other")


def kill(process):
    def act(stack, _):
        old = stack.kill(process)
        eventually(lambda: stack.pid(process) not in (None, old), 60, f"a new {process}")
    act.__name__ = f"kill -9 {process}"
    return act


def freeze(process, shortest, longest):
    def act(stack, rng):
        pid = stack.kill(process, signal.SIGSTOP)
        seconds = rng.uniform(shortest, longest)
        threading.Event().wait(seconds)  # the length of the fault itself
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass  # something else ended it meanwhile
    act.__name__ = f"SIGSTOP {process}"
    return act


def backends(stack):
    """Pids of PostgreSQL sessions of the services."""
    try:
        return [int(pid) for pid in stack.sql("SELECT pid FROM pg_stat_activity WHERE usename = 'millrace'").split()]
    except AssertionError:
        return []


def kill_backend(stack, rng):
    """kill -9 of one session: the postmaster takes all others down and recovers."""
    sessions = backends(stack)
    if sessions:
        os.kill(rng.choice(sessions), signal.SIGKILL)


def terminate_backends(stack, rng):
    """The connections of half the sessions are cut, the server stays up."""
    for pid in rng.sample(sessions := backends(stack), len(sessions) // 2):
        stack.sql(f"SELECT pg_terminate_backend({pid})")


def immediate_restart(stack, _):
    """The server stops at once, without a checkpoint, in the middle of commits."""
    old = stack.kill("postgres", signal.SIGQUIT)
    eventually(lambda: stack.pid("postgres") not in (None, old), 60, "a new postmaster")


SERVICE_FAULTS = [kill(name) for name in SERVICES] + [freeze(name, 0.5, 6) for name in SERVICES]
SERVER_FAULTS = [kill("kafka"), kill("redis"), kill("postgres"), freeze("kafka", 1, 8), freeze("redis", 1, 8), freeze("postgres", 1, 5),
                 kill_backend, terminate_backends, immediate_restart]


def run_faults(stack, rng, faults, pause=(0.3, 1.5)):
    """One after the other, with short pauses: each may hit the recovery from the one before."""
    done = []
    for fault in faults:
        started = time.monotonic()
        fault(stack, rng)
        done.append(f"{fault.__name__} ({time.monotonic() - started:.1f} s)")
        threading.Event().wait(rng.uniform(*pause))  # between faults, on purpose
    return done
