"""The diary's profile, authenticator app and deletion of the account against a real system, and the surface's own rules."""
import base64
import hashlib
import hmac
import time
import unittest

from diary import INVALID, PASSWORD, PROFILE, SETTINGS, Case, address, flush_limits, parallel, wrong
from support import Stack, eventually, mail_text


def setUpModule():
    Case.stack = Stack(probe=False, env=SETTINGS)


def tearDownModule():
    Case.stack.destroy()


class Profiles(Case):
    def test_put_replaces(self):
        me = self.joined(profile=PROFILE)
        answer = me.call("PUT", "/api/profile", {"name": "鈴木", "age": 0, "ai_public": False, "email": "x@example.com", "user_id": "x"})
        self.assertEqual(answer.status, 200)
        seen = me.call("GET", "/api/profile").json
        self.assertEqual({**answer.json, "trace_id": ""}, {**seen, "trace_id": ""})
        self.assertEqual({k: seen[k] for k in PROFILE}, {"name": "鈴木", "icon": None, "occupation": None, "age": 0, "residence": None,
                                                        "ai_public": False, "sensitive": True})
        self.assertEqual((seen["email"], seen["user_id"]), (me.email, me.id))

    def test_what_is_wrong_is_named(self):
        me = self.joined(profile=PROFILE)
        for body, field in (({"name": "x" * 101}, "name"), ({"name": 1}, "name"), ({"age": 1.5}, "age"), ({"age": -1}, "age"), ({"icon": "ftp://x"}, "icon"),
                            ({"residence": "a\u0000b"}, "residence"), ({"sensitive": 1}, "sensitive")):
            self.refused(me.call("PUT", "/api/profile", body), 400, INVALID, field)
        self.assertEqual(me.call("PUT", "/api/profile", b"{", headers={"Content-Type": "application/json"}).status, 400)
        self.assertEqual(me.call("PUT", "/api/profile", b"[]", headers={"Content-Type": "application/json"}).status, 400)
        self.refused(me.call("PUT", "/api/profile", b'{"name":"' + b"x" * (1 << 20) + b'"}'), 413, "PAYLOAD_TOO_LARGE")
        self.assertEqual(me.call("GET", "/api/profile").json["name"], PROFILE["name"])

    def test_deletion_leaves_nothing(self):
        me, other = self.joined(), self.joined()
        tenant = self.sql(f"SELECT tenant_id FROM users WHERE id = '{me.id}'")
        me.call("POST", "/api/profile/totp", {"action": "register"})
        me.call("POST", "/api/auth/password/reset/request", {"email": me.email})
        me.half()
        self.refused(me.call("DELETE", "/api/profile", {"password": "not my password"}), 403, "INVALID_CREDENTIALS", "password")
        self.refused(me.call("DELETE", "/api/profile", {}), 400, INVALID, "password")
        eventually(lambda: self.sql(f"SELECT count(*) FROM jobs WHERE owner_id = '{me.id}' AND finished_at IS NULL") == "0", 30)
        answer = me.call("DELETE", "/api/profile", {"password": PASSWORD})
        self.assertEqual((answer.status, answer.json["status"]), (200, "deleted"))
        self.refused(me.call("GET", "/api/profile"), 401, "UNAUTHENTICATED")
        self.refused(me.call("POST", "/api/profile/totp", {"action": "register"}), 401, "UNAUTHENTICATED")
        for table, column, value in (("users", "id", me.id), ("tenants", "id", tenant), ("sessions", "user_id", me.id), ("totp_devices", "user_id", me.id),
                                     ("challenges", "user_id", me.id), ("challenges", "subject", me.email), ("challenges", "subject", me.id)):
            self.assertEqual(self.sql(f"SELECT count(*) FROM {table} WHERE {column} = '{value}'"), "0", (table, column))
        self.assertEqual(self.sql(f"SELECT count(*) FROM jobs WHERE owner_id = '{me.id}' AND (input <> '{{}}' OR result IS NOT NULL)"), "0")
        self.dies(me, me.token, "the end of the session")
        self.refused(me.login(), 401, "INVALID_CREDENTIALS")
        self.assertEqual(other.call("GET", "/api/profile").status, 200)
        me.token = None
        me.register()
        self.assertEqual(me.verify(me.code(3)).status, 200)

    def test_guessing_the_password_of_a_stolen_session_is_limited(self):
        me = self.joined()
        answers = [me.call("DELETE", "/api/profile", {"password": f"guess number {i}"}) for i in range(6)]
        self.assertEqual([a.status for a in answers], [403] * 5 + [429])


def totp(secret, step):
    """RFC 6238, told from the text of the RFC."""
    mac = hmac.new(base64.b32decode(secret), step.to_bytes(8, "big"), hashlib.sha1).digest()
    at = mac[-1] & 15
    return "%06d" % ((int.from_bytes(mac[at:at + 4], "big") & 0x7FFFFFFF) % 1_000_000)


