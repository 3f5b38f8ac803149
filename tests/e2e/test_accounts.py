"""The account of who did what, sealed into a chain; and accounts of people: made, listed, handed over, erased."""
import json
import os
import tempfile
import unittest
import urllib.parse
import uuid

from operations import Account
from support import Client, Stack, eventually, mail_link, register


def setUpModule():
    Case.stack = Stack()


def tearDownModule():
    Case.stack.destroy()


class Case(unittest.TestCase):
    stack = None

    def ops(self, *arguments, code=0, given=""):
        done = self.stack.ops(*arguments, "--json", given=given)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout[-2000:]} {done.stderr}")
        return json.loads(done.stdout) if done.stdout else done.stderr

    def acts(self, where):
        rows = self.stack.sql(f"SELECT command || ' ' || outcome FROM audit_logs WHERE {where} ORDER BY at, id")
        return rows.splitlines()


class Audit(Case):
    def test_acts_of_people(self):
        me = register(self.stack.edge())
        email = me.account["email"]
        wrong = Client(self.stack.edge()).call("POST", "/api/v1/auth/login", {"email": email, "password": "Wrong12345"})
        self.assertEqual(wrong.status, 401)
        self.assertEqual(me.call("POST", "/api/v1/auth/logout", {}).status, 200)
        hashed = self.stack.sql(f"SELECT left(encode(sha256('{email.lower()}'), 'hex'), 32)")
        self.assertEqual(self.acts(f"actor = 'address:{hashed}'"), ["register done", "login done", "login denied"])
        user = self.stack.sql(f"SELECT id FROM users WHERE email = '{email}'")
        self.assertEqual(self.acts(f"actor = 'user:{user}'"), ["logout done"])
        line = self.stack.sql(f"SELECT client, length(trace_id), tenant_id IS NOT NULL, arguments ->> 'path' FROM audit_logs WHERE actor = 'user:{user}'")
        self.assertEqual(line, "127.0.0.1|32|t|/api/v1/auth/logout")
        whole = self.stack.sql("SELECT string_agg(a::text, ' ') FROM audit_logs a")
        for secret in (me.account["password"], "Wrong12345", me.token, email):
            self.assertNotIn(secret, whole)

    def test_links_leave_no_secret_and_strangers_leave_nothing(self):
        edge, address = Client(self.stack.edge()), f"{uuid.uuid4().hex[:10]}@example.com"
        self.assertEqual(edge.call("POST", "/api/auth-send-magic-link", {"email": address}).status, 200)
        path = urllib.parse.urlsplit(mail_link(self.stack.mails(to=address)[-1])).path
        token = path.rsplit("/", 1)[1]
        before = int(self.stack.sql("SELECT count(*) FROM audit_logs"))
        foreign = {"Sec-Fetch-Site": "cross-site"}
        for _ in range(3):  # whoever they are, they hold nothing
            self.assertEqual(edge.call("POST", path, b"", foreign).status, 403)
            self.assertEqual(edge.call("POST", "/login/" + "x" * 43, b"").status, 410)
            self.assertEqual(edge.call("DELETE", f"/api/v1/contents/{uuid.uuid4()}").status, 401)
            self.assertEqual(Client(self.stack.edge(), "mrs_rubbish").call("DELETE", f"/api/jobs/{uuid.uuid4()}").status, 401)
        self.assertEqual(int(self.stack.sql("SELECT count(*) FROM audit_logs")), before)
        self.assertEqual(edge.call("POST", path, b"").status, 303)
        hashed = self.stack.sql(f"SELECT left(encode(sha256('{address}'), 'hex'), 32)")
        self.assertEqual(self.acts(f"actor = 'address:{hashed}'"), ["sendMagicLink done", "confirmLogin done"])
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM audit_logs a WHERE a::text LIKE '%{token}%'"), "0")

    def test_what_is_malformed_or_makes_a_job_is_not_recorded(self):
        me = register(self.stack.edge())
        user = self.stack.sql(f"SELECT id FROM users WHERE email = '{me.account['email']}'")
        me.enqueue("probe.ok")
        me.call("POST", "/api/v1/chats/rag", {"query": "x"}, {"Prefer": "respond-async"})
        self.assertEqual(Client(self.stack.edge()).call("POST", "/api/v1/auth/login", {"email": 1}).status, 422)
        self.assertEqual(self.acts(f"actor = 'user:{user}'"), [])

    def test_a_change_is_noticed(self):
        register(self.stack.edge())
        register(self.stack.edge())
        eventually(lambda: self.stack.sql("SELECT (SELECT count(*) FROM audit_logs) = (SELECT count(*) FROM audit_sealed)") == "t", 20,
                   "the scheduler's seal over all rows")
        clean = self.ops("verify", "audit")
        self.assertTrue(clean["clean"])
        self.assertEqual(clean["rows"], clean["sealed"])
        self.assertRegex(clean["hash"], "^[0-9a-f]{64}$")
        eventually(lambda: clean["hash"] in self.stack.logs(400), 5, "the seal in the scheduler's log")
        row = self.stack.sql("SELECT id FROM audit_sealed ORDER BY random() LIMIT 1")
        behind = "SET session_replication_role = replica;"  # what only the database's superuser can do
        kept = self.stack.sql(f"SELECT actor FROM audit_logs WHERE id = '{row}'")
        self.stack.sql(f"{behind} UPDATE audit_logs SET actor = 'somebody else' WHERE id = '{row}'")
        broken = self.ops("verify", "audit", code=1)
        self.assertEqual([p["problem"] for p in broken["problems"]], ["a row was changed"])
        self.stack.sql(f"{behind} UPDATE audit_logs SET actor = '{kept}' WHERE id = '{row}'")
        self.assertTrue(self.ops("verify", "audit")["clean"])
        self.stack.sql(f"{behind} CREATE TABLE kept AS SELECT * FROM audit_logs WHERE id = '{row}'; DELETE FROM audit_logs WHERE id = '{row}'")
        self.assertRegex(self.ops("verify", "audit", code=1)["problems"][0]["problem"], "1 of its .* rows are missing")
        self.stack.sql("INSERT INTO audit_logs SELECT * FROM kept; DROP TABLE kept")
        self.assertTrue(self.ops("verify", "audit")["clean"])
        for table in ("audit_logs", "audit_seals", "audit_sealed"):
            with self.assertRaisesRegex(AssertionError, "append-only"):
                self.stack.sql(f"DELETE FROM {table}")


