"""Requests as bytes, each with the clause that decides it and the answers it must get.

Answers are written as: 200 (connection stays open), 200. (answered, then closed), 400! (refused for its framing, then closed),
H200 (to HEAD: no body), ?100 (interim, or not), ~ (and nothing more is asked). What comes after a refusal is never answered."""
import collections

Case = collections.namedtuple("Case", "name clause data expect")
CASES = []
JOB = b'{"kind":"probe.ok","input":{}}'
AUTH = b"Authorization: Bearer {token}"
CHUNKED = b"Transfer-Encoding: chunked"
MISSING = b"/no/such/path"


def case(name, clause, data, expect):
    CASES.append(Case(name, clause, data, expect))


def request(method, target, fields, body=b"", version=b"HTTP/1.1", host=b"Host: edge"):
    head = [b" ".join((method, target, version))] + ([host] if host else []) + list(fields)
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def get(*fields, target=b"/health", **more):
    return request(b"GET", target, fields, **more)


def post(*fields, body=JOB, length=None, **more):
    """A job with its Content-Length."""
    length = b"%d" % len(body) if length is None else length
    return request(b"POST", b"/api/jobs", (AUTH, b"Content-Type: application/json", b"Content-Length: " + length, *fields), body, **more)


def coded(*fields, body=None, te=CHUNKED, **more):
    """A job in the chunked coding."""
    body = chunks(JOB) if body is None else body
    return request(b"POST", b"/api/jobs", (AUTH, b"Content-Type: application/json", te, *fields), body, **more)


