"""Signing in to planner and habits: one-time codes, their limits, sessions, and development's x-user-id."""
import concurrent.futures
import re
import time
import unittest
import uuid

from support import Client, Stack, eventually, mail_code, register

SEND, VERIFY, CHECK = "/api/otp/send", "/api/otp/verify", "/test/rate-limit/check"
PURPOSES = ("email_verify", "password_reset", "invite_accept", "login")


def address():
    return f"{uuid.uuid4().hex[:12]}@example.com"


def wrong(code):
    return f"{(int(code) + 1) % 1_000_000:06}"


class Base(unittest.TestCase):
    def setUp(self):
        # Windows are aligned: no test begins where one ends, so that it does not count in two.
        eventually(lambda: time.time() % 600 < 580, 25, "the next window")
        self.ip = f"10.{uuid.uuid4().int % 250}.{uuid.uuid4().int % 250}.{uuid.uuid4().int % 250}"  # limits count by it

    def call(self, method, path, body=None, headers=None, edge=None):
        return (edge or self.edge).call(method, path, body, {"X-Forwarded-For": self.ip, **(headers or {})})

    def send(self, email, purpose="login"):
        return self.call("POST", SEND, {"email": email, "purpose": purpose})

    def verify(self, email, code, purpose="login"):
        return self.call("POST", VERIFY, {"email": email, "purpose": purpose, "code": code})

    def code_for(self, email, purpose="login"):
        before = len(self.stack.mails(to=email, template="otp", seconds=0))
        answer = self.send(email, purpose)
        self.assertEqual(answer.status, 200, answer.text)
        return mail_code(self.stack.mails(to=email, template="otp", count=before + 1)[-1])

    def fresh_limits(self, email):
        answer = self.call("POST", "/test/rate-limit/reset", {"email": email}, {"x-user-id": "tester"})
        self.assertEqual((answer.status, answer.json), (200, {"success": True}))

    def sign_in(self, email=None):
        email = email or address()
        answer = self.verify(email, self.code_for(email))
        self.assertEqual(answer.status, 200, answer.text)
        return Client(self.edge.base, answer.json["session_token"]), answer.json

    def assert_error(self, answer, status, title, word=""):
        self.assertEqual((answer.status, answer.json["error"]), (status, title), answer.text)
        self.assertIn(word, answer.json["message"])
        self.assertEqual(set(answer.json) - {"details", "reset_at", "valid"}, {"error", "message"})

    def assert_limit(self, answer, limit, remaining, window=600):
        self.assertEqual((answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]), (str(limit), str(remaining)))
        reset = int(answer.headers["x-ratelimit-reset"])
        self.assertEqual(reset % window, 0, "windows are aligned")
        self.assertLess(0, reset - time.time() + 1)
        self.assertLessEqual(reset - time.time(), window + 1)
        return reset

    def assert_limited(self, answer, action, limit, window=600):
        reset = self.assert_limit(answer, limit, 0, window)
        self.assertEqual((answer.status, answer.json), (429, {"error": "Too Many Requests", "reset_at": reset,
                                                              "message": f"Rate limit exceeded for {action}. Try again later."}))
        self.assertLessEqual(abs(int(answer.headers["retry-after"]) - (reset - time.time())), 2)


