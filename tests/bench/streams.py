"""Target sse: what an idle event stream costs, and how long one event takes to reach all of them."""
import contextlib
import json
import subprocess
import time

import machine
import setting
import support
from report import Report, quartiles

STREAMS = 5000
EVENT_BYTES = 120  # a delta of one word, as the edge frames it
WORDS, PAUSE_MS = 16, 2000  # the job's words, one event each; less than its time limit in total
FLOOR_PAUSE_MS = 1900       # another pace, so that the two seldom meet
IDLE_SECONDS = 15           # one heartbeat to every stream, as many polls as usual


@contextlib.contextmanager
def held_streams(port, path):
    """The generator, holding STREAMS open streams; yields ask(command) → its JSON answer."""
    command = [setting.binary("millrace-load"), "--port", str(port), "--path", path, "--events", str(STREAMS)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read():
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the streams could not be opened")
        return json.loads(line)

    def ask(what):
        process.stdin.write(what + "\n")
        process.stdin.flush()
        return read()

    try:
        read()  # all are open
        yield ask
    finally:
        process.stdin.close()
        process.wait(30)


class Memory:
    """Growth of one server and of the kernel. Both ends of every connection are on this machine, so a half is the server's."""

    def __init__(self, pid):
        self.pid = pid
        self.before = self.read()

    def read(self):
        return machine.resident_bytes(self.pid), machine.kernel_bytes()

    def per_stream(self):
        """Bytes of the server, bytes of the kernel, per stream."""
        user, kernel = (new - old for new, old in zip(self.read(), self.before))
        return user / STREAMS, kernel / 2 / STREAMS


def idle_cpu(made):
    """Share of a core by process while nothing happens."""
    span = machine.CpuSpan(machine.Machine(made))
    started = time.monotonic()
    time.sleep(IDLE_SECONDS)  # the measurement itself
    elapsed = time.monotonic() - started
    return {name: spent / 1e4 / elapsed for name, spent in span.stop().items() if spent / 1e4 / elapsed >= 0.1}


def whole_rounds(ask, wanted):
    """First-to-last times in ms of the events that reached every stream, once there are so many, in order."""
    def enough():
        rounds = [r["first_to_last_us"] / 1000 for r in ask("report")["rounds"] if r["received"] == STREAMS]
        return rounds if len(rounds) >= wanted else None
    return support.eventually(enough, 60, "the events at every stream")


def measure():
    """Of the edge: (user bytes, kernel bytes, idle CPU, fan-out times); of bare sockets: the same without CPU. Both fan out in the same span of time."""
    with contextlib.ExitStack() as held:
        floor_pid, floor_port = held.enter_context(setting.floor("--events", EVENT_BYTES, FLOOR_PAUSE_MS))
        memory = Memory(floor_pid)
        ask_bare = held.enter_context(held_streams(floor_port, "/"))
        bare = memory.per_stream()

        made = held.enter_context(setting.stack())
        made.hold("worker-probe")
        client = support.register(made.edge())
        accepted = client.call("POST", "/api/jobs", {"kind": "probe.stream", "input": {"text": "word " * WORDS, "ms": PAUSE_MS}})
        memory = Memory(made.pid("edge"))
        ask = held.enter_context(held_streams(setting.port_of(made.edge()), accepted.json["events_url"]))
        ours = memory.per_stream()
        idle = idle_cpu(made)
        ask("arm")
        ask_bare("arm")
        made.release("worker-probe")
        return *ours, idle, whole_rounds(ask, WORDS + 1), *bare, whole_rounds(ask_bare, WORDS - 2)


def sse(options):
    report = Report("sse")
    user, kernel, idle, times, raw_user, raw_kernel, raw_times = measure()
    report.add("idle stream, edge and kernel", (user + kernel) / 1024, "KiB", at_most=8)
    report.add("  of it in the edge", user / 1024, "KiB")
    report.add("bare idle socket, server and kernel", (raw_user + raw_kernel) / 1024, "KiB")
    report.add("idle stream, ratio to bare", (user + kernel) / (raw_user + raw_kernel), "", at_most=1.6)
    report.add(f"edge while {STREAMS} streams are idle", idle.get("edge", 0.0), "% of a core", at_most=2)
    report.split("idle CPU, % of a core, by process", idle)
    mine, bare = quartiles(times[1:-1])[1], quartiles(raw_times)[1]
    report.add(f"start of the job to {STREAMS}, first to last", times[0], "ms")
    report.add("end of the job, the same", times[-1], "ms")
    report.add(f"one event to {STREAMS}, first to last: median", mine, "ms", at_most=60)
    report.add("the same by bare write(): median", bare, "ms")
    report.add("fan-out, ratio to bare", mine / bare, "", at_most=1.5)
    return report
