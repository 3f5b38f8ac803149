"""The same bytes to edge/server, to node's http (llhttp, strict) and to h11: whoever is stricter than the edge, or sees a message
begin or end elsewhere, is right until a clause says otherwise.

    test_differential.py [--seed N] [--connections N] [--long]"""
import argparse
import base64
import concurrent.futures
import hashlib
import json
import os
import random
import re
import select
import shutil
import subprocess
import sys
import unittest

import h11

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, "../fuzz"))
from cases import CASES  # noqa: E402
from http_requests import mutated, well_framed  # noqa: E402
from wire import REFUSALS, Wire  # noqa: E402

# Where a stricter reader is not right: (reader, what it says, bytes without which it does not count, the clause that justifies the edge).
JUSTIFIED = (
    ("h11", "no request line received", rb"\r\n\r\n", "RFC 9112 §2.2: at least one empty line before a request SHOULD be ignored"),
    ("h11", "incomplete", rb"HTTP/1\.0\r\n.*(?i:keep-alive)", "RFC 9112 §C.2.2: HTTP/1.0 may ask for persistence; h11 has none"),
    ("node", "HPE_INVALID_VERSION", rb"HTTP/1\.[2-9]\r\n", "RFC 9110 §2.5: a higher minor version SHOULD be served as the highest known"),
    ("node", "HPE_INVALID_CONTENT_LENGTH", rb"(?i:content-length):[^\r]*\t[ \t]*\r\n", "RFC 9112 §5: OWS around a value holds tabs"),
    ("node", "HPE_INVALID_TRANSFER_ENCODING", rb"(?i:transfer-encoding):[^\r]*\t[ \t]*\r\n", "RFC 9112 §5: OWS around a value holds tabs"),
    ("node", "incomplete", rb"(?i:connection: upgrade)", "RFC 9110 §7.8: Upgrade MAY be ignored"),
    ("node", "HPE_CLOSED_CONNECTION", rb"(?i:proxy-connection: close)", "RFC 9112 §C.2.2: Proxy-Connection means nothing"),
)


def message(method, target, body):
    return {"method": method, "target": target, "length": len(body), "digest": hashlib.sha256(body).hexdigest()}


def origin_form(target):
    """RFC 9112 §3.2.2: the edge hands its application the path alone."""
    if target.startswith("/") or target == "*":
        return target
    _, _, rest = target.partition("//")
    cut = min((rest.find(c) for c in "/?" if c in rest), default=-1)
    return rest[cut:] if cut >= 0 else "/"


def ask_edge(address, data):
    """{messages, error, closed}: error when the edge refused, closed when it ended the connection as it was asked to."""
    with Wire(address) as wire:
        wire.send(data)
        try:
            wire.socket.shutdown(1)
        except OSError:
            pass
        while not wire.ended:
            if not select.select([wire.socket], [], [], 10)[0]:
                raise AssertionError(f"the edge neither answers nor closes: {data!r}")
            wire.receive()
        messages = []
        while True:
            # The echo repeats its body in a field, so HEAD needs no knowledge of the request here.
            head, _, rest = wire.data.partition(b"\r\n\r\n")
            answer = wire.next(is_head=b'"method":"HEAD"' in head or not rest and b"X-Seen" not in head)
            if answer is None:
                return {"messages": messages, "error": None, "closed": False}
            seen = answer.get("x-seen")
            if seen:
                messages.append(json.loads(seen))
            elif answer.status == 204:
                messages.append({"method": "OPTIONS", "any": True})
            elif answer.status in REFUSALS:
                return {"messages": messages, "error": answer.status, "closed": True}
            elif answer.status != 100:
                raise AssertionError(f"status {answer.status}")
            if answer.closes:
                return {"messages": messages, "error": None, "closed": True}


def ask_h11(data):
    connection = h11.Connection(h11.SERVER)
    messages, request, body = [], None, b""
    try:
        connection.receive_data(data)
        connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
                if request.method == b"CONNECT":
                    return {"messages": messages, "error": "CONNECT"}
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                messages.append(message(request.method.decode("latin1"), request.target.decode("latin1"), body))
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE or connection.their_state is not h11.DONE:
                    return {"messages": messages, "error": None}
                connection.start_next_cycle()
            else:  # ConnectionClosed, PAUSED, NEED_DATA
                return {"messages": messages, "error": None}
    except h11.RemoteProtocolError as wrong:
        return {"messages": messages, "error": str(wrong)}


