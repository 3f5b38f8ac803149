"""Mails: asked for as jobs, rendered, and handed over once, whatever fails in between."""
import unittest

from support import Stack, eventually, mail_code, mail_link, mail_text, register

DATA = {"otp": {"product": "planner", "purpose": "login", "minutes": 10},
        "magic_link": {"product": "karte", "url_prefix": "https://app.example.com/login/", "minutes": 15},
        "already_registered": {"product": "knowledge", "login_url": "https://app.example.com/login"}}


def letter(template, to="alice@example.com", locale="en", **more):
    return {"letter": {"template": template, "locale": locale, "to": to, "data": DATA[template], **more}}


def ask(client, *arguments, **more):
    """Has the probe ask for a mail; the id of the job mail.send."""
    job = client.wait_job(client.enqueue("probe.mail", letter(*arguments, **more)))
    assert job["status"] == "succeeded", job
    return job["result"]["mail"]


class Folder(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(workers={"embedding": 0, "rag": 0})
        cls.me = register(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def test_a_code(self):
        job = self.me.wait_job(ask(self.me, "otp", "code@example.com", challenge={"purpose": "login", "seconds": 600}))
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
