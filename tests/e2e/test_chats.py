"""Conversations of the document chatbot: follow-up questions, filters, reading, exporting, judging, deleting; visitors of a widget."""
import json
import os
import sys
import unittest
import uuid

import documents
from support import ROOT, Client, Stack, eventually, read_events, register

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from counterparts import Model  # noqa: E402

HANDBOOK = "試用期間は三か月です。正社員の試用期間中の時給は1200円です。パートの試用期間は一か月です。\n\n夏季休暇は七月から九月の間に五日取得できます。\n".encode()
MANUAL = b"The coffee grinder must be cleaned every Friday evening. Its burrs are replaced once a year by a technician.\n"


class Chats(unittest.TestCase):
    env = {}

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(probe=False, env={"MILLRACE_CHAT_RATE": "1000000", "MILLRACE_AUTH_RATE": "1000000", **cls.env})
        cls.me = register(cls.stack.edge())
        cls.files = {}
        for name, content, tags in (("handbook.txt", HANDBOOK, "人事,公開"), ("manual.txt", MANUAL, "machines")):
            answer = cls.me.upload(name, content, {"tags": tags})
            cls.files[name] = answer.json["id"]
            job = cls.me.wait_job(answer.job)
            assert job["status"] == "succeeded", job
        cls.tenant = cls.me.call("GET", "/api/v1/auth/me").json["tenant_id"]
        cls.key = {"X-API-Key": cls.me.call("GET", f"/api/v1/tenants/{cls.tenant}/embed-snippet").json["api_key"]}

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def ask(self, query, **more):
        answer = self.me.call("POST", "/api/v1/chats/rag", {"query": query, **more})
        self.assertEqual(answer.status, 200, answer.text)
        return answer.json

    def visit(self, query, **more):
        return Client(self.stack.edge()).call("POST", "/api/v1/chats/widget/chat", {"query": query, **more}, self.key)

    def refused(self, answer, status, code, field=None):
        self.assertEqual((answer.status, answer.json["error_code"], answer.json.get("field")), (status, code, field), answer.text)


