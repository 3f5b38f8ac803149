"""Counterparts on loopback: an OpenAI-compatible model that says what the test scripts, a Pinecone index, a collector of OTLP traces."""
import base64
import http.server
import json
import random
import re
import struct
import threading
import urllib.parse


class Server:
    """A threaded HTTP server on a free port; `handle(request)` answers POSTs."""

    def __init__(self, handle):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

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

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
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
    """POST /chat/completions. `script` is a list of steps: text is streamed as one delta, "STALL" stops until close(), "CUT" drops
    the connection, an integer is the HTTP status of a refusal. Requests are kept with their headers."""

    def __init__(self, name):
        super().__init__(self.answer)
        self.name, self.script, self.requests, self.released = name, ["hello"], [], threading.Event()

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
    """POST /embeddings: vectors by a scripted function of the text, as numbers or as base64 of little-endian floats. `refuses` is the
    HTTP status of a refusal, while it is set; nobody is answered while `hold` is clear."""

    def __init__(self, vector):
        super().__init__(self.answer)
        self.vector, self.requests, self.refuses, self.hold, self.waiting = vector, [], None, threading.Event(), 0
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
