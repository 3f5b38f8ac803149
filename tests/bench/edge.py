"""Targets on the edge alone: health, credentials."""
import os
import time

import machine
import setting
import operations  # in the folder that setting has made known
import support
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


def credentials(options):
    """What a credential costs the edge: requests that are refused right after it, beside such that need none; and the first look-up."""
    report = Report("credentials")
    with setting.stack(env={"MILLRACE_AUTH_RATE": "1000000"}) as made:
        pid, port = made.pid("edge"), setting.port_of(made.edge())
        kinds = {"none": None, "JWT": support.register(made.edge()).token, "session token": operations.Account(made, "knowledge").token}

        def measure(token):
            arguments = ["--token", token] if token else []
            before = machine.cpu_us(pid)
            path = "/api/jobs?limit=0" if token else "/api/health"  # limit=0 is refused before anything else is done
            answer = setting.load(port, "--path", path, "--connections", 64, "--seconds", options.seconds / 2, *arguments)
            if set(answer["statuses"]) != {"400" if token else "200"}:
                raise RuntimeError(f"{path}: {answer}")
            return (machine.cpu_us(pid) - before) / answer["answers"]

        costs = {kind: [] for kind in kinds}
        for _ in range(options.pairs):
            for kind, token in kinds.items():
                costs[kind].append(measure(token))
        for kind, values in costs.items():
            report.add(f"edge CPU, {kind}", quartiles(values)[1], "us/request")
        clients = [support.Client(made.edge(), operations.Account(made, "knowledge").token) for _ in range(100)]
        times = []
        for client in clients:
            started = time.perf_counter()
            client.call("GET", "/api/jobs?limit=0")
            times.append((time.perf_counter() - started) * 1000)
        report.add("first request of a session: median", quartiles(times)[1], "ms")
        again = []
        for client in clients:
            started = time.perf_counter()
            client.call("GET", "/api/jobs?limit=0")
            again.append((time.perf_counter() - started) * 1000)
        report.add("its second request: median", quartiles(again)[1], "ms")
    return report
