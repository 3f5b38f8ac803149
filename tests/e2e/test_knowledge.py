"""The main job end to end: upload, progress, ask, deltas, citations, result; by stream, polling, waiting and respond-async."""
import http.client
import json
import os
import unittest
import urllib.parse
import uuid

import documents
from support import Stack, read_events, register

QUESTION_JA = "有給休暇は入社してからいつ、何日もらえますか？"
QUESTION_EN = "How often does the espresso machine have to be descaled?"


def stored_objects(stack):
    return sum(len(names) for _, _, names in os.walk(stack.env["MILLRACE_OBJECT_DIR"]))


class Knowledge(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(edges=2, probe=False)
        cls.me = register(cls.stack.edge())
        cls.files = {}
        for name in documents.samples():
            answer = cls.me.upload(name, documents.sample(name), {"title": name.rsplit(".", 1)[0], "tags": "sample, demo"})
            assert answer.status == 201, answer.text
            job = cls.me.wait_job(answer.job)
            assert job["status"] == "succeeded", job
            cls.files[name] = answer.json["id"]

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def ask(self, query, headers=None, **more):
        return self.me.call("POST", "/api/v1/chats/rag", {"query": query, **more}, headers)

    def follow(self, events_url, headers=None, client=None, stop=None):
        url = urllib.parse.urlsplit(events_url)
        response = (client or self.me).open("GET", url.path + "?" + url.query, headers=headers)
        self.assertEqual(response.status, 200)
        with response:
            return list(read_events(response, stop))

    def check_answer(self, result, file, words):
        self.assertIn(words, result["answer"].replace(" ", "").replace("\n", ""))
        cited = [s for s in result["sources"] if s.get("cited")]
        self.assertEqual({s["file_name"] for s in cited}, {file})
        self.assertLessEqual(len(result["sources"]), 5)
        for source in result["sources"]:
            self.assertEqual(self.files[source["file_name"]], source["file_id"])
            self.assertTrue(source["chunk_text"])
        self.assertEqual(result["metadata"]["model"], "local")
        self.assertLessEqual(len(result["answer"]), 300)

    def test_the_held_answer_is_the_contract_s(self):
        answer = self.ask(QUESTION_JA)
        self.assertEqual(answer.status, 200, answer.text)
        self.check_answer(answer.json, "staff-handbook-ja.pdf", "6か月が経過した日に10日")
        self.assertEqual(set(answer.json), {"answer", "sources", "conversation_id", "message_id", "metadata"})
        self.assertEqual(set(answer.json["metadata"]), {"model", "tokens_in", "tokens_out", "latency_ms"})

    def test_prefer_wait(self):
        answer = self.ask(QUESTION_EN, {"Prefer": "wait=30"})
        self.assertEqual((answer.status, answer.headers["preference-applied"]), (200, "wait=30"))
        self.check_answer(answer.json, "espresso-machine-en.docx", "threemonths")

    def test_respond_async_stream_and_polling_agree(self):
        accepted = self.ask(QUESTION_EN, {"Prefer": "respond-async"})
        self.assertEqual((accepted.status, accepted.headers["preference-applied"]), (202, "respond-async"))
        events = self.follow(accepted.json["events_url"])
        polled = self.me.call("GET", accepted.json["status_url"]).json
        self.assertEqual(polled["status"], "succeeded")
        self.assertEqual("".join(e["data"]["text"] for e in events if e["event"] == "delta"), polled["result"]["answer"])
        self.assertEqual(events[-1]["event"], "result")
        self.assertEqual(events[-1]["data"], polled["result"])
        citations = [e["data"] for e in events if e["event"] == "citation"]
        self.assertTrue(citations)
        for citation in citations:
            source = polled["result"]["sources"][citation["number"] - 1]
            self.assertIn(citation["quote"], source["chunk_text"])
            self.assertTrue(source["cited"])
            self.assertIn(f"[{citation['number']}]", polled["result"]["answer"])

    def test_a_cut_stream_resumes_on_the_other_edge(self):
        accepted = self.ask(QUESTION_JA, {"Prefer": "respond-async"}).json
        whole = [e for e in self.follow(accepted["events_url"]) if e["id"]]
        self.assertGreater(len(whole), 4)
        other = self.me.on(self.stack.edge(2))
        for cut in range(len(whole) - 1):
            rest = self.follow(accepted["events_url"], {"Last-Event-ID": whole[cut]["id"]}, other)
            self.assertEqual([e["id"] for e in rest if e["id"]], [e["id"] for e in whole[cut + 1:]], f"after event {cut}")
        end = self.me.open("GET", urllib.parse.urlsplit(accepted["events_url"]).path, headers={"Last-Event-ID": whole[-1]["id"]})
        self.assertEqual(end.status, 204)

    def test_streams_when_the_request_asks_for_it(self):
        response = self.me.open("POST", "/api/v1/chats/rag", {"query": QUESTION_EN}, {"Accept": "text/event-stream"})
        self.assertEqual(response.headers.get_content_type(), "text/event-stream")
        with response:
            events = list(read_events(response))
        self.assertEqual("".join(e["data"]["text"] for e in events if e["event"] == "delta"), events[-1]["data"]["answer"])

    def test_nothing_relevant_says_so(self):
        answer = self.ask("火星の衛星の名前は何ですか？").json
        self.assertEqual(answer["answer"], "この質問に答えられる記述は、資料の中に見つかりませんでした。")
        self.assertFalse([s for s in answer["sources"] if s.get("cited")])
        answer = self.ask("Who won the football world cup in 1966?").json
        self.assertEqual(answer["answer"], "The documents contain nothing that answers this question.")

    def test_a_new_tenant_sees_nothing_of_ours(self):
        stranger = register(self.stack.edge())
        answer = stranger.call("POST", "/api/v1/chats/rag", {"query": QUESTION_EN})
        self.assertEqual((answer.status, answer.json["sources"]), (200, []))
        self.assertEqual(stranger.call("GET", "/api/v1/contents").json, [])
        self.assertEqual(stranger.call("DELETE", f"/api/v1/contents/{self.files['shop-notice.txt']}").status, 404)

    def test_contract_example_verbatim(self):
        body = ('{"query": "質問内容","model": "gpt-4","top_k": 5,"session_id": "uuid","temperature": 0.7,"max_tokens": 500}').encode()
        first = self.me.call("POST", "/api/v1/chats/rag", body, {"Content-Type": "application/json"})
        second = self.me.call("POST", "/api/v1/chats/rag", body, {"Content-Type": "application/json"})
        self.assertEqual((first.status, second.status), (200, 200))
        self.assertEqual(first.json["conversation_id"], second.json["conversation_id"])

    def test_idempotent_question(self):
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        first, second = self.ask(QUESTION_JA, headers), self.ask(QUESTION_JA, headers)
        self.assertEqual(first.json, second.json)
        self.assertEqual(self.ask(QUESTION_EN, headers).status, 422)

    def test_bad_questions_name_the_field(self):
        for body, field in (({"query": ""}, "query"), ({"query": " 　"}, "query"), ({"query": "あ" * 1001}, "query"), ({}, "query"),
                            ({"query": 7}, "query"), ({"query": "x", "top_k": 0}, "top_k"), ({"query": "x", "top_k": 21}, "top_k"),
                            ({"query": "x", "top_k": "5"}, "top_k"), ({"query": "x", "temperature": 2.1}, "temperature"),
                            ({"query": "x", "max_tokens": 0}, "max_tokens"), ({"query": "x", "model": "no-such-model"}, "model"),
                            ({"query": "x", "session_id": 5}, "session_id")):
            answer = self.me.call("POST", "/api/v1/chats/rag", body)
            self.assertEqual((answer.status, answer.json["error_code"]), (422, "VALIDATION_ERROR"), answer.text)
            self.assertIn(field, answer.json["detail"])
        for raw in (b"", b"{", b'{"query":"a","query":"b"}', b'{"query":"a"} x', b'["query"]', b'{"query":"\xff"}'):
            answer = self.me.call("POST", "/api/v1/chats/rag", raw, {"Content-Type": "application/json"})
            self.assertEqual((answer.status, answer.json["error_code"]), (422, "VALIDATION_ERROR"), raw)
        big = self.me.call("POST", "/api/v1/chats/rag", b'{"query":"' + b"a" * (1 << 20) + b'"}', {"Content-Type": "application/json"})
        self.assertEqual(big.status, 413)
        self.me.token, token = None, self.me.token
        self.assertEqual(self.ask("x").status, 401)
        self.me.token = token

    def test_list_search_and_delete(self):
        answer = self.me.upload("temporary.txt", "The spare key is under the third flowerpot.".encode(), {"title": "Keys"})
        self.me.wait_job(answer.job)
        listed = self.me.call("GET", "/api/v1/contents?search=Keys&status=completed&file_type=txt").json
        self.assertEqual([f["id"] for f in listed], [answer.json["id"]])
        self.assertEqual(set(listed[0]), {"id", "file_name", "file_type", "title", "status", "file_size", "created_at"})
        self.assertIn("flowerpot", self.ask("Where is the spare key?").json["answer"])
        self.assertEqual(self.me.call("DELETE", f"/api/v1/contents/{answer.json['id']}").status, 200)
        self.assertEqual(self.me.call("DELETE", f"/api/v1/contents/{answer.json['id']}").status, 404)
        self.assertNotIn("flowerpot", self.ask("Where is the spare key?").text)
        self.assertEqual(stored_objects(self.stack), int(self.stack.sql("SELECT count(*) FROM files")))

    def test_every_answer_writes_a_usage_row(self):
        accepted = self.ask(QUESTION_EN, {"Prefer": "respond-async"}).json
        self.me.wait_job(accepted["job_id"])
        row = self.stack.sql(f"SELECT purpose, provider, model, outcome FROM usage WHERE job_id = '{accepted['job_id']}'")
        self.assertEqual(row, "answer|local|local|ok")


class Uploads(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(probe=False)
        cls.me = register(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def test_unreadable_documents_fail_with_the_reason(self):
        worker = self.stack.pid("worker-embedding")
        for name, content, reason in documents.UNREADABLE:
            with self.subTest(name):
                answer = self.me.upload(name, content)
                self.assertEqual(answer.status, 201, answer.text)
                job = self.me.wait_job(answer.job)
                self.assertEqual((job["status"], job["attempt"], job["error"]["code"]), ("failed", 1, reason))
                listed = [f for f in self.me.call("GET", "/api/v1/contents?status=failed&limit=1000").json if f["id"] == answer.json["id"]]
                self.assertEqual(listed[0]["reason"], job["error"]["message"])
        self.assertEqual(self.stack.pid("worker-embedding"), worker)

    def test_refused_at_the_door(self):
        cases = [("empty.txt", b"", 422, "file"), ("run.exe", b"MZ\x90\x00", 422, "file_type"), ("noextension", b"text", 422, "file_type"),
                 ("wrong.pdf", b"this is text", 422, "file"), ("wrong.docx", b"%PDF-1.4", 422, "file"), ("wrong.txt", b"%PDF-1.4", 422, "file")]
        for name, content, status, field in cases:
            with self.subTest(name):
                answer = self.me.upload(name, content)
                self.assertEqual((answer.status, answer.json["error_code"]), (status, "VALIDATION_ERROR"), answer.text)
                self.assertIn("file", answer.json["detail"])
        self.assertEqual(stored_objects(self.stack), int(self.stack.sql("SELECT count(*) FROM files")))

    def test_hostile_names_are_only_names(self):
        for name, shown in (("../../x.txt", "x.txt"), ("..\\\\..\\\\y.txt", "y.txt"), ("/etc/passwd.txt", "passwd.txt")):
            answer = self.me.upload(name, b"harmless text")
            self.assertEqual((answer.status, answer.json["file_name"]), (201, shown), answer.text)
            self.assertEqual(self.me.wait_job(answer.job)["status"], "succeeded")
        root = self.stack.env["MILLRACE_OBJECT_DIR"]
        self.assertFalse(os.path.exists(os.path.join(os.path.dirname(os.path.dirname(root)), "x.txt")))

    def test_101_mib_is_refused_with_413(self):
        boundary = "b" * 20
        head = (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="big.txt"\r\n\r\n').encode()
        size = 101 << 20
        url = urllib.parse.urlsplit(self.stack.edge())
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
        connection.putrequest("POST", "/api/v1/contents/upload")
        connection.putheader("Authorization", "Bearer " + self.me.token)
        connection.putheader("Content-Type", f"multipart/form-data; boundary={boundary}")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        answer = None
        try:
            for block in [head] + [b"a" * (1 << 20)] * (size >> 20):
                connection.send(b"%x\r\n%s\r\n" % (len(block), block))
            connection.send(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the end, as it may be
        answer = connection.getresponse()
        body = json.loads(answer.read())
        self.assertEqual((answer.status, body["error_code"]), (413, "PAYLOAD_TOO_LARGE"))
        declared = self.me.call("POST", "/api/v1/contents/upload", None,
                                {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(size + (1 << 20))})
        self.assertEqual(declared.status, 413)

    def test_a_repeated_upload_is_one_document(self):
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        content = b"Only once."
        boundary = uuid.uuid4().hex
        body = (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="once.txt"\r\n\r\n').encode() + content + f"\r\n--{boundary}--\r\n".encode()
        headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        first = self.me.call("POST", "/api/v1/contents/upload", body, headers)
        second = self.me.call("POST", "/api/v1/contents/upload", body, headers)
        self.assertEqual((first.status, first.text), (second.status, second.text))
        self.assertEqual(self.stack.sql("SELECT count(*) FROM files WHERE file_name = 'once.txt'"), "1")

    def test_deleted_while_it_is_processed(self):
        self.stack.hold("worker-embedding")
        answer = self.me.upload("gone.txt", b"soon gone")
        self.assertEqual(self.me.call("DELETE", f"/api/v1/contents/{answer.json['id']}").status, 200)
        self.stack.release("worker-embedding")
        job = self.me.wait_job(answer.job)
        self.assertEqual((job["status"], job["error"]["code"]), ("failed", "DOCUMENT_DELETED"))

    def test_japanese_encodings(self):
        for encoding in ("shift_jis", "euc_jp", "iso2022_jp", "utf-16", "utf-8-sig"):
            answer = self.me.upload(f"{encoding}.txt", f"符号化方式の検査です。合言葉は紫陽花-{encoding}です。".encode(encoding))
            self.assertEqual(self.me.wait_job(answer.job)["status"], "succeeded", encoding)
        self.assertEqual(self.stack.sql("SELECT count(*) FROM chunks WHERE text LIKE '%紫陽花%'"), "5")


if __name__ == "__main__":
    unittest.main(verbosity=2)