class Planner(Base):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(probe=False, env={"MILLRACE_TRUSTED_PROXIES": "127.0.0.1"}, edges=2)
        cls.edge = Client(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def test_health(self):
        answer = self.call("GET", "/health")
        self.assertEqual((answer.status, set(answer.json)), (200, {"status", "timestamp", "environment"}))
        self.assertEqual((answer.json["status"], answer.json["environment"]), ("ok", "development"))
        self.assertLess(abs(answer.json["timestamp"] - time.time()), 5)

    def test_the_contract_s_examples(self):
        sent = self.call("POST", SEND, b'{\n    "email": "alice@example.com",\n    "purpose": "email_verify"\n  }')
        self.assertEqual((sent.status, sent.json), (200, {"success": True, "message": "OTP sent successfully", "expires_in": 600}))
        guess = self.call("POST", VERIFY, b'{\n    "email": "alice@example.com",\n    "purpose": "email_verify",\n    "code": "123456"\n  }')
        self.assertEqual((guess.status, guess.json), (400, {"valid": False, "message": "Invalid or expired OTP", "error": "Bad Request"}))

    def test_every_purpose(self):
        for purpose in PURPOSES:
            with self.subTest(purpose):
                email = address()
                code = self.code_for(email, purpose)
                self.assertEqual(self.verify(email, code, PURPOSES[PURPOSES.index(purpose) - 1]).status, 400, "of another purpose")
                answer = self.verify(email.upper(), code, purpose)
                self.assertEqual(answer.status, 200, answer.text)
                self.assertEqual((answer.json["valid"], answer.json["message"]), (True, "OTP verified successfully"))
                more = {"session_token", "expires_at", "user_id"} if purpose == "login" else set()
                self.assertEqual(set(answer.json), {"valid", "message"} | more)
                self.assertEqual(self.verify(email, code, purpose).status, 400, "once")
                self.assertEqual(self.stack.sql(f"SELECT count(*) FROM users WHERE realm = 'planner' AND email_key = '{email}'"),
                                 "1" if purpose == "login" else "0")

    def test_a_login_opens_planner_and_habits_and_nothing_else(self):
        me, said = self.sign_in(email := address())
        self.assertRegex(said["session_token"], r"^mrs_[\w-]{43}$")
        self.assertRegex(said["expires_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        checked = me.call("GET", CHECK)
        self.assertEqual((checked.status, checked.json["user_id"]), (200, said["user_id"]))
        self.assertEqual(me.call("GET", f"/api/users/{said['user_id']}/thli-quota").status, 200)
        for method, path in (("GET", "/api/v1/auth/me"), ("DELETE", "/api/auth-session")):
            self.assertEqual(me.call(method, path).status, 401, path)
        self.assert_error(register(self.stack.edge()).call("GET", CHECK), 401, "Unauthorized")
        self.fresh_limits(email)
        again = self.verify(email, self.code_for(email))
        self.assertEqual(again.json["user_id"], said["user_id"], "the same account")
        self.stack.sql(f"UPDATE sessions SET revoked_at = now() WHERE user_id = '{said['user_id']}'")
        eventually(lambda: me.call("GET", f"/api/users/{said['user_id']}/thli-quota").status == 401, 5, "the end of the session")

    def test_a_closed_account(self):
        email = address()
        _, said = self.sign_in(email)
        code = self.code_for(email)
        self.stack.sql(f"UPDATE users SET is_active = false WHERE id = '{said['user_id']}'")
        self.assert_error(self.verify(email, code), 403, "Forbidden")

    def test_what_is_wrong_is_said_in_the_contract_s_order(self):
        for path, body, word in (
                (SEND, {}, "email, purpose"), (SEND, {"email": ""}, "email, purpose"), (SEND, {"email": "no address"}, "purpose"),
                (SEND, {"email": "no address", "purpose": "no purpose"}, "email"), (SEND, {"email": "a@example.com", "purpose": "no purpose"}, "purpose"),
                (SEND, {"email": 7, "purpose": "login"}, "email"), (SEND, {"email": "a@example.com", "purpose": ["login"]}, "purpose"),
                (SEND, {"email": "a" * 300 + "@example.com", "purpose": "login"}, "email"),
                (SEND, {"email": "a@example.com\nBcc: b@example.com", "purpose": "login"}, "email"),
                (VERIFY, {"email": "a@example.com", "purpose": "login"}, "code"), (VERIFY, {}, "email, purpose, code"),
                (VERIFY, {"email": "a@b", "purpose": "x", "code": "1"}, "email"), (VERIFY, {"email": "a@example.com", "purpose": "x", "code": "1"}, "purpose"),
                (VERIFY, {"email": "a@example.com", "purpose": "login", "code": 123456}, "code"),
                (VERIFY, {"email": "a@example.com", "purpose": "login", "code": "1" * 100}, "code")):
            with self.subTest(path, body=body):
                self.fresh_limits(body.get("email") if isinstance(body.get("email"), str) and len(body["email"]) < 255 else None)
                answer = self.call("POST", path, body)
                self.assert_error(answer, 400, "Bad Request", word)
                self.assertIn("x-ratelimit-reset", answer.headers)
                self.assertNotIn("valid", answer.json)
        for raw in (b"", b"{", b"[]", b'{"email":"a@example.com","email":"b@example.com","purpose":"login"}'):
            self.fresh_limits(None)
            self.assert_error(self.call("POST", SEND, raw), 400, "Bad Request")
        self.assert_error(self.call("POST", SEND, b'{"email":"' + b"a" * (1 << 20) + b'"}'), 413, "Payload Too Large")

    def test_three_to_one_address(self):
        email = address()
        for _ in range(3):
            self.setUp()
            self.assert_limit(self.send(email), 10, 9)  # of the limit counted last
        self.setUp()
        self.assert_limited(self.send(email.upper(), "email_verify"), "otp_send", 3)
        self.assert_limited(self.call("POST", SEND, {"email": email}, edge=Client(self.stack.edge(2))), "otp_send", 3)

    def test_ten_from_one_ip(self):
        for left in range(9, -1, -1):
            self.assert_limit(self.send(address()), 10, left)
        self.assert_limited(self.send(address()), "otp_send_ip", 10)

    def test_bodies_without_an_address_share_a_count(self):
        self.fresh_limits(None)
        for body in ({}, {"email": None}, {"purpose": "login"}):
            self.setUp()
            self.assertEqual(self.call("POST", SEND, body).status, 400)
        self.setUp()
        self.assert_limited(self.call("POST", SEND, b"{"), "otp_send", 3)
        self.fresh_limits(None)

    def test_five_tries_at_a_code(self):
        email = address()
        code = self.code_for(email, "email_verify")
        for left in range(4, -1, -1):
            answer = self.verify(email, wrong(code), "email_verify")
            self.assertEqual((answer.status, answer.json["valid"]), (400, False))
            self.assert_limit(answer, 5, left)
        self.assert_limited(self.verify(email, code, "email_verify"), "otp_try", 5)
        self.fresh_limits(email)
        self.assertEqual(self.verify(email, code, "email_verify").status, 400, "even the right one, once its tries are spent")

    def test_a_hundred_guesses_at_once(self):
        email = address()
        code = self.code_for(email)
        edges = (self.edge, Client(self.stack.edge(2)))
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda n: self.call("POST", VERIFY, {"email": email, "purpose": "login", "code": wrong(code)},
                                                        edge=edges[n % 2]).status, range(100)))
        self.assertEqual((answers.count(400), answers.count(429)), (5, 95))
        self.assertEqual(self.stack.sql(f"SELECT tries_left FROM challenges WHERE subject = '{email}'"), "0")
        self.fresh_limits(email)
        self.assertEqual(self.verify(email, code).status, 400)

    def test_a_right_code_in_parallel_signs_in_once(self):
        email = address()
        code = self.code_for(email)
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            answers = sorted(pool.map(lambda _: self.verify(email, code).status, range(5)))
        self.assertEqual(answers, [200, 400, 400, 400, 400])
        self.assertEqual(self.stack.sql("SELECT count(*) FROM sessions s JOIN users u ON u.id = s.user_id "
                                        f"WHERE u.email_key = '{email}'"), "1")

    def test_a_new_code_replaces_the_old_and_codes_expire(self):
        email = address()
        old, new = self.code_for(email), self.code_for(email)
        if old != new:
            self.assertEqual(self.verify(email, old).status, 400)
        self.assertEqual(self.stack.sql("SELECT extract(epoch FROM expires_at - created_at)::int FROM challenges "
                                        f"WHERE subject = '{email}' AND used_at IS NULL"), "600")
        self.stack.sql(f"UPDATE challenges SET expires_at = now() WHERE subject = '{email}'")
        self.assertEqual(self.verify(email, new).status, 400)

    def test_x_user_id(self):
        names = ("user-alice", "user-ALICE", "00000000-0000-0000-0000-000000000001", "a'; DROP TABLE users;--".replace(" ", "_"))
        for name in names:
            for edge in (self.edge, Client(self.stack.edge(2))):
                answer = self.call("GET", CHECK, headers={"x-user-id": name}, edge=edge)
                self.assertEqual((answer.status, answer.json["user_id"]), (200, name), answer.text)
        self.assertEqual(self.stack.sql("SELECT count(*), count(DISTINCT tenant_id) FROM users WHERE username LIKE 'user-_____'"), "2|2")
        for name in ("with blank", "x" * 129, "日本".encode().decode("latin-1")):
            self.assert_error(self.call("GET", CHECK, headers={"x-user-id": name}), 400, "Bad Request", "x-user-id")
        self.assert_error(self.call("GET", CHECK), 401, "Unauthorized")
        self.assert_error(self.call("GET", CHECK, headers={"x-user-id": "user-alice", "Authorization": "Bearer mrs_wrong"}), 401, "Unauthorized")
        for method, path in (("GET", "/api/v1/auth/me"), ("DELETE", "/api/auth-session"), ("GET", "/api/jobs"), ("GET", "/api/users/user-alice/thli-quota")):
            self.assertEqual(self.call(method, path, headers={"x-user-id": "user-alice"}).status, 401, f"{path} is not the planner's")

    def test_parallel_first_use_of_a_name(self):
        name = "user-" + uuid.uuid4().hex
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(lambda n: self.call("GET", CHECK, headers={"x-user-id": name},
                                                        edge=Client(self.stack.edge(n % 2 + 1))).status, range(5)))
        self.assertEqual(answers, [200] * 5)
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM users WHERE username = '{name}'"), "1")

    def test_limits_by_user(self):
        who = {"x-user-id": uuid.uuid4().hex}
        eventually(lambda: time.time() % 60 < 50, 15, "the next window")
        for left in range(4, -1, -1):
            self.assert_limit(self.call("GET", CHECK, headers=who), 5, left, 60)
        self.assert_limited(self.call("GET", CHECK, headers=who), "test", 5, 60)
        self.assertEqual(self.call("POST", "/test/rate-limit/reset", headers=who).status, 200)
        self.assertEqual(self.call("GET", CHECK, headers=who).status, 200)

    def test_other_methods_and_paths(self):
        for method, path in (("GET", SEND), ("PUT", VERIFY), ("POST", "/health")):
            answer = self.call(method, path)
            self.assert_error(answer, 405, "Method Not Allowed")
            self.assertIn("allow", answer.headers)
        for path in ("/api/otp", "/api/otp/none", "/i/none", "/admin/none", "/test/none"):
            self.assert_error(self.call("GET", path), 404, "Not Found")

    def test_no_code_is_shown_or_stored(self):
        email = address()
        answer = self.send(email)
        code = mail_code(self.stack.mails(to=email, template="otp")[-1])
        said = self.verify(email, code).json
        self.assertNotIn(code, answer.text + str(answer.headers))
        self.assertFalse(re.search(rf"\b{code}\b", self.stack.logs(lines=100_000)))
        self.assertNotIn(said["session_token"], self.stack.logs(lines=100_000))

    def quota(self, me, user):
        return me.call("GET", f"/api/users/{user}/thli-quota")

    def test_habits_quota(self):
        me, said = self.sign_in()
        user = said["user_id"]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: self.quota(me, user), range(8)))
        self.assertEqual({a.status for a in answers}, {200})
        month = time.strftime("%Y-%m", time.gmtime())
        quota = answers[0].json
        self.assertRegex(quota.pop("period_end"), rf"^{month}-(28|29|30|31)T23:59:59Z$")
        self.assertEqual(quota, {"quota_used": 0, "quota_limit": 10, "remaining": 10, "period_start": f"{month}-01T00:00:00Z",
                                 "is_unlimited": False, "plan": "free"})
        self.stack.sql(f"UPDATE assessment_quotas SET used = 3 WHERE user_id = '{user}'")
        self.assertEqual(self.quota(me, user).json["remaining"], 7)
        self.stack.sql(f"UPDATE assessment_quotas SET used = 25, quota_limit = -1, period_start = period_start - interval '1 month' WHERE user_id = '{user}'")
        quota = self.quota(me, user).json
        self.assertEqual((quota["quota_used"], quota["quota_limit"], quota["remaining"], quota["is_unlimited"], quota["plan"]),
                         (0, -1, -1, True, "premium"))
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM assessment_quotas WHERE user_id = '{user}'"), "2")

    def test_habits_errors(self):
        me, said = self.sign_in()
        cases = ((self.quota(me, uuid.uuid4()), 403, "FORBIDDEN"), (self.quota(Client(self.stack.edge()), said["user_id"]), 401, "UNAUTHORIZED"),
                 (me.call("POST", f"/api/users/{said['user_id']}/thli-quota"), 405, "METHOD_NOT_ALLOWED"), (me.call("GET", "/api/habits/none"), 404, "NOT_FOUND"))
        for answer, status, code in cases:
            self.assertEqual((answer.status, answer.json["error"]["code"], answer.json["error"]["retryable"]), (status, code, False), answer.text)
            self.assertEqual(set(answer.json["error"]), {"code", "message", "retryable"})
        self.assertEqual(cases[1][0].json["error"]["message"], "認証が必要です。")


