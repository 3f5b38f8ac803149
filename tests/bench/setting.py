"""What every target works in: a private stack, the load generator, the floors, and the pipeline's own counters."""
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse

import machine

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/e2e"))
import support  # noqa: E402  (its folder is known only now)

ACCEPT_BODY = json.dumps({"kind": "probe.ok", "input": {"echo": "x" * 280}})  # input and result of about 300 bytes
DRAIN_SECONDS = 180


@contextlib.contextmanager
def stack(**options):
    made = support.Stack(**options)
    try:
        yield made
    finally:
        made.destroy()


def binary(name):
    return os.path.join(support.BIN_DIR, name)


def port_of(url):
    return urllib.parse.urlsplit(url).port


def load(port, *arguments, core=None):
    """One run of the generator; its JSON object."""
    command = [binary("millrace-load"), "--port", str(port), *map(str, arguments)]
    return json.loads(machine.output(machine.pinned(core, *command) if core is not None else command))


def jobs_load(port, token, *arguments, body=ACCEPT_BODY):
    return load(port, "--method", "POST", "--path", "/api/jobs", "--body", body, "--token", token, *arguments)


@contextlib.contextmanager
def floor(*arguments, core=None):
    """The bare socket server; yields (pid, port)."""
    command = [binary("floor_epoll"), *map(str, arguments)]
    process = subprocess.Popen(machine.pinned(core, *command) if core is not None else command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


class Pipeline:
    """The counters of the edge and of the probe workers."""

    def __init__(self, made):
        self.stack = made
        with open(os.path.join(made.home, "state.json")) as file:
            ports = json.load(file)
        self.workers = [port for name, port in ports.items() if re.fullmatch(r"port worker-probe(-\d+)? metrics", name)]
        self.edge = port_of(made.env["MILLRACE_METRICS_URL"])

    @staticmethod
    def counter(port, series):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        found = re.search("^" + re.escape(series) + r" (\S+)", text, re.M)
        return float(found[1]) if found else 0.0

    def done(self):
        return sum(self.counter(port, 'millrace_attempts_total{settled="committed"}') for port in self.workers)

    def batches(self):
        return self.counter(self.edge, "millrace_accept_batches_total")

    def wait_done(self, number):
        """Until the workers have committed so many attempts; the time at which they had."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while self.done() < number:
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {self.done():.0f} of {number:.0f} jobs were done after {DRAIN_SECONDS} s more")
            time.sleep(0.05)  # the pace of asking; each question costs the worker 0.2 ms
        return time.monotonic()

    def unfinished(self):
        return int(self.stack.sql("SELECT count(*) FROM jobs WHERE status <> 'succeeded'"))


# What a transaction is for is told by what it writes; xid 0 is upkeep (pruning, checkpoints).
WAL_BY_TRANSACTION = """
WITH records AS (
    SELECT xid::text AS xid, record_length, relname, resource_manager = 'Heap' AND record_type LIKE 'INSERT%' AS inserts
      FROM pg_get_wal_records_info('0/0'::pg_lsn + {since}, pg_current_wal_flush_lsn())
      LEFT JOIN pg_class ON relfilenode = ((regexp_match(block_ref, 'rel \\d+/\\d+/(\\d+)'))[1])::oid
), transactions AS (
    SELECT sum(record_length) AS size,
           CASE WHEN xid = '0' THEN 'upkeep'
                WHEN bool_or(relname LIKE 'jobs\\_2%' AND inserts) THEN 'accept'
                WHEN bool_or(relname = 'outbox') THEN 'outbox delete'
                WHEN bool_or(relname = 'workers') THEN 'claim'
                WHEN bool_or(relname LIKE 'jobs\\_2%') THEN 'completion' ELSE 'other' END AS name
      FROM records GROUP BY xid
) SELECT name, sum(size) FROM transactions GROUP BY name"""


class Journal:
    """What PostgreSQL wrote: WAL bytes, and how many updates of jobs stayed on their page."""

    def __init__(self, made):
        self.stack = made
        self.before = self.read()

    def read(self):
        row = self.stack.sql("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, coalesce(sum(n_tup_upd), 0), coalesce(sum(n_tup_hot_upd), 0)"
                             " FROM pg_stat_user_tables WHERE relname LIKE 'jobs\\_2%'")
        return [float(value) for value in row.split("|")]

    def wal_bytes(self):
        return self.read()[0] - self.before[0]

    def wal_by_transaction(self):
        """WAL bytes by what their transaction did, from the log itself."""
        self.stack.sql("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
        rows = self.stack.sql(WAL_BY_TRANSACTION.format(since=int(self.before[0])))
        return {name: float(size) for name, _, size in (row.partition("|") for row in rows.splitlines())}

    def hot_share(self):
        _, updates, hot = (new - old for new, old in zip(self.read(), self.before))
        return hot / updates if updates else 0.0


def machine_busy_us():
    """CPU time of everything on this machine, whoever's."""
    fields = [int(value) for value in machine.read("/proc/stat").split("\n", 1)[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) * 1e6 / machine.TICKS_PER_SECOND
