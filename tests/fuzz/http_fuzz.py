"""Pipelines of good and broken requests over keep-alive connections to a real edge.

As many answers as well-framed requests, each with the status that it must have, in order; every answer parses strictly; never a 5xx
but 501 and 505; the process never dies.

    http_fuzz.py [--seed N] [--requests N] [--long]"""
import argparse
import concurrent.futures
import os
import random
import sys
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.join(HERE, "../e2e"), os.path.join(HERE, "../interop")]
from http_requests import BODY_METHODS, METHODS, mutated, well_framed  # noqa: E402
from support import Stack, eventually, register  # noqa: E402
from wire import Malformed, Wire  # noqa: E402

TARGETS = (b"/health", b"/health?a=b", b"http://edge/health", b"/no/such/path", b"/%41?%20", b"/api/jobs", b"/api/jobs/x", b"/api/v1/nothing")


def expected(method, target):
    """The statuses that a well-framed request may get, without a credential."""
    path = target.removeprefix(b"http://edge").split(b"?")[0]
    if path == b"/health":
        return (200,) if method in (b"GET", b"HEAD") else (204,) if method == b"OPTIONS" else (405,)
    if path == b"/api/jobs":
        return (401,) if method in (b"GET", b"HEAD", b"POST") else (204,) if method == b"OPTIONS" else (405,)
    if path == b"/api/jobs/x":
        return (401,) if method in (b"GET", b"HEAD", b"DELETE") else (204,) if method == b"OPTIONS" else (405,)
    return (404,)


def job(rng, token):
    """A job with a credential: accepted, or refused in the application's words."""
    good = rng.random() < 0.7
    body = b'{"kind":"probe.ok","input":{"echo":"%s"}}' % (b"x" * rng.randint(0, 200)) if good else rng.choice((b"", b"{", b"[]", b'{"kind":1}', b"\xff" * 20))
    head = b"POST /api/jobs HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer " + token + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
    return b"POST", (202,) if good else (400,), head + body


def one_connection(number, seed, address, token):
    """(requests sent, answers, None or what is wrong)."""
    rng = random.Random(f"{seed}/{number}")
    plan = []
    for _ in range(rng.randint(1, 12)):
        if rng.random() < 0.1:
            plan.append(job(rng, token))
        else:
            method, target, data = well_framed(rng, targets=TARGETS)
            plan.append((method, expected(method, target), data))
    broken = b""
    if rng.random() < 0.6:  # what follows the broken one must not be mistaken for good
        methods = rng.choice((BODY_METHODS, tuple(method for method in METHODS if method != b"HEAD")))
        broken = mutated(rng, well_framed(rng, methods=methods, targets=TARGETS)[2]) + b"".join(
            well_framed(rng, methods=(b"GET",), targets=TARGETS)[2] for _ in range(rng.randint(0, 3)))
    answers = 0
    try:
        with Wire(address) as wire:
            wire.send(b"".join(data for _, _, data in plan) + broken, rng.choice((None, None, 1, 13, 100, 1400)))
            for method, statuses, data in plan:
                answer = wire.next(is_head=method == b"HEAD")
                if answer is None or answer.status not in statuses:
                    return len(plan), answers, f"{answer.status if answer else 'nothing'} instead of {statuses} to {data!r}"
                answers += 1
            try:
                wire.socket.shutdown(1)
            except OSError:
                pass
            while True:
                answer = wire.next()
                if answer is None:
                    break
                answers += 1
                if answer.status >= 500 and answer.status not in (501, 505):
                    return len(plan), answers, f"{answer.status} to {broken!r}"
            if not wire.closed(2):
                return len(plan), answers, f"the connection stays open after {broken!r}"
            return len(plan) + (1 if broken else 0), answers, None
    except (Malformed, OSError) as wrong:
        return len(plan), answers, f"{wrong!r} after {broken!r}"


def run(seed, requests, address, token):
    """How many failures."""
    sent, answered, wrong, number, started = 0, 0, [], 0, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        while sent < requests and len(wrong) < 20:
            batch = range(number, number + 240)
            number += len(batch)
            for count, answers, failure in pool.map(lambda n: one_connection(n, seed, address, token), batch):
                sent, answered = sent + count, answered + answers
                if failure:
                    wrong.append(failure)
    print(f"seed {seed}: {number} connections, {sent} requests, {answered} answers in {time.monotonic() - started:.0f} s; {len(wrong)} failures")
    for failure in wrong:
        print("  " + failure[:1500])
    return len(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--requests", type=int)
    parser.add_argument("--long", action="store_true", default=os.environ.get("MILLRACE_TEST_LONG") == "1")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    stack = Stack(workers={"probe": 1})
    client = register(stack.edge())
    url = urllib.parse.urlsplit(stack.edge())
    before = eventually(lambda: stack.pid("edge"))
    failures = run(arguments.seed, arguments.requests or (60_000 if arguments.long else 6_000), (url.hostname, url.port), client.token.encode())
    if stack.pid("edge") != before:
        print("the edge has died\n" + stack.logs())
        failures += 1
    stack.destroy()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