class Production(Base):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(probe=False, env={"MILLRACE_ENVIRONMENT": "production"})
        cls.edge = Client(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def test_nobody_is_who_they_say(self):
        self.assertEqual(self.call("GET", "/health").json["environment"], "production")
        self.assert_error(self.call("GET", CHECK, headers={"x-user-id": "user-alice"}), 404, "Not Found")
        self.assert_error(self.call("POST", "/test/rate-limit/reset", headers={"x-user-id": "user-alice"}), 404, "Not Found")
        me, said = self.sign_in()
        path = f"/api/users/{said['user_id']}/thli-quota"
        self.assertEqual(me.call("GET", path).status, 200)
        self.assertEqual(self.call("GET", path, headers={"x-user-id": said["user_id"]}).status, 401)
        self.assertEqual(self.stack.sql("SELECT count(*) FROM users WHERE email LIKE '%@development.invalid'"), "0")
        self.assertNotIn("details", self.call("POST", SEND, {}).json)


class WithoutRedis(Base):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(probe=False, env={"MILLRACE_TRUSTED_PROXIES": "127.0.0.1"})
        cls.edge = Client(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def test_half_of_each_limit_holds(self):
        self.stack.hold("redis")
        email = address()
        code = self.code_for(email)  # mail does not need it
        self.assert_limited(self.send(email), "otp_send", 1)
        for left in (1, 0):
            self.assert_limit(self.verify(email, wrong(code)), 2, left)
        self.assert_limited(self.verify(email, code), "otp_try", 2)
        self.setUp()
        for left in range(4, -1, -1):
            self.assert_limit(self.send(address()), 5, left)
        self.assert_limited(self.send(address()), "otp_send_ip", 5)
        self.stack.release("redis")
        eventually(lambda: self.send(address()).status == 200, 15, "counting in Redis again")


if __name__ == "__main__":
    unittest.main(verbosity=2)
