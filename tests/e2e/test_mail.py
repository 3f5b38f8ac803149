"""Mails: asked for as jobs, rendered, and handed over once, whatever fails in between."""
import json
import os
import signal
import sys
import unittest
import urllib.parse

from support import ROOT, Stack, eventually, mail_code, mail_link, mail_text, register

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from mail_server import Certificate, MailServer  # noqa: E402

DATA = {"otp": {"product": "planner", "purpose": "login", "minutes": 10},
        "magic_link": {"product": "karte", "url_prefix": "https://app.example.com/login/", "minutes": 15},
        "invitation": {"product": "knowledge", "tenant": "Acme", "inviter": "Bob", "url_prefix": "https://app.example.com/i/", "days": 7},
        "already_registered": {"product": "knowledge", "login_url": "https://app.example.com/login"}}
CODE = {"purpose": "login", "seconds": 600}
LINK = {**CODE, "link": True}


def letter(template, to="alice@example.com", locale="en", data=None, **more):
    return {"letter": {"template": template, "locale": locale, "to": to, "data": {**DATA[template], **(data or {})}, **more}}


def ask(client, *arguments, **more):
    """Has the probe ask for a mail; the id of the job mail.send."""
    job = client.wait_job(client.enqueue("probe.mail", letter(*arguments, **more)))
    assert job["status"] == "succeeded", job
    return job["result"]["mail"]


