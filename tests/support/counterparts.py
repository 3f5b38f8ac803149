"""Counterparts on loopback: an OpenAI-compatible model that says what the test scripts, a Pinecone index, a collector of OTLP traces."""
import base64
import http.server
import json
import random
import re
import struct
import sys
import threading
import urllib.parse


class Server:
    """A threaded HTTP server on a free port; `handle(request)` answers POSTs."""

    def __init__(self, handle):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or the body waits 40 ms for the head's acknowledgement

            def do_POST(self):  # noqa: N802 (the library's name)
                self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                handle(self)

            def log_message(self, *arguments):
                pass

            def reply(self, status, body, content_type="application/json"):
                payload = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                if not isinstance(sys.exc_info()[1], ConnectionError):  # who asked was killed, or gave up
                    super().handle_error(request, client_address)

        self.server = Listener(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


CREATED = 1750000000
USAGE = {"prompt_tokens": 111, "completion_tokens": 22, "total_tokens": 133}


def refusal(message, kind="invalid_request_error", code=None):
    """An error body as the API documents it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


class Model(Server):
    """POST /chat/completions. `script` is a list of steps: text is streamed as one delta, "STALL" stops until close(), "PAUSE" waits for `go_on`,
    "CUT" drops the connection, an integer is the HTTP status of a refusal. Requests are kept with their headers."""

    def __init__(self, name):
        super().__init__(self.answer)
        self.name, self.script, self.requests, self.released = name, ["hello"], [], threading.Event()
        self.go_on = threading.Event()

    def answer(self, request):
        asked = json.loads(request.body)
        self.requests.append({"path": request.path, "headers": dict(request.headers), "body": asked})
        if isinstance(self.script[0], int):
            return request.reply(self.script[0], refusal("scripted"))
        self.give(request, asked, self.script)

    def give(self, request, asked, steps):
        if asked.get("stream"):
            return self.stream(request, steps, asked.get("stream_options", {}).get("include_usage"))
        message = {"role": "assistant", "content": "".join(steps), "refusal": None}
        request.reply(200, {"id": "c1", "object": "chat.completion", "created": CREATED, "model": self.name, "usage": USAGE,
                            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]})

    def stream(self, request, steps, include_usage):
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.send_header("Connection", "close")
        request.end_headers()
        request.close_connection = True
        for step in steps:
            if step == "STALL":
                self.released.wait(60)
                return
            if step == "PAUSE":
                self.go_on.wait(60)
                continue
            if step == "CUT":
                return
            self.say(request, {"choices": [{"index": 0, "delta": {"content": step}, "finish_reason": None}]})
        self.say(request, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if include_usage:
            self.say(request, {"choices": [], "usage": USAGE})
        request.wfile.write(b"data: [DONE]\n\n")

    def say(self, request, chunk):
        chunk = {"id": "c1", "object": "chat.completion.chunk", "created": CREATED, "model": self.name, **chunk}
        request.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        request.wfile.flush()

    def close(self):
        self.released.set()
        self.go_on.set()
        super().close()


class Obedient(Model):
    """A model that does whatever an injection asks of it. It knows an injection by its mark (INJ and the number of its line), however
    mangled the rest of it arrived, and repeats besides everything that it was sent, with every address in it made into links and images,
    unless it is asked to answer BRIEFLY."""

    MARK = re.compile(r"INJ(\d{3})", re.IGNORECASE)
    ADDRESS = re.compile(r"(?:https?://|www\.)[^\s<>\"')\]]+", re.IGNORECASE)
    PASSAGE = re.compile(r'<(passage-\S+) number="(\d+)">\n(.*?)\n</\1>', re.DOTALL)

    def __init__(self, name, injections, shown):
        super().__init__(name)
        self.injections, self.shown = injections, shown

    def reply_to(self, messages):
        prompt = "\n".join(message["content"] for message in messages)
        passages = {int(number): text for _, number, text in self.PASSAGE.findall(prompt)}
        secret = urllib.parse.quote(messages[-1]["content"][-40:], safe="")
        said = ["As you wish. "]
        for number in sorted(set(self.MARK.findall(prompt))):
            obeyed = self.injections[int(number)]["obey"]
            for name, value in (("{prompt}", prompt), ("{secret}", secret), ("{url}", self.shown),
                                ("{other}", next((text[-60:] for text in reversed(passages.values())), ""))):
                obeyed = obeyed.replace(name, value)
            said.append(obeyed + "\n\n")
        if "BRIEFLY" in messages[-1]["content"]:  # short enough to be remembered
            return "".join(said)[:400]
        for address in sorted(set(self.ADDRESS.findall(prompt))):
            said.append(f"![i]({address}) [l]({address}?d={secret}) <{address}> {address}[99]?d={secret} {address})?{secret}\n")
        for number in range(len(passages) + 2):
            said.append(f'Forged claim {number}[{number}: "forged claim {number}"][{number}]. ')
            said.append(f'Swapped[{number}: "{passages.get(number % len(passages) + 1, "")[:50] if passages else ""}"]. ')
        return "".join(said)

    def answer(self, request):
        asked = json.loads(request.body)
        text = self.reply_to(asked["messages"])
        # Cut at places that differ from answer to answer, and the same in each run.
        cuts = random.Random(len(text))
        self.requests.append({"path": request.path, "headers": dict(request.headers), "body": asked, "said": text})
        at, steps = 0, []
        while at < len(text):
            size = cuts.choice((1, 5, 40, 200, 400))
            steps.append(text[at:at + size])
            at += size
        self.give(request, asked, steps)


class Embeddings(Server):
    """POST /embeddings: vectors by a scripted function of the text, as numbers or as base64 of little-endian floats; nobody is answered
    while `hold` is clear. `refuses` is the HTTP status of a refusal, while it is set."""

    def __init__(self, vector):
        super().__init__(self.answer)
        self.vector, self.requests, self.hold, self.waiting, self.refuses = vector, [], threading.Event(), 0, None
        self.hold.set()

    def answer(self, request):
        asked = json.loads(request.body)
        self.requests.append(asked)
        self.waiting += 1
        self.hold.wait(60)
        self.waiting -= 1
        if self.refuses:
            return request.reply(self.refuses, refusal("scripted", "server_error"))
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        data = [{"object": "embedding", "index": i, "embedding": self.spelled(self.vector(text), asked)} for i, text in enumerate(texts)]
        request.reply(200, {"object": "list", "data": data, "model": "stub-embedding", "usage": {"prompt_tokens": 7, "total_tokens": 7}})

    @staticmethod
    def spelled(vector, asked):
        if asked.get("encoding_format") != "base64":
            return vector
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


class Pinecone(Server):
    """A Pinecone index: POST /vectors/upsert, /vectors/delete, /query. Refuses what the real one refuses: another key, too many records
    or bytes, other dimensions. `lag`: writes are not seen by queries until settle(); `refuse`: a status for every call."""

    def __init__(self, key, dimensions):
        super().__init__(self.answer)
        self.key, self.dimensions, self.lag, self.refuse = key, dimensions, False, None
        self.spaces, self.pending, self.requests, self.lock = {}, [], [], threading.Lock()

    def answer(self, request):
        if self.refuse or request.headers.get("Api-Key") != self.key:
            return request.reply(self.refuse or 401, {"code": 16, "message": "scripted" if self.refuse else "Invalid API Key", "details": []})
        if not request.headers.get("X-Pinecone-Api-Version") or len(request.body) > 2 << 20:
            return request.reply(400, {"code": 3, "message": "no version, or more than 2 MB", "details": []})
        asked = json.loads(request.body)
        with self.lock:
            self.requests.append((request.path, asked))
            status, body = {"/vectors/upsert": self.upsert, "/vectors/delete": self.delete, "/query": self.query}[request.path](asked)
        request.reply(status, body)

    def upsert(self, asked):
        vectors = asked["vectors"]
        if not 1 <= len(vectors) <= 1000:
            return 400, {"code": 3, "message": f"{len(vectors)} records", "details": []}
        for vector in vectors:
            if len(vector["values"]) != self.dimensions:
                return 400, {"code": 3, "message": f"Vector dimension {len(vector['values'])} does not match the dimension of the index "
                                                   f"{self.dimensions}", "details": []}
        self.write(lambda: self.spaces.setdefault(asked["namespace"], {}).update({v["id"]: v for v in vectors}))
        return 200, {"upsertedCount": len(vectors)}

    def delete(self, asked):
        if not 1 <= len(asked["ids"]) <= 1000:
            return 400, {"code": 3, "message": "ids", "details": []}
        self.write(lambda: [self.spaces.get(asked["namespace"], {}).pop(one, None) for one in asked["ids"]])
        return 200, {}

    def query(self, asked):
        accepted = asked.get("filter", {}).get("generation", {}).get("$in")
        found = [{"id": v["id"], "score": self.cosine(v["values"], asked["vector"])} for v in self.spaces.get(asked["namespace"], {}).values()
                 if accepted is None or v["metadata"]["generation"] in accepted]
        found.sort(key=lambda match: -match["score"])
        return 200, {"matches": found[:asked["topK"]], "namespace": asked["namespace"], "usage": {"readUnits": 1}}

    def write(self, act):
        if self.lag:
            self.pending.append(act)
        else:
            act()

    def settle(self):
        with self.lock:
            self.lag = False
            for act in self.pending:
                act()
            self.pending.clear()

    def count(self):
        with self.lock:
            return sum(len(space) for space in self.spaces.values())

    @staticmethod
    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b)) / ((sum(x * x for x in a) or 1) * (sum(y * y for y in b) or 1)) ** 0.5


class Payments(Server):
    """A payment service: POST /v1/checkout/sessions; `status` is what it answers with. `settings` are a system's that sells every plan
    through it, but for one yearly one."""

    def __init__(self):
        super().__init__(self.answer)
        self.requests, self.status = [], 200
        self.settings = {"MILLRACE_STRIPE_URL": self.url, "MILLRACE_STRIPE_KEY": "sk_test_of_ours",
                         "MILLRACE_STRIPE_PRICES": "STARTER:MONTHLY=price_starter_m,STARTER:YEARLY=price_starter_y,PRO:MONTHLY=price_pro_m,"
                                                   "ENTERPRISE:MONTHLY=price_enterprise_m,ENTERPRISE:YEARLY=price_enterprise_y"}

    def answer(self, request):
        self.requests.append((dict(request.headers), dict(urllib.parse.parse_qsl(request.body.decode()))))
        request.reply(self.status, {"id": "cs_test_1", "object": "checkout.session", "url": "https://pay.example.com/cs_test_1"})


class Collector(Server):
    """OTLP/HTTP JSON: POST /v1/traces."""

    def __init__(self):
        super().__init__(self.take)
        self.spans = []

    def take(self, request):
        for resource in json.loads(request.body)["resourceSpans"]:
            service = {a["key"]: a["value"].get("stringValue") for a in resource["resource"]["attributes"]}["service.name"]
            for scope in resource["scopeSpans"]:
                self.spans += [{"service": service, **span} for span in scope["spans"]]
        request.reply(200, {})
