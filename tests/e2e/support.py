"""What the end-to-end tests share: a private stack of real processes, and a small client for it.

A stack lives in its own MILLRACE_HOME with its own ports. Waiting is always for a condition, with a deadline."""
import atexit
import contextlib
import email
import email.policy
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REFERENCE = os.path.join(os.path.dirname(ROOT), "shared")
BIN_DIR = os.environ.get("MILLRACE_BIN_DIR") or os.path.join(ROOT, "build/release/bin")
CACHE = os.environ.get("MILLRACE_CACHE") or os.path.expanduser("~/.cache/millrace")  # as scripts/setup has it
OPS = os.path.join(BIN_DIR, "millrace-ops")


def eventually(condition, seconds=30, what="the condition"):
    """The first true value of condition(), asked until the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(0.02)  # the pace of asking, not a guess of how long it takes


# The contracts count by address, and all clients of a test have the same.
UNLIMITED = {"MILLRACE_AUTH_RATE": "100000", "MILLRACE_CHAT_RATE": "100000", "MILLRACE_UPLOAD_RATE": "100000"}


class Stack:
    """scripts/run in a folder of its own."""

    def __init__(self, edges=1, workers=None, probe=True, env=None):
        env = {**UNLIMITED, **(env or {})}
        self.home = tempfile.mkdtemp(prefix="millrace-e2e-")
        os.chmod(self.home, 0o755)
        self.environment = dict(os.environ, MILLRACE_HOME=self.home, MILLRACE_PROBE="1" if probe else "0", **env)
        for name in [n for n in self.environment if n.startswith("MILLRACE_") and n not in (
                "MILLRACE_HOME", "MILLRACE_PROBE", "MILLRACE_BIN_DIR") and n not in env]:
            del self.environment[name]
        self.environment.setdefault("MILLRACE_EDGE_PORT", "0")  # another system may take 8080 while this one's edge is down
        self.arguments = ["--no-demo", "--no-build", "--edges", str(edges)]
        for name, number in (workers or {}).items():
            self.arguments += ["--workers", f"{name}={number}"]
        atexit.register(self.destroy)
        self.start()

    def run(self, *arguments, check=True):
        done = subprocess.run([os.path.join(ROOT, "scripts/run"), *arguments], env=self.environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180)
        if check and done.returncode != 0:
            raise AssertionError(f"scripts/run {' '.join(arguments)} failed:\n{done.stdout}\n{self.logs()}")
        return done.stdout

    def start(self):
        self.run(*self.arguments)
        self.env = {}
        with open(os.path.join(self.home, "env")) as file:
            for line in file:
                name, _, value = line.strip().removeprefix("export ").partition("=")
                if name.startswith("MILLRACE_"):
                    self.env[name] = value.strip("'\"")

    def destroy(self):
        if os.path.isdir(self.home):
            self.run("--stop", check=False)
            shutil.rmtree(self.home, ignore_errors=True)

    def edge(self, number=1):
        return self.env["MILLRACE_EDGE_URL" if number == 1 else f"MILLRACE_EDGE_URL_{number}"]

    def pid(self, process):
        with contextlib.suppress(FileNotFoundError, ValueError):
            with open(os.path.join(self.env["MILLRACE_PID_DIR"], process + ".pid")) as file:
                return int(file.read())
        return None

    def kill(self, process, number=signal.SIGKILL):
        pid = eventually(lambda: self.pid(process), what=f"the pid of {process}")
        os.kill(pid, number)
        return pid

    def hold(self, process):
        """Stops a process and keeps it stopped until release()."""
        self.run("--hold", process)

    def release(self, process):
        self.run("--release", process)

    def sql(self, query):
        done = subprocess.run(["psql", self.env["MILLRACE_PG_ADMIN_DSN"] if "MILLRACE_PG_ADMIN_DSN" in self.env else
                               self.env["MILLRACE_PG_DSN"], "-XAtq", "-c", query], text=True, capture_output=True, timeout=60)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        return done.stdout.strip()

    def ops(self, *arguments, given="", timeout=120):
        """One command of millrace-ops; `given` on its standard input. It knows of this system alone."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
        return subprocess.run([OPS, *arguments], env={**others, **self.env}, text=True, capture_output=True, timeout=timeout, input=given)

    def redis(self, *command):
        """What redis-cli says."""
        url = urllib.parse.urlsplit(self.env["MILLRACE_REDIS_URL"])
        done = subprocess.run(["redis-cli", "-h", url.hostname, "-p", str(url.port), *command], text=True, capture_output=True, timeout=30,
                              env={**os.environ, "REDISCLI_AUTH": url.password})
        if done.returncode != 0 or done.stderr:
            raise AssertionError(f"{done.stdout} {done.stderr}")
        return done.stdout.strip()

    def mails(self, to=None, template=None, seconds=30, count=1):
        """At least `count` mails of the .eml folder that fit, parsed, in the order in which they were asked for, the newest
        last; waits for them. seconds=0: what is there, be it none."""
        folder = self.env["MILLRACE_MAIL_DIR"]

        def fitting():
            # Named by the job, whose id begins with its time. What is being written does not end in .eml.
            found = []
            for name in sorted(n for n in os.listdir(folder) if n.endswith(".eml")):
                with open(os.path.join(folder, name), "rb") as file:
                    mail = email.message_from_binary_file(file, policy=email.policy.default)
                if to in (None, mail["To"]) and template in (None, mail["X-Millrace-Template"]):
                    found.append(mail)
            return found
        if not seconds:
            return fitting()
        return eventually(lambda: (lambda found: found if len(found) >= count else None)(fitting()), seconds,
                          f"{count} mail(s) {template or ''} to {to or 'anybody'}")

    def logs(self, lines=30):
        folder = os.path.join(self.home, "logs")
        out = []
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            with open(os.path.join(folder, name), errors="replace") as file:
                out.append(f"--- {name}\n" + "".join(file.readlines()[-lines:]))
        return "\n".join(out)


