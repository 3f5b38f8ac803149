"""What model calls cost: prices, usage, budgets that hold, the customers' own keys, checkout."""
import concurrent.futures
import datetime
import json
import os
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

import documents
from support import ROOT, Client, Stack, eventually, register

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from counterparts import Model, Payments  # noqa: E402

QUESTION = {"query": "How often does the espresso machine have to be descaled?"}
COST = (111 * 1000 + 22 * 2000) / 1e6  # the counterpart's tokens at the prices below
PRICES = "models:\n  - {model: priced, input: 1000, output: 2000}\n"
OWN_KEY = "sk-of-the-customer-7f3a9c"


class Money(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model, cls.payments = Model("priced"), Payments()
        cls.prices = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        cls.prices.write(PRICES)
        cls.prices.flush()
        cls.stack = Stack(probe=False, env={
            "MILLRACE_LLM_URL": cls.model.url, "MILLRACE_LLM_MODEL": "priced", "MILLRACE_LLM_KEY": "the-operators-key-1234",
            "MILLRACE_PRICES_FILE": cls.prices.name, **cls.payments.settings, "MILLRACE_CHAT_RATE": "1000000", "MILLRACE_AUTH_RATE": "1000000"})

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()
        cls.model.close()
        cls.payments.close()
        cls.prices.close()

    def setUp(self):
        self.model.script = ["The machine is descaled regularly."]
        self.model.requests.clear()
        self.me = register(self.stack.edge())
        answer = self.me.upload("shop-notice.txt", documents.sample("shop-notice.txt"))
        self.assertEqual(self.me.wait_job(answer.job)["status"], "succeeded")
        self.tenant = self.me.call("GET", "/api/v1/auth/me").json["tenant_id"]

    def ask(self, **more):
        return self.me.call("POST", "/api/v1/chats/rag", QUESTION | more)

    def usage(self, **query):
        return self.me.call("GET", "/api/v1/stats/usage?" + urllib.parse.urlencode(query))

    def set_budget(self, usd):
        answer = self.me.call("PATCH", f"/api/v1/tenants/{self.tenant}", {"settings": {"monthly_budget_usd": usd}})
        self.assertEqual(answer.status, 200, answer.text)

    def refused(self, answer, status, code, field=None):
        self.assertEqual((answer.status, answer.json["error_code"], answer.json.get("field")), (status, code, field), answer.text)

    # --- usage -----------------------------------------------------------------------------------------------------------------
    def test_usage_by_period(self):
        for _ in range(2):
            self.assertEqual(self.ask().status, 200)
        used = self.usage().json
        self.assertEqual(used["total_tokens"], 2 * 133)
        self.assertAlmostEqual(used["total_cost"], 2 * COST)
        today = datetime.datetime.now(datetime.timezone.utc).date()
        self.assertEqual(len(used["by_date"]), 30)
        self.assertEqual(used["by_date"][-1], {"date": today.isoformat(), "tokens": 266, "cost": used["total_cost"]})
        self.assertEqual(used["by_model"], [{"model": "priced", "tokens": 266, "cost": used["total_cost"]}])
        self.assertEqual(used["budget"]["limit_usd"], None)
        self.assertAlmostEqual(used["budget"]["spent_usd"], 2 * COST)
        self.assertEqual(used["budget"]["reserved_usd"], 0)

        week = self.usage(start_date=today - datetime.timedelta(days=7), end_date=today, granularity="week").json
        monday = today - datetime.timedelta(days=today.weekday())
        self.assertEqual([row["date"] for row in week["by_date"]], [str(monday - datetime.timedelta(days=7)), str(monday)])
        self.assertEqual(week["by_date"][1]["tokens"], 266)
        month = self.usage(start_date=f"{today}T00:00:00Z", end_date=today, granularity="month").json
        self.assertEqual(month["by_date"], [{"date": str(today.replace(day=1)), "tokens": 266, "cost": used["total_cost"]}])
        before = self.usage(start_date="2024-02-28", end_date="2024-03-01").json
        self.assertEqual(before["by_date"], [{"date": f"2024-0{d}", "tokens": 0, "cost": 0} for d in ("2-28", "2-29", "3-01")])
        self.assertEqual((before["total_tokens"], before["total_cost"]), (0, 0))
        self.assertEqual(register(self.stack.edge()).call("GET", "/api/v1/stats/usage").json["total_tokens"], 0, "another tenant")

    def test_bad_periods(self):
        for query, field in ((dict(start_date="yesterday"), "start_date"), (dict(end_date="2025-02-30"), "end_date"), (dict(end_date=""), "end_date"),
                             (dict(start_date="2025-01-02", end_date="2025-01-01"), "end_date"), (dict(granularity="hour"), "granularity"),
                             (dict(start_date="2001-01-01", end_date="2025-01-01"), "start_date"), (dict(start_date="2025-1-1"), "start_date"),
                             (dict(start_date="9" * 500), "start_date"), (dict(start_date="0000-01-01"), "start_date")):
            self.refused(self.usage(**query), 422, "VALIDATION_ERROR", field)

    # --- budgets ---------------------------------------------------------------------------------------------------------------
    def test_a_budget_refuses_and_says_until_when(self):
        self.set_budget(0.01)
        answer = self.ask()
        self.refused(answer, 429, "BUDGET_EXCEEDED")
        budget = self.usage().json["budget"]
        self.assertIn(budget["resets_at"], answer.json["detail"])
        self.assertGreater(int(answer.headers["retry-after"]), 0)
        self.assertEqual(self.model.requests, [])
        self.set_budget(None)
        self.assertEqual(self.ask().status, 200)
        for wrong in (-1, "10", 1e12, [1]):
            self.refused(self.me.call("PATCH", f"/api/v1/tenants/{self.tenant}", {"settings": {"monthly_budget_usd": wrong}}), 422, "VALIDATION_ERROR",
                         "settings.monthly_budget_usd")

    def test_parallel_questions_do_not_exceed_it(self):
        # 25 answered at most at what they cost; each sets aside more while it runs.
        self.set_budget(25 * COST)
        with concurrent.futures.ThreadPoolExecutor(16) as many:
            answers = list(many.map(lambda n: self.ask(max_tokens=50).status, range(50)))
        self.assertEqual(set(answers), {200, 429})
        budget = self.usage().json["budget"]
        self.assertAlmostEqual(budget["spent_usd"], answers.count(200) * COST)
        self.assertLessEqual(budget["spent_usd"], budget["limit_usd"])
        self.assertEqual(budget["reserved_usd"], 0)
        self.assertEqual(len(self.model.requests), answers.count(200))

    def test_the_operators_cap_counts_too(self):
        self.set_budget(1000)
        self.stack.ops("budgets", "set", "--tenant", self.tenant, "--usd", "0.5")
        self.assertEqual(self.usage().json["budget"]["limit_usd"], 0.5)
        shown = json.loads(self.stack.ops("--json", "budgets", "show", "--tenant", self.tenant).stdout)
        self.assertEqual((shown["limit_usd"], shown["spent_usd"]), (0.5, 0))
        self.stack.ops("budgets", "set", "--tenant", self.tenant, "--none")
        self.assertEqual(self.usage().json["budget"]["limit_usd"], 1000)

    def test_a_crash_between_reservation_and_usage(self):
        self.set_budget(10)
        self.model.script = ["STALL"]
        job = self.me.call("POST", "/api/v1/chats/rag", QUESTION, {"Prefer": "respond-async"}).json["job_id"]
        eventually(lambda: self.usage().json["budget"]["reserved_usd"] > 0, 10, "the reservation")
        eventually(lambda: self.model.requests, 10, "the model's question")
        self.model.script = ["The machine is descaled regularly."]
        self.stack.kill("worker-rag")
        self.assertEqual(self.me.wait_job(job)["status"], "succeeded")
        budget = self.usage().json["budget"]
        self.assertAlmostEqual(budget["spent_usd"], COST)
        self.assertEqual(budget["reserved_usd"], 0)

    # --- keys ------------------------------------------------------------------------------------------------------------------
    def test_the_tenants_own_key_is_used_and_shown_to_nobody(self):
        asked = {"provider": "openai", "model": "gpt-4", "api_key": OWN_KEY}
        made = self.me.call("POST", "/api/v1/api-keys", asked, {"Idempotency-Key": "one"})
        self.assertEqual(made.status, 201, made.text)
        self.assertEqual(set(made.json), {"id", "provider", "model", "is_active", "created_at"})
        self.assertEqual(self.me.call("POST", "/api/v1/api-keys", asked, {"Idempotency-Key": "one"}).text, made.text)
        self.assertEqual(self.me.call("GET", "/api/v1/api-keys").json, [made.json])

        def keys_seen():
            self.model.requests.clear()
            self.assertEqual(self.ask().status, 200)
            return [(r["headers"]["Authorization"], r["body"]["model"]) for r in self.model.requests]
        eventually(lambda: keys_seen() == [(f"Bearer {OWN_KEY}", "gpt-4")], 10, "the customer's key")

        self.model.script = [401]
        self.refused(self.ask(), 422, "PROVIDER_KEY_REFUSED")
        self.assertEqual({r["headers"]["Authorization"] for r in self.model.requests}, {f"Bearer {OWN_KEY}"}, "nobody else pays")

        tenant = self.me.call("GET", "/api/v1/auth/me").json["tenant_id"]
        widget = self.me.call("GET", f"/api/v1/tenants/{tenant}/embed-snippet").json["api_key"]
        visited = Client(self.stack.edge()).call("POST", "/api/v1/chats/widget/chat", QUESTION, {"X-API-Key": widget, "Prefer": "wait=60"})
        self.assertEqual(visited.status, 503, visited.text)
        self.assertNotIn("key", visited.text.lower(), "that is nothing for a visitor")

        self.model.script = ["The machine is descaled regularly."]
        self.assertEqual(self.me.call("DELETE", f"/api/v1/api-keys/{made.json['id']}").json, {"message": "APIキーが削除されました"})
        self.refused(self.me.call("DELETE", f"/api/v1/api-keys/{made.json['id']}"), 404, "RESOURCE_NOT_FOUND")
        eventually(lambda: keys_seen() == [("Bearer the-operators-key-1234", "priced")], 10, "the operator's key again")

        everything = subprocess.run(["grep", "-rla", OWN_KEY, self.stack.home], capture_output=True, text=True).stdout
        self.assertEqual(everything, "", "no log, table or record holds it in the clear")

    def test_bad_keys(self):
        good = {"provider": "openai", "model": "gpt-4", "api_key": "sk-..."}
        self.assertEqual(self.me.call("POST", "/api/v1/api-keys", good).status, 201, "the contract's own example")
        for change, field in (({"provider": "acme"}, "provider"), ({"model": "gpt-99"}, "model"), ({"api_key": ""}, "api_key"), ({"api_key": "a" * 501}, "api_key"),
                              ({"api_key": "with space"}, "api_key"), ({"api_key": "line\nbreak"}, "api_key"), ({"api_key": 5}, "api_key"), ({"provider": None}, "provider")):
            self.refused(self.me.call("POST", "/api/v1/api-keys", good | change), 422, "VALIDATION_ERROR", field)
        other = register(self.stack.edge())
        mine = self.me.call("GET", "/api/v1/api-keys").json[0]["id"]
        self.assertEqual(other.call("GET", "/api/v1/api-keys").json, [])
        self.refused(other.call("DELETE", f"/api/v1/api-keys/{mine}"), 404, "RESOURCE_NOT_FOUND")
        self.refused(self.me.call("DELETE", "/api/v1/api-keys/nonsense"), 404, "RESOURCE_NOT_FOUND")

    # --- checkout --------------------------------------------------------------------------------------------------------------
    def test_checkout_without_payments(self):
        stack = Stack(probe=False)
        try:
            self.refused(register(stack.edge()).call("POST", "/api/v1/billing/checkout", {"plan": "PRO", "billing_cycle": "MONTHLY"}), 503, "PAYMENTS_NOT_CONFIGURED")
        finally:
            stack.destroy()

    def test_checkout(self):
        self.payments.requests.clear()
        wanted = {"plan": "PRO", "billing_cycle": "MONTHLY"}
        answer = self.me.call("POST", "/api/v1/billing/checkout", wanted, {"Idempotency-Key": "buy"})
        self.assertEqual((answer.status, answer.json), (200, {"url": "https://pay.example.com/cs_test_1", "session_id": "cs_test_1"}))
        headers, fields = self.payments.requests[0]
        self.assertEqual(headers["Authorization"], "Bearer sk_test_of_ours")
        self.assertEqual((fields["line_items[0][price]"], fields["client_reference_id"], fields["mode"]), ("price_pro_m", self.tenant, "subscription"))
        self.assertEqual(self.me.call("POST", "/api/v1/billing/checkout", wanted, {"Idempotency-Key": "buy"}).text, answer.text)
        self.assertEqual(len(self.payments.requests), 1)
        for change, field in (({"plan": "GOLD"}, "plan"), ({"plan": None}, "plan"), ({"billing_cycle": "DAILY"}, "billing_cycle"), ({"billing_cycle": "YEARLY"}, "plan")):
            self.refused(self.me.call("POST", "/api/v1/billing/checkout", wanted | change), 422, "VALIDATION_ERROR", field)
        self.payments.status = 402
        self.refused(self.me.call("POST", "/api/v1/billing/checkout", wanted), 503, "PAYMENTS_UNAVAILABLE")
        self.payments.status = 200


if __name__ == "__main__":
    unittest.main(verbosity=2)