def ask_node(connections):
    """One process for all of them."""
    lines = "".join(base64.b64encode(data).decode() + "\n" for data in connections)
    done = subprocess.run(["node", os.path.join(HERE, "oracle_node.js")], input=lines, text=True, capture_output=True, timeout=600)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(connections):
        raise AssertionError(f"node judged {len(answers)} of {len(connections)}: {done.stderr[-500:]}")
    return answers


def same(ours, theirs):
    method = theirs.get("method", "QUERY")  # node reads QUERY and has no name for it
    if ours["method"] != ("OTHER" if method in ("TRACE", "QUERY") else method):
        return False
    target = hashlib.sha256(origin_form(theirs["target"]).encode("latin1")).hexdigest()
    return ours.get("any") or (ours["target"], ours["length"], ours["digest"]) == (target, theirs["length"], theirs["digest"])


def difference(ours, theirs):
    """None, or how the edge is more lenient than the reader, or reads other messages."""
    for number, mine in enumerate(ours["messages"]):
        if number == len(theirs["messages"]):
            return f"the edge accepts message {number + 1}, the reader does not: {theirs['error'] or 'incomplete'}"
        if not same(mine, theirs["messages"][number]):
            return f"message {number + 1} is another: {mine} / {theirs['messages'][number]}"
    if len(theirs["messages"]) > len(ours["messages"]) and not ours["closed"]:
        return f"the reader finds {len(theirs['messages'])} messages, the edge {len(ours['messages'])}"
    return None


def justified(reader, found, data):
    return any(reader == name and "does not: " + text in found and re.search(needed, data, re.DOTALL) for name, text, needed, _ in JUSTIFIED)


class Differential(unittest.TestCase):
    seed, connections = 1, 1500

    @classmethod
    def setUpClass(cls):
        folder = os.environ.get("MILLRACE_BUILD_DIR", os.path.join(ROOT, "build/release"))
        cls.edge = subprocess.Popen([os.path.join(folder, "bin/millrace-http-echo")], stdout=subprocess.PIPE, text=True)
        cls.address = ("127.0.0.1", int(cls.edge.stdout.readline()))

    @classmethod
    def tearDownClass(cls):
        cls.edge.kill()
        cls.edge.wait()
        cls.edge.stdout.close()

    def compare(self, connections):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            ours = list(pool.map(lambda data: ask_edge(self.address, data), connections))
        self.assertIsNone(self.edge.poll(), "the server has not died")
        readers = {"h11": [ask_h11(data) for data in connections]}
        if shutil.which("node"):
            readers["node"] = ask_node(connections)
        wrong = []
        for reader, theirs in readers.items():
            found = [(data, difference(mine, other)) for data, mine, other in zip(connections, ours, theirs)]
            wrong += [f"{reader}: {text}\n    {data[:600]!r}" for data, text in found if text and not justified(reader, text, data)]
        accepted = sum(len(mine["messages"]) for mine in ours)
        print(f"{len(connections)} connections, {accepted} messages accepted, {sum(1 for mine in ours if mine['error'])} connections refused; "
              f"readers: {', '.join(readers)}; differences: {len(wrong)}")
        self.assertEqual(wrong, [], "\n".join(wrong[:40]))
        return accepted

    def test_cases(self):
        self.compare([case.data.replace(b"{token}", b"x") for case in CASES])

    def test_generated(self):
        print(f"seed {self.seed}")
        rng = random.Random(self.seed)
        accepted = 0
        for _ in range(0, self.connections, 1500):
            connections = []
            for _ in range(min(1500, self.connections)):
                requests = [well_framed(rng)[2] for _ in range(rng.randint(1, 6))]
                if rng.random() < 0.7:
                    at = rng.randrange(len(requests))
                    requests[at] = mutated(rng, requests[at])
                connections.append(b"".join(requests))
            accepted += self.compare(connections)
        self.assertGreater(accepted, self.connections, "most of what is generated is good")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--connections", type=int)
    parser.add_argument("--long", action="store_true", default=os.environ.get("MILLRACE_TEST_LONG") == "1")
    arguments, rest = parser.parse_known_args()
    Differential.seed = arguments.seed
    Differential.connections = arguments.connections or (30000 if arguments.long else 1500)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
