"""Targets on jobs: accept, cycle, latency."""
import json
import subprocess
import time

import machine
import setting
import support
from report import Report

CONNECTIONS = 64


class Run:
    """CPU, WAL and strangers' CPU around one load."""

    def __init__(self, made):
        self.journal = setting.Journal(made)
        self.span = machine.CpuSpan(machine.Machine(made))
        self.busy = setting.machine_busy_us()
        self.began = time.monotonic()

    def stop(self):
        self.seconds = time.monotonic() - self.began
        self.busy = setting.machine_busy_us() - self.busy
        self.cpu = self.span.stop()

    def describe(self, report, jobs, generator, goal, when=""):
        total = sum(self.cpu.values())
        report.add(f"{when}CPU of all servers", total / jobs, "us/job", at_most=goal)
        report.add(f"{when}WAL", self.journal.wal_bytes() / jobs, "bytes/job")
        others = self.busy - total - generator["cpu_us"]
        report.add(f"{when}CPU of strangers on this machine", max(others, 0) / self.seconds / 1e4, "% of a core")
        split = {name: value / jobs for name, value in self.cpu.items() if value / jobs >= 0.05}
        report.split(f"{when}CPU by process, us/job", {**split, "(generator, not counted)": generator["cpu_us"] / jobs})


def accepted_of(answer):
    """Every request must have been accepted, or the figures would mean nothing."""
    if set(answer["statuses"]) != {"202"} or answer["lost"] or answer["unanswered"]:
        raise RuntimeError(f"not every request was accepted: {answer}")
    return answer["statuses"]["202"]


def accept(options):
    report = Report("accept")
    with setting.stack() as made:
        made.hold("worker-probe")
        port, token = setting.port_of(made.edge()), support.register(made.edge()).token
        pipeline = setting.Pipeline(made)
        setting.jobs_load(port, token, "--key", "--connections", CONNECTIONS, "--seconds", options.warm)
        batches = pipeline.batches()
        run = Run(made)
        answer = setting.jobs_load(port, token, "--key", "--connections", CONNECTIONS, "--seconds", options.seconds)
        run.stop()
        jobs = accepted_of(answer)
        report.add("jobs accepted", jobs / answer["seconds"], "jobs/s")
        run.describe(report, jobs, answer, 65)
        report.add("batch size", jobs / max(pipeline.batches() - batches, 1), "jobs")
        report.add("answer p50", answer["latency_us"]["p50"] / 1000, "ms")
        report.add("answer p99", answer["latency_us"]["p99"] / 1000, "ms")
        made.hold("scheduler")  # it would publish what the floor announces in the outbox
        for batch in (32, 64, 128):
            rate, cpu = libpq_floor(made, batch, options.seconds / 2)
            report.add(f"floor, bare libpq at batch {batch}", rate, "jobs/s")
            report.add(f"floor, bare libpq at batch {batch}: PostgreSQL", cpu, "us/job")
    return report


def libpq_floor(made, batch, seconds):
    """Jobs/s, and CPU of the one PostgreSQL backend per job."""
    command = [setting.binary("floor_libpq"), made.env["MILLRACE_PG_ADMIN_DSN"], str(batch), str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        backend = json.loads(process.stdout.readline())["backend"]
        before = machine.cpu_us(backend)
        process.stdin.write("go\n")
        process.stdin.flush()
        done = json.loads(process.stdout.readline())
        cpu = machine.cpu_us(backend) - before
        process.stdin.close()
    return done["jobs"] / done["seconds"], cpu / done["jobs"]


# The arrows of the design's section 1: whose CPU and whose WAL each is. The worker's loop serves 5 to 7 in turn.
ARROWS = {
    "1, 2 accept and its commit": (("postgres: edge-1 accept",), "accept"),
    "3 request and answer": (("edge",), None),
    "4 publish, outbox delete": (("edge: librdkafka", "postgres: edge-1 background"), "outbox delete"),
    "4, 5 broker": (("kafka", "kafka: compiler"), None),
    "5 fetch and claim": (("worker-probe: librdkafka", "postgres: probe-1 claims"), "claim"),
    "5 to 7 worker": (("worker-probe",), None),
    "6 live": (("redis",), None),
    "7 completion": (("postgres: probe-1 durable",), "completion"),
}


def arrows(report, run, jobs):
    """CPU and WAL of each arrow per job; what belongs to none is the rest."""
    cpu, wal = dict(run.cpu), run.journal.wal_by_transaction()
    split = {}
    for name, (processes, transaction) in ARROWS.items():
        split[name] = sum(cpu.pop(process, 0) for process in processes) / jobs
        if transaction:
            split[name + ": bytes of WAL"] = wal.pop(transaction, 0) / jobs
    split["the rest"] = sum(cpu.values()) / jobs
    split["the rest: bytes of WAL"] = sum(wal.values()) / jobs
    report.split("CPU (us/job) and WAL by arrow of the design", split)


def cycle(options):
    report = Report("cycle")
    with setting.stack() as made:
        port, token = setting.port_of(made.edge()), support.register(made.edge()).token
        pipeline = setting.Pipeline(made)
        warm = setting.jobs_load(port, token, "--key", "--connections", CONNECTIONS, "--seconds", options.warm)
        pipeline.wait_done(accepted_of(warm))
        done, batches = pipeline.done(), pipeline.batches()
        run = Run(made)
        answer = setting.jobs_load(port, token, "--key", "--connections", CONNECTIONS, "--seconds", options.seconds)
        jobs = accepted_of(answer)
        waited = time.monotonic()
        finished = pipeline.wait_done(done + jobs)
        run.stop()
        if unfinished := pipeline.unfinished():
            raise RuntimeError(f"{unfinished} accepted jobs have not succeeded")
        report.add("jobs done", jobs / (finished - run.began), "jobs/s", at_least=9000)
        report.add("jobs accepted", jobs / answer["seconds"], "jobs/s")
        report.add("backlog took, after the last answer", finished - waited, "s")
        run.describe(report, jobs, answer, 120)
        report.add("batch size of the accept", jobs / max(pipeline.batches() - batches, 1), "jobs")
        report.add("HOT share of updates of jobs", run.journal.hot_share(), "")
        arrows(report, run, jobs)
    return report


def latency(options):
    report = Report("latency")
    with setting.stack() as made:
        port, token = setting.port_of(made.edge()), support.register(made.edge()).token
        for rate in (500, 1000):
            arguments = ["--header", "Prefer: wait=30", "--connections", 256, "--rate", rate, "--seconds"]
            setting.jobs_load(port, token, *arguments, options.warm)
            run = Run(made)
            answer = setting.jobs_load(port, token, *arguments, 2 * options.seconds)
            run.stop()
            jobs = answer["statuses"].get("200", 0)
            if jobs != answer["requests"]:
                raise RuntimeError(f"not every request was answered with its result: {answer}")
            for quantile, goal in (("p50", 4), ("p99", 15), ("p99.9", 50), ("max", None)):
                report.add(f"{rate}/s: {quantile}", answer["latency_us"][quantile] / 1000, "ms", at_most=goal)
            run.describe(report, jobs, answer, 1500 if rate == 500 else None, f"{rate}/s: ")
    return report
