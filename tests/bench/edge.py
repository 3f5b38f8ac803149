"""Targets on the edge alone: health."""
import os

import machine
import setting
from report import Report, quartiles


def pin(pid, core):
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {core})


def health(options):
    """Keep-alive GET /health against the bare socket server, alternating, server on core 0, generator on core 1."""
    report = Report("health")
    ratios, edge_us, floor_us, rates = [], [], [], []
    with setting.stack() as made, setting.floor(core=0) as (floor_pid, floor_port):
        edge_pid, edge_port = made.pid("edge"), setting.port_of(made.edge())
        pin(edge_pid, 0)

        def measure(pid, port, path):
            before = machine.cpu_us(pid)
            answer = setting.load(port, "--path", path, "--connections", 64, "--seconds", options.seconds, core=1)
            if set(answer["statuses"]) != {"200"}:
                raise RuntimeError(f"{path}: {answer}")
            return answer["per_second"], (machine.cpu_us(pid) - before) / answer["answers"]

        for pair in range(options.pairs + 1):
            floor_rate, floor_cpu = measure(floor_pid, floor_port, "/")
            edge_rate, edge_cpu = measure(edge_pid, edge_port, "/health")
            if pair > 0:  # the first pair warms up
                ratios.append(edge_rate / floor_rate)
                rates.append(edge_rate)
                edge_us.append(edge_cpu)
                floor_us.append(floor_cpu)
    low, median, high = quartiles(ratios)
    report.add("requests/s, ratio to the floor: median", median)
    report.add("requests/s, ratio: lower quartile", low, "", at_least=0.45)
    report.add("requests/s, ratio: upper quartile", high)
    report.add("requests/s of the edge", quartiles(rates)[1], "requests/s")
    report.add("edge CPU", quartiles(edge_us)[1], "us/request", at_most=14)
    report.add("floor CPU", quartiles(floor_us)[1], "us/request")
    report.add("CPU, ratio to the floor: median", quartiles([ours / bare for ours, bare in zip(edge_us, floor_us)])[1])
    return report
