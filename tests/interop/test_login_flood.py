"""Passwords to hash as fast as they come, with the limits lifted: others are served all the same, and nothing but a refusal is answered.

How much slower is judged with MILLRACE_TEST_LONG=1 only: the machine's two cores carry client, edge and hashing. It is compared with the
same health requests beside a stranger's process that hashes at the priority of our hashing thread and a bare server that is sent the same
requests: what a busy core costs others is not the edge's doing."""
import contextlib
import json
import os
import statistics
import subprocess
import sys
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from support import BIN_DIR, Stack, register  # noqa: E402  (its folder is known only now)

LOAD = os.path.join(BIN_DIR, "millrace-load")
LONG = os.environ.get("MILLRACE_TEST_LONG") == "1"
ROUNDS = 5 if LONG else 2
STRANGER = "import hashlib\nwhile True: hashlib.scrypt(b'password', salt=b'0' * 16, n=2**14, r=8, p=1)"  # 16 MiB; we hash with 19
HEALTH = ["--path", "/api/health", "--connections", "4", "--rate", "200"]


class Flood(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(env={"MILLRACE_AUTH_RATE": "1000000"})
        cls.port = str(urllib.parse.urlsplit(cls.stack.edge()).port)
        cls.me = register(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def start(self, *arguments, port=None):
        return subprocess.Popen([LOAD, "--port", port or self.port, *arguments], stdout=subprocess.PIPE, text=True)

    def health(self):
        return self.end(self.start(*HEALTH, "--seconds", "5"))

    @staticmethod
    def end(process):
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
        return json.loads(out)

    def beside_a_stranger(self):
        with subprocess.Popen([os.path.join(BIN_DIR, "floor_epoll"), "--events", "10", "100000"], stdout=subprocess.PIPE, text=True) as bare, \
                subprocess.Popen(["nice", "-n", "10", sys.executable, "-c", STRANGER]) as stranger:
            with contextlib.ExitStack() as ends:
                ends.callback(bare.kill)
                ends.callback(stranger.kill)
                flood = self.start("--path", "/", "--connections", "32", "--rate", "200", "--seconds", "6", port=bare.stdout.readline().strip())
                run = self.health()
                self.end(flood)
        return run

    def test_health_beside_a_flood_of_hashing(self):
        # Every registration hashes a password; sign-ins of one account are put off after a few.
        body = json.dumps({k: self.me.account[k] for k in ("email", "username", "password", "tenant_name", "tenant_domain")})
        flood_of = ["--method", "POST", "--path", "/api/v1/auth/register", "--header", "Content-Type: application/json", "--body", body,
                    "--connections", "32", "--rate", "200", "--seconds", "6"]
        alone, control, beside, refused = [], [], [], {}
        for _ in range(ROUNDS):
            alone.append(self.health())
            if LONG:
                control.append(self.beside_a_stranger())
            flood = self.start(*flood_of)
            beside.append(self.health())
            for status, number in self.end(flood)["statuses"].items():
                refused[status] = refused.get(status, 0) + number

        def p99(runs):
            return statistics.median(run["latency_us"]["p99"] for run in runs) / 1000
        print(f"health p99 {p99(alone):.1f} ms alone, {p99(beside):.1f} ms beside the flood; answers: {refused}", flush=True)
        for run in beside:
            self.assertEqual(set(run["statuses"]), {"200"})
            self.assertEqual(run["lost"] + run["unanswered"], 0)
        self.assertEqual(set(refused) - {"409", "429"}, set(), refused)
        self.assertGreater(refused.get("409", 0), 10)
        if LONG:
            print(f"{p99(control):.1f} ms beside a stranger who hashes", flush=True)
            self.assertLessEqual(p99(beside), 1.5 * max(p99(alone), p99(control)), "how much slower health is beside the flood")
        self.assertEqual(self.me.call("GET", "/api/v1/auth/me").status, 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
