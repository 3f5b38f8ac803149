"""The knowledge product's accounts: registration, sign-in, refresh, invitations, joining a company, roles, widget keys, limits."""
import base64
import concurrent.futures
import ctypes
import ctypes.util
import hashlib
import hmac
import json
import re
import unittest
import urllib.parse
import uuid

from support import Client, Stack, eventually, register

REVOKED_WITHIN = 5  # seconds, everywhere


class Letters:
    """What the edge asked to be mailed, with the secrets that are sealed inside the jobs (XChaCha20-Poly1305)."""

    def __init__(self, stack):
        self.stack = stack
        self.sodium = ctypes.CDLL(ctypes.util.find_library("sodium"))
        self.key = hmac.new(stack.env["MILLRACE_SECRET_KEY"].encode(), b"mail secrets", hashlib.sha256).digest()

    def unseal(self, job, text):
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        nonce, sealed = sealed[:24], sealed[24:]
        context = b"mail.send " + job.encode()
        plain = ctypes.create_string_buffer(len(sealed) - 16)
        done = self.sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
            plain, None, None, sealed, ctypes.c_ulonglong(len(sealed)), context, ctypes.c_ulonglong(len(context)), nonce, self.key)
        if done != 0:
            raise AssertionError("the secret was not sealed for this job")
        return plain.raw.decode()

    def all(self, to, template):
        rows = self.stack.sql("SELECT id || ' ' || encode(input, 'base64') FROM jobs WHERE kind = 'mail.send' ORDER BY id")
        found = []
        for row in re.split(r"\n(?=[0-9a-f]{8}-)", rows) if rows else []:
            job, _, text = row.partition(" ")
            letter = json.loads(base64.b64decode(text))
            if letter["to"] == to and letter["template"] == template:
                found.append({**letter, "secret": self.unseal(job, letter["secret"]) if "secret" in letter else None})
        return found

    def newest(self, to, template):
        found = self.all(to, template)
        assert found, f"no {template} to {to}"
        return found[-1]


def name():
    return uuid.uuid4().hex[:10]


def account(domain=None, **more):
    who = name()
    domain = domain or f"{who}.example.com"
    return {"email": f"{who}@{domain}", "username": "tester_1", "password": "Password123", "tenant_name": "Test " + who,
            "tenant_domain": domain, **more}


def at_once(number, call):
    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        return list(pool.map(lambda _: call(), range(number)))


