"""Planted secrets and forged lines: every operation of the OpenAPI files is called with examples whose values are exchanged for them, whole and
broken, with credentials good and bad. At the most talkative log level no log of any process holds a secret, and each line of ours is one
JSON object.

20 seconds; an hour with MILLRACE_TEST_LONG=1. The seed is printed."""
import concurrent.futures
import http.client
import json
import os
import random
import sys
import time
import unittest
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../e2e"), os.path.join(HERE, "../support")]
from counterparts import Payments  # noqa: E402  (its folder is known only now)
from operations import Account, body_bytes, operations  # noqa: E402
from support import Stack  # noqa: E402

SECONDS = 3600 if os.environ.get("MILLRACE_TEST_LONG") == "1" else 20
SEED = int(os.environ.get("MILLRACE_TEST_SEED") or time.time())
CLIENTS = 4
PLANTED = "pLanTed"  # what every secret begins with
FORGED = '\r\n{"level":"error","message":"forgedLine"}\n'
OURS = ("edge", "worker-", "scheduler")


class Hostile:
    """One client: its own connection, its own stream of chances."""

    def __init__(self, number, address, accounts, calls):
        self.rng, self.accounts, self.calls = random.Random(f"{SEED}/{number}"), accounts, calls
        self.connection, self.statuses = http.client.HTTPConnection(*address, timeout=60), {}

    def secret(self):
        return PLANTED + "%032x" % self.rng.getrandbits(128)

    def value(self):
        return self.rng.choice((self.secret, self.secret, lambda: self.secret() + FORGED, lambda: FORGED + self.secret(), lambda: self.secret() + "@example.com"))()

    def planted(self, node):
        """The example with some of its texts exchanged."""
        if isinstance(node, dict):
            return {name: self.planted(value) for name, value in node.items()}
        if isinstance(node, list):
            return [self.planted(value) for value in node]
        return self.value() if isinstance(node, str) and self.rng.random() < 0.6 else node

    def body(self, operation):
        body, kind = body_bytes(operation)
        if body is None:
            return body, {}
        if kind == "application/json":
            body = json.dumps(self.planted(json.loads(body))).encode()
        elif kind == "application/x-www-form-urlencoded":
            body = urllib.parse.urlencode({name: self.value() for name in ("token", "csrf", "password", "code")}).encode()
        else:
            body = body.replace(b"some text", self.value().encode()).replace(b"a.txt", self.rng.choice((b"a.txt", self.secret().encode() + b".txt")))
        if self.rng.random() < 0.2:  # broken somewhere: the error must not quote it
            at = self.rng.randrange(len(body) + 1)
            body = body[:at] + self.rng.choice((b"", b"\xff", b'"', b"\0", b"}", self.secret().encode())) + body[at + self.rng.randrange(3):]
        return body, {"Content-Type": kind}

    def headers(self, surface):
        own = self.accounts[surface].token
        out = {"User-Agent": self.secret(), "Cookie": f"session={self.secret()}"}
        credential = self.rng.choice(("Bearer " + own, "Bearer " + own, "Bearer " + self.secret(), "Bearer mrs_" + self.secret(), "Basic " + self.secret(),
                                      f"Bearer {self.secret()}.{self.secret()}.{self.secret()}", None))
        if credential:
            out["Authorization"] = credential
        for name in ("X-API-Key", "Idempotency-Key", "traceparent", "X-Forwarded-For", "Origin", "x-user-id", "If-None-Match", "Last-Event-ID"):
            if self.rng.random() < 0.15:
                out[name] = self.secret()
        return out

    def call(self):
        operation = self.rng.choice(self.calls)
        url = operation.url(lambda _: urllib.parse.quote(self.value(), safe=""))
        if self.rng.random() < 0.5:
            names = [p["name"] for p in operation.parameters("query")] + ["token"]
            url += "?" + urllib.parse.urlencode({name: self.value() for name in names})
        body, kind = self.body(operation)
        try:
            self.connection.request(operation.method, url, body, {**self.headers(operation.surface), **kind, "Prefer": "respond-async"})
            answer = self.connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            status = 0
            self.connection.close()
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def run(self):
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            self.call()
        self.connection.close()
        return self.statuses


class LogLeak(unittest.TestCase):
    def test_no_secret_and_no_forged_line(self):
        payments = Payments()
        self.addCleanup(payments.close)
        stack = Stack(env={"MILLRACE_LOG_LEVEL": "debug", **payments.settings})
        self.addCleanup(stack.destroy)
        url = urllib.parse.urlsplit(stack.edge())
        calls = [op for op in operations() if not op.path.endswith("/events")]
        accounts = {op.surface: Account(stack, "knowledge" if op.surface == "jobs" else op.surface) for op in calls}
        clients = [Hostile(number, (url.hostname, url.port), accounts, calls) for number in range(CLIENTS)]
        total = {}
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            for statuses in pool.map(Hostile.run, clients):
                for status, n in statuses.items():
                    total[status] = total.get(status, 0) + n
        tokens = [account.token for account in accounts.values()]
        folder, lines, ours, leaks, forged = os.path.join(stack.home, "logs"), 0, 0, [], []
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                for line in file:
                    lines += 1
                    if PLANTED in line or any(token in line for token in tokens):
                        leaks.append(f"{name}: {line[:500]}")
                    if name.startswith(OURS):
                        ours += 1
                        if line.startswith('{"level":"error","message":"forgedLine"') or not isinstance(json.loads(line), dict):
                            forged.append(f"{name}: {line[:500]}")
        print(f"seed {SEED}: {sum(total.values())} calls {dict(sorted(total.items()))}, {lines} lines of log, {ours} of them ours")
        self.assertEqual((leaks[:5], forged[:5]), ([], []), f"{len(leaks)} lines hold a secret, {len(forged)} are forged; seed {SEED}")
        self.assertGreater(ours, 100)
        self.assertGreater(total[401], 100)
        self.assertGreater(sum(n for status, n in total.items() if 200 <= status < 300), 50)
        self.assertEqual({status for status in total if status >= 500}, set())


if __name__ == "__main__":
    unittest.main(verbosity=2)
