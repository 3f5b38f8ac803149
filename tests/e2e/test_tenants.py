"""Tenants cannot see each other, by construction: the catalogue of the database, every table under row-level security, and
thousands of calls with another tenant's ids."""
import concurrent.futures
import http.client
import json
import os
import random
import unittest
import urllib.parse
import uuid

from operations import Account, body_bytes, operations
from support import Client, Stack, eventually, register

CALLS = 40_000 if os.environ.get("MILLRACE_TEST_LONG") == "1" else 10_000
SEED = int(os.environ.get("MILLRACE_TEST_SEED", "0")) or random.SystemRandom().randrange(1 << 32)


class Tenants(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.sql = cls.stack.sql

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def rows(self, query):
        return [line.split("|") for line in self.sql(query).splitlines()]

    def as_app(self, query, tenant=None):
        setting = f"SET LOCAL app.tenant = '{tenant}';" if tenant else ""
        return self.sql(f"BEGIN; SET LOCAL ROLE millrace_app; {setting} {query}; COMMIT")

    def readable(self):
        return [name for name, in self.rows(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
            " AND NOT c.relispartition AND has_table_privilege('millrace_app', c.oid, 'SELECT') ORDER BY 1")]

    def test_roles_are_nobody(self):
        self.assertEqual(self.rows("SELECT rolname FROM pg_roles WHERE rolname IN ('millrace', 'millrace_app', 'millrace_pipeline')"
                                   " AND (rolsuper OR rolbypassrls OR rolcreaterole)"), [])
        self.assertEqual(self.rows("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relowner IN"
                                   " (SELECT oid FROM pg_roles WHERE rolname IN ('millrace', 'millrace_app', 'millrace_pipeline'))"), [])

    def test_every_table_that_products_touch_is_walled(self):
        """Row security on and forced, one policy for millrace_app, an equality with the transaction's tenant."""
        touched = self.rows(
            "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,"
            " (SELECT string_agg(pg_get_expr(p.polqual, c.oid) || ' / ' || coalesce(pg_get_expr(p.polwithcheck, c.oid), ''), ' ; ')"
            "    FROM pg_policy p WHERE p.polrelid = c.oid AND p.polroles @> ARRAY['millrace_app'::regrole::oid]),"
            " (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid AND p.polroles @> ARRAY[0::oid])"
            " FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
            " AND (has_table_privilege('millrace_app', c.oid, 'SELECT') OR has_table_privilege('millrace_app', c.oid, 'UPDATE')"
            " OR has_table_privilege('millrace_app', c.oid, 'DELETE'))")
        self.assertGreater(len(touched), 8)
        for name, forced, policy, for_everybody in touched:
            with self.subTest(name):
                self.assertEqual((forced, for_everybody), ("t", "0"))
                column = "id" if name == "tenants" else "tenant_id"
                wall = f"({column} = ( SELECT current_tenant() AS current_tenant))"
                self.assertEqual(policy, f"{wall} / {wall}")

    def test_every_other_table_is_out_of_their_reach(self):
        open_tables = self.rows(
            "SELECT c.relname, p.privilege FROM pg_class c, unnest(ARRAY['SELECT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS p (privilege)"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity"
            " AND (has_table_privilege('millrace_app', c.oid, p.privilege) OR has_table_privilege('public', c.oid, p.privilege))")
        self.assertEqual(open_tables, [])

    def test_functions_that_see_more_are_pinned_and_not_for_everybody(self):
        self.assertEqual(self.rows(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
            " AND (NOT coalesce(array_to_string(proconfig, ',') LIKE '%search_path=public, pg_temp%', false)"
            "      OR has_function_privilege('public', oid, 'EXECUTE'))"), [])

    def test_without_a_tenant_nothing_is_read(self):
        for name in self.readable():  # an empty table asks nobody who reads it
            with self.subTest(name), self.assertRaisesRegex(AssertionError, "app.tenant|uuid"):
                self.assertEqual(self.as_app(f'SELECT count(*) FROM "{name}"'), "0")
                self.as_app("SELECT current_tenant()")

    def test_a_tenant_reads_and_changes_its_own_rows_only(self):
        first, second = register(self.stack.edge()), register(self.stack.edge())
        for client in (first, second):
            self.assertEqual(client.upload("a.txt", b"The pump of the mill is green. It stands beside the race.").status, 201)
            self.assertEqual(client.call("POST", "/api/v1/chats/rag", {"query": "What colour is the pump?"}).status, 200)
        eventually(lambda: self.sql("SELECT count(*) FROM files WHERE status = 'completed'") >= "2", what="both documents")
        ids = [self.sql(f"SELECT tenant_id FROM users WHERE email_key = '{c.account['email'].lower()}'") for c in (first, second)]
        filled = 0
        for name in self.readable():
            column = "id" if name == "tenants" else "tenant_id"
            foreign = int(self.sql(f"SELECT count(*) FROM \"{name}\" WHERE {column} <> '{ids[0]}'"))
            filled += foreign > 0
            with self.subTest(name):
                self.assertEqual(self.as_app(f"SELECT count(*) FROM \"{name}\" WHERE {column} <> '{ids[0]}'", ids[0]), "0")
                for privilege, statement in (("UPDATE", f'UPDATE "{name}" SET {column} = {column} WHERE {column} = \'{ids[1]}\''),
                                             ("DELETE", f'DELETE FROM "{name}" WHERE {column} = \'{ids[1]}\'')):
                    if self.sql(f"SELECT has_table_privilege('millrace_app', '{name}', '{privilege}')") == "t":
                        changed = self.as_app(f"WITH changed AS ({statement} RETURNING 1) SELECT count(*) FROM changed", ids[0])
                        self.assertEqual(changed, "0")
                if self.sql(f"SELECT has_column_privilege('millrace_app', '{name}', '{column}', 'UPDATE')") == "t" and \
                        int(self.sql(f"SELECT count(*) FROM \"{name}\" WHERE {column} = '{ids[0]}'")):
                    with self.assertRaisesRegex(AssertionError, "row-level security|foreign key|duplicate key|no partition"):
                        self.as_app(f"UPDATE \"{name}\" SET {column} = '{ids[1]}'", ids[0])
        self.assertGreaterEqual(filled, 7, "too few tables had rows of another tenant to hide")


class Strangers(unittest.TestCase):
    """Calls of one tenant with everything that belongs to another."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.marker = "zebrafish" + uuid.uuid4().hex[:12]
        cls.victim = register(cls.stack.edge())
        uploaded = cls.victim.upload(f"{cls.marker}.txt", f"The {cls.marker} lives in the {cls.marker} tank.".encode(),
                                     {"title": cls.marker, "description": cls.marker})
        answer = cls.victim.call("POST", "/api/v1/chats/rag", {"query": f"Where does the {cls.marker} live?"})
        job = cls.victim.enqueue("probe.ok", {"echo": cls.marker})
        cls.victim.wait_job(job)
        tenant, user = cls.stack.sql(f"SELECT tenant_id || ' ' || id FROM users WHERE email_key = '{cls.victim.account['email'].lower()}'").split()
        cls.stack.sql(f"UPDATE tenants SET name = '{cls.marker}' WHERE id = '{tenant}'")
        cls.ids = [tenant, user, job, uploaded.json["id"], answer.json["conversation_id"],
                   *cls.stack.sql(f"SELECT id FROM jobs WHERE tenant_id = '{tenant}'").split(),
                   *cls.stack.sql(f"SELECT id FROM sessions WHERE tenant_id = '{tenant}'").split()]
        cls.strangers = [Account(cls.stack, surface, role) for surface in ("knowledge", "diary", "karte", "planner")
                         for role in ("OPERATOR", "ADMIN")]

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def draw(self, rng, operation, schema, depth=0):
        """A value for a schema: mostly what the victim owns."""
        schema = operation.resolve(schema)
        if schema.get("format") == "uuid" or depth == 0:
            return rng.choice(self.ids)
        kind = schema.get("type")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            return {name: self.draw(rng, operation, member, depth + 1) for name, member in schema.get("properties", {}).items()
                    if name in schema.get("required", []) or rng.random() < 0.5}
        if kind == "array":
            return [self.draw(rng, operation, schema.get("items", {}), depth + 1)]
        if kind in ("integer", "number"):
            return rng.choice([0, 1, 5, 10])
        if kind == "boolean":
            return rng.random() < 0.5
        if "enum" in schema:
            return rng.choice(schema["enum"])
        return rng.choice([*self.ids, "What is in the tank?", "Where do they live?", self.victim.account["email"]])

    def one_call(self, rng, connection, operation):
        who = rng.choice(self.strangers)
        path = operation.url(lambda _: rng.choice(self.ids))
        query = {p["name"]: rng.choice([*self.ids, "1", "10"]) for p in operation.parameters("query") if rng.random() < 0.3}
        if query:
            path += "?" + urllib.parse.urlencode(query)
        body, kind = body_bytes(operation)
        if kind == "application/json":
            body = json.dumps(self.draw(rng, operation, operation.content()[1], 1)).encode()
        headers = {"Authorization": "Bearer " + who.token, "Prefer": "wait=1"}
        if kind:
            headers["Content-Type"] = kind
        connection.request(operation.method, path, body, headers)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        return response.status, f"{operation.method} {path} {body!r} -> {response.status} {text[:500]}", text

    def test_nothing_foreign_is_ever_answered(self):
        asked = [o for o in operations() if "{id}/events" not in o.path and "login" not in o.name.lower() and "register" not in o.name.lower()]
        url = urllib.parse.urlsplit(self.stack.edge())

        def worker(number):
            rng, wrong, statuses = random.Random(f"{SEED} {number}"), [], {}
            connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
            for _ in range(CALLS // 8):
                status, what, text = self.one_call(rng, connection, rng.choice(asked))
                statuses[status] = statuses.get(status, 0) + 1
                if self.marker in text or status >= 500 and status != 503:
                    wrong.append(what)
            connection.close()
            return wrong, statuses

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            done = list(pool.map(worker, range(8)))
        statuses = {}
        for _, counted in done:
            for status, number in counted.items():
                statuses[status] = statuses.get(status, 0) + number
        print(f"seed {SEED}: {sum(statuses.values())} calls over {len(asked)} operations: {dict(sorted(statuses.items()))}", flush=True)
        self.assertEqual([what for wrong, _ in done for what in wrong][:5], [])
        self.assertGreater(statuses.get(404, 0), CALLS // 100, "hardly any call reached a look-up")
        # And the victim still has all of it.
        self.assertEqual(Client(self.stack.edge(), self.victim.token).call("GET", "/api/v1/contents").json[0]["title"], self.marker)


if __name__ == "__main__":
    unittest.main(verbosity=2)
