"""The console, the widget and the API's pages in headless Chromium; the checks themselves are in pages.test.mjs."""
import http.server
import os
import subprocess
import sys
import threading
import unittest
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../e2e"), os.path.join(HERE, "../support")]
import documents  # noqa: E402
from counterparts import Model  # noqa: E402
from fault_proxy import FaultProxy  # noqa: E402
from support import CACHE, Stack, register  # noqa: E402

HOSTILE = '<img src="https://evil.example/x.png" onerror="window.hacked=1"> [here](javascript:window.hacked=2) <script>window.hacked=3</script> ![p](https://evil.example/p.png)'
PAGE = '<!doctype html><html lang="{lang}"><title>A shop</title><main><h1>A shop</h1><a href="#x">a link</a></main><script src="{base}/widget.js" data-api-key="{key}" data-theme="{theme}"></script></html>'


class Shop(http.server.BaseHTTPRequestHandler):
    """A customer's page. /scripted: questions go to the model that stops in the middle; /cut: every connection breaks; /go-on."""
    edge = proxy = key = choose_model = model = None

    def do_GET(self):  # noqa: N802 (the library's name)
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/scripted":
            self.choose_model("scripted")
        elif url.path == "/cut":
            self.proxy.reset_all()
        elif url.path == "/go-on":
            self.model.go_on.set()
        base = f"http://127.0.0.1:{self.proxy.port}" if "proxy" in query else self.edge
        body = PAGE.format(lang=query.get("lang", "en"), theme=query.get("theme", "light"), base=base, key=self.key).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Pages(unittest.TestCase):
    def test_in_a_browser(self):
        model = Model("scripted")
        words = [f"word{n} " for n in range(60)]
        model.script = [*words[:30], "PAUSE", *words[30:], HOSTILE]
        stack = Stack(probe=False, env={"MILLRACE_AUTH_RATE": "1000000", "MILLRACE_CHAT_RATE": "1000000", "MILLRACE_LLM_URL": "local",
                                        "MILLRACE_LLM_URL_2": model.url, "MILLRACE_LLM_MODEL_2": "scripted"})
        shop = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
        try:
            edge = stack.edge()
            me = register(edge)
            answer = me.upload("espresso-machine-en.docx", documents.sample("espresso-machine-en.docx"))
            self.assertEqual(me.wait_job(answer.job)["status"], "succeeded")
            tenant = "/api/v1/tenants/" + me.call("GET", "/api/v1/auth/me").json["tenant_id"]
            shop_url = f"http://127.0.0.1:{shop.server_address[1]}"
            self.assertEqual(me.call("PATCH", tenant, {"settings": {"allowed_origins": [shop_url]}}).status, 200)
            Shop.key = me.call("GET", tenant + "/embed-snippet").json["api_key"]
            Shop.edge = edge
            Shop.model = model
            Shop.choose_model = lambda shop, model: me.call("PATCH", tenant, {"settings": {"llm_model": model}})
            Shop.proxy = FaultProxy("127.0.0.1", urllib.parse.urlsplit(edge).port)
            threading.Thread(target=shop.serve_forever, daemon=True).start()
            done = subprocess.run(["node", "--test", "--test-reporter=spec", os.path.join(HERE, "pages.test.mjs")], timeout=500, env={
                **os.environ, "EDGE": edge, "SHOP": shop_url, "EMAIL": me.account["email"], "PASSWORD": me.account["password"],
                "SAMPLE": os.path.join(documents.SAMPLES, "staff-handbook-ja.pdf"), "NPM": os.path.join(CACHE, "npm")})
            self.assertEqual(done.returncode, 0, "pages.test.mjs")
        finally:
            shop.shutdown()
            stack.destroy()
            model.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