def chunks(data, size=None, extension=b"", trailer=b""):
    size = size or len(data)
    parts = [data[at:at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n" + trailer + b"\r\n"


def request_lines():
    clause = "RFC 9112 §3"
    case("plain GET", clause, get(), "200")
    case("two in a row", "RFC 9112 §9.3", get() + get(), "200 200")
    for name, line in {
        "two spaces before the target": b"GET  /health HTTP/1.1", "two spaces before the version": b"GET /health  HTTP/1.1",
        "tab before the target": b"GET\t/health HTTP/1.1", "tab before the version": b"GET /health\tHTTP/1.1",
        "space after the version": b"GET /health HTTP/1.1 ", "tab after the version": b"GET /health HTTP/1.1\t",
        "space before the method": b" GET /health HTTP/1.1", "no version": b"GET /health", "no target": b"GET HTTP/1.1",
        "method alone": b"GET", "space in the target": b"GET /hea lth HTTP/1.1", "vertical tab": b"GET\x0b/health HTTP/1.1",
        "form feed": b"GET\x0c/health HTTP/1.1", "bare CR as a space": b"GET\r/health HTTP/1.1",
        "NUL in the method": b"GE\x00T /health HTTP/1.1", "NUL in the target": b"GET /hea\x00lth HTTP/1.1",
        "NUL in the version": b"GET /health HTTP/1.1\x00", "bare CR at the end": b"GET /health HTTP/1.1\r",
        "bytes above 0x7F in the target": b"GET /h\xc3\xa9alth HTTP/1.1", "DEL in the target": b"GET /hea\x7flth HTTP/1.1",
    }.items():
        case(name, clause, line + b"\r\nHost: edge\r\n\r\n" + get(), "400!")
    clause = "RFC 9112 §2.3"
    for version in (b"http/1.1", b"HTTP/1,1", b"HTTP/11", b"HTTP/1.10", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/01.1", b"HTTP/1.01", b"HTTP/-1.1",
                    b"HTTP/ 1.1", b"HTTP 1.1", b"HTTPS/1.1", b"HTTP/a.b", b"HTTP/1.1x", b"Http/1.1", b"HTTP\\1.1", b"HTTP/+1.1", b"ICY/1.1"):
        case(f"version {version.decode()}", clause, get(version=version) + get(), "400!")
    for version in (b"HTTP/2.0", b"HTTP/3.0", b"HTTP/0.9", b"HTTP/9.9", b"HTTP/0.0"):
        case(f"version {version.decode()}", "RFC 9110 §15.6.6", get(version=version) + get(), "505!")
    for version in (b"HTTP/1.2", b"HTTP/1.9"):
        case(f"minor version {version.decode()} is served as 1.1", "RFC 9110 §2.5", get(version=version), "200")
    case("HTTP/2 preface", "RFC 9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505!")
    case("one empty line before the request", "RFC 9112 §2.2", b"\r\n" + get(), "200")
    case("one empty line between requests", "RFC 9112 §2.2", get() + b"\r\n" + get(), "200 200")
    case("one empty line after a body", "RFC 9112 §2.2", post() + b"\r\n" + get(), "202 200")
    case("two empty lines before the request", "RFC 9112 §2.2", b"\r\n\r\n" + get(), "400!")
    case("bare LF before the request", "RFC 9112 §2.2", b"\n" + get(), "400!")
    case("whitespace before the first header", "RFC 9112 §2.2", b"GET /health HTTP/1.1\r\n Host: edge\r\n\r\n" + get(), "400!")
    case("garbage", clause, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400!")
    case("TLS hello without a line end", clause, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), "400!")
    case("NUL bytes", clause, bytes(32), "400!")
    case("LF line ends", "RFC 9112 §2.2", b"GET /health HTTP/1.1\nHost: edge\n\n" + get(), "400!")
    case("LF after the request line", "RFC 9112 §2.2", b"GET /health HTTP/1.1\nHost: edge\r\n\r\n" + get(), "400!")


def methods():
    clause = "RFC 9110 §9.1"
    for method in (b"PROPFIND", b"BREW", b"get", b"Get", b"GETX", b"PATCHY", b"M!#$%&'*+-.^_`|~", b"GET-", b"LINK"):
        case(f"method {method.decode()} is not known", clause, request(method, b"/health", ()) + get(), "501!")
    for method in (b"G(T", b"G@T", b"GE,T", b"G:T", b'G"T', b"G[T", b"G{T", b"G\\T", b"G/T", b"\xc7ET", b"G=T", b"G\x01T", b"G;T"):
        case(f"method {method!r} is no token", "RFC 9110 §5.6.2", request(method, b"/health", ()) + get(), "400!")
    for method in (b"TRACE", b"QUERY"):
        case(f"{method.decode()} is allowed nowhere", "RFC 9110 §15.5.6", request(method, b"/health", ()) + get(), "405 200")
    case("CONNECT", "RFC 9110 §9.3.6", request(b"CONNECT", b"example.com:443", ()) + get(), "501!")
    case("a method of 9,000 bytes", clause, request(b"A" * 9000, b"/health", ()), "414!")
    case("HEAD has no body", "RFC 9110 §9.3.2", request(b"HEAD", b"/health", ()) + get(), "H200 200")
    case("HEAD of nothing", "RFC 9110 §9.3.2", request(b"HEAD", MISSING, ()) + get(), "H404 200")
    case("HEAD, HEAD, GET", "RFC 9110 §9.3.2", request(b"HEAD", b"/health", ()) * 2 + get(), "H200 H200 200")
    case("a refused HEAD has no body", "RFC 9110 §9.3.2", request(b"HEAD", b"/health", (b"Bad Name: x",)), "H400!")
    case("a HEAD with too large a body has no body", "RFC 9110 §9.3.2", request(b"HEAD", b"/health", (b"Content-Length: 99999999",)), "H413!")
    case("405 names what is allowed", "RFC 9110 §15.5.6", request(b"DELETE", b"/health", ()) + get(), "405 200")
    case("405 to PUT with a body", "RFC 9110 §15.5.6", request(b"PUT", b"/health", (b"Content-Length: 5",), b"GET /") + get(), "405 200")
    case("405 to PATCH with a chunked body", "RFC 9110 §15.5.6", request(b"PATCH", b"/health", (CHUNKED,), chunks(b"hello")) + get(), "405 200")
    case("OPTIONS of a path", "RFC 9110 §9.3.7", request(b"OPTIONS", b"/health", ()) + get(), "204 200")
    case("OPTIONS of the server", "RFC 9110 §9.3.7", request(b"OPTIONS", b"*", ()) + get(), "204 200")
    case("OPTIONS of the server with a body", "RFC 9110 §9.3.7",
         request(b"OPTIONS", b"*", (b"Content-Length: %d" % len(get()),), get()) + get(target=MISSING), "204 404")
    case("OPTIONS of the server with an oversized body", "RFC 9110 §15.5.14", request(b"OPTIONS", b"*", (b"Content-Length: 99999999",)), "413!")
    case("GET with a body keeps its boundary", "RFC 9110 §9.3.1", get(b"Content-Length: %d" % len(get()), body=get()) + get(target=MISSING), "200 404")
    case("DELETE with a body keeps its boundary", "RFC 9110 §9.3.5",
         request(b"DELETE", MISSING, (b"Content-Length: 4",), b"GET ") + get(), "404 200")


def targets():
    clause = "RFC 9112 §3.2"
    case("query", clause, get(target=b"/health?a=b&c=d%20e"), "200")
    case("empty query", clause, get(target=b"/health?"), "200")
    case("nothing there", "RFC 9110 §15.5.5", get(target=MISSING), "404")
    case("question marks in the query", "RFC 3986 §3.4", get(target=b"/health?a=?/?"), "200")
    case("percent-encoded path is data", "RFC 3986 §2.4", get(target=b"/%2e%2e/health"), "404")
    case("dot segments are not resolved", "RFC 3986 §6.2.2.3", get(target=b"/api/../health"), "404")
    case("double slash", "RFC 3986 §3.3", get(target=b"//health"), "404")
    case("encoded slash separates nothing", "RFC 3986 §2.2", get(target=b"/api%2Fjobs"), "404")
    case("encoded NUL", "RFC 3986 §2.1", get(target=b"/health%00"), "404")
    for target in (b"/%", b"/%a", b"/%zz", b"/%0g", b"/a%2", b"/a?b=%", b"/a%%20"):
        case(f"broken percent-encoding {target.decode()}", "RFC 3986 §2.1", get(target=target) + get(), "400!")
    for target in (b"/a#b", b"/a\\b", b'/a"b', b"/a<b", b"/a>b", b"/a^b", b"/a`b", b"/a{b", b"/a|b", b"/a}b", b"/\x1b", b"/\x01"):
        case(f"character not allowed in {target!r}", "RFC 3986 §2", get(target=target) + get(), "400!")
    for target in (b"health", b"example.com", b"example.com:80", b"*", b"?", b"?a", b"http:", b"http:/", b"http://", b"http:///health", b"ftp://edge/health",
                   b"http://user@edge/health", b"http://user:pw@edge/health", b"file:///etc/passwd", b"javascript:x", b"http://ed ge/", b"http://[::1/health",
                   b"http://edge:99999999/health", b"http://edge:x/health", b"http://\xff/"):
        case(f"target {target!r}", "RFC 9112 §3.2", get(target=target) + get(), "400!")
    clause = "RFC 9112 §3.2.2"
    case("absolute form", clause, get(target=b"http://edge/health"), "200")
    case("absolute form, https", clause, get(target=b"https://edge/health"), "200")
    case("absolute form, scheme in capitals", "RFC 3986 §3.1", get(target=b"HTTP://edge/health"), "200")
    case("absolute form with port and query", clause, get(target=b"http://edge:8080/health?x=1"), "200")
    case("absolute form without a path", clause, get(target=b"http://edge"), "404")
    case("absolute form with a query alone", clause, get(target=b"http://edge?x"), "404")
    case("absolute form beats Host", clause, get(target=b"http://other/health"), "200")
    case("absolute form of IPv6", clause, get(target=b"http://[::1]:80/health"), "200")
    case("absolute form still needs Host", clause, get(target=b"http://edge/health", host=None) + get(), "400!")
    case("GET of *", "RFC 9112 §3.2.4", get(target=b"*") + get(), "400!")
    case("a target of 4,096 bytes", "RFC 9110 §4.1", get(target=b"/" + b"a" * 4095), "404")
    case("a target of 4,097 bytes", "RFC 9110 §15.5.15", get(target=b"/" + b"a" * 4096) + get(), "414!")
    case("a target of 9,000 bytes", "RFC 9110 §15.5.15", get(target=b"/" + b"a" * 8999) + get(), "414!")
    case("a target of 100,000 bytes", "RFC 9110 §15.5.15", get(target=b"/" + b"a" * 99999), "414!")


def hosts():
    clause = "RFC 9112 §3.2"
    case("no Host", clause, get(host=None) + get(), "400!")
    case("no Host in HTTP/1.0", "RFC 9112 §3.2", get(host=None, version=b"HTTP/1.0"), "200.")
    case("Host twice", clause, get(b"Host: edge") + get(), "400!")
    case("Host twice, different", clause, get(b"Host: other") + get(), "400!")
    case("Host twice, in other letters", clause, get(b"hOST: edge") + get(), "400!")
    for host in (b"", b"a b", b"a/b", b"a,b", b"a@b", b"user@edge", b"edge:", b"edge:80", b"[::1]", b"[::1]:80", b"127.0.0.1:1", b"xn--bcher-kva.example",
                 b"a_b", b"edge:x", b"edge:80:80", b"edge:-1", b"edge:999999", b"[::1", b"::1", b"[zz]", b"[]", b"[::1]x", b"a?b", b"a#b", b"a\\b", b"http://edge",
                 b"\xc3\xa9", b"a\tb", b"a%zz", b"a%4", b"a%41", b"[:::]", b"[1:2]", b"edge:80 ", b"[::1%25eth0]", b"a" * 300, b"a\x7fb"):
        good = host in (b"edge:", b"edge:80", b"[::1]", b"[::1]:80", b"127.0.0.1:1", b"xn--bcher-kva.example", b"a_b", b"a%41", b"edge:80 ")
        # A comma is a sub-delim of a reg-name, but no host has one, and a list of two hosts looks like it: refused.
        case(f"Host {host[:40]!r}", "RFC 9110 §7.2", get(host=b"Host: " + host) + get(), "200 200" if good else "400!")


def fields():
    clause = "RFC 9112 §5"
    case("no space after the colon", clause, get(host=b"Host:edge"), "200")
    case("spaces and tabs around the value", clause, get(host=b"Host: \t edge \t "), "200")
    case("an empty value", "RFC 9110 §5.5", get(b"X-Empty:"), "200")
    case("obs-text in a value", "RFC 9110 §5.5", get(b"X-Text: \xe9\xff"), "200")
    case("the same field twice", "RFC 9110 §5.3", get(b"X-A: 1", b"X-A: 2"), "200")
    case("all token characters in a name", "RFC 9110 §5.6.2", get(b"!#$%&'*+-.^_`|~09aZ: x"), "200")
    for name, line in {
        "space before the colon": b"X-A : x", "tab before the colon": b"X-A\t: x", "no colon": b"X-A", "empty name": b": x", "space in a name": b"X A: x",
        "NUL in a name": b"X\x00A: x", "NUL in a value": b"X-A: a\x00b", "bare CR in a value": b"X-A: a\rb", "bare CR in a name": b"X\rA: x",
        "bare LF in a value": b"X-A: a\nb", "LF and a field": b"X-A: a\nContent-Length: 5", "CR and a field": b"X-A: a\rContent-Length: 5",
        "ESC in a value": b"X-A: \x1b[0m", "DEL in a value": b"X-A: a\x7f", "bell in a value": b"X-A: \x07", "vertical tab in a value": b"X-A: \x0b",
        "parenthesis in a name": b"X(A): x", "comma in a name": b"X,A: x", "slash in a name": b"X/A: x", "at in a name": b"X@A: x",
        "quote in a name": b'X"A: x', "bracket in a name": b"X[A]: x", "brace in a name": b"X{A}: x", "obs-text in a name": b"X\xe9: x",
        "equals in a name": b"X=A: x", "obs-fold": b"X-A: a\r\n b", "obs-fold with a tab": b"X-A: a\r\n\tb", "obs-fold of nothing": b"X-A: a\r\n ",
        "CR CR LF": b"X-A: a\r", "bare CR alone on a line": b"\r",
        "underscore imitation of Content-Length": b"Content_Length: 5", "underscore imitation of Transfer-Encoding": b"Transfer_Encoding: chunked",
        "underscore imitation in capitals": b"TRANSFER_ENCODING: chunked",
    }.items():
        case(name, clause, get(line) + get(), "400!")
    case("space before the colon of Content-Length", "RFC 9112 §5.1", request(b"POST", b"/api/jobs", (AUTH, b"Content-Length : 30"), JOB), "400!")
    case("space before the colon of Transfer-Encoding", "RFC 9112 §5.1", request(b"POST", b"/api/jobs", (AUTH, b"Transfer-Encoding : chunked"), chunks(JOB)), "400!")
    case("64 fields", "RFC 6585 §5", get(*[b"X-%d: x" % n for n in range(63)]), "200")
    case("65 fields", "RFC 6585 §5", get(*[b"X-%d: x" % n for n in range(64)]) + get(), "431!")
    case("1,000 fields", "RFC 6585 §5", get(*[b"A: " for n in range(1000)]) + get(), "431!")
    case("a field of 7,000 bytes", "RFC 9110 §5.4", get(b"X-A: " + b"a" * 7000), "200")
    case("a field of 9,000 bytes", "RFC 6585 §5", get(b"X-A: " + b"a" * 9000) + get(), "431!")
    case("a head of 100,000 bytes without an end", "RFC 6585 §5", b"GET /health HTTP/1.1\r\nHost: edge\r\nX-A: " + b"a" * 100000, "431!")
    case("a field name of 9,000 bytes", "RFC 6585 §5", get(b"a" * 9000 + b": x"), "431!")


def lengths():
    clause = "RFC 9112 §6.3"
    case("a job", clause, post(), "202")
    case("a job, then GET", clause, post() + get(), "202 200")
    case("no body and no length", clause, request(b"POST", b"/api/jobs", (AUTH,)) + get(), "400 200")
    case("length zero", clause, post(body=b"", length=b"0") + get(), "400 200")
    case("leading zeros in a length", "RFC 9110 §8.6", post(length=b"0030") + get(), "202 200")
    case("spaces around the number", "RFC 9112 §5", post(length=b"  30\t ") + get(), "202 200")
    for value in (b"+30", b"-30", b"-0", b"30,30", b"30, 30", b"30 30", b"0x1e", b"1e1", b"30.0", b"", b"thirty", b"30;", b'"30"', b"3_0", b"30\x0b", b"\xb30",
                  b"99999999999999999999", b"18446744073709551616", b"9223372036854775808000", b"0" * 40 + b"30", b"30\x00", b"=30", b"30 chunked", b"NaN"):
        case(f"Content-Length {value[:24]!r}", "RFC 9110 §8.6", post(length=value) + get(), "400!")
    case("length given twice, equal", clause, post(b"Content-Length: 30") + get(), "400!")
    case("length given twice, different", clause, post(b"Content-Length: 5") + get(), "400!")
    case("length given twice on GET", clause, get(b"Content-Length: 0", b"Content-Length: 0") + get(), "400!")
    case("a length that the body falls short of", clause, post(length=b"25") + get(), "400 400!")
    case("a body of exactly 1 MiB", "RFC 9110 §15.5.14", post(body=b" " * ((1 << 20) - 30) + JOB) + get(), "202 200")
    case("a body of 1 MiB and a byte", "RFC 9110 §15.5.14", post(body=b" " * ((1 << 20) - 29) + JOB) + get(), "413!")
    case("a length of 9 EB", "RFC 9110 §15.5.14", post(length=b"9223372036854775807"), "413!")
    case("a length of 19 nines", "RFC 9110 §15.5.14", post(length=b"9999999999999999999"), "413!")


def transfer_codings():
    clause = "RFC 9112 §6.1"
    case("chunked", "RFC 9112 §7.1", coded() + get(), "202 200")
    case("chunked in capitals", "RFC 9110 §7.6.1", coded(te=b"Transfer-Encoding: CHUNKED") + get(), "202 200")
    case("chunked with spaces around", "RFC 9112 §5", coded(te=b"Transfer-Encoding: \tchunked\t ") + get(), "202 200")
    for value in (b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"chunked,", b",chunked", b"chunked;q=1", b"x-chunked", b"chunke",
                  b"chunkedx", b"", b"chunked, identity", b"identity, chunked", b"deflate", b"c hunked", b'"chunked"', b"chunked foo", b"xchunked", b"cow",
                  b"trailers", b"chunked;a"):
        case(f"Transfer-Encoding {value!r}", clause, coded(te=b"Transfer-Encoding: " + value) + get(), "501!")
    for value in (b"chunked\x00", b"\x0bchunked", b"chunked\x0c", b"chun\rked", b"\x00chunked", b"chunked\x7f"):
        case(f"Transfer-Encoding {value!r}", clause, coded(te=b"Transfer-Encoding: " + value) + get(), "400!")
    case("Transfer-Encoding twice", clause, coded(CHUNKED) + get(), "400!")
    case("Transfer-Encoding twice, the second unknown", clause, coded(b"Transfer-Encoding: x") + get(), "400!")
    case("Transfer-Encoding twice, the first unknown", clause, coded(CHUNKED, te=b"Transfer-Encoding: identity") + get(), "400!")
    case("folded Transfer-Encoding", "RFC 9112 §5.2", coded(te=b"Transfer-Encoding:\r\n chunked") + get(), "400!")
    both = "RFC 9112 §6.3"
    case("Content-Length, then Transfer-Encoding", both, post(CHUNKED, body=chunks(JOB)) + get(), "400!")
    case("Transfer-Encoding, then Content-Length", both, coded(b"Content-Length: 30") + get(), "400!")
    case("CL.TE", both, request(b"POST", b"/api/jobs", (AUTH, b"Content-Length: 6", CHUNKED), b"0\r\n\r\nG") + get(), "400!")
    case("TE.CL", both, request(b"POST", b"/api/jobs", (AUTH, CHUNKED, b"Content-Length: 4"), b"5c\r\n" + get() + b"\r\n0\r\n\r\n"), "400!")
    case("Transfer-Encoding and Content-Length 0", both, coded(b"Content-Length: 0") + get(), "400!")
    case("unknown coding and Content-Length", both, post(b"Transfer-Encoding: identity") + get(), "400!")
    case("chunked in HTTP/1.0", clause, coded(version=b"HTTP/1.0") + get(), "400!")
    case("chunked in HTTP/1.0 with keep-alive", clause, coded(b"Connection: keep-alive", version=b"HTTP/1.0") + get(), "400!")
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS"):
        head = "H" if method == b"HEAD" else ""
        case(f"chunked {method.decode()}", "RFC 9110 §9.3", request(method, b"/health", (CHUNKED,), chunks(b"hello")) + get(), head + "400!")
    case("hidden behind a vertical tab", clause, coded(te=b"Transfer-Encoding:\x0bchunked") + get(), "400!")
    case("hidden by a NUL in the name", clause, coded(te=b"Transfer-Encoding\x00: chunked") + get(), "400!")
    case("a line before it ends with LF alone", clause, coded(te=b"X: x\nTransfer-Encoding: chunked") + get(), "400!")
    case("TE asks for trailers", "RFC 9110 §10.1.4", get(b"TE: trailers", b"Connection: TE"), "200")


def chunked_bodies():
    clause = "RFC 9112 §7.1"
    case("many chunks", clause, coded(body=chunks(JOB, 1)) + get(), "202 200")
    case("hex in capitals", clause, coded(body=b"1E\r\n" + JOB + b"\r\n0\r\n\r\n") + get(), "202 200")
    case("leading zeros", clause, coded(body=b"0000001e\r\n" + JOB + b"\r\n0\r\n\r\n") + get(), "202 200")
    case("several zeros at the end", clause, coded(body=b"1e\r\n" + JOB + b"\r\n0000\r\n\r\n") + get(), "202 200")
    case("an empty body", clause, coded(body=b"0\r\n\r\n") + get(), "400 200")
    case("10,000 chunks of a byte", clause, coded(body=chunks(b" " * 9970 + JOB, 1)) + get(), "202 200")
    for size in (b"g", b"", b" ", b"-1", b"+1e", b"0x1e", b"1e ", b" 1e", b"1e\t", b"1 e", b"1e,", b"1e.0", b"\x001e", b"1e\x00", b"1e\x0b", b"1_e", b"#1e", b"1e=1",
                 b"00000000000000001e", b"1g", b"\xb11e", b"1e\r", b"z1e"):
        case(f"chunk size {size!r}", clause, coded(body=size + b"\r\n" + JOB + b"\r\n0\r\n\r\n") + get(), "400!")
    for size in (b"ffffffffffffffff", b"8000000000000000", b"7fffffffffffffff", b"100000000", b"00000000100001"):
        case(f"chunk size {size.decode()} is too large", "RFC 9112 §7.1.1", coded(body=size + b"\r\n" + JOB + b"\r\n0\r\n\r\n") + get(), "413!")
    case("chunk size of 17 digits", "RFC 9112 §7.1", coded(body=b"1" + b"0" * 16 + b"\r\n" + JOB) + get(), "400!")
    case("chunk size that wraps around", "RFC 9112 §7.1", coded(body=b"1000000000000001e\r\n" + JOB + b"\r\n0\r\n\r\n") + get(), "400!")
    case("more than 1 MiB in chunks", "RFC 9110 §15.5.14", coded(body=chunks(b" " * (1 << 20) + JOB, 65536)) + get(), "413!")
    for name, body in {
        "size line ends with LF": b"1e\n" + JOB + b"\r\n0\r\n\r\n", "data ends with LF": b"1e\r\n" + JOB + b"\n0\r\n\r\n",
        "data has no line end": b"1e\r\n" + JOB + b"0\r\n\r\n", "chunk longer than its size": b"1d\r\n" + JOB + b"\r\n0\r\n\r\n",
        "chunk shorter than its size": b"1f\r\n" + JOB + b"\r\n0\r\n\r\n", "last line ends with LF": b"1e\r\n" + JOB + b"\r\n0\r\n\n",
        "last chunk ends with LF": b"1e\r\n" + JOB + b"\r\n0\n\r\n", "CR CR LF after the size": b"1e\r\r\n" + JOB + b"\r\n0\r\n\r\n",
        "two spaces instead of a line end": b"1e\r\n" + JOB + b"  0\r\n\r\n", "CR alone after data": b"1e\r\n" + JOB + b"\rX0\r\n\r\n",
        "a byte between data and line end": b"1e\r\n" + JOB + b"X\r\n0\r\n\r\n", "an empty line between chunks": b"1e\r\n" + JOB + b"\r\n\r\n0\r\n\r\n",
        "bytes after the last chunk": b"1e\r\n" + JOB + b"\r\n0\r\nX\r\n\r\n",
    }.items():
        case(name, clause, coded(body=body) + get(), "400!")
    clause = "RFC 9112 §7.1.1"
    for extension in (b";a", b";a=b", b";a=1;b=2", b";ext-name=tok!en"):
        case(f"chunk extension {extension.decode()}", clause, coded(body=chunks(JOB, extension=extension)) + get(), "202 200")
    for extension in (b";", b";;", b";a;", b";=", b";a=", b";=b", b";a==b", b";a=b=c", b';a="b', b';a="\r\n"', b";a\nb", b";a\rb", b";a b", b"; a", b" ;a", b";a=b c",
                      b";a\x00", b";a=\x80", b";(a)", b";" + b"a" * 300, b";a" * 200, b";a=" + b"b" * 5000, b';a="b"'):
        # Quoted and padded extensions are legal and refused all the same: nobody but an attacker sends them.
        case(f"chunk extension {extension[:20]!r}", clause, coded(body=chunks(JOB, extension=extension)) + get(), "400!")
    case("a size line without an end", clause, coded(body=b"1" * 1000), "400!")
    clause = "RFC 9112 §7.1.2"
    for trailer in (b"X-A: b\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: evil\r\n", b"Authorization: x\r\n", b"no colon\r\n",
                    b" folded\r\n", b"X: " + b"a" * 70000 + b"\r\n", b"X: a\r\n" * 2000):
        # A server may refuse trailers; Boost 1.81 mistakes their fields for those of the head.
        case(f"trailer {trailer[:20]!r}", clause, coded(b"Trailer: x", body=chunks(JOB, trailer=trailer)) + get(), "400!")


def expectations():
    clause = "RFC 9110 §10.1.1"
    case("Expect without a body", clause, get(b"Expect: 100-continue"), "200")
    case("Expect with the body at once", clause, post(b"Expect: 100-continue"), "?100 202")
    case("Expect in capitals", clause, post(b"EXPECT: 100-CONTINUE"), "?100 202")
    case("Expect with a length too large is refused before the body", clause, post(b"Expect: 100-continue", body=b"", length=b"99999999"), "413!")
    case("Expect in HTTP/1.0 is ignored", clause, post(b"Expect: 100-continue", version=b"HTTP/1.0"), "202.")
    for value in (b"200-ok", b"100-continue, x", b"", b"100", b"100-continue;q=1", b"x100-continue"):
        case(f"Expect {value!r}", "RFC 9110 §15.5.18", post(b"Expect: " + value) + get(), "417!")
    case("Expect twice", clause, post(b"Expect: 100-continue", b"Expect: 100-continue") + get(), "400!")


def persistence():
    clause = "RFC 9112 §9.3"
    case("close", clause, get(b"Connection: close") + get(), "200.")
    case("close in capitals", clause, get(b"Connection: CLOSE") + get(), "200.")
    case("close among others", clause, get(b"Connection: foo, close, bar") + get(), "200.")
    case("close in a second field", clause, get(b"Connection: keep-alive", b"Connection: close") + get(), "200.")
    case("close and keep-alive", clause, get(b"Connection: close, keep-alive") + get(), "200.")
    case("keep-alive", clause, get(b"Connection: keep-alive") + get(), "200 200")
    case("closed is another word", clause, get(b"Connection: closed") + get(), "200 200")
    case("an empty list", "RFC 9110 §5.6.1", get(b"Connection: , ,") + get(), "200 200")
    case("HTTP/1.0 closes", clause, get(version=b"HTTP/1.0") + get(), "200.")
    case("HTTP/1.0 with keep-alive", "RFC 9112 §C.2.2", get(b"Connection: keep-alive", version=b"HTTP/1.0") + get(), "200 200")
    case("HTTP/1.0 with Keep-Alive", "RFC 9112 §C.2.2", get(b"Connection: Keep-Alive", version=b"HTTP/1.0") + get(), "200 200")
    case("HTTP/1.0 with both", clause, get(b"Connection: keep-alive, close", version=b"HTTP/1.0") + get(), "200.")
    case("HTTP/1.0 job", clause, post(version=b"HTTP/1.0"), "202.")
    case("close after a job", clause, post(b"Connection: close") + get(), "202.")
    case("upgrade is ignored", "RFC 9110 §7.8", get(b"Connection: Upgrade", b"Upgrade: websocket") + get(), "200 200")
    case("h2c upgrade is ignored", "RFC 9110 §7.8", get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), "200")
    case("Connection names a framing field", "RFC 9110 §7.6.1", post(b"Connection: Content-Length") + get(), "202 200")
    case("Proxy-Connection means nothing", "RFC 9112 §C.2.2", get(b"Proxy-Connection: close") + get(), "200 200")
    clause = "RFC 9112 §9.3.2"
    case("100 in a row", clause, get() * 100, " ".join(["200"] * 100))
    case("in order", clause, (get() + get(target=MISSING) + post() + request(b"DELETE", b"/health", ()) + coded()) * 4, " ".join(["200 404 202 405 202"] * 4))
    case("a good one after a refused one is not answered", clause, get() + get(host=None) + get(), "200 400!")
    case("a refusal after a job", clause, post() + coded(b"Content-Length: 3") + get(), "202 400!")
    case("bytes of a request inside a body are its own", clause, post(body=get() + get()) + get(), "400 200")
    case("bytes of a request inside a chunk are its own", clause, coded(body=chunks(get() * 3)) + get(), "400 200")
    case("a second request that never ends", clause, get() + b"GET /heal", "200 ~")
    case("an unauthenticated job keeps its boundary", clause, post().replace(AUTH, b"X-A: b") + get(), "401 200")
    case("a bad credential", "RFC 9110 §11.6.1", get(b"Authorization: Bearer x.y.z", target=b"/api/jobs"), "401")
    case("another scheme", "RFC 9110 §11.6.1", get(b"Authorization: Basic eDp5", target=b"/api/jobs"), "401")
    case("a credential of 4,000 bytes", "RFC 9110 §11.6.1", get(b"Authorization: Bearer " + b"a" * 4000, target=b"/api/jobs"), "401")


for section in (request_lines, methods, targets, hosts, fields, lengths, transfer_codings, chunked_bodies, expectations, persistence):
    section()