def mail_text(mail):
    return mail.get_body(("plain",)).get_content().replace("\r\n", "\n")


def mail_code(mail):
    """The six digits of its text, which stand on a line of their own."""
    return re.search(r"(?m)^(\d{6})$", mail_text(mail)).group(1)


def mail_link(mail):
    """The address in its text, which has a line of its own."""
    return re.search(r"(?m)^(https?://\S+)$", mail_text(mail)).group(1)


class Answer:
    def __init__(self, response):
        with response:
            self.status = response.status
            self.headers = {name.lower(): value for name, value in response.getheaders()}
            self.text = response.read().decode()

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def job(self):
        """The id of the job that an upload's answer links to."""
        return self.headers["link"].split(">")[0].rsplit("/", 1)[1]


class Client:
    """One caller of one edge; `token` is its bearer credential."""

    def __init__(self, base_url, token=None):
        url = urllib.parse.urlsplit(base_url)
        self.host, self.port, self.token, self.base = url.hostname, url.port, token, base_url

    def on(self, base_url):
        return Client(base_url, self.token)

    def open(self, method, path, body=None, headers=None, timeout=90):
        headers = dict(headers or {})
        if self.token and "Authorization" not in headers:
            headers["Authorization"] = "Bearer " + self.token
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        headers.setdefault("Connection", "close")
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def call(self, method, path, body=None, headers=None, timeout=90):
        return Answer(self.open(method, path, body, headers, timeout))

    def upload(self, name, content, fields=None, headers=None):
        boundary = uuid.uuid4().hex
        body = b""
        for field, value in (fields or {}).items():
            body += f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        body += (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                 "Content-Type: application/octet-stream\r\n\r\n").encode() + content + f"\r\n--{boundary}--\r\n".encode()
        return self.call("POST", "/api/v1/contents/upload", body,
                         {"Content-Type": f"multipart/form-data; boundary={boundary}", **(headers or {})})

    def wait_job(self, job_id, seconds=60):
        """The job once it has ended."""
        def ended():
            answer = self.call("GET", f"/api/jobs/{job_id}", headers={"Prefer": "wait=5"})
            job = answer.json if answer.status == 200 else {}
            return job if job.get("status") in ("succeeded", "failed", "dead", "cancelled") else None
        return eventually(ended, seconds, f"the end of job {job_id}")

    def enqueue(self, kind, data=None, headers=None, **more):
        answer = self.call("POST", "/api/jobs", {"kind": kind, "input": data or {}, **more}, headers)
        if answer.status != 202:
            raise AssertionError(f"{answer.status} {answer.text}")
        return answer.json["job_id"]


def register(base_url, domain=None):
    """A new account that owns its tenant, signed in."""
    name = uuid.uuid4().hex[:10]
    domain = domain or f"{name}.example.com"
    client = Client(base_url)
    account = {"email": f"{name}@{domain}", "username": "tester", "password": "Password123",
               "tenant_name": "Test " + name, "tenant_domain": domain}
    answer = client.call("POST", "/api/v1/auth/register", account)
    assert answer.status == 201, answer.text
    answer = client.call("POST", "/api/v1/auth/login", {"email": account["email"], "password": account["password"]})
    assert answer.status == 200, answer.text
    client.token = answer.json["access_token"]
    client.account = account
    return client


def read_events(response, stop=None):
    """Server-Sent Events as dicts {id, event, data}; ends with the stream or once stop(event) is true."""
    event = {"event": "message", "data": []}
    for raw in response:
        line = raw.decode().rstrip("\r\n")
        if not line:
            if event["data"]:
                done = {"id": event.get("id"), "event": event["event"], "data": json.loads("\n".join(event["data"]))}
                yield done
                if stop and stop(done):
                    return
            event = {"event": "message", "data": []}
        elif line.startswith("data:"):
            event["data"].append(line[5:].lstrip(" "))
        elif line.startswith(("id:", "event:")):
            key, _, value = line.partition(":")
            event[key] = value.strip()
