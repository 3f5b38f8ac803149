"""Counterparts on loopback: an OpenAI-compatible model that says what the test scripts, and a collector of OTLP traces."""
import http.server
import json
import threading


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
            return request.reply(self.script[0], {"error": {"message": "scripted"}})
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.send_header("Connection", "close")
        request.end_headers()
        request.close_connection = True
        for step in self.script:
            if step == "STALL":
                self.released.wait(60)
                return
            if step == "CUT":
                return
            self.say(request, {"choices": [{"index": 0, "delta": {"content": step}}]})
        self.say(request, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.say(request, {"choices": [], "usage": {"prompt_tokens": 111, "completion_tokens": 22}})
        request.wfile.write(b"data: [DONE]\n\n")

    def say(self, request, chunk):
        chunk = {"id": "c1", "object": "chat.completion.chunk", "model": self.name, **chunk}
        request.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        request.wfile.flush()

    def close(self):
        self.released.set()
        super().close()


class Embeddings(Server):
    """POST /embeddings: vectors by a scripted function of the text."""

    def __init__(self, vector):
        super().__init__(self.answer)
        self.vector, self.requests = vector, []

    def answer(self, request):
        asked = json.loads(request.body)
        self.requests.append(asked)
        data = [{"object": "embedding", "index": i, "embedding": self.vector(text)} for i, text in enumerate(asked["input"])]
        request.reply(200, {"object": "list", "data": data, "model": "stub-embedding", "usage": {"prompt_tokens": 7, "total_tokens": 7}})


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
