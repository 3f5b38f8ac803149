"""Slow attackers: silence, slow heads, slow bodies, slow uploads, readers that do not read. All are closed in time, while a normal client
is served as before.

1,000 attackers; 4,000 with MILLRACE_TEST_LONG=1. How the normal client is measured: a process of its own asks /health 50 times a second,
open loop (from the time at which it was due), throughout the attack: every request must be served, and its p99 may double. It is compared
with a time without attackers and, in the long run, with the same attack on a bare server beside the edge: what the attackers' own process
costs on two shared cores is not the edge's doing. Below 2 ms no difference is judged; in the gate, whose machine may be busy with other
things too, below 250 ms."""
import collections
import multiprocessing
import os
import re
import select
import socket
import subprocess
import sys
import time
import unittest
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from cases import get  # noqa: E402
from support import BIN_DIR, Stack, eventually, register  # noqa: E402
from wire import Wire  # noqa: E402

LONG = os.environ.get("MILLRACE_TEST_LONG") == "1"
ATTACKERS = 4000 if LONG else 1000
ARRIVALS = 400  # per second
SECONDS = 26 + ATTACKERS / ARRIVALS
READERS_MAX = 200  # each makes the edge answer some hundred requests first
RATE = 50
DRIP, SLICES = 0.7, 50  # seconds between an attacker's drops, and in how many groups they take turns
UNJUDGED = 0.002 if LONG else 0.250  # seconds
# Kind: (seconds until it must be closed, what it must have been told).
LIMITS = {"silent": (12, (None,)), "slow head": (12, (408,)), "slow body": (12, (408,)), "slow chunks": (12, (408,)), "slow upload": (12, (408, 429)),
          "does not read": (24, (None, 200))}


def probe(address, seconds, result):
    """Sends the latencies of a normal client, in seconds; infinity when it was not served."""
    latencies, wire, started = [], Wire(address), time.monotonic()
    for number in range(int(seconds * RATE)):
        due = started + number / RATE
        if due > time.monotonic():
            time.sleep(due - time.monotonic())  # the pace of the open loop
        try:
            wire.send(get())
            answer = wire.next()
            served = answer is not None and answer.status == 200
        except OSError:
            served = False
        latencies.append(time.monotonic() - due if served else float("inf"))
        if not served:
            wire.socket.close()
            wire = Wire(address)
    wire.socket.close()
    result.send(latencies)


def p99(latencies):
    return sorted(latencies)[int(len(latencies) * 0.99)]


