"""Raw HTTP/1.1: a connection that sends exactly what it is given, and a strict parser of answers (RFC 9112)."""
import datetime
import email.utils
import re
import select
import socket
import time

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t\x20-\x7e]+)\Z")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ((?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?)\Z")
DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3]\d [A-Z][a-z]{2} \d{4} [0-2]\d:[0-5]\d:[0-6]\d GMT\Z")
ONCE = ("content-length", "content-type", "date", "location", "etag", "retry-after", "connection")
REFUSALS = (400, 408, 413, 414, 417, 431, 501, 505)


class Malformed(AssertionError):
    """An answer of the edge that RFC 9110 or 9112 does not allow."""


class Answer:
    def __init__(self, status, fields, body=b""):
        self.status, self.fields, self.body = status, fields, body

    def all(self, name):
        return [value for key, value in self.fields if key == name]

    def get(self, name):
        return next(iter(self.all(name)), None)

    @property
    def closes(self):
        return (self.get("connection") or "").lower() == "close"


def parse_head(head):
    lines = head.split(b"\r\n")
    match = STATUS_LINE.match(lines[0])
    if not match:
        raise Malformed(f"status line {lines[0]!r}")
    fields = []
    for line in lines[1:]:
        field = FIELD.match(line)
        if not field:
            raise Malformed(f"header line {line!r}")
        fields.append((field[1].decode().lower(), field[2].decode()))
    return Answer(int(match[1]), fields)


def check_head(answer, is_head):
    """What each status demands of its fields."""
    status = answer.status
    for name in ONCE:
        if len(answer.all(name)) > 1:
            raise Malformed(f"{status}: {name} is repeated")
    if answer.get("transfer-encoding"):
        raise Malformed(f"{status}: the edge never sends a transfer coding")
    if status < 200:
        if answer.fields:
            raise Malformed(f"{status}: an interim answer with fields {answer.fields}")
        return
    date = answer.get("date") or ""
    if not DATE.match(date):
        raise Malformed(f"{status}: Date {date!r} (RFC 9110 §6.6.1)")
    age = datetime.datetime.now(datetime.timezone.utc) - email.utils.parsedate_to_datetime(date)
    if abs(age.total_seconds()) > 5:
        raise Malformed(f"{status}: Date is {age} old")
    length = answer.get("content-length")
    if status in (204, 304):
        if length is not None:
            raise Malformed(f"{status}: with Content-Length (RFC 9110 §8.6)")
    elif not is_head and not (length or "").isdigit():
        raise Malformed(f"{status}: Content-Length {length!r}")
    for needed, name in ((401, "www-authenticate"), (405, "allow"), (429, "retry-after"), (503, "retry-after")):
        if status == needed and not answer.get(name):
            raise Malformed(f"{status}: without {name}")


def take_answer(data, is_head):
    """(answer, rest) or None while it is incomplete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > 16384 or (data and not b"HTTP/1.1 ".startswith(data[:9]) and not data.startswith(b"HTTP/1.1 ")):
            raise Malformed(f"not an answer: {data[:80]!r}")
        return None
    answer = parse_head(data[:end])
    check_head(answer, is_head)
    rest = data[end + 4:]
    bodyless = is_head or answer.status < 200 or answer.status in (204, 304)
    length = 0 if bodyless else int(answer.get("content-length"))
    if len(rest) < length:
        return None
    answer.body = rest[:length]
    if answer.body and not answer.get("content-type"):
        raise Malformed(f"{answer.status}: a body without Content-Type")
    return answer, rest[length:]


class Wire:
    """One connection. Writing never blocks reading: an edge that refuses early is heard."""

    def __init__(self, address, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data, self.raw_of_last, self.ended, self.answers = b"", b"", False, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data, piece=None):
        """All of it, in pieces of so many bytes; stops when the edge has hung up."""
        view = memoryview(data)
        try:
            for at in range(0, len(view), piece or max(1, len(view))):
                part = view[at:at + piece] if piece else view
                while part:
                    readable, writable, _ = select.select([] if self.ended else [self.socket], [self.socket], [], 10)
                    if readable:
                        self.receive()
                    if self.ended:
                        return
                    if writable:
                        part = part[self.socket.send(part):]
        except OSError:
            pass  # what it has answered can still be read

    def receive(self):
        try:
            got = self.socket.recv(65536)
        except OSError:
            got = b""
        self.data += got
        self.ended = self.ended or not got

    def next(self, is_head=False, seconds=10):
        """The next answer, or None when the connection ended (or stayed silent) before one began."""
        deadline = time.monotonic() + seconds
        while True:
            taken = take_answer(self.data, is_head) if self.data else None
            if taken:
                answer, rest = taken
                self.raw_of_last, self.data = self.data[:len(self.data) - len(rest)], rest
                self.answers.append(answer)
                return answer
            if self.ended:
                if self.data:
                    raise Malformed(f"the connection ended inside an answer: {self.data[:200]!r}")
                return None
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return None
            self.receive()

    def closed(self, seconds=5):
        """True once the edge has closed without another byte."""
        deadline = time.monotonic() + seconds
        while not self.ended and not self.data and time.monotonic() < deadline:
            if select.select([self.socket], [], [], max(0, deadline - time.monotonic()))[0]:
                self.receive()
        if self.data:
            raise Malformed(f"bytes after the last answer: {self.data[:200]!r}")
        return self.ended
