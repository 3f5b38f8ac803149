"""Seeded HTTP/1.1 requests: well-framed ones, and ones with a defect."""

METHODS = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"HEAD")
BODY_METHODS = (b"POST", b"PUT", b"PATCH")
TARGETS = (b"/health", b"/health?a=b", b"/no/such/path", b"/api/jobs/x", b"http://edge/health", b"/%41?%20", b"/stream", b"/stream/x?y")
FIELDS = (b"X-A: b", b"Accept: */*", b"X-Empty:", b"Cookie: a=b; c=d", b"X-Text: \xe9\xff", b"Connection: keep-alive", b"TE: trailers", b"x-y:\t z \t",
          b"Upgrade: h2c", b"If-None-Match: \"x\"", b"Range: bytes=0-1", b"Content-Type: application/json", b"Prefer: wait=0", b"Content-Encoding: gzip")
FRAMING = (b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 05", b"Content-Length: +5", b"Content-Length: 5,5", b"Content-Length : 5",
           b"Content_Length: 5", b"Content-Length: 1e1", b"Content-Length:", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity",
           b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding : chunked",
           b"transfer_encoding: chunked", b"Transfer-Encoding: xchunked", b"Transfer-Encoding:\r\n chunked", b"Host: other", b"Host:", b"Host: a b", b"Host: a,b",
           b"Expect: 100-continue", b"Expect: x", b"Connection: close", b"Connection: Content-Length", b"X: a\nContent-Length: 5", b"X: a\rb", b"\x00: x",
           b" folded", b"no colon", b": x", b"X\x00: y", b"Trailer: Content-Length", b"Connection: Transfer-Encoding", b"Keep-Alive: timeout=0")
BYTES = (b"\x00", b"\r", b"\n", b"\r\n", b"\t", b" ", b":", b";", b",", b"_", b"-", b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\xff", b"0", b"f", b"g", b"=", b"%",
         b"/", b"\"", b"chunked", b"\r\n\r\n", b"\r\n0\r\n\r\n", b"1", b"#", b"?", b"@")
VERSIONS = (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"http/1.1", b"HTTP/1.1 ", b"HTTP/11", b"HTTP/1.01", b"")


def letters(rng, text):
    """The same field name in other letters."""
    return bytes(rng.choice((c, c ^ 32)) if chr(c).isalpha() and c < 128 else c for c in text)


def body_of(rng):
    kind = rng.randrange(5)
    if kind == 0:
        return b""
    if kind == 1:
        return b"GET /health HTTP/1.1\r\nHost: edge\r\n\r\n" * rng.randint(1, 3)
    if kind == 2:
        return b"0\r\n\r\n" + bytes(rng.randrange(256) for _ in range(rng.randint(0, 40)))
    return bytes(rng.randrange(256) for _ in range(rng.randint(1, 300)))


def chunked(rng, body):
    out = b""
    while body:
        size = rng.randint(1, len(body))
        extension = rng.choice((b"", b"", b"", b";a", b";a=b", b";a=b;c=d"))
        digits = rng.choice((b"%x", b"%X", b"0%x", b"000%x")) % size
        out += digits + extension + b"\r\n" + body[:size] + b"\r\n"
        body = body[size:]
    return out + rng.choice((b"0", b"000", b"0;a")) + b"\r\n\r\n"


def well_framed(rng, methods=METHODS, targets=TARGETS, fields=()):
    """(method, target, bytes) of a request that every reader must understand alike."""
    method, target = rng.choice(methods), rng.choice(targets)
    lines = [rng.choice((b"Host", letters(rng, b"Host"))) + b": edge", *rng.sample(FIELDS, rng.randint(0, 4)), *fields]
    body, coded = b"", b""
    if method in BODY_METHODS or rng.random() < 0.1:
        body = body_of(rng)
        if method in BODY_METHODS and rng.random() < 0.5:
            lines.append(letters(rng, b"Transfer-Encoding") + b": " + rng.choice((b"chunked", b"Chunked", b"\tchunked ")))
            coded = chunked(rng, body)
        else:
            lines.append(letters(rng, b"Content-Length") + rng.choice((b": %d", b":%d", b": %d ", b": 0%d")) % len(body))
            coded = body
    rng.shuffle(lines)
    return method, target, method + b" " + target + b" HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + coded


def mutated(rng, data):
    """With one to three defects, most of them where messages begin and end."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        head, gap, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        kind = rng.randrange(12)
        at = rng.randint(0, len(data))
        if kind == 0:
            data = data[:at] + rng.choice(BYTES) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + 1:]
        elif kind == 2:
            data = data[:at] + rng.choice(BYTES) + data[at + 1:]
        elif kind in (3, 4):
            lines.insert(rng.randint(1, len(lines)), rng.choice(FRAMING))
            data = b"\r\n".join(lines) + gap + body
        elif kind == 5:
            lines.insert(rng.randint(1, len(lines)), rng.choice(lines))
            data = b"\r\n".join(lines) + gap + body
        elif kind == 6:
            lines.pop(rng.randrange(len(lines)))
            data = b"\r\n".join(lines) + gap + body
        elif kind == 7:
            breaks = [i for i in range(len(data)) if data[i:i + 2] == b"\r\n"]
            if breaks:
                place = rng.choice(breaks)
                data = data[:place] + rng.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b"", b"\r\n\r\n", b" \r\n")) + data[place + 2:]
        elif kind == 8:
            lines[0] = lines[0].rsplit(b" ", 1)[0] + b" " + rng.choice(VERSIONS)
            data = b"\r\n".join(lines) + gap + body
        elif kind == 9:
            data = data[:at]
        elif kind == 10 and body:
            place = rng.randint(0, len(body))
            data = head + gap + body[:place] + rng.choice(BYTES) + body[place + rng.randint(0, 2):]
        else:
            size = rng.randint(0, len(head))
            data = head[:size] + rng.choice(BYTES) + head[size + rng.randint(0, 2):] + gap + body
    return data