class Attacker:
    def __init__(self, kind, address, token):
        self.kind, self.began, self.closed_after, self.status, self.sent = kind, time.monotonic(), None, None, 0
        self.socket = socket.socket()
        if kind == "does not read":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(address)
        self.socket.setblocking(False)
        post = b" HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer " + token
        self.first, self.drop = {
            "silent": (b"", b""),
            "slow head": (b"GET /health HTTP/1.1\r\nHost: edge\r\n", b"X-A: b\r\n"),
            "slow body": (b"POST /api/jobs" + post + b"\r\nContent-Length: 100000\r\n\r\n", b"          "),
            "slow chunks": (b"POST /api/jobs" + post + b"\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
            "slow upload": (b"POST /api/v1/contents/upload" + post + b"\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n"
                            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n', b"text "),
            "does not read": (get() * 2000, b""),
        }[kind]
        self.write(self.first)

    def write(self, data):
        try:
            self.socket.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self.end()

    def end(self):
        if self.closed_after is None:
            self.closed_after = time.monotonic() - self.began

    def tick(self):
        """A few bytes more."""
        if self.closed_after is None and self.drop:
            self.write(self.drop)

    def readable(self):
        try:
            data = self.socket.recv(4096)
        except OSError:
            data = b""
        match = re.match(rb"HTTP/1\.1 (\d+)", data)
        if match and self.status is None:
            self.status = int(match[1])
        if not data:
            self.end()


def attack(address, token, seconds):
    """ARRIVALS of them a second; returns them when each is closed or the time is over."""
    poll, attackers, kinds = select.epoll(), {}, list(LIMITS)
    plan = ["does not read"] * min(READERS_MAX, ATTACKERS // len(kinds))
    others = [kind for kind in kinds if kind != "does not read"]
    plan += [others[number % len(others)] for number in range(ATTACKERS - len(plan))]
    began, turn, turns = time.monotonic(), 0, [[] for _ in range(SLICES)]
    while time.monotonic() < began + seconds and (plan or any(one.closed_after is None for one in attackers.values())):
        while plan and len(attackers) < (time.monotonic() - began) * ARRIVALS:
            one = Attacker(plan.pop(), address, token)
            turns[len(attackers) % SLICES].append(one)
            attackers[one.socket.fileno()] = one
            # A reader that does not read learns of its end by the reset alone.
            poll.register(one.socket, select.EPOLLERR | select.EPOLLHUP | (0 if one.kind == "does not read" else select.EPOLLIN))
        for number, event in poll.poll(DRIP / SLICES):
            one = attackers[number]
            one.end() if event & (select.EPOLLERR | select.EPOLLHUP) and one.kind == "does not read" else one.readable()
            if one.closed_after is not None:
                poll.unregister(number)
        while began + turn * DRIP / SLICES <= time.monotonic():
            for one in turns[turn % SLICES]:
                one.tick()
            turn += 1
    return list(attackers.values())


class Slow(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(workers={"probe": 1})
        cls.me = register(cls.stack.edge())
        url = urllib.parse.urlsplit(cls.stack.edge())
        cls.address = (url.hostname, url.port)

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def connections(self):
        with urllib.request.urlopen(self.stack.env["MILLRACE_METRICS_URL"], timeout=5) as page:
            return float(re.search(r"^millrace_connections (\S+)", page.read().decode(), re.MULTILINE)[1])

    def beside(self, attacked, seconds):
        """The attackers of that address, and the latencies of the edge's normal client meanwhile; without an address, of a time without any."""
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=probe, args=(self.address, seconds, theirs))
        process.start()
        attackers = attack(attacked, self.me.token.encode(), seconds) if attacked else []
        latencies = ours.recv()
        process.join()
        return attackers, latencies

    def beside_a_bare_server(self):
        with subprocess.Popen([os.path.join(BIN_DIR, "floor_epoll"), "--events", "10", "100000"], stdout=subprocess.PIPE, text=True) as bare:
            try:
                attackers, latencies = self.beside(("127.0.0.1", int(bare.stdout.readline())), SECONDS)
            finally:
                bare.kill()
        for one in attackers:
            one.socket.close()
        return latencies

    def test_attackers_are_closed_and_nobody_notices(self):
        _, alone = self.beside(None, 5)
        before = self.beside_a_bare_server() if LONG else alone
        attackers, during = self.beside(self.address, SECONDS)

        by_kind = collections.defaultdict(list)
        for one in attackers:
            by_kind[one.kind].append(one)
            one.socket.close()
        print(f"health p99: alone {p99(alone) * 1000:.2f} ms, beside the same attack on a bare server {p99(before) * 1000:.2f} ms, "
              f"under attack {p99(during) * 1000:.2f} ms, not served {during.count(float('inf'))}")
        for kind, many in by_kind.items():
            limit, told = LIMITS[kind]
            late = [one for one in many if one.closed_after is None or one.closed_after > limit]
            longest = max((one.closed_after for one in many if one.closed_after is not None), default=0)
            print(f"{len(many)} × {kind}: the last was closed after {longest:.1f} s (limit {limit} s)")
            self.assertEqual([(one.kind, one.closed_after) for one in late[:5]], [], f"{len(late)} of {len(many)} {kind}")
            self.assertEqual({one.status for one in many} - set(told), set(), kind)
        self.assertNotIn(float("inf"), during)
        self.assertLessEqual(p99(during), max(2 * p99(before), UNJUDGED))
        eventually(lambda: self.connections() <= 4, 10, "the end of every attacker's connection")

    def test_an_honest_slow_upload_goes_on(self):
        """2 KiB/s is above the floor of 1 KiB/s, for longer than the first allowance."""
        body = (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n' + b"text " * 4000 + b"\r\n--b--\r\n")
        head = (b"POST /api/v1/contents/upload HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer " + self.me.token.encode() +
                b"\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n" % len(body))
        with Wire(self.address) as wire:
            wire.send(head)
            for at in range(0, len(body), 2048):
                wire.send(body[at:at + 2048])
                select.select([wire.socket], [], [], 1)  # an early answer ends it
            self.assertEqual(wire.next().status, 201)


if __name__ == "__main__":
    unittest.main(verbosity=2)
