"""HTTP/1.1 from the clauses: every case of cases.py against a real edge, whole, byte by byte and in odd pieces."""
import concurrent.futures
import os
import sys
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from cases import AUTH, CASES, JOB, get, post  # noqa: E402
from support import Stack, eventually, register  # noqa: E402
from wire import Malformed, Wire  # noqa: E402

PIECES = {"whole": None, "byte by byte": 1, "in pieces of 7": 7}
BYTEWISE_MAX = 4096  # larger requests are sent whole and in pieces of 1,000 only


def run_case(address, case, token, piece):
    """None, or what is wrong."""
    expected = case.expect.split()
    data = case.data.replace(b"{token}", token)
    if piece and len(data) > BYTEWISE_MAX:
        piece = 1000 if piece > 1 else 4093
    with Wire(address) as wire:
        try:
            wire.send(data, piece)
            for item in expected:
                if item == "~":
                    return None
                optional, head = item.startswith("?"), item.startswith("H")
                want = int(item.strip("?H!."))
                answer = wire.next(is_head=head)
                if optional and answer and answer.status != want:
                    wire.data = wire.raw_of_last + wire.data  # it was not sent; the next one is judged again
                    continue
                if answer is None or answer.status != want:
                    return f"{answer.status if answer else 'nothing'} {answer.body[:200] if answer else ''} instead of {item}; {case.expect}"
                if want >= 200 and answer.closes != (item[-1] in "!."):
                    return f"{item}: Connection {answer.get('connection')!r}"
            if expected[-1][-1] in "!.":
                return None if wire.closed() else "the connection stays open"
            wire.send(get(b"Connection: close", target=b"/health?last"))
            last = wire.next()
            if last is None or last.status != 200:
                return f"{last.status if last else 'nothing'} to a good request after the case"
            return None if wire.closed() else "Connection: close is not heeded"
        except Malformed as wrong:
            return f"malformed answer: {wrong}"


class Http(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(workers={"probe": 1})
        cls.me = register(cls.stack.edge())
        url = urllib.parse.urlsplit(cls.stack.edge())
        cls.address, cls.token = (url.hostname, url.port), cls.me.token.encode()
        cls.pid = eventually(lambda: cls.stack.pid("edge"))

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def test_cases(self):
        self.assertEqual(len({case.name for case in CASES}), len(CASES))
        self.assertGreaterEqual(len(CASES), 200)
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            jobs = {pool.submit(run_case, self.address, case, self.token, piece): (case, how) for how, piece in PIECES.items() for case in CASES}
            wrong = [f"{case.clause}: {case.name} ({how}): {job.result()}" for job, (case, how) in jobs.items() if job.result()]
        print(f"{len(CASES)} cases, each sent in {len(PIECES)} ways; {len(wrong)} wrong")
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))
        self.assertEqual(self.stack.pid("edge"), self.pid, "the edge has not restarted")

    def test_not_modified_has_no_body(self):
        """RFC 9110 §15.4.5."""
        job = self.me.wait_job(self.me.enqueue("probe.ok"))["job_id"]
        with Wire(self.address) as wire:
            target, auth = f"/api/jobs/{job}".encode(), AUTH.replace(b"{token}", self.token)
            wire.send(get(auth, target=target))
            etag = wire.next().get("etag").encode()
            wire.send(get(auth, b"If-None-Match: " + etag, target=target) + get())
            self.assertEqual([wire.next().status, wire.next().status], [304, 200])

    def test_head_says_what_get_says(self):
        """RFC 9110 §9.3.2: the same fields, without the content."""
        with Wire(self.address) as wire:
            wire.send(get() + get().replace(b"GET", b"HEAD"))
            shown, headed = wire.next(), wire.next(is_head=True)
            same = [[(name, value) for name, value in answer.fields if name not in ("date", "traceparent")] for answer in (shown, headed)]
            self.assertEqual(same[0], same[1])

    def test_continue_comes_before_the_body_and_after_the_credential(self):
        """RFC 9110 §10.1.1."""
        head = post(b"Expect: 100-continue").removesuffix(JOB).replace(b"{token}", self.token)
        with Wire(self.address) as wire:
            wire.send(head)
            self.assertEqual(wire.next().status, 100)
            wire.send(JOB)
            self.assertEqual(wire.next().status, 202)
        upload = head.replace(b"/api/jobs", b"/api/v1/contents/upload").replace(self.token, b"wrong")
        with Wire(self.address) as wire:
            wire.send(upload)
            self.assertEqual(wire.next().status, 401)
            self.assertTrue(wire.closed(), "the body was not read, so the connection cannot be used again")

    def test_http_1_0_is_told_that_the_connection_stays(self):
        """RFC 9112 §C.2.2: an HTTP/1.0 client keeps it only if told so."""
        with Wire(self.address) as wire:
            wire.send(get(b"Connection: keep-alive", version=b"HTTP/1.0"))
            self.assertEqual(wire.next().get("connection"), "keep-alive")

    def test_half_head_times_out(self):
        """RFC 9110 §15.5.9."""
        with Wire(self.address) as wire:
            wire.send(b"GET /health HTTP/1.1\r\nHost:")
            self.assertEqual(wire.next(seconds=13).status, 408)
            self.assertTrue(wire.closed())

    def test_the_answer_to_a_large_refused_upload_is_heard(self):
        """RFC 9112 §9.6: a close with unread bytes must not destroy the answer."""
        with Wire(self.address) as wire:
            wire.send(post(body=b" " * (3 << 20)).replace(b"{token}", self.token))
            self.assertEqual(wire.next().status, 413)

    def test_many_connections_at_once(self):
        wires = [Wire(self.address) for _ in range(500)]
        try:
            for wire in wires:
                wire.send(get())
            self.assertEqual({wire.next().status for wire in wires}, {200})
        finally:
            for wire in wires:
                wire.socket.close()
        eventually(lambda: self.me.call("GET", "/health").status == 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