class Local(Chats):
    def test_a_follow_up_is_understood_from_what_was_asked_before(self):
        first = self.ask("正社員の試用期間はどれくらいですか？")
        self.assertIn("三か月", first["answer"])
        second = self.ask("ではパートは？", session_id=first["conversation_id"])
        self.assertIn("一か月", second["answer"])
        english = self.ask("When must the coffee grinder be cleaned?")
        self.assertIn("Friday", english["answer"])
        self.assertIn("technician", self.ask("And who replaces its burrs?", session_id=english["conversation_id"])["answer"])

    def test_filters(self):
        question = "夏季休暇は何日取得できますか？"
        self.assertIn("五日", self.ask(question)["answer"])
        for good in ({"file_ids": [self.files["handbook.txt"]]}, {"tags": ["人事"]}, {"tags": ["nowhere", "公開"]}, {"file_types": ["txt"]}, {}, None):
            self.assertIn("五日", self.ask(question, filters=good)["answer"], good)
        for other in ({"file_ids": [self.files["manual.txt"]]}, {"tags": ["machines"]}, {"file_types": ["pdf"]}, {"tags": ["人事"], "file_types": ["docx"]},
                      {"file_ids": [str(uuid.uuid4())]}):
            self.assertNotIn("handbook.txt", [source["file_name"] for source in self.ask(question, filters=other)["sources"]], other)
        for wrong, field in (({"file_ids": ["x"]}, "filters.file_ids"), ({"tags": "人事"}, "filters.tags"), ({"file_types": ["exe"]}, "filters.file_types"),
                             ({"tags": ["a"] * 51}, "filters.tags"), ([], "filters")):
            self.refused(self.me.call("POST", "/api/v1/chats/rag", {"query": question, "filters": wrong}), 422, "VALIDATION_ERROR", field)

    def test_a_conversation_is_read_exported_and_deleted(self):
        first = self.ask("夏季休暇は何日取得できますか？")
        path = f"/api/v1/chats/{first['conversation_id']}"
        self.ask("<script>alert(1)</script> ![x](https://evil.example/x) \\[y](z) の意味は？", session_id=first["conversation_id"])
        listed = self.me.call("GET", "/api/v1/chats?limit=1").json
        self.assertEqual([(c["conversation_id"], c["title"], c["message_count"]) for c in listed], [(first["conversation_id"], "夏季休暇は何日取得できますか？", 4)])
        whole = self.me.call("GET", path).json
        self.assertEqual([m["role"] for m in whole["messages"]], ["user", "assistant"] * 2)
        answer = whole["messages"][1]
        self.assertEqual((answer["id"], answer["content"], answer["sources"], answer["feedback"]), (first["message_id"], first["answer"], first["sources"], None))
        self.assertRegex(answer["trace_id"], "^[0-9a-f]{32}$")

        exported = self.me.call("GET", path + "/export")
        self.assertEqual((exported.json, exported.headers["content-disposition"]), (whole, f'attachment; filename="conversation-{first["conversation_id"]}.json"'))
        text = self.me.call("GET", path + "/export?format=markdown")
        self.assertTrue(text.headers["content-type"].startswith("text/markdown"))
        self.assertIn("夏季休暇は何日取得できますか？", text.text)
        self.assertNotIn("<script>", text.text)
        self.assertIn(r"!\[x](https://evil.example/x) \\\[y](z)", text.text)
        self.refused(self.me.call("GET", path + "/export?format=pdf"), 422, "VALIDATION_ERROR", "format")

        stranger = register(self.stack.edge())
        for method, where in (("GET", path), ("DELETE", path), ("GET", path + "/export"), ("GET", f"/api/v1/chats/{uuid.uuid4()}"), ("GET", "/api/v1/chats/nonsense")):
            self.refused(stranger.call(method, where), 404, "RESOURCE_NOT_FOUND")
        self.assertEqual(stranger.call("GET", "/api/v1/chats").json, [])
        self.assertEqual(self.me.call("DELETE", path).json, {"message": "会話が削除されました"})
        for method, where in (("DELETE", path), ("GET", path)):
            self.refused(self.me.call(method, where), 404, "RESOURCE_NOT_FOUND")
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{first['conversation_id']}'"), "0")
        for query, field in (("skip=-1", "skip"), ("limit=0", "limit"), ("limit=201", "limit"), ("limit=x", "limit")):
            self.refused(self.me.call("GET", "/api/v1/chats?" + query), 422, "VALIDATION_ERROR", field)

    def test_feedback(self):
        answer = self.ask("夏季休暇は何日取得できますか？")
        path = f"/api/v1/chats/messages/{answer['message_id']}/feedback"
        self.assertEqual(self.me.call("POST", path, {"rating": "up"}).json, {"message_id": answer["message_id"], "rating": "up", "reason": None})
        self.assertEqual(self.me.call("POST", path, {"rating": "down", "reason": "三日のはず"}).status, 200)
        shown = self.me.call("GET", f"/api/v1/chats/{answer['conversation_id']}").json["messages"][1]
        self.assertEqual(shown["feedback"], {"rating": "down", "reason": "三日のはず"})
        self.assertEqual(self.stack.sql(f"SELECT trace_id FROM feedback WHERE message_id = '{answer['message_id']}'"), shown["trace_id"])
        for body, field in (({}, "rating"), ({"rating": "sideways"}, "rating"), ({"rating": 1}, "rating"), ({"rating": "up", "reason": "x" * 2001}, "reason"),
                            ({"rating": "up", "reason": ""}, "reason")):
            self.refused(self.me.call("POST", path, body), 422, "VALIDATION_ERROR", field)
        self.refused(register(self.stack.edge()).call("POST", path, {"rating": "up"}), 404, "RESOURCE_NOT_FOUND")
        self.refused(self.me.call("POST", f"/api/v1/chats/messages/{uuid.uuid4()}/feedback", {"rating": "up"}), 404, "RESOURCE_NOT_FOUND")

    def test_visitors_share_a_key_and_nothing_else(self):
        mine = self.visit("正社員の試用期間はどれくらいですか？").json
        self.assertIn("一か月", self.visit("ではパートは？", session_id=mine["conversation_id"]).json["answer"])
        inside = self.ask("正社員の試用期間はどれくらいですか？")
        judged = {"message_id": mine["message_id"], "conversation_id": mine["conversation_id"], "rating": "up"}
        visitor = Client(self.stack.edge())
        self.assertEqual(visitor.call("POST", "/api/v1/chats/widget/feedback", judged, self.key).status, 200)
        for wrong, status, code, field in (({"conversation_id": str(uuid.uuid4())}, 404, "RESOURCE_NOT_FOUND", None), ({"message_id": inside["message_id"]}, 404, "RESOURCE_NOT_FOUND", None),
                                           ({"conversation_id": None}, 422, "VALIDATION_ERROR", "conversation_id"), ({"rating": "x"}, 422, "VALIDATION_ERROR", "rating")):
            self.refused(visitor.call("POST", "/api/v1/chats/widget/feedback", judged | wrong, self.key), status, code, field)
        self.refused(visitor.call("POST", "/api/v1/chats/widget/feedback", judged), 401, "AUTHENTICATION_ERROR")
        self.refused(visitor.call("GET", "/api/v1/chats", headers=self.key), 401, "AUTHENTICATION_ERROR")

    def test_a_visitor_streams(self):
        with Client(self.stack.edge()).open("POST", "/api/v1/chats/widget/chat", {"query": "夏季休暇は何日取得できますか？"}, {**self.key, "Accept": "text/event-stream"}) as response:
            events = list(read_events(response))
        self.assertEqual(events[-1]["event"], "result")
        self.assertEqual("".join(e["data"]["text"] for e in events if e["event"] == "delta"), events[-1]["data"]["answer"])
        self.assertTrue(any(e["event"] == "citation" for e in events))

    def test_a_company_chooses_its_model(self):
        for model, status in (("local", 200), ("gpt-99", 422), (5, 422)):
            answer = self.me.call("PATCH", f"/api/v1/tenants/{self.tenant}", {"settings": {"llm_model": model}})
            self.assertEqual(answer.status, status, answer.text)
        self.assertEqual(self.me.call("GET", f"/api/v1/tenants/{self.tenant}").json["settings"]["llm_model"], "local")


