"""Target footprint: what a stack costs that nobody uses. Target kafka: the driver against bare librdkafka."""
import re
import time

import machine
import setting
from report import Report

SETTLE_SECONDS, WATCH_SECONDS = 30, 30  # spans of the measurement itself
KAFKA_GOALS = {"produce to report p50": {"at_most": 1.3}, "rate": {"at_least": 0.7}, "CPU": {"at_most": 1.3}}


def footprint(options):
    report = Report("footprint")
    with setting.stack(probe=False) as made:
        time.sleep(SETTLE_SECONDS)
        span = machine.CpuSpan(machine.Machine(made))
        began = time.monotonic()
        time.sleep(WATCH_SECONDS)
        spent = span.stop()
        seconds = time.monotonic() - began
        memory = machine.Machine(made).memory()
        report.add("memory", sum(memory.values()) / (1 << 30), "GiB", at_most=1.6)
        report.add("Kafka's memory", memory["kafka"] / (1 << 20), "MiB", at_most=600)
        report.add("CPU", sum(spent.values()) / seconds / 1e4, "% of a core", at_most=2)
        report.split("memory, MiB", {name: size / (1 << 20) for name, size in sorted(memory.items(), key=lambda item: -item[1])})
        report.split("CPU, % of a core", {name: value / seconds / 1e4 for name, value in spent.items() if value / seconds >= 50})
    return report


def kafka(options):
    """Runs tests/bench/kafka_bench.cpp, which alternates by itself."""
    report = Report("kafka")
    with setting.stack(probe=False) as made:
        text = machine.output([setting.binary("kafka_bench"), made.env["MILLRACE_KAFKA_BROKERS"], str(options.pairs)])
    section = ""
    for line in text.splitlines():
        found = re.match(r"\s+(.+?)\s+ours\s+(\S+)\s+floor\s+(\S+) (\S+)\s+ratio (\S+)", line)
        if not found:
            section = line.strip()
            continue
        name, mine, bare, unit, ratio = found.groups()
        goal = {} if name == "rate" and "1 outstanding" in section else KAFKA_GOALS.get(name, {})
        report.add(f"{section}: {name}, ratio", float(ratio), f"({float(mine):.4g} {unit}, bare {float(bare):.4g})", **goal)
    if not report.figures:
        raise RuntimeError(f"kafka_bench printed no figures:\n{text}")
    return report
