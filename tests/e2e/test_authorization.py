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

    def belongings(self, owner):
        """Something of every kind that has an id, by the name of the parameter that takes it."""
        client = Client(self.edge, owner.token)
        file = client.upload("mine.txt", b"The secret recipe needs three eggs.")
        client.wait_job(file.job)
        answer = client.call("POST", "/api/v1/chats/rag", {"query": "How many eggs does the secret recipe need?"}).json
        key = client.call("POST", "/api/v1/api-keys", {"provider": "openai", "model": "gpt-4", "api_key": "sk-of-the-owner"})
        invited = client.call("POST", f"/api/v1/tenants/{owner.tenant}/invitations", {"email": "new@example.com", "role": "OPERATOR"})
        self.assertEqual((file.status, key.status, invited.status), (201, 201, 201), f"{key.text} {invited.text}")
        return {"file_id": file.json["id"], "conversation_id": answer["conversation_id"], "message_id": answer["message_id"],
                "api_key_id": key.json["id"], "invitation_id": invited.json["id"], "user_id": owner.user, "chunk_index": 0}

    def test_an_id_of_others_answers_as_an_unknown_one(self):
        owner = Account(self.stack, "knowledge", "ADMIN")
        stranger = Account(self.stack, "knowledge", "ADMIN")
        colleague = Account(self.stack, "knowledge", "ADMIN", owner=False, tenant=owner.tenant)
        theirs, tried = self.belongings(owner), set()
        for operation in self.secured:
            names = {p["name"] for p in operation.parameters("path")} & set(theirs)
            if operation.surface != "knowledge" or not names:
                continue
            personal = names & {"conversation_id", "message_id"}
            for who in (stranger, colleague) if personal else (stranger,):
                with self.subTest(f"{operation} as {'a colleague' if who is colleague else 'a stranger'}"):
                    answers = []
                    for ids in (theirs, {"chunk_index": 0}):
                        given = {"tenant_id": who.tenant, **ids}
                        answers.append(self.call(operation, who.token, lambda p, given=given: given.get(p["name"], uuid.uuid4())))
                    foreign, unknown = ((a.status, {**a.json, "timestamp": None}, sorted(set(a.headers) - {"date"})) for a in answers)
                    self.assertEqual(foreign[0], 404, answers[0].text)
                    self.assertEqual(foreign, unknown)
                    tried.add(str(operation))
        self.assertGreaterEqual(len(tried), 8)
        print(f"{len(tried)} operations know no id of others")
        client = Client(self.edge, owner.token)
        self.assertEqual(client.call("GET", f"/api/v1/chats/{theirs['conversation_id']}").status, 200)
        for path in ("/api/v1/contents", "/api/v1/api-keys", f"/api/v1/tenants/{owner.tenant}/invitations"):
            self.assertEqual(len(client.call("GET", path).json), 1, path)

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
