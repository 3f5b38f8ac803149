"""Property-based calls made from the OpenAPI files: no 5xx, and no answer that the files do not describe.

MILLRACE_TEST_LONG=1 tries ten times as much."""
import os
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests/e2e"), os.path.join(ROOT, "tests/support")]
from counterparts import Payments  # noqa: E402  (its folder is known only now)
from operations import Account  # noqa: E402
from support import CACHE, Stack  # noqa: E402

PROGRAM = os.path.join(CACHE, "python/bin/schemathesis")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES = 200 if os.environ.get("MILLRACE_TEST_LONG") == "1" else 20
# So many wrong tries from one address meet the limits: those have tests of their own.
SETTINGS = {"MILLRACE_AUTH_RATE": "1000000", "MILLRACE_CHAT_RATE": "1000000", "MILLRACE_UPLOAD_RATE": "1000000"}


class Properties(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.payments = Payments()
        cls.stack = Stack(env={**SETTINGS, **cls.payments.settings})

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()
        cls.payments.close()

    def hold_to(self, surface, role="ADMIN", audience=None):
        who = Account(self.stack, audience or surface, role)
        done = subprocess.run(
            [PROGRAM, "run", os.path.join(ROOT, f"schemas/http/{surface}.yaml"), "--url", self.stack.edge(), "--checks", CHECKS, "--phases",
             "examples,coverage,fuzzing", "-n", str(EXAMPLES), "-H", f"Authorization: Bearer {who.token}", "-H", "Prefer: respond-async",
             "--exclude-path-regex", "/events$", "--request-timeout", "30", "--no-color", "--warnings", "off", "--continue-on-failure"],
            text=True, capture_output=True, timeout=900, cwd=self.stack.home)
        print(done.stdout[-1200:], flush=True)
        self.assertEqual(done.returncode, 0, done.stdout[-12000:] + done.stderr[-2000:])

    def test_jobs(self):
        self.hold_to("jobs", audience="knowledge")

    def test_knowledge(self):
        self.hold_to("knowledge")

    def test_diary(self):
        self.hold_to("diary", "USER")

    def test_karte(self):
        self.hold_to("karte", "USER")

    def test_planner(self):
        self.hold_to("planner", "USER")

    def test_habits(self):
        self.hold_to("habits", "USER")


if __name__ == "__main__":
    unittest.main(verbosity=2)
