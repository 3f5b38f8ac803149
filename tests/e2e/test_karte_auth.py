"""Signing in to karte: the mailed link, its page, the two tokens, the session, and where it leads."""
import base64
import concurrent.futures
import json
import re
import unittest
import urllib.parse
import uuid

from support import Client, Stack, eventually, mail_link, register

SEND = "/api/auth-send-magic-link"
VERIFY = "/api/auth-verify-token"
BROWSER = {"Accept": "text/html,application/xhtml+xml", "Accept-Language": "en-US,en;q=0.8"}


def address():
    return f"{uuid.uuid4().hex[:12]}@example.com"


def path_of(url):
    return urllib.parse.urlsplit(url).path


def in_parallel(number, call):
    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        return list(pool.map(lambda _: call(), range(number)))


class Karte(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(probe=False, env={"MILLRACE_TRUSTED_PROXIES": "127.0.0.1"}, edges=2)
        cls.edge = Client(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def setUp(self):
        self.ip = f"10.{uuid.uuid4().int % 250}.{uuid.uuid4().int % 250}.{uuid.uuid4().int % 250}"  # limits count by it

    def call(self, method, path, body=None, headers=None, edge=None):
        return (edge or self.edge).call(method, path, body, {"X-Forwarded-For": self.ip, **(headers or {})})

    def ask(self, email, headers=None):
        answer = self.call("POST", SEND, {"email": email}, headers)
        self.assertEqual(answer.status, 200, answer.text)
        return answer

    def link_for(self, email, headers=None):
        before = len(self.stack.mails(to=email, template="magic_link", seconds=0))
        self.ask(email, headers)
        return mail_link(self.stack.mails(to=email, template="magic_link", count=before + 1)[-1])

    def confirmed(self, email):
        """The path that the button leads to."""
        answer = self.call("POST", path_of(self.link_for(email)))
        self.assertEqual(answer.status, 303, answer.text)
        return answer.headers["location"]

    def sign_in(self, email):
        answer = self.call("GET", self.confirmed(email))
        self.assertEqual(answer.status, 302, answer.text)
        return answer.headers["location"].partition("#token=")[2]

    def sessions_of(self, email):
        return int(self.stack.sql("SELECT count(*) FROM sessions s JOIN users u ON u.id = s.user_id "
                                  f"WHERE u.realm = 'karte' AND u.email_key = lower('{email}')"))

    def assert_error(self, answer, status, word=""):
        self.assertEqual(answer.status, status, answer.text)
        self.assertEqual(set(answer.json) - {"retryAfter"}, {"error", "message"})
        self.assertRegex(answer.json["message"], r"[\u3040-\u30ff\u4e00-\u9fff]", "in Japanese")
        self.assertIn(word, answer.json["message"])

    def test_health(self):
        answer = self.call("GET", "/api/health")
        self.assertEqual((answer.status, answer.json), (200, {"status": "ok"}))

    def test_the_contract_s_example(self):
        body = b'{\n  "email": "user@example.com"\n}'
        answer = self.call("POST", SEND, body, {"Content-Type": "application/json"})
        self.assertEqual((answer.status, answer.json), (200, {"message": "Magic link sent successfully", "email": "user@example.com"}))

    def test_the_whole_way(self):
        email = address()
        link = self.link_for(email)
        self.assertTrue(link.startswith(self.stack.edge() + "/login/"), link)
        self.assertGreaterEqual(len(path_of(link).removeprefix("/login/")), 43, "256 bits")
        page = self.call("GET", path_of(link), headers=BROWSER)
        self.assertEqual((page.status, page.headers["content-type"]), (200, "text/html; charset=utf-8"))
        self.assertEqual((page.headers["referrer-policy"], page.headers["cache-control"]), ("no-referrer", "no-store"))
        self.assertRegex(page.text, r'(?s)<html lang="en">.*<form method="post".*<button')
        self.assertIn('<html lang="ja">', self.call("GET", path_of(link)).text)
        form = re.search(r'action="([^"]+)"', page.text).group(1)
        answer = self.call("POST", path_of(urllib.parse.urljoin(link, form)), b"",
                           {**BROWSER, "Origin": "null", "Sec-Fetch-Site": "same-origin"})
        self.assertEqual(answer.status, 303, answer.text)
        handover = answer.headers["location"]
        self.assertRegex(handover, r"^/api/auth-verify-token\?token=[\w-]{43}$")
        self.assertNotIn(path_of(link).removeprefix("/login/"), handover, "a second token")
        answer = self.call("GET", handover, headers=BROWSER)
        self.assertEqual(answer.status, 302, answer.text)
        place, _, token = answer.headers["location"].partition("#token=")
        self.assertEqual(place, "/login/done")
        self.assertEqual(self.call("GET", place, headers=BROWSER).status, 200)

        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        self.assertEqual((claims["email"], claims["type"]), (email, "session"))
        self.assertEqual(claims["exp"] - claims["iat"], 365 * 86400)
        self.assertEqual(self.sessions_of(email), 1)
        me = Client(self.stack.edge(), token)
        self.assertEqual(me.call("GET", "/api/jobs").status, 200, "it is a session")
        self.assertEqual(me.call("DELETE", "/api/auth-session").status, 204)
        self.assert_error(me.call("DELETE", "/api/auth-session"), 401)

    def test_a_revoked_session_stops_working_on_every_edge(self):
        token = self.sign_in(address())
        other = Client(self.stack.edge(2), token)
        self.assertEqual(other.call("GET", "/api/jobs").status, 200)
        self.assertEqual(Client(self.stack.edge(), token).call("DELETE", "/api/auth-session").status, 204)
        eventually(lambda: other.call("GET", "/api/jobs").status == 401, 5, "the end of the session on the other edge")

    def test_known_and_unknown_addresses_get_the_same(self):
        known, unknown = address(), address()
        self.sign_in(known)
        first, second = self.ask(known), self.ask(unknown)
        self.assertEqual(first.text.replace(known, "*"), second.text.replace(unknown, "*"))
        changing = {"date", "traceparent"}
        self.assertEqual({k: v for k, v in first.headers.items() if k not in changing and k != "content-length"},
                         {k: v for k, v in second.headers.items() if k not in changing and k != "content-length"})
        self.stack.mails(to=unknown, template="magic_link")

    def test_an_address_is_one_account_however_it_is_written(self):
        email = address()
        self.sign_in(email)
        self.sign_in(email.upper())
        self.assertEqual(self.sessions_of(email), 2)
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM users WHERE realm = 'karte' AND email_key = '{email}'"), "1")

    def test_scanners_change_nothing(self):
        email = address()
        path = path_of(self.link_for(email))
        pages = {self.call(method, path, headers={"User-Agent": "scanner"}).status for method in ("GET", "HEAD") for _ in range(25)}
        self.assertEqual(pages, {200})
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM users WHERE email_key = '{email}'"), "0")
        self.assertEqual(self.call("POST", path).status, 303)
        again = self.call("POST", path)
        self.assertEqual((again.status, again.headers["content-type"]), (410, "text/html; charset=utf-8"))
        self.assertEqual(self.call("GET", path).status, 410)

    def test_parallel_buttons_one_wins(self):
        path = path_of(self.link_for(address()))
        answers = in_parallel(32, lambda: self.call("POST", path).status)
        self.assertEqual((answers.count(303), answers.count(410)), (1, 31))

    def test_parallel_verifications_make_one_session(self):
        email = address()
        path = self.confirmed(email)
        self.assertEqual(self.call("HEAD", path).status, 200, "HEAD uses nothing up")
        answers = in_parallel(32, lambda: self.call("GET", path).status)
        self.assertEqual((answers.count(302), answers.count(401)), (1, 31))
        self.assertEqual(self.sessions_of(email), 1)

    def test_the_mailed_token_verifies_too_and_once(self):
        email = address()
        token = path_of(self.link_for(email)).removeprefix("/login/")
        self.assertEqual(self.call("GET", f"{VERIFY}?token={token}").status, 302)
        self.assert_error(self.call("GET", f"{VERIFY}?token={token}"), 401)
        self.assertEqual(self.call("POST", f"/login/{token}").status, 410)
        self.assertEqual(self.sessions_of(email), 1)

    def test_bad_tokens(self):
        for query in ("", "?token=", "?other=x"):
            self.assert_error(self.call("GET", VERIFY + query), 400, "token")
        for token in ("x", "A" * 43, "a%00b", "%E3%81%82", "'; DROP TABLE users; --".replace(" ", "%20"), "x" * 3000):
            answer = self.call("GET", f"{VERIFY}?token={token}")
            self.assertIn(answer.status, (400, 401), token)
            self.assert_error(answer, answer.status, "token")
            self.assertEqual(self.call("GET", f"/login/{token}").status, 410, token)
            self.assertEqual(self.call("POST", f"/login/{token}").status, 410, token)
        page = self.call("GET", f"{VERIFY}?token=x", headers=BROWSER)
        self.assertEqual((page.status, page.headers["content-type"], page.headers["www-authenticate"]),
                         (401, "text/html; charset=utf-8", "Bearer"))
        self.assertIn("does not work any more", page.text)
        self.assertIn("このリンクは使えません", self.call("GET", f"{VERIFY}?token=x", headers={"Accept": "text/html"}).text)

    def test_expired(self):
        email = address()
        path = path_of(self.link_for(email))
        late = f"UPDATE challenges SET expires_at = now() - interval '1 second' WHERE subject = '{email}'"
        self.stack.sql(late)
        self.assertEqual((self.call("GET", path).status, self.call("POST", path).status), (410, 410))
        path = self.confirmed(email2 := address())
        self.stack.sql(late.replace(email, email2))
        self.assert_error(self.call("GET", path), 401)
        lifetimes = self.stack.sql("SELECT DISTINCT purpose, round(extract(epoch FROM expires_at - created_at)) FROM challenges "
                                   f"WHERE realm = 'karte' AND subject NOT IN ('{email}', '{email2}') ORDER BY 1")
        self.assertIn("magic_link|600", lifetimes)
        token = self.sign_in(address())
        self.stack.sql("UPDATE sessions SET expires_at = now() WHERE audience = 'karte'")
        self.assert_error(Client(self.stack.edge(2), token).call("DELETE", "/api/auth-session"), 401)

    def test_a_newer_link_replaces_the_older(self):
        email = address()
        old = path_of(self.link_for(email))
        new = path_of(self.link_for(email))
        self.assertEqual((self.call("POST", old).status, self.call("POST", new).status), (410, 303))

    def test_links_do_not_follow_the_request_s_host(self):
        email = address()
        link = self.link_for(email, {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https",
                                     "Forwarded": "host=evil.example"})
        self.assertTrue(link.startswith(self.stack.edge() + "/login/"), link)
        answer = self.call("POST", path_of(link), headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
        self.assertNotIn("evil", answer.headers["location"])

    def test_nothing_in_the_request_says_where_to_go(self):
        path = self.confirmed(address())
        more = "&".join(f"{name}=https://evil.example" for name in ("returnUrl", "redirect", "redirect_uri", "next", "url"))
        answer = self.call("GET", f"{path}&{more}", headers={"Host": "evil.example", "Referer": "https://evil.example/"})
        self.assertTrue(answer.headers["location"].startswith("/login/done#token="), answer.headers["location"])

    def test_other_sites_cannot_press_the_button(self):
        path = path_of(self.link_for(address()))
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
                        {"Origin": self.stack.edge(), "Sec-Fetch-Site": "cross-site"}):
            self.assert_error(self.call("POST", path, headers=headers), 403)
        self.assertEqual(self.call("POST", path, headers={"Origin": self.stack.edge()}).status, 303)

    def test_bad_bodies_name_the_field(self):
        for body in ({}, {"email": ""}, {"email": "nobody"}, {"email": 7}, {"email": None}, {"email": "a@b"}, {"email": "a b@example.com"},
                     {"email": "a@example.com\r\nBcc: x@example.com"}, {"email": "a" * 300 + "@example.com"}):
            self.setUp()
            self.assert_error(self.call("POST", SEND, body), 400, "email")
        for raw in (b"", b"{", b"[]", b'{"email":"a@example.com","email":"b@example.com"}', b'{"email":"\xff@example.com"}'):
            self.setUp()
            self.assert_error(self.call("POST", SEND, raw, {"Content-Type": "application/json"}), 400)
        self.assert_error(self.call("POST", SEND, b'{"email":"' + b"a" * (1 << 20) + b'"}'), 413)

    def assert_limited(self, answer):
        self.assert_error(answer, 429)
        wait = answer.json["retryAfter"]
        self.assertTrue(1 <= wait <= 60, wait)
        self.assertEqual(answer.headers["retry-after"], str(wait))
        self.assertEqual(answer.json, {"error": "Too many requests", "retryAfter": wait,
                                       "message": "リクエスト制限に達しました。しばらくしてから再度お試しください。"})

    def test_five_a_minute_from_one_address(self):
        for _ in range(5):
            self.ask(address())
        self.assert_limited(self.call("POST", SEND, {"email": address()}))
        self.assert_limited(self.call("POST", SEND, {"email": address()}, edge=Client(self.stack.edge(2))))
        self.setUp()
        self.ask(address())

    def test_five_a_minute_to_one_address(self):
        email = address()
        for number in range(5):
            self.setUp()
            self.ask(email if number % 2 else email.upper())
        self.setUp()
        self.assert_limited(self.call("POST", SEND, {"email": email}))
        self.ask(address())

    def test_other_methods_and_other_paths(self):
        for method, path, allow in (("GET", SEND, "POST"), ("PUT", SEND, "POST"), ("POST", VERIFY, "GET"), ("GET", "/api/auth-session", "DELETE"),
                                    ("POST", "/api/health", "GET"), ("DELETE", "/login/x", "GET")):
            answer = self.call(method, path)
            self.assert_error(answer, 405)
            self.assertIn(allow, answer.headers["allow"])
        for path in ("/api/auth-no-such-thing", "/api/create-nothing", "/login", "/login/a/b"):
            self.assert_error(self.call("GET", path), 404)

    def test_any_origin_may_call(self):
        for headers in ({}, {"Origin": "https://anywhere.example"}):
            answer = self.call("GET", "/api/health", headers=headers)
            self.assertEqual(answer.headers["access-control-allow-origin"], "*")
            self.assertNotIn("access-control-allow-credentials", answer.headers)
        asked = self.call("OPTIONS", SEND, headers={"Origin": "https://anywhere.example", "Access-Control-Request-Method": "POST"})
        self.assertEqual((asked.status, asked.headers["access-control-allow-origin"]), (204, "*"))
        self.assertIn("POST", asked.headers["access-control-allow-methods"])
        for name in ("Content-Type", "Authorization"):
            self.assertIn(name, asked.headers["access-control-allow-headers"])
        self.assertEqual(self.call("POST", SEND, {}, {"Origin": "https://anywhere.example"}).headers["access-control-allow-origin"], "*")

    def test_sessions_open_their_own_product_only(self):
        me = Client(self.stack.edge(), self.sign_in(address()))
        for method, path in (("GET", "/api/v1/auth/me"), ("GET", "/test/rate-limit/check"), ("GET", f"/api/users/{uuid.uuid4()}/thli-quota")):
            self.assertEqual(me.call(method, path).status, 401, path)
        other = register(self.stack.edge())
        self.assert_error(other.call("DELETE", "/api/auth-session"), 401)
        for token in ("", "x", "mrs_" + "A" * 43, me.token + "x", me.token[:-2]):
            self.assert_error(Client(self.stack.edge(), token).call("DELETE", "/api/auth-session"), 401)

    def test_a_closed_account(self):
        email = address()
        self.sign_in(email)
        path = self.confirmed(email)
        self.stack.sql(f"UPDATE users SET is_active = false WHERE email_key = '{email}'")
        self.assert_error(self.call("GET", path), 403)
        self.assertEqual(self.sessions_of(email), 1)

    def test_no_secret_is_logged(self):
        email = address()
        link = path_of(self.link_for(email)).removeprefix("/login/")
        handover = self.call("POST", "/login/" + link).headers["location"].partition("=")[2]
        session = self.call("GET", f"{VERIFY}?token={handover}").headers["location"].partition("=")[2]
        logs = self.stack.logs(lines=100_000)
        for secret in (link, handover, session):
            self.assertNotIn(secret, logs)
        stored = self.stack.sql("SELECT encode(mac, 'escape'), data FROM challenges") + self.stack.sql("SELECT encode(input, 'escape') FROM jobs")
        self.assertNotIn(link, stored)


class Destinations(unittest.TestCase):
    """Where a sign-in leads when the deployment says so."""

    def sign_in(self, env):
        stack = Stack(probe=False, env=env)
        self.addCleanup(stack.destroy)
        edge, email = Client(stack.edge()), address()
        self.assertEqual(edge.call("POST", SEND, {"email": email}).status, 200)
        path = path_of(mail_link(stack.mails(to=email)[-1]))
        policy = edge.call("GET", path).headers["content-security-policy"]
        answer = edge.call("GET", edge.call("POST", path).headers["location"])
        return answer, policy, stack

    def test_a_success_page(self):
        answer, policy, _ = self.sign_in({"MILLRACE_KARTE_SUCCESS_URL": "https://karte.example/done?x=1"})
        place, _, token = answer.headers["location"].partition("#token=")
        self.assertEqual((answer.status, place), (302, "https://karte.example/done?x=1"))
        self.assertEqual(token.count("."), 2)
        self.assertRegex(policy, r"form-action 'self' https://karte\.example(;|$)", "browsers hold redirects after a form against it")

    def test_a_checkout_page(self):
        answer, policy, stack = self.sign_in({"MILLRACE_KARTE_CHECKOUT_URL": "https://pay.example/buy",
                                              "MILLRACE_KARTE_SUCCESS_URL": "https://karte.example/done"})
        self.assertEqual((answer.status, answer.headers["location"]), (302, "https://pay.example/buy"))
        self.assertRegex(policy, r"form-action 'self' https://karte\.example https://pay\.example(;|$)")
        self.assertEqual(stack.sql("SELECT count(*) FROM users WHERE realm = 'karte' AND is_verified"), "1")
        self.assertEqual(stack.sql("SELECT count(*) FROM sessions"), "0", "none that nobody would receive")


if __name__ == "__main__":
    unittest.main(verbosity=2)
