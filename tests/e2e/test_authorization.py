"""The authorization matrix: every operation of schemas/http × no credential, rubbish, expired, revoked, half signed in, another
audience, another tenant, too low a role."""
import unittest
import uuid

from operations import AUDIENCES, Account, body_bytes, operations
from support import Client, Stack, eventually

SURFACES = ("knowledge", "diary", "karte", "planner", "habits")


class Matrix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.edge = cls.stack.edge()
        cls.all = operations()
        cls.secured = [o for o in cls.all if "bearer" in o.schemes and not o.optional]
        cls.accounts = {(surface, state): Account(cls.stack, surface, state=state)
                        for surface in SURFACES for state in ("good", "expired", "revoked", "half")}

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def call(self, operation, token=None, value=None):
        body, kind = body_bytes(operation)
        path = operation.url(value or (lambda parameter: uuid.uuid4()))
        headers = {"Content-Type": kind} if kind else {}
        return Client(self.edge, token).call(operation.method, path, body, {**headers, "Prefer": "respond-async"})

    def refused(self, operation, answer, statuses=(401,)):
        self.assertIn(answer.status, statuses, f"{operation}: {answer.text}")
        if answer.status == 401:
            self.assertEqual(answer.headers.get("www-authenticate"), "Bearer", str(operation))

    def test_there_is_something_to_protect(self):
        self.assertGreater(len(self.secured), 12)
        open_ones = {o.name for o in self.all} - {o.name for o in self.secured}
        print(f"{len(self.secured)} operations want a bearer; open: {', '.join(sorted(open_ones))}", flush=True)

    def test_without_a_credential(self):
        for operation in self.secured:
            with self.subTest(str(operation)):
                self.refused(operation, self.call(operation))

    def test_rubbish(self):
        rubbish = ["x", "mrs_" + "A" * 43, "mrs_", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "mrw_x", "é" * 10, "null", "0" * 5000]
        for number, operation in enumerate(self.secured):
            with self.subTest(str(operation)):
                self.refused(operation, self.call(operation, rubbish[number % len(rubbish)].encode().decode("latin-1")), (401, 431))

    def test_expired_and_revoked(self):
        for operation in self.secured:
            for state in ("expired", "revoked"):
                surface = operation.surface if operation.surface in AUDIENCES else "knowledge"
                with self.subTest(f"{operation} {state}"):
                    self.refused(operation, self.call(operation, self.accounts[surface, state].token))

    def test_half_signed_in_opens_the_second_step_only(self):
        for operation in self.secured:
            surface = operation.surface if operation.surface in AUDIENCES else "diary"
            answer = self.call(operation, self.accounts[surface, "half"].token)
            with self.subTest(str(operation)):
                if operation.node.get("x-first-factor"):
                    self.assertNotEqual(answer.status, 401, answer.text)
                    self.assertNotIn("OTP_REQUIRED", answer.text)
                else:
                    self.assertEqual(answer.status, 403, answer.text)
                    if operation.surface == "diary":
                        self.assertIn("OTP_REQUIRED", answer.text)

    def test_another_audience(self):
        for operation in self.secured:
            if operation.surface not in AUDIENCES:
                continue  # the jobs surface is everybody's
            for surface in SURFACES:
                if AUDIENCES[surface] == AUDIENCES[operation.surface]:
                    continue
                with self.subTest(f"{operation} with a token of {surface}"):
                    self.refused(operation, self.call(operation, self.accounts[surface, "good"].token))

    def test_too_low_a_role(self):
        tenant = Account(self.stack, "knowledge").tenant
        low = Account(self.stack, "knowledge", owner=False, tenant=tenant)
        checked = 0
        for operation in self.secured:
            if operation.role == "admin":
                checked += 1
                with self.subTest(str(operation)):
                    answer = self.call(operation, low.token, lambda p: tenant if p["name"] == "tenant_id" else uuid.uuid4())
                    self.assertEqual(answer.status, 403, f"{operation}: {answer.text}")
        self.assertGreaterEqual(checked, 2)

    def test_another_tenant(self):
        mine, other = Account(self.stack, "knowledge", "ADMIN"), Account(self.stack, "knowledge", "ADMIN")
        for operation in self.secured:
            if operation.surface == "knowledge" and any(p["name"] == "tenant_id" for p in operation.parameters("path")):
                with self.subTest(str(operation)):
                    answer = self.call(operation, mine.token, lambda p, t=other.tenant: t if p["name"] == "tenant_id" else uuid.uuid4())
                    self.assertIn(answer.status, (403, 404), f"{operation}: {answer.text}")
                    self.assertNotIn(other.email, answer.text)

    def test_revoked_acts_within_five_seconds(self):
        account = Account(self.stack, "knowledge")
        client = Client(self.edge, account.token)
        self.assertEqual(client.call("GET", "/api/v1/auth/me").status, 200)
        self.stack.sql(f"UPDATE sessions SET revoked_at = now() WHERE id = '{account.session}'")
        eventually(lambda: client.call("GET", "/api/v1/auth/me").status == 401, 5, "the revoked session's end")
        again = Account(self.stack, "knowledge")
        client = Client(self.edge, again.token)
        self.assertEqual(client.call("GET", "/api/v1/auth/me").json["role"], "OPERATOR")
        self.stack.sql(f"UPDATE users SET is_active = false WHERE id = '{again.user}'")
        eventually(lambda: client.call("GET", "/api/v1/auth/me").status == 401, 5, "the inactive account's end")


if __name__ == "__main__":
    unittest.main(verbosity=2)
