"""What tests of the diary share: a person with an address on the network of their own, whose every answer is held against the
OpenAPI file."""
import concurrent.futures
import json
import os
import random
import re
import threading
import unittest
import uuid

import jsonschema

from operations import load_yaml, resolved
from support import ROOT, Client, eventually, mail_code, mail_text

PASSWORD = "correct horse battery"
PROFILE = {"name": "山田 花子", "icon": "https://app.example.com/icons/7.png", "occupation": "教師", "age": 34, "residence": "京都",
           "ai_public": True, "sensitive": False}
NOBODY = "mrs_" + "A" * 43
INVALID = "VALIDATION_ERROR"
# Of a stack: everybody comes through a proxy, and so has an address.
SETTINGS = {"MILLRACE_TRUSTED_PROXIES": "127.0.0.1", "MILLRACE_PUBLIC_URL": "https://app.kuden.example"}
API = load_yaml(os.path.join(ROOT, "schemas/http/diary.yaml"))


def resolve(node):
    return resolved(API, node)


def operations():
    for path, item in API["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield method.upper(), path, operation


def check_described(method, path, answer):
    """The answer is one that the OpenAPI file has: its status, and what its body looks like."""
    for its_method, template, operation in operations():
        if method == its_method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            content = resolve(operation["responses"][str(answer.status)])["content"]
            schema = content[answer.headers["content-type"]]["schema"]
            jsonschema.Draft202012Validator({**schema, "components": API["components"]}).validate(answer.json)
            return
    error = API["components"]["schemas"]["Error"]
    jsonschema.Draft202012Validator({**error, "components": API["components"]}).validate(answer.json)


def flush_limits(stack):
    """All limits begin anew."""
    assert stack.redis("flushall") == "OK"


def address():
    """Of a network that nobody else has: limits by address are not what most tests are about."""
    return ".".join(["10"] + [str(random.randrange(256)) for _ in range(3)])


class Person:
    secrets = set()  # all that may stand in no log

    def __init__(self, stack, email=None, password=PASSWORD):
        self.stack, self.password, self.token, self.ip = stack, password, None, address()
        self.email = email or f"p-{uuid.uuid4().hex[:12]}@example.com"
        self.client = Client(stack.edge())
        self.mails_read = 0  # codes that were mailed to them

    def call(self, method, path, body=None, token=None, ip=None, headers=None):
        """`token`: instead of the own; "" for none."""
        token = self.token if token is None else token
        headers = {"X-Forwarded-For": ip or self.ip, "User-Agent": "diary-test/1", **(headers or {})}
        if token:
            headers["Authorization"] = "Bearer " + token
        answer = self.client.call(method, path, body, headers)
        if answer.status != 405:
            check_described(method, path, answer)
        if answer.status < 300 and "session_token" in answer.json:
            self.secrets.add(answer.json["session_token"])
        return answer

    def code(self, count=1):
        """The code of the newest of so many mails."""
        code = mail_code(self.stack.mails(to=self.email, template="otp", count=count)[-1])
        return code

    def register(self, **more):
        return self.call("POST", "/api/auth/register", {"email": self.email, "password": self.password, **more}, token="")

    def login(self, password=None, ip=None):
        answer = self.call("POST", "/api/auth/login", {"email": self.email, "password": password or self.password}, token="", ip=ip)
        self.mails_read += answer.status == 200
        return answer

    def verify(self, code, token="", ip=None):
        body = {"code": code} if token else {"code": code, "email": self.email}
        return self.call("POST", "/api/auth/otp/verify", body, token=token, ip=ip)

    def join(self, **more):
        """A registered person, signed in."""
        self.mails_read = 1
        answer = self.register(**more)
        assert answer.status == 201, answer.text
        answer = self.verify(self.code())
        assert answer.status == 200, answer.text
        self.token, self.id, self.session = (answer.json[name] for name in ("session_token", "user_id", "session_id"))
        return self

    def half(self):
        """A new half session's token and the code that was mailed for it."""
        answer = self.login()
        assert answer.status == 200, answer.text
        return answer.json["session_token"], self.code(self.mails_read)

    def again(self):
        """Another full session: the answer of the verification."""
        token, code = self.half()
        return self.verify(code, token)

    def mails(self, template, seconds=0, count=1):
        return self.stack.mails(to=self.email, template=template, seconds=seconds, count=count)

    def reset_token(self, count=1):
        text = mail_text(self.mails("password_reset", seconds=30, count=count)[-1])
        token = re.search(r"/reset-password#token=([\w-]+)", text).group(1)
        self.secrets.add(token)
        return token


def wrong(code):
    return "%06d" % ((int(code) + 1) % 1_000_000)


def error_of(answer):
    """(status, code, field) of an error."""
    error = json.loads(answer.text)["error"]
    return answer.status, error["code"], error.get("field")


def parallel(number, call):
    """`number` calls that begin together; their results."""
    barrier = threading.Barrier(number)

    def one(i):
        barrier.wait()
        return call(i)
    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


class Case(unittest.TestCase):
    stack = None

    def person(self, **more):
        return Person(self.stack, **more)

    def joined(self, **more):
        return self.person().join(**more)

    def sql(self, query):
        return self.stack.sql(query)

    def refused(self, answer, status, code, field=None):
        self.assertEqual(error_of(answer), (status, code, field), answer.text)

    def limited(self, answer, at_most):
        self.refused(answer, 429, "RATE_LIMITED")
        self.assertTrue(1 <= int(answer.headers["retry-after"]) <= at_most, answer.headers["retry-after"])

    def dies(self, person, token, what):
        """Within 5 s, by the time of one edge."""
        eventually(lambda: person.call("GET", "/api/profile", token=token).status == 401, 6, what)
        flush_limits(self.stack)  # asking so often has spent the person's own
