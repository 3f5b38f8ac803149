"""Targets on jobs: accept, cycle, latency."""
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

    def describe(self, report, jobs, generator, goal, label="CPU of all servers"):
        total = sum(self.cpu.values())
        report.add(label, total / jobs, "us/job", at_most=goal)
        report.add("WAL", self.journal.wal_bytes() / jobs, "bytes/job")
        others = self.busy - total - generator["cpu_us"]
        report.add("CPU of strangers on this machine", max(others, 0) / self.seconds / 1e4, "% of a core")
        split = {name: value / jobs for name, value in self.cpu.items() if value / jobs >= 0.05}
        report.split(f"{label}, us/job", {**split, "(generator, not counted)": generator["cpu_us"] / jobs})


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
    return report


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
            run.describe(report, jobs, answer, 1500 if rate == 500 else None, f"{rate}/s: CPU of all servers")
    return report