class Users(Case):
    def test_made_with_a_role(self):
        owner = register(self.stack.edge())
        domain, email = owner.account["tenant_domain"], f"admin-{uuid.uuid4().hex[:8]}@example.com"
        made = self.ops("users", "create", "--email", email, "--role", "ADMIN", "--tenant", domain)
        signed_in = Client(self.stack.edge()).call("POST", "/api/v1/auth/login", {"email": email, "password": made["password"]})
        self.assertEqual(signed_in.status, 200, signed_in.text)
        client = Client(self.stack.edge(), signed_in.json["access_token"])
        self.assertEqual(client.call("GET", "/api/v1/auth/me").json["role"], "ADMIN")
        self.assertEqual(client.upload("a.txt", b"some text").status, 201)
        self.assertIn("already", self.ops("users", "create", "--email", email, "--role", "ADMIN", "--tenant", domain, code=1))
        given = self.ops("users", "create", "--email", "b" + email, "--role", "OPERATOR", "--tenant", domain, "--password-stdin",
                         given="Password123\n")
        self.assertNotIn("password", given)
        self.assertIn("no tenant", self.ops("users", "create", "--email", "c" + email, "--role", "ADMIN", "--tenant", "nowhere.example", code=1))
        self.assertIn("--email", self.ops("users", "create", "--email", "nobody", "--role", "ADMIN", "--tenant", domain, code=1))
        person = self.ops("users", "create", "--realm", "planner", "--email", email, "--role", "SUPER_ADMIN")
        self.assertNotIn("password", person)
        self.assertEqual({row["role"] for row in self.ops("users", "list", "--limit", "1000") if row["email"] == email}, {"ADMIN", "SUPER_ADMIN"})

    def everything_about(self, *words):
        """Where in the database one of these words still stands."""
        tables = self.stack.sql("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
                                " AND NOT relispartition").split()
        found = []
        for table in tables:
            text = self.stack.sql(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM \"{table}\" t")
            if table == "jobs":
                text += self.stack.sql("SELECT coalesce(string_agg(convert_from(input, 'UTF8') || coalesce(convert_from(result, 'UTF8'), ''), ' '), '') FROM jobs")
            found += [f"{table}: {word}" for word in words if word in text]
        return found

    def test_handed_over_and_erased(self):
        me, other = register(self.stack.edge()), register(self.stack.edge())
        word = "quagga" + uuid.uuid4().hex[:10]
        uploaded = me.upload(f"{word}.txt", f"The {word} stands in the meadow.".encode(), {"title": word})
        self.assertEqual(uploaded.status, 201)
        me.wait_job(uploaded.job)
        self.assertEqual(me.call("POST", "/api/v1/chats/rag", {"query": f"Where does the {word} stand?"}).status, 200)
        job = me.enqueue("probe.stream", {"text": f"a {word} "})
        me.wait_job(job)
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "me.json")
            self.ops("users", "export", "--email", me.account["email"], "--out", out)
            with open(out, encoding="utf-8") as file:
                text = file.read()
        mine = json.loads(text)
        self.assertEqual(mine["account"][0]["email"], me.account["email"])
        self.assertTrue({"jobs", "conversations", "messages", "files", "sessions", "audit"} >= {"jobs", "messages", "files"} <= set(mine))
        self.assertIn(f"Where does the {word} stand?", text)
        for secret in ("argon2id", "password_hash", "token_hash", other.account["email"]):
            self.assertNotIn(secret, text)

        objects = lambda: [os.path.join(d, f) for d, _, files in os.walk(self.stack.env["MILLRACE_OBJECT_DIR"]) for f in files]  # noqa: E731
        before = len(objects())
        asked = self.stack.ops("users", "erase", "--email", me.account["email"])
        self.assertIn("--yes does it", asked.stdout)
        self.assertEqual(me.call("GET", "/api/v1/auth/me").status, 200)
        pending = self.stack.sql(f"SELECT count(*) FROM usage WHERE tenant_id = (SELECT tenant_id FROM users WHERE email = '{me.account['email']}')")
        tenant = self.stack.sql(f"SELECT tenant_id FROM users WHERE email = '{me.account['email']}'")
        done = self.ops("users", "erase", "--email", me.account["email"], "--yes")
        self.assertGreaterEqual(done["jobs"], 3)
        self.assertEqual(done["objects"], 1)
        self.assertEqual(len(objects()), before - 1)
        self.assertEqual(self.everything_about(word, me.account["email"]), [])
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM usage WHERE tenant_id = '{tenant}'"), pending, "the ledger stays")
        self.assertEqual(self.stack.redis("keys", f"*{job}*"), "")
        eventually(lambda: me.call("GET", "/api/v1/auth/me").status == 401, 5, "the session's end")
        again = Client(self.stack.edge()).call("POST", "/api/v1/auth/login", {k: me.account[k] for k in ("email", "password")})
        self.assertEqual(again.status, 401)
        self.assertTrue(self.ops("verify", "audit")["clean"])
        self.assertEqual(other.call("GET", "/api/v1/auth/me").status, 200)
        self.assertIn("no account", self.ops("users", "erase", "--email", me.account["email"], "--yes", code=1))

    def test_an_owner_with_members_is_not_erased(self):
        owner = register(self.stack.edge())
        tenant = self.stack.sql(f"SELECT tenant_id FROM users WHERE email = '{owner.account['email']}'")
        member = Account(self.stack, "knowledge", owner=False, tenant=tenant)
        self.assertIn("hand it over", self.ops("users", "erase", "--email", owner.account["email"], "--yes", code=1))
        owner.upload("kept.txt", b"the company's own")
        self.ops("users", "erase", "--email", member.email, "--yes")
        self.assertEqual(len(owner.call("GET", "/api/v1/contents").json), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