class WithModel(Chats):
    @classmethod
    def setUpClass(cls):
        cls.model = Model("remembering")
        cls.env = {"MILLRACE_LLM_URL": cls.model.url, "MILLRACE_LLM_MODEL": "remembering", "MILLRACE_LLM_URL_2": "local", "MILLRACE_LEASE": "2s"}
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.model.close()

    def setUp(self):
        self.model.script = ["It is three months."]
        self.model.requests.clear()

    def test_the_model_is_told_what_was_said(self):
        first = self.ask("正社員の試用期間はどれくらいですか？")
        self.ask("ではパートは？", session_id=first["conversation_id"])
        messages = self.model.requests[-1]["body"]["messages"]
        self.assertEqual([m["role"] for m in messages], ["system", "user", "assistant", "user"])
        self.assertEqual([m["content"] for m in messages[1:3]], ["正社員の試用期間はどれくらいですか？", "It is three months."])
        self.assertIn("パートの試用期間は一か月", messages[3]["content"], "found with what was asked before")

    def test_what_was_said_at_length_is_cut_and_not_forgotten(self):
        self.model.script = ["It is three months. " + "Nobody knows why, and it goes on. " * 400]
        first = self.ask("正社員の試用期間はどれくらいですか？")
        self.ask("ではパートは？", session_id=first["conversation_id"])
        told = self.model.requests[-1]["body"]["messages"]
        self.assertEqual([m["role"] for m in told], ["system", "user", "assistant", "user"])
        self.assertTrue(told[2]["content"].startswith("It is three months."))
        self.assertLess(len(told[2]["content"]), 2500)

    def test_a_visitor_is_told_nothing_of_others(self):
        def told(answer):
            self.assertEqual(answer.status, 200, answer.text)
            return [m["role"] for m in self.model.requests[-1]["body"]["messages"]]
        inside = self.ask("正社員の試用期間はどれくらいですか？")
        self.assertEqual(told(self.visit("ではパートは？", session_id=inside["conversation_id"])), ["system", "user"], "a user's conversation, by its id")
        mine = self.visit("正社員の試用期間はどれくらいですか？").json
        self.assertEqual(told(self.visit("ではパートは？", session_id=mine["conversation_id"])), ["system", "user", "assistant", "user"])
        self.visit("正社員の試用期間はどれくらいですか？", session_id="session-1")
        self.assertEqual(told(self.me.call("POST", "/api/v1/chats/rag", {"query": "ではパートは？", "session_id": "session-1"})), ["system", "user"])

    def test_a_crash_in_the_middle_records_one_exchange(self):
        self.model.script = ["It is ", "STALL"]
        conversation = str(uuid.uuid4())
        job = self.me.call("POST", "/api/v1/chats/rag", {"query": "試用期間は？", "session_id": conversation}, {"Prefer": "respond-async"}).json["job_id"]
        eventually(lambda: self.model.requests, 10, "the model's question")
        self.model.script = ["It is three months."]
        self.stack.kill("worker-rag")
        self.assertEqual(self.me.wait_job(job)["status"], "succeeded")
        self.assertEqual([m["content"] for m in self.me.call("GET", f"/api/v1/chats/{conversation}").json["messages"]], ["試用期間は？", "It is three months."])

    def test_deleted_while_it_is_answered(self):
        conversation = self.ask("夏季休暇は？")["conversation_id"]
        self.model.requests.clear()
        self.model.script = ["It is ", "STALL"]
        job = self.me.call("POST", "/api/v1/chats/rag", {"query": "試用期間は？", "session_id": conversation}, {"Prefer": "respond-async"}).json["job_id"]
        eventually(lambda: self.model.requests, 10, "the model's question")
        self.assertEqual(self.me.call("DELETE", f"/api/v1/chats/{conversation}").status, 200)
        self.model.script = ["three months."]
        self.stack.kill("worker-rag")
        self.assertEqual(self.me.wait_job(job)["status"], "succeeded")
        self.assertEqual(self.me.call("GET", f"/api/v1/chats/{conversation}").status, 404)
        self.assertEqual(self.stack.sql(f"SELECT count(*) FROM messages WHERE conversation_id = '{conversation}'"), "0")
        self.ask("夏季休暇は？", session_id=conversation)
        self.assertEqual(self.me.call("GET", f"/api/v1/chats/{conversation}").json["message_count"], 2, "begun anew")


del Chats
if __name__ == "__main__":
    unittest.main(verbosity=2)