class Auth(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(edges=2, probe=False)
        cls.url = cls.stack.edge()
        cls.anyone = Client(cls.url)
        cls.letters = Letters(cls.stack)

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def post(self, path, body, status=None, client=None, headers=None):
        answer = (client or self.anyone).call("POST", path, body, headers)
        if status:
            self.assertEqual(answer.status, status, answer.text)
        return answer

    def refuse(self, answer, status, code, field=None):
        self.assertEqual((answer.status, answer.json["error_code"], answer.json.get("field")), (status, code, field), answer.text)
        self.assertTrue(answer.json["detail"] and answer.json["timestamp"])

    def form(self, path, **fields):
        return self.anyone.call("POST", path, urllib.parse.urlencode(fields).encode(),
                                {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin", "Accept-Language": "en"})

    def sign_up(self, **more):
        wanted = account(**more)
        made = self.post("/api/v1/auth/register", wanted, 201).json
        return wanted, made

    def sign_in(self, wanted, edge=None):
        client = Client(edge or self.url)
        answer = client.call("POST", "/api/v1/auth/login", {"email": wanted["email"], "password": wanted["password"]})
        self.assertEqual(answer.status, 200, answer.text)
        client.token, client.refresh = answer.json["access_token"], answer.json["refresh_token"]
        return client

    def owner(self):
        wanted, made = self.sign_up()
        client = self.sign_in(wanted)
        client.tenant, client.id, client.domain = made["tenant_id"], made["id"], wanted["tenant_domain"]
        return client

    def me(self, client):
        return client.call("GET", "/api/v1/auth/me")

    def listed(self, client):
        """Something that asks for nothing but the session."""
        return client.call("GET", "/api/v1/contents")

    def stops(self, client):
        eventually(lambda: self.listed(client).status == 401, REVOKED_WITHIN, "the end of the session")

    # --- registration -----------------------------------------------------------------------------

    def test_register_login_me_as_in_the_contract(self):
        wanted, made = self.sign_up()
        self.assertEqual(set(made), {"id", "email", "username", "tenant_id", "role"})
        self.assertEqual(made["role"], "OPERATOR")
        answer = self.post("/api/v1/auth/login", {"email": wanted["email"].upper(), "password": wanted["password"]}, 200)
        self.assertEqual({**answer.json, "access_token": 0, "refresh_token": 0},
                         {"access_token": 0, "refresh_token": 0, "token_type": "bearer", "expires_in": 1800})
        me = self.me(Client(self.url, answer.json["access_token"])).json
        self.assertEqual(me, {**made, "is_active": True, "is_verified": False, "is_owner": True})
        payload = json.loads(base64.urlsafe_b64decode(answer.json["refresh_token"].split(".")[1] + "=="))
        self.assertEqual(payload["exp"] - payload["iat"], 7 * 86400)

    def test_registration_rules_name_the_field(self):
        for change, field in (({"email": "nobody"}, "email"), ({"email": "a b@example.com"}, "email"), ({"email": 5}, "email"),
                              ({"username": "ab"}, "username"), ({"username": "a" * 101}, "username"), ({"username": "a-b"}, "username"),
                              ({"username": "あああ"}, "username"), ({"password": "Passw12"}, "password"), ({"password": "password123"}, "password"),
                              ({"password": "PASSWORD123"}, "password"), ({"password": "Passwordxyz"}, "password"),
                              ({"tenant_name": ""}, "tenant_name"), ({"tenant_name": "a\0b"}, "tenant_name"),
                              ({"tenant_domain": "nodots"}, "tenant_domain"), ({"tenant_domain": "-a.example"}, "tenant_domain"),
                              ({"tenant_domain": "gmail.com"}, "tenant_domain"), ({"tenant_domain": "GMAIL.com"}, "tenant_domain")):
            self.refuse(self.post("/api/v1/auth/register", {**account(), **change}), 422, "VALIDATION_ERROR", field)
        for member in account():
            body = account()
            del body[member]
            self.refuse(self.post("/api/v1/auth/register", body), 422, "VALIDATION_ERROR", member)
        self.assertEqual(self.post("/api/v1/auth/register", b"{").status, 422)
        self.assertEqual(self.post("/api/v1/auth/register", b'{"email":"' + b"a" * (1 << 20) + b'"}').status, 413)

    def test_an_address_has_one_account(self):
        wanted, _ = self.sign_up()
        again = self.post("/api/v1/auth/register", account(email=wanted["email"].upper()))
        self.refuse(again, 409, "EMAIL_TAKEN", "email")
        self.assertEqual(len(self.letters.all(wanted["email"].upper(), "verify_email")), 0)
        race = account()
        statuses = sorted(a.status for a in at_once(8, lambda: self.post("/api/v1/auth/register", race)))
        self.assertEqual(statuses, [201] + [409] * 7)
        self.assertEqual(len(self.letters.all(race["email"], "verify_email")), 1)

    def test_two_registrations_of_a_new_domain_have_one_owner(self):
        domain = name() + ".example.com"
        made = at_once(8, lambda: self.sign_up(domain=domain))
        members = [self.me(self.sign_in(wanted)).json for wanted, _ in made]
        self.assertEqual(sum(m["is_owner"] for m in members), 1)
        self.assertEqual(len({m["tenant_id"] for m in members}), 8)
        self.assertEqual(self.stack.sql(f"SELECT count(*), count(*) FILTER (WHERE status = 'PENDING') FROM tenants "
                                        f"WHERE domain = '{domain}' OR wanted = '{domain}'"), "8|7")

    # --- sign-in ----------------------------------------------------------------------------------

    def test_wrong_passwords_and_unknown_addresses_look_alike(self):
        wanted, _ = self.sign_up()
        wrong = self.post("/api/v1/auth/login", {"email": wanted["email"], "password": "Wrong12345"})
        unknown = self.post("/api/v1/auth/login", {"email": account()["email"], "password": "Wrong12345"})
        self.refuse(wrong, 401, "INVALID_CREDENTIALS")
        self.refuse(unknown, 401, "INVALID_CREDENTIALS")
        self.assertEqual(wrong.json["detail"], unknown.json["detail"])
        for body, field in (({"email": wanted["email"]}, "password"), ({"password": "x"}, "email"), ({"email": "a\0b", "password": "x"}, "email"),
                            ({"email": ["a"], "password": "x"}, "email")):
            self.refuse(self.post("/api/v1/auth/login", body), 422, "VALIDATION_ERROR", field)

    def test_wrong_passwords_back_off(self):
        wanted, _ = self.sign_up()
        for email in (wanted["email"], account()["email"]):
            tries = [self.post("/api/v1/auth/login", {"email": email, "password": "Wrong12345"}) for _ in range(7)]
            self.assertEqual([t.status for t in tries], [401] * 5 + [429] * 2)
            self.refuse(tries[-1], 429, "RATE_LIMIT_EXCEEDED")
            self.assertTrue(1 <= int(tries[-1].headers["retry-after"]) <= 30)
        right = {"email": wanted["email"], "password": wanted["password"]}
        self.post("/api/v1/auth/login", right, 429)
        self.stack.sql("UPDATE login_tries SET next_at = now()")
        self.post("/api/v1/auth/login", right, 200)
        self.assertEqual(self.post("/api/v1/auth/login", {**right, "password": "Wrong12345"}).status, 401, "a sign-in clears the count")

    def test_parallel_guesses_are_counted_before_they_are_compared(self):
        wanted, _ = self.sign_up()
        tries = at_once(12, lambda: self.post("/api/v1/auth/login", {"email": wanted["email"], "password": "Wrong12345"}).status)
        self.assertEqual((tries.count(401), tries.count(429)), (5, 7))

    def test_me_needs_a_good_token(self):
        self.refuse(self.me(self.anyone), 401, "AUTHENTICATION_ERROR")
        for token in ("x", "a.b.c", "mrs_" + "a" * 43):
            answer = self.me(Client(self.url, token))
            self.refuse(answer, 401, "AUTHENTICATION_ERROR")
            self.assertEqual(answer.headers["www-authenticate"], "Bearer")

    def test_logout_ends_the_session_everywhere(self):
        client = self.owner()
        other = client.on(self.stack.edge(2))
        self.assertEqual(self.me(other).status, 200)
        self.assertEqual(client.call("POST", "/api/v1/auth/logout").status, 200)
        self.stops(client)
        self.stops(other)
        self.refuse(self.post("/api/v1/auth/refresh", {"refresh_token": client.refresh}), 401, "AUTHENTICATION_ERROR")

    # --- refresh ----------------------------------------------------------------------------------

    def test_refresh_rotates(self):
        client = self.owner()
        pair = self.post("/api/v1/auth/refresh", {"refresh_token": client.refresh}, 200).json
        self.assertEqual(set(pair), {"access_token", "refresh_token", "token_type", "expires_in"})
        self.assertNotEqual(pair["refresh_token"], client.refresh)
        self.assertEqual(self.me(Client(self.url, pair["access_token"])).status, 200)
        self.refuse(self.me(Client(self.url, pair["refresh_token"])), 401, "AUTHENTICATION_ERROR")
        self.refuse(self.post("/api/v1/auth/refresh", {"refresh_token": client.token}), 401, "AUTHENTICATION_ERROR")
        for body, field in (({}, "refresh_token"), ({"refresh_token": 5}, "refresh_token"), ({"refresh_token": "a" * 5000}, "refresh_token")):
            self.refuse(self.post("/api/v1/auth/refresh", body), 422, "VALIDATION_ERROR", field)

    def test_parallel_and_repeated_refreshes_have_one_successor(self):
        client = self.owner()
        edges = [self.anyone, self.anyone.on(self.stack.edge(2))]
        answers = at_once(32, lambda: self.post("/api/v1/auth/refresh", {"refresh_token": client.refresh},
                                                client=edges[int(uuid.uuid4()) % 2]))
        self.assertEqual({a.status for a in answers}, {200}, answers[0].text)
        self.assertEqual(len({a.text for a in answers}), 1)
        successor = answers[0].json["refresh_token"]
        self.assertEqual(self.post("/api/v1/auth/refresh", {"refresh_token": client.refresh}, 200).json["refresh_token"], successor)
        self.post("/api/v1/auth/refresh", {"refresh_token": successor}, 200)

    def test_a_spent_token_that_comes_back_later_ends_the_session(self):
        wanted, made = self.sign_up()
        client = self.sign_in(wanted)
        bystander = self.sign_in(wanted)
        successor = self.post("/api/v1/auth/refresh", {"refresh_token": client.refresh}, 200).json
        thief = Client(self.url, successor["access_token"])
        self.assertEqual(self.me(thief).status, 200)
        self.stack.sql("UPDATE refresh_tokens SET spent_at = spent_at - interval '11 seconds' WHERE spent_at IS NOT NULL AND session_id IN "
                       f"(SELECT id FROM sessions WHERE user_id = '{made['id']}')")
        answers = at_once(16, lambda: self.post("/api/v1/auth/refresh", {"refresh_token": client.refresh}))
        for answer in answers:
            self.refuse(answer, 401, "AUTHENTICATION_ERROR")
        self.stops(thief)
        self.refuse(self.post("/api/v1/auth/refresh", {"refresh_token": successor["refresh_token"]}), 401, "AUTHENTICATION_ERROR")
        self.assertEqual(len(self.letters.all(wanted["email"], "security_notice")), 1, "told once")
        self.assertEqual(self.me(bystander).status, 200, "another session of the same person goes on")

    # --- confirming an address, joining -------------------------------------------------------------

    def test_scanners_may_look_and_one_button_confirms(self):
        wanted, _ = self.sign_up()
        client = self.sign_in(wanted)
        letter = self.letters.newest(wanted["email"], "verify_email")
        self.assertTrue(letter["data"]["url_prefix"].endswith("/console/verify?token="))
        token = letter["secret"]
        for _ in range(20):
            page = self.anyone.call("GET", f"/console/verify?token={token}")
            self.assertEqual(page.status, 200)
        self.assertTrue(page.headers["content-type"].startswith("text/html"))
        self.assertIn("style-src 'sha256-", page.headers["content-security-policy"])
        self.assertIn("no-referrer", page.headers["referrer-policy"])
        self.assertFalse(self.me(client).json["is_verified"])
        foreign = self.anyone.call("POST", "/console/verify", f"token={token}".encode(), {"Sec-Fetch-Site": "cross-site"})
        self.refuse(foreign, 403, "PERMISSION_DENIED")
        foreign = self.anyone.call("POST", "/console/verify", f"token={token}".encode(), {"Origin": "https://evil.example"})
        self.refuse(foreign, 403, "PERMISSION_DENIED")
        statuses = sorted(a.status for a in at_once(32, lambda: self.form("/console/verify", token=token)))
        self.assertEqual(statuses, [200] + [410] * 31)
        self.assertTrue(self.me(client).json["is_verified"])
        self.assertEqual(self.anyone.call("GET", f"/console/verify?token={token}").status, 410)
        for bad in ("", "x", "%00", "a" * 2000):
            self.assertEqual(self.anyone.call("GET", f"/console/verify?token={bad}").status, 410, bad)
            self.assertEqual(self.form("/console/verify", token=urllib.parse.unquote(bad)).status, 410, bad)

    def test_a_link_expires_and_is_replaced(self):
        wanted, made = self.sign_up()
        client = self.sign_in(wanted)
        first = self.letters.newest(wanted["email"], "verify_email")["secret"]
        self.post("/api/v1/auth/verification", {}, 200, client)
        second = self.letters.newest(wanted["email"], "verify_email")["secret"]
        self.assertNotEqual(first, second)
        self.assertEqual(self.form("/console/verify", token=first).status, 410)
        self.stack.sql(f"UPDATE challenges SET expires_at = now() WHERE user_id = '{made['id']}'")
        self.assertEqual(self.form("/console/verify", token=second).status, 410)
        for _ in range(2):
            self.post("/api/v1/auth/verification", {}, 200, client)
        self.assertIn("retry-after", self.post("/api/v1/auth/verification", {}, 429, client).headers)

    def test_a_verified_colleague_joins_by_the_button(self):
        owner = self.owner()
        upload = owner.upload("rules.txt", b"The office opens at nine.")
        self.assertEqual(upload.status, 201, upload.text)
        wanted, made = self.sign_up(domain=owner.domain)
        client = self.sign_in(wanted)
        self.assertEqual(self.me(client).json["is_owner"], False)
        self.assertEqual(client.call("GET", "/api/v1/contents").json, [], "nothing of the company until joined")
        self.assertEqual(client.call("GET", f"/api/v1/tenants/{owner.tenant}").status, 404)
        self.assertEqual(client.call("GET", f"/api/v1/tenants/{made['tenant_id']}").json["status"], "PENDING")
        page = self.form("/console/verify", token=self.letters.newest(wanted["email"], "verify_email")["secret"])
        self.assertEqual(page.status, 200)
        self.assertIn('value="join"', page.text)
        token = re.search(r'name="token" value="([^"]+)"', page.text).group(1)
        statuses = sorted(a.status for a in at_once(16, lambda: self.form("/console/verify", token=token, choice="join")))
        self.assertEqual(statuses, [200] + [410] * 15)
        me = self.me(client).json
        self.assertEqual((me["tenant_id"], me["role"], me["is_owner"], me["is_verified"]), (owner.tenant, "OPERATOR", False, True))
        eventually(lambda: len(client.call("GET", "/api/v1/contents").json) == 1, REVOKED_WITHIN, "the company's documents")
        self.assertEqual(client.call("DELETE", f"/api/v1/contents/{upload.json['id']}").status, 403)

    def test_nobody_joins_from_another_domain(self):
        owner = self.owner()
        wanted, _ = self.sign_up(domain=owner.domain, email=f"{name()}@elsewhere-{name()}.example.com")
        page = self.form("/console/verify", token=self.letters.newest(wanted["email"], "verify_email")["secret"])
        self.assertEqual(page.status, 200)
        self.assertNotIn("join", page.text)

    def test_text_of_people_is_escaped(self):
        domain = name() + ".example.com"
        self.sign_up(domain=domain, tenant_name="<script>alert(1)</script>")
        wanted, _ = self.sign_up(domain=domain)
        page = self.form("/console/verify", token=self.letters.newest(wanted["email"], "verify_email")["secret"])
        self.assertNotIn("<script", page.text)
        self.assertIn("&lt;script&gt;", page.text)

    # --- invitations ------------------------------------------------------------------------------

    def invite(self, owner, email, role="OPERATOR"):
        answer = self.post(f"/api/v1/tenants/{owner.tenant}/invitations", {"email": email, "role": role}, 201, owner)
        return answer.json, self.letters.newest(email, "invitation")["secret"]

    def test_an_invitation_makes_an_account(self):
        owner, email = self.owner(), account()["email"]
        invitation, token = self.invite(owner, email, "ADMIN")
        self.assertEqual((invitation["email"], invitation["role"], invitation["status"]), (email, "ADMIN", "PENDING"))
        body = {"token": token, "username": "new_user", "password": "Password123"}
        for change, field in (({"username": "x"}, "username"), ({"password": "weak"}, "password"), ({"token": ""}, "token")):
            self.refuse(self.post("/api/v1/auth/invitations/accept", {**body, **change}), 422, "VALIDATION_ERROR", field)
        answers = at_once(8, lambda: self.post("/api/v1/auth/invitations/accept", body))
        self.assertEqual(sorted(a.status for a in answers), [201] + [410] * 7)
        self.refuse(self.post("/api/v1/auth/invitations/accept", body), 410, "LINK_EXPIRED", "token")
        client = self.sign_in({"email": email, "password": "Password123"})
        me = self.me(client).json
        self.assertEqual((me["tenant_id"], me["role"], me["is_verified"], me["is_owner"]), (owner.tenant, "ADMIN", True, False))
        self.assertEqual(client.upload("a.txt", b"An administrator may.").status, 201)
        listed = owner.call("GET", f"/api/v1/tenants/{owner.tenant}/invitations").json
        self.assertEqual([(i["id"], i["status"]) for i in listed], [(invitation["id"], "ACCEPTED")])
        self.refuse(self.post(f"/api/v1/tenants/{owner.tenant}/invitations", {"email": email.upper()}, client=owner),
                    409, "ALREADY_A_MEMBER", "email")

    def test_an_invitation_asked_for_again(self):
        """One Idempotency-Key, one invitation: the same answer byte for byte, whoever comes when; a refusal does not use it up."""
        owner, body = self.owner(), {"email": account()["email"], "role": "OPERATOR"}
        path, key = f"/api/v1/tenants/{owner.tenant}/invitations", {"Idempotency-Key": f'"{uuid.uuid4()}"'}

        def made():
            return [int(n) for n in self.stack.sql(f"SELECT (SELECT count(*) FROM invitations WHERE tenant_id = '{owner.tenant}'), (SELECT count(*) "
                                                   f"FROM audit_logs WHERE tenant_id = '{owner.tenant}' AND command = 'invite' AND outcome = 'done')").split("|")]
        self.refuse(self.post(path, {**body, "role": "KING"}, client=owner, headers=key), 422, "VALIDATION_ERROR", "role")
        answers = at_once(8, lambda: self.post(path, body, client=owner, headers=key))
        first = next(a for a in answers if a.status == 201)
        for answer in answers:
            if answer.status == 201:
                self.assertEqual(answer.text, first.text)
            else:
                self.refuse(answer, 409, "IDEMPOTENCY_IN_PROGRESS")
                self.assertEqual(answer.headers["retry-after"], "1")
        again = self.post(path, body, 201, owner, {"Idempotency-Key": key["Idempotency-Key"].strip('"')})
        self.assertEqual((again.text, again.headers["content-type"]), (first.text, first.headers["content-type"]))
        self.assertEqual(made(), [1, 1])
        self.refuse(self.post(path, {**body, "role": "ADMIN"}, client=owner, headers=key), 422, "IDEMPOTENCY_MISMATCH", "Idempotency-Key")
        self.refuse(self.post(path, body, client=owner, headers={"Idempotency-Key": "two words"}), 422, "VALIDATION_ERROR", "Idempotency-Key")
        other = self.owner()
        self.post(f"/api/v1/tenants/{other.tenant}/invitations", body, 201, other, key)
        # The process of the first died in the middle: its key is free again after a minute.
        key, scope = {"Idempotency-Key": uuid.uuid4().hex}, "(SELECT scope_hash FROM idempotency WHERE body IS NOT NULL ORDER BY created_at DESC LIMIT 1)"
        self.post(path, body, 201, owner, key)
        self.stack.sql(f"UPDATE idempotency SET status = NULL, body = NULL WHERE scope_hash = {scope}")
        self.refuse(self.post(path, body, client=owner, headers=key), 409, "IDEMPOTENCY_IN_PROGRESS")
        self.stack.sql("UPDATE idempotency SET created_at = now() - interval '61 seconds' WHERE status IS NULL AND job_id IS NULL")
        self.post(path, body, 201, owner, key)

    def test_an_invitation_moves_a_pending_account_of_that_address_only(self):
        owner = self.owner()
        wanted, _ = self.sign_up(domain=owner.domain)
        client, stranger = self.sign_in(wanted), self.owner()
        _, token = self.invite(owner, wanted["email"], "ADMIN")
        self.refuse(self.post("/api/v1/auth/invitations/accept", {"token": token, "username": "x_1", "password": "Password123"}),
                    409, "EMAIL_TAKEN", "email")
        self.refuse(self.post("/api/v1/auth/invitations/accept", {"token": token}, client=stranger), 410, "LINK_EXPIRED", "token")
        self.refuse(self.post("/api/v1/auth/invitations/accept", {"token": token}, client=Client(self.url, "x")), 401, "AUTHENTICATION_ERROR")
        moved = self.post("/api/v1/auth/invitations/accept", {"token": token}, 200, client).json
        self.assertEqual((moved["tenant_id"], moved["role"]), (owner.tenant, "ADMIN"))
        self.assertEqual(self.me(client).json["tenant_id"], owner.tenant)
        # Somebody who owns a company is not moved out of it.
        _, token = self.invite(owner, self.me(stranger).json["email"])
        self.refuse(self.post("/api/v1/auth/invitations/accept", {"token": token}, client=stranger), 409, "NOT_PENDING")

    def test_invitations_are_replaced_revoked_and_expire(self):
        owner, email = self.owner(), account()["email"]
        body = {"username": "new_user", "password": "Password123"}
        _, first = self.invite(owner, email)
        invitation, second = self.invite(owner, email)
        self.refuse(self.post("/api/v1/auth/invitations/accept", {**body, "token": first}), 410, "LINK_EXPIRED", "token")
        path = f"/api/v1/tenants/{owner.tenant}/invitations/{invitation['id']}"
        self.assertEqual(self.owner().call("DELETE", path).status, 404)
        self.assertEqual(owner.call("DELETE", path).status, 200)
        self.assertEqual(owner.call("DELETE", path).status, 404)
        self.assertEqual(owner.call("DELETE", path[:-1]).status, 404)
        self.refuse(self.post("/api/v1/auth/invitations/accept", {**body, "token": second}), 410, "LINK_EXPIRED", "token")
        invitation, third = self.invite(owner, email)
        self.stack.sql(f"UPDATE invitations SET expires_at = now() WHERE id = '{invitation['id']}'")
        self.refuse(self.post("/api/v1/auth/invitations/accept", {**body, "token": third}), 410, "LINK_EXPIRED", "token")
        self.assertEqual([i["status"] for i in owner.call("GET", f"/api/v1/tenants/{owner.tenant}/invitations").json], ["EXPIRED", "REVOKED"])
        for bad, field in (({"email": "x"}, "email"), ({}, "email"), ({"email": email, "role": "OWNER"}, "role")):
            self.refuse(self.post(f"/api/v1/tenants/{owner.tenant}/invitations", bad, client=owner), 422, "VALIDATION_ERROR", field)

    def test_the_page_of_an_invitation(self):
        owner, email = self.owner(), account()["email"]
        _, token = self.invite(owner, email)
        self.assertEqual(self.anyone.call("GET", f"/console/invitation?token={token}").status, 200)
        weak = self.form("/console/invitation", token=token, username="new_user", password="weak")
        self.assertEqual(weak.status, 422)
        self.assertIn("password", weak.text)
        self.assertEqual(self.form("/console/invitation", token=token, username="new_user", password="Password123").status, 200)
        self.assertEqual(self.form("/console/invitation", token=token, username="new_user", password="Password123").status, 410)
        self.assertEqual(self.me(self.sign_in({"email": email, "password": "Password123"})).json["tenant_id"], owner.tenant)

    # --- passwords --------------------------------------------------------------------------------

    def test_a_forgotten_password(self):
        wanted, made = self.sign_up()
        client = self.sign_in(wanted)
        known = self.post("/api/v1/auth/password/reset/request", {"email": wanted["email"]}, 200)
        unknown_address = account()["email"]
        unknown = self.post("/api/v1/auth/password/reset/request", {"email": unknown_address}, 200)
        self.assertEqual(known.text, unknown.text)
        self.assertTrue(self.letters.newest(unknown_address, "password_reset")["needs_account"])
        token = self.letters.newest(wanted["email"], "password_reset")["secret"]
        self.refuse(self.post("/api/v1/auth/password/reset/confirm", {"token": token, "password": "weak"}), 422, "VALIDATION_ERROR", "password")
        body = {"token": token, "password": "NewPassword1"}
        answers = at_once(8, lambda: self.post("/api/v1/auth/password/reset/confirm", body))
        self.assertEqual(sorted(a.status for a in answers), [200] + [410] * 7)
        self.stops(client)
        self.post("/api/v1/auth/login", {"email": wanted["email"], "password": wanted["password"]}, 401)
        self.assertTrue(self.me(self.sign_in({**wanted, "password": "NewPassword1"})).json["is_verified"])
        nobody = self.letters.newest(unknown_address, "password_reset")["secret"]
        self.refuse(self.post("/api/v1/auth/password/reset/confirm", {"token": nobody, "password": "NewPassword1"}), 410, "LINK_EXPIRED", "token")
        for _ in range(2):
            self.post("/api/v1/auth/password/reset/request", {"email": wanted["email"].upper()}, 200)
        self.post("/api/v1/auth/password/reset/request", {"email": wanted["email"]}, 429)
        token = self.letters.all(wanted["email"].upper(), "password_reset")[-1]["secret"]
        self.assertEqual(self.anyone.call("GET", f"/console/reset?token={token}").status, 200)
        self.assertEqual(self.form("/console/reset", token=token, password="weak").status, 422)
        self.assertEqual(self.form("/console/reset", token=token, password="Another1pw").status, 200)
        self.assertEqual(self.form("/console/reset", token=token, password="Another1pw").status, 410)

    # --- the tenant and its users -----------------------------------------------------------------

    def test_tenant_as_in_the_contract_and_nobody_else_s(self):
        owner, stranger = self.owner(), self.owner()
        tenant = owner.call("GET", f"/api/v1/tenants/{owner.tenant}").json
        self.assertEqual(set(tenant), {"id", "name", "domain", "plan", "status", "settings", "created_at"})
        self.assertEqual((tenant["id"], tenant["domain"], tenant["status"]), (owner.tenant, owner.domain, "ACTIVE"))
        self.assertLessEqual({"embedding_model", "llm_model"}, set(tenant["settings"]))
        for method, path, body in (("GET", "", None), ("PATCH", "", {"name": "Mine"}), ("GET", "/embed-snippet", None), ("POST", "/api-key/rotate", {}),
                                   ("GET", "/users", None), ("PATCH", f"/users/{owner.id}", {"role": "ADMIN"}), ("GET", "/invitations", None),
                                   ("POST", "/invitations", {"email": "a@example.com"})):
            answer = stranger.call(method, f"/api/v1/tenants/{owner.tenant}{path}", body)
            self.refuse(answer, 404, "RESOURCE_NOT_FOUND")
            self.refuse(self.anyone.call(method, f"/api/v1/tenants/{owner.tenant}{path}", body), 401, "AUTHENTICATION_ERROR")
        self.refuse(owner.call("GET", "/api/v1/tenants/uuid"), 404, "RESOURCE_NOT_FOUND")
        self.refuse(stranger.call("PATCH", f"/api/v1/tenants/{stranger.tenant}/users/{owner.id}", {"role": "ADMIN"}), 404, "RESOURCE_NOT_FOUND")

    def test_roles_and_states_act_within_five_seconds(self):
        owner, email = self.owner(), account()["email"]
        _, token = self.invite(owner, email)
        user = self.post("/api/v1/auth/invitations/accept", {"token": token, "username": "new_user", "password": "Password123"}, 201).json
        client = self.sign_in({"email": email, "password": "Password123"})
        other = client.on(self.stack.edge(2))
        users, path = f"/api/v1/tenants/{owner.tenant}/users", f"/api/v1/tenants/{owner.tenant}/users/{user['id']}"
        for each in (client, other):
            self.refuse(each.call("GET", users), 403, "PERMISSION_DENIED")
            self.refuse(each.upload("a.txt", b"no"), 403, "PERMISSION_DENIED")
        self.assertEqual(owner.call("PATCH", path, {"role": "ADMIN"}).json["role"], "ADMIN")
        for each in (client, other):
            eventually(lambda: each.call("GET", users).status == 200, REVOKED_WITHIN, "the new role")
        self.assertEqual({u["id"]: u["is_owner"] for u in client.call("GET", users).json}, {owner.id: True, user["id"]: False})
        self.refuse(client.call("PATCH", f"{users}/{owner.id}", {"role": "OPERATOR"}), 403, "PERMISSION_DENIED")
        self.refuse(client.call("PATCH", f"{users}/{owner.id}", {"is_active": False}), 403, "PERMISSION_DENIED")
        for body, field in (({}, "role"), ({"role": "SUPER_ADMIN"}, "role"), ({"role": 1}, "role"), ({"is_active": "no"}, "is_active")):
            self.refuse(owner.call("PATCH", path, body), 422, "VALIDATION_ERROR", field)
        self.refuse(owner.call("PATCH", f"{users}/{uuid.uuid4()}", {"role": "ADMIN"}), 404, "RESOURCE_NOT_FOUND")
        self.assertEqual(owner.call("PATCH", path, {"is_active": False}).json["is_active"], False)
        self.stops(client)
        self.stops(other)
        self.refuse(self.post("/api/v1/auth/login", {"email": email, "password": "Password123"}), 401, "INVALID_CREDENTIALS")
        owner.call("PATCH", path, {"is_active": True})
        self.sign_in({"email": email, "password": "Password123"})
        self.assertEqual(self.listed(client).status, 401, "what was signed out stays signed out")

    # --- the widget -------------------------------------------------------------------------------

    def ask(self, key, origin=None, client=None, **headers):
        headers = {"X-API-Key": key, **({"Origin": origin} if origin else {}), **headers}
        return (client or self.anyone).call("POST", "/api/v1/chats/widget/chat", {"query": "When does the office open?"}, headers)

    def test_the_widget_answers_its_own_pages(self):
        owner = self.owner()
        snippet = owner.call("GET", f"/api/v1/tenants/{owner.tenant}/embed-snippet").json
        self.assertEqual(set(snippet), {"snippet", "api_key", "tenant_id"})
        key = snippet["api_key"]
        self.assertIn(key, snippet["snippet"])
        origin = f"https://www.{owner.domain}"
        answer = self.ask(key, origin)
        self.assertEqual(answer.status, 200, answer.text)
        self.assertEqual(set(answer.json), {"answer", "sources", "conversation_id", "message_id", "metadata"})
        self.assertEqual((answer.headers["access-control-allow-origin"], answer.headers["cross-origin-resource-policy"]), (origin, "cross-origin"))
        self.assertEqual(self.ask(key).status, 200, "no Origin: no browser")
        for foreign in ("https://evil.example", f"http://{owner.domain}", f"https://{owner.domain}.evil.example", "null"):
            self.refuse(self.ask(key, foreign), 403, "PERMISSION_DENIED")
        preflight = self.anyone.call("OPTIONS", "/api/v1/chats/widget/chat", headers={
            "Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"})
        self.assertEqual((preflight.status, preflight.headers["access-control-allow-origin"]), (204, origin))
        self.assertIn("X-API-Key", preflight.headers["access-control-allow-headers"])
        self.refuse(self.post("/api/v1/chats/widget/chat", {"query": ""}, headers={"X-API-Key": key}), 422, "VALIDATION_ERROR", "query")

    def test_a_widget_key_opens_nothing_else(self):
        owner, stranger = self.owner(), self.owner()
        key = owner.call("GET", f"/api/v1/tenants/{owner.tenant}/embed-snippet").json["api_key"]
        foreign = stranger.call("GET", f"/api/v1/tenants/{stranger.tenant}/embed-snippet").json["api_key"]
        forged = foreign.replace(stranger.tenant, owner.tenant)
        for bad in ("", "x", key[:-1], key + "a", key.replace("_1_", "_2_"), forged, "mrw_", "mrw_" + owner.tenant, owner.token):
            self.refuse(self.ask(bad), 401, "AUTHENTICATION_ERROR")
        self.refuse(self.anyone.call("POST", "/api/v1/chats/widget/chat", {"query": "x"}, {"Authorization": "Bearer " + owner.token}),
                    401, "AUTHENTICATION_ERROR")
        for method, path in (("POST", "/api/v1/chats/rag"), ("GET", "/api/v1/contents"), ("GET", f"/api/v1/tenants/{owner.tenant}"), ("GET", "/api/jobs")):
            self.assertEqual(self.anyone.call(method, path, None, {"X-API-Key": key}).status, 401, path)
            self.assertEqual(Client(self.url, key).call(method, path).status, 401, path)
        accepted = self.ask(key, Prefer="respond-async").json
        self.assertEqual(self.anyone.call("GET", accepted["status_url"], None, {"X-API-Key": key}).status, 401)
        self.assertEqual(owner.call("GET", accepted["status_url"]).status, 404)
        token = urllib.parse.urlsplit(accepted["events_url"]).query
        self.assertEqual(self.anyone.call("GET", f"{accepted['status_url']}?{token}").status, 200, "its token opens a visitor's job")

    def test_rotating_the_key_leaves_a_day(self):
        owner = self.owner()
        first = owner.call("GET", f"/api/v1/tenants/{owner.tenant}/embed-snippet").json["api_key"]
        second = owner.call("POST", f"/api/v1/tenants/{owner.tenant}/api-key/rotate").json["api_key"]
        self.assertNotEqual(first, second)
        self.assertEqual(owner.call("GET", f"/api/v1/tenants/{owner.tenant}/embed-snippet").json["api_key"], second)
        self.assertEqual((self.ask(first).status, self.ask(second).status), (200, 200))
        self.stack.sql(f"UPDATE tenants SET key_rotated_at = now() - interval '25 hours' WHERE id = '{owner.tenant}'")
        eventually(lambda: self.ask(first).status == 401, REVOKED_WITHIN, "the end of the old key")
        self.assertEqual(self.ask(second).status, 200)

    def test_allowed_origins_are_the_tenant_s(self):
        owner = self.owner()
        key = owner.call("GET", f"/api/v1/tenants/{owner.tenant}/embed-snippet").json["api_key"]
        shop = "https://shop.example.net"
        self.assertEqual(self.ask(key, shop).status, 403)
        changed = owner.call("PATCH", f"/api/v1/tenants/{owner.tenant}", {"name": "Shop", "settings": {"allowed_origins": [shop]}})
        self.assertEqual((changed.status, changed.json["name"], changed.json["settings"]["allowed_origins"]), (200, "Shop", [shop]), changed.text)
        eventually(lambda: self.ask(key, shop).status == 200, REVOKED_WITHIN, "the new origin")
        self.assertEqual(self.ask(key, f"https://{owner.domain}").status, 403)
        for bad in (["ftp://a.example"], ["https://a.example/path"], ["*"], "https://a.example", [5]):
            answer = owner.call("PATCH", f"/api/v1/tenants/{owner.tenant}", {"settings": {"allowed_origins": bad}})
            self.assertEqual((answer.status, answer.json["error_code"]), (422, "VALIDATION_ERROR"), bad)
            self.assertIn("allowed_origins", answer.json["field"])


class Limits(unittest.TestCase):
    """The contract's own numbers (§6)."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(probe=False, env={"MILLRACE_AUTH_RATE": "10", "MILLRACE_CHAT_RATE": "60", "MILLRACE_UPLOAD_RATE": "10"})

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def refused(self, answer):
        self.assertEqual((answer.status, answer.json["error_code"]), (429, "RATE_LIMIT_EXCEEDED"), answer.text)
        self.assertTrue(1 <= int(answer.headers["retry-after"]) <= 60)

    def test_ten_sixty_ten(self):
        me = register(self.stack.edge())
        anyone = Client(self.stack.edge())
        for path, used in (("/api/v1/auth/login", 1), ("/api/v1/auth/register", 1), ("/api/v1/auth/refresh", 0)):
            answers = [anyone.call("POST", path, {}) for _ in range(11 - used)]
            self.assertEqual([a.status for a in answers], [422] * (10 - used) + [429], path)
            self.refused(answers[-1])
        uploads = [me.upload("a.exe", b"MZ") for _ in range(11)]
        self.assertEqual([a.status for a in uploads], [422] * 10 + [429])
        self.refused(uploads[-1])
        chats = at_once(61, lambda: me.call("POST", "/api/v1/chats/rag", {"query": ""}))
        self.assertEqual(sorted(a.status for a in chats), [422] * 60 + [429])
        self.refused(me.call("POST", "/api/v1/chats/rag", {"query": "x"}))
        tenant = me.call("GET", "/api/v1/auth/me").json["tenant_id"]
        key = me.call("GET", f"/api/v1/tenants/{tenant}/embed-snippet").json["api_key"]
        visits = at_once(61, lambda: anyone.call("POST", "/api/v1/chats/widget/chat", {"query": ""}, {"X-API-Key": key}))
        self.assertEqual(sorted(a.status for a in visits), [422] * 60 + [429])


if __name__ == "__main__":
    unittest.main(verbosity=2)