class Mails(unittest.TestCase):
    """A system with one mail worker, whose settings a test may change."""

    ENV = {}

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(workers={"embedding": 0, "rag": 0}, env={"MILLRACE_LEASE": "3s", **cls.ENV})
        cls.me = register(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def worker_with(self, settings, number=signal.SIGTERM):
        """A new mail worker, started with these settings besides its own."""
        with open(os.path.join(self.stack.home, "overrides.json"), "w") as file:
            json.dump({"worker-mail": settings}, file)
        old = self.stack.kill("worker-mail", number)
        eventually(lambda: self.stack.pid("worker-mail") not in (None, old), what="a new mail worker")

    def ops(self, *arguments):
        done = self.stack.ops(*arguments, "--json")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def delivery(self, job):
        state, _, unknown = self.stack.sql(f"SELECT state, unknown FROM mail_deliveries WHERE origin_id = '{job}'").partition("|")
        return state, int(unknown or 0)


class Folder(Mails):
    def test_a_code(self):
        job = self.me.wait_job(ask(self.me, "otp", "code@example.com", challenge=CODE))
        self.assertEqual((job["status"], job["result"]), ("succeeded", {"sent": True}))
        mail, = self.stack.mails("code@example.com")
        self.assertEqual(mail["Message-ID"].split("@")[0], "<" + job["job_id"])
        self.assertEqual(mail["X-Millrace-Template"], "otp")
        self.assertEqual(mail["Subject"], "Your Planner verification code")
        self.assertEqual(mail.get_content_type(), "multipart/alternative")
        self.assertIn(mail_code(mail), mail.get_body(("html",)).get_content())

    def test_a_link(self):
        self.me.wait_job(ask(self.me, "magic_link", "link@example.com", "ja", secret="t0ken"))
        mail, = self.stack.mails("link@example.com", "magic_link")
        self.assertEqual(mail_link(mail), "https://app.example.com/login/t0ken")
        self.assertEqual(mail["Subject"], "【Karte AI+】ログイン用リンクのお知らせ")

    def test_another_parser_reads_what_was_meant(self):
        name = "山田 \"太郎\" " + "とても長い名前" * 40
        hostile = {"tenant": name + "\r\nBcc: eve@example.com\r\n\r\n<script>", "inviter": "Zoë <zoe@example.com>, Bob"}
        self.me.wait_job(ask(self.me, "invitation", "hostile@example.com", "ja", data=hostile, secret="t0ken"))
        mail, = self.stack.mails("hostile@example.com")
        self.assertEqual([part.defects for part in mail.walk()], [[], [], []])
        self.assertEqual(sorted(h.lower() for h in mail.keys()),
                         sorted(["from", "to", "subject", "date", "message-id", "mime-version", "content-type", "auto-submitted",
                                 "content-language", "x-millrace-template"]))
        self.assertEqual([str(a) for a in mail["To"].addresses], ["hostile@example.com"])
        shown = name + "  Bcc: eve@example.com    <script>"
        self.assertEqual(mail["Subject"], f"【ナレッジ】{shown}への招待")
        self.assertIn(f"「{shown}」", mail_text(mail))
        self.assertNotIn("<script", mail.get_body(("html",)).get_content())

    def test_input_that_can_never_work_fails_for_good(self):
        for change, field in (({"template": "no_such"}, "template"), ({"to": "a@b@c.example"}, "to"), ({"locale": "fr"}, "locale"),
                              ({"data": {"product": "planner"}}, "data."), ({"needs_account": True}, "needs_account"),
                              ({"to": "alice@example.com\r\nBcc: eve@example.com"}, "to")):
            with self.subTest(change):
                asked = letter("otp", secret="123456")
                asked["letter"].update(change)
                job = self.me.wait_job(self.me.wait_job(self.me.enqueue("probe.mail", asked))["result"]["mail"])
                self.assertEqual((job["status"], job["error"]["code"]), ("failed", "invalid"))
                self.assertIn(field, job["error"]["message"])

    def test_a_superseded_code_is_not_sent(self):
        self.stack.hold("worker-mail")
        first, second = (ask(self.me, "otp", "twice@example.com", challenge=CODE) for _ in range(2))
        self.stack.release("worker-mail")
        self.assertEqual(self.me.wait_job(second)["result"], {"sent": True})
        self.assertIs(self.me.wait_job(first)["result"]["sent"], False)
        mail, = self.stack.mails("twice@example.com")
        self.assertIn(second, mail["Message-ID"])

    def test_nobody_without_an_account_is_written_to(self):
        job = self.me.wait_job(ask(self.me, "otp", "nobody@example.com", challenge=CODE, needs_account=True))
        self.assertEqual((job["status"], job["result"]["sent"]), ("succeeded", False))
        self.assertEqual(self.stack.mails("nobody@example.com", seconds=0), [])

    def test_the_secret_is_in_the_mail_alone(self):
        self.me.wait_job(ask(self.me, "magic_link", "secret@example.com", challenge=LINK))
        token = mail_link(self.stack.mails("secret@example.com")[0]).removeprefix(DATA["magic_link"]["url_prefix"])
        self.assertEqual(len(token), 43)
        sealed = self.stack.sql("SELECT convert_from(input, 'UTF8')::json->>'secret' FROM jobs WHERE kind = 'mail.send' "
                                "AND position('secret@example.com'::bytea in input) > 0")
        self.assertNotIn(token, sealed)
        everything = self.stack.sql("SELECT convert_from(input, 'UTF8'), convert_from(coalesce(result, ''), 'UTF8') FROM jobs")
        self.assertNotIn(token, everything)
        files = {}
        for folder in ("kafka", "logs"):
            for path, _, names in os.walk(os.path.join(self.stack.home, folder)):
                for name in names:
                    with open(os.path.join(path, name), "rb") as file:
                        files[os.path.join(path, name)] = file.read()
        self.assertTrue([name for name, content in files.items() if sealed.encode() in content], "the record is where we look")
        self.assertEqual([name for name, content in files.items() if token.encode() in content], [])

    def test_a_worker_that_dies_leaves_one_file(self):
        self.worker_with({"MILLRACE_FAILPOINT": "settle.before=crash@1"})
        job = ask(self.me, "otp", "killed@example.com", challenge=CODE)
        self.stack.mails("killed@example.com")
        eventually(lambda: int(self.stack.sql(f"SELECT attempt FROM jobs WHERE id = '{job}'")) > 1, 60, "another attempt")
        self.worker_with({}, signal.SIGKILL)
        self.assertEqual(self.me.wait_job(job)["result"], {"sent": True})
        self.assertEqual(len(self.stack.mails("killed@example.com")), 1)

    def test_killed_at_any_moment(self):
        jobs = [ask(self.me, "magic_link", f"any-{n}@example.com", secret="t0ken") for n in range(10)]
        jobs += [self.me.enqueue("probe.mail", letter("magic_link", f"any-{n}@example.com", secret="t0ken")) for n in range(10, 40)]
        for seen in (12, 20, 30):
            eventually(lambda: len([m for m in self.stack.mails(seconds=0) if m["To"].startswith("any-")]) >= seen, 60, f"{seen} mails")
            self.stack.kill("worker-mail")
        for job in jobs:
            result = self.me.wait_job(job)["result"]
            if "mail" in result:
                result = self.me.wait_job(result["mail"])["result"]
            self.assertEqual(result, {"sent": True})
        self.assertEqual(sorted(m["To"] for m in self.stack.mails(seconds=0) if m["To"].startswith("any-")),
                         sorted(f"any-{n}@example.com" for n in range(40)))

    def test_a_replay_mails_nothing_again(self):
        job = ask(self.me, "magic_link", "replay@example.com", secret="t0ken")
        self.me.wait_job(job)
        since = self.stack.sql(f"SELECT to_char(created_at - interval '1 second', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM jobs WHERE id = '{job}'")
        for mode in ("--force", "--shadow"):
            done = self.ops("replay", "--worker", "mail", "--from", since, mode)
            self.assertIn(job, self.stack.sql(f"SELECT replay_of FROM jobs j JOIN replay_jobs r ON r.job_id = j.id WHERE r.run = '{done['run']}'"))
            eventually(lambda: self.stack.sql(f"SELECT count(*) FROM jobs j JOIN replay_jobs r ON r.job_id = j.id WHERE r.run = '{done['run']}' "
                                              "AND j.status NOT IN ('succeeded', 'failed')") == "0", 60, "the end of the replay")
        self.assertEqual(len(self.stack.mails("replay@example.com")), 1)


class Smtp(Mails):
    @classmethod
    def setUpClass(cls):
        cls.certificate = Certificate()
        cls.server = MailServer(cls.certificate)
        cls.ENV = {"MILLRACE_SMTP_URL": cls.url(), "MILLRACE_SMTP_CA_FILE": cls.certificate.file, "MILLRACE_SMTP_TIMEOUT": "2s",
                   "MILLRACE_MAIL_FROM": "Millrace <no-reply@millrace.example>"}
        super().setUpClass()
        eventually(lambda: cls.server.taken, what="the mail of the registration itself")

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.server.stop()

    @classmethod
    def url(cls, host="localhost", port=None):
        return f"smtp://{MailServer.USER}:{urllib.parse.quote(MailServer.PASSWORD, safe='')}@{host}:{port or cls.server.port}"

    def setUp(self):
        self.server.script = ["ok"]
        self.server.taken.clear()
        self.server.logins.clear()

    def ids(self):
        return [mail["Message-ID"].split("@")[0].lstrip("<") for mail in self.server.taken]

    def ask(self):
        return ask(self.me, "otp", challenge={**CODE, "purpose": self.id()})

    def test_sends_encrypted_and_signed_in(self):
        job = self.ask()
        self.assertEqual(self.me.wait_job(job)["result"], {"sent": True})
        mail, = self.server.taken
        self.assertEqual(mail.envelope, ("no-reply@millrace.example", ["alice@example.com"]))
        self.assertTrue(mail.tls)
        self.assertEqual(self.server.logins, [MailServer.PASSWORD])
        self.assertEqual(self.ids(), [job])
        self.assertRegex(mail_code(mail), r"^\d{6}$")
        self.assertEqual(self.delivery(job), ("sent", 0))
        self.assertNotIn(urllib.parse.quote(MailServer.PASSWORD, safe=""), self.stack.logs(10_000))
        self.assertNotIn(MailServer.PASSWORD, self.stack.logs(10_000))

    def test_a_temporary_refusal_is_tried_again(self):
        for step in (("rcpt", "451 4.7.1 greylisted"), ("data", "452 4.3.1 no space")):
            with self.subTest(step):
                self.server.taken.clear()
                self.server.script = [step, "ok"]
                job = self.ask()
                self.assertEqual(self.me.wait_job(job)["result"], {"sent": True})
                self.assertEqual(self.ids(), [job])
                self.assertEqual(self.delivery(job), ("sent", 0))

    def test_a_permanent_refusal_is_final(self):
        for step in (("rcpt", "550 5.1.1 <alice@example.com> is no user"), ("data", "554 5.7.1 looks like spam")):
            with self.subTest(step):
                self.server.script = [step, "ok"]
                job = self.ask()
                ended = self.me.wait_job(job)
                self.assertEqual((ended["status"], ended["error"]["code"]), ("failed", "MAIL_REFUSED"))
                self.assertIn(step[1][:3], ended["error"]["message"])
                self.assertEqual(self.delivery(job), ("refused", 0))
                self.assertIn(step[1].replace("<alice@example.com>", "***"), self.stack.sql(f"SELECT cause FROM mail_deliveries WHERE origin_id = '{job}'"))
        self.assertEqual(self.server.taken, [])

    def test_a_server_that_is_away(self):
        self.server.stop()
        try:
            job = self.ask()
            eventually(lambda: self.delivery(job) == ("unsent", 0), what="the first try")
        finally:
            self.server.start()
        self.assertEqual(self.me.wait_job(job)["result"], {"sent": True})
        self.assertEqual(self.ids(), [job])

    def test_an_unknown_outcome_is_tried_once_more(self):
        self.server.script = ["drop", "ok"]
        job = self.ask()
        self.assertEqual(self.me.wait_job(job)["result"], {"sent": True})
        self.assertEqual(self.ids(), [job, job])
        self.assertEqual(self.delivery(job), ("sent", 1))

    def test_and_then_given_up(self):
        self.server.script = ["drop"]
        job = self.ask()
        ended = self.me.wait_job(job)
        self.assertEqual((ended["status"], ended["error"]["code"]), ("failed", "MAIL_DELIVERY_UNKNOWN"))
        self.assertEqual(self.ids(), [job, job])
        self.assertEqual(self.delivery(job), ("given_up", 2))

    def test_a_worker_that_dies_after_the_mail_was_taken(self):
        self.worker_with({"MILLRACE_FAILPOINT": "mail.handed=crash@1"})
        job = self.ask()
        ended = self.me.wait_job(job, 120)
        self.worker_with({})
        self.assertEqual((ended["status"], ended["error"]["code"]), ("failed", "MAIL_DELIVERY_UNKNOWN"))
        self.assertEqual(self.ids(), [job, job])
        self.assertEqual(self.delivery(job), ("given_up", 2))

    def test_no_password_leaves_unencrypted_or_to_a_stranger(self):
        plain = MailServer()
        self.addCleanup(plain.stop)
        for url, ca in ((self.url("0.0.0.0", plain.port), self.certificate.file), (self.url(), "")):
            with self.subTest(url):
                self.worker_with({"MILLRACE_SMTP_URL": url, "MILLRACE_SMTP_CA_FILE": ca})
                job = self.ask()
                eventually(lambda: self.delivery(job)[0] == "unsent", what="the refusal")
                self.assertEqual((plain.logins, plain.taken, self.server.logins, self.server.taken), ([], [], [], []))
                self.worker_with({})
                self.assertEqual(self.me.wait_job(job)["result"], {"sent": True})
                self.server.taken.clear()
                self.server.logins.clear()


if __name__ == "__main__":
    unittest.main(verbosity=2)