class Authenticator(Case):
    def change(self, me, action, code=None, **more):
        return me.call("POST", "/api/profile/totp", {"action": action, **({"code": code} if code else {})}, **more)

    def added(self, me):
        """The secret of a confirmed device, and the step that confirmed it."""
        secret = self.change(me, "register").json["secret"]
        me.secrets.add(secret)
        step = int(time.time()) // 30
        self.assertEqual(self.change(me, "confirm", totp(secret, step)).status, 200)
        return secret, step

    def test_added_used_and_deleted(self):
        me = self.joined(locale="en")
        answer = self.change(me, "register")
        self.assertEqual((answer.status, answer.json["status"], answer.json["ttl_hint"], len(answer.json["secret"])), (201, "pending", 600, 32))
        secret = answer.json["secret"]
        self.assertFalse(me.call("GET", "/api/profile").json["totp_enabled"])
        step = int(time.time()) // 30
        self.assertEqual(self.change(me, "confirm", totp(secret, step)).json["status"], "enabled")
        self.assertTrue(me.call("GET", "/api/profile").json["totp_enabled"])
        answer = me.login()
        self.assertEqual(answer.json["otp_methods"], ["email", "totp"])
        half = answer.json["session_token"]
        self.refused(me.verify(totp(secret, step), half), 400, "OTP_INVALID", "code")  # it has confirmed the device
        self.assertEqual(me.verify(totp(secret, step + 1), half).status, 200)
        self.refused(self.change(me, "delete", totp(secret, step + 1)), 400, "OTP_INVALID", "code")
        self.sql(f"UPDATE totp_devices SET last_step = 0 WHERE user_id = '{me.id}'")
        self.assertEqual(self.change(me, "delete", totp(secret, int(time.time()) // 30)).json["status"], "deleted")
        self.assertFalse(me.call("GET", "/api/profile").json["totp_enabled"])
        self.assertEqual(me.again().status, 200, "by mail")
        notices = [mail_text(m) for m in me.mails("security_notice", seconds=30, count=2)]
        self.assertIn("app was added", notices[0])
        self.assertIn("app was removed", notices[1])

    def test_the_mailed_code_still_opens(self):
        me = self.joined()
        self.added(me)
        self.assertEqual(me.again().status, 200)

    def test_a_code_at_once_is_accepted_once(self):
        me = self.joined()
        secret, step = self.added(me)
        halves = []
        for _ in range(2):
            halves.append(me.login().json["session_token"])
        flush_limits(self.stack)
        answers = parallel(10, lambda i: me.verify(totp(secret, step + 1), halves[1], ip=address()))
        self.assertEqual(sorted(a.status for a in answers), [200] + [400] * 9)

    def test_unconfirmed_devices_open_nothing_and_are_replaced(self):
        me = self.joined()
        first, second = (self.change(me, "register").json["secret"] for _ in range(2))
        step = int(time.time()) // 30
        half = me.login().json["session_token"]
        self.refused(me.verify(totp(second, step), half), 400, "OTP_INVALID", "code")
        self.refused(self.change(me, "confirm", totp(first, step)), 400, "OTP_INVALID", "code")
        self.refused(self.change(me, "delete", totp(second, step)), 404, "TOTP_NOT_FOUND")
        self.sql(f"UPDATE totp_devices SET created_at = now() - interval '601 seconds' WHERE user_id = '{me.id}'")
        self.refused(self.change(me, "confirm", totp(second, step)), 404, "TOTP_NOT_FOUND")
        third = self.change(me, "register").json["secret"]
        self.assertEqual(self.change(me, "confirm", totp(third, step)).status, 200)
        self.refused(self.change(me, "confirm", totp(third, step + 1)), 409, "TOTP_EXISTS")
        self.refused(self.change(me, "register"), 409, "TOTP_EXISTS")

    def test_tolerance_is_one_step(self):
        me = self.joined()
        secret = self.change(me, "register").json["secret"]
        step = int(time.time()) // 30
        for far in (-3, 3):
            self.refused(self.change(me, "confirm", totp(secret, step + far)), 400, "OTP_INVALID", "code")

    def test_guesses_are_counted(self):
        me = self.joined()
        secret, step = self.added(me)
        guess = wrong(totp(secret, step + 1))
        self.assertEqual([self.change(me, "delete", guess).status for _ in range(9)], [400] * 9)  # the tenth has confirmed
        self.limited(self.change(me, "delete", totp(secret, step + 1)), 3600)

    def test_secrets_are_sealed_for_their_row(self):
        me, other = self.joined(), self.joined()
        secret, step = self.added(me)
        self.added(other)
        stored = self.sql(f"SELECT encode(secret, 'hex') FROM totp_devices WHERE user_id = '{me.id}'")
        self.assertNotIn(base64.b32decode(secret).hex(), stored)
        self.sql(f"UPDATE totp_devices SET secret = decode('{stored}', 'hex') WHERE user_id = '{other.id}'")
        half = other.login().json["session_token"]
        self.refused(other.verify(totp(secret, step + 1), half), 400, "OTP_INVALID", "code")
        half = other.login().json["session_token"]
        self.assertEqual(other.verify(other.code(3), half).status, 200, "the mailed code opens all the same")

    def test_what_is_wrong_is_named(self):
        me = self.joined()
        for body, field in (({}, "action"), ({"action": "explode"}, "action"), ({"action": "confirm"}, "code"), ({"action": "delete", "code": "12 456"}, "code")):
            self.refused(me.call("POST", "/api/profile/totp", body), 400, INVALID, field)
        self.refused(self.change(me, "confirm", "123456"), 404, "TOTP_NOT_FOUND")


class Surface(Case):
    def test_paths_and_methods(self):
        me = self.joined()
        for path in ("/api/auth", "/api/auth/nothing", "/api/profile/nothing", "/api/diary/sessions", "/api/chat/x/messages", "/chat/x", "/api/stripe/webhook"):
            self.refused(me.call("GET", path), 404, "NOT_FOUND")
        answer = me.call("POST", "/api/profile", {})
        self.refused(answer, 405, "METHOD_NOT_ALLOWED")
        self.assertEqual(set(answer.headers["allow"].replace(" ", "").split(",")), {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
        self.assertIsInstance(me.client.call("GET", "/api/chat").json["error"], str, "in the words of another product")

    def test_members_are_limited(self):
        me = self.joined()
        statuses = [me.call("GET", "/api/profile").status for _ in range(61)]
        self.assertEqual(statuses, [200] * 60 + [429])


if __name__ == "__main__":
    unittest.main(verbosity=2)
