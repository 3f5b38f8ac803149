"""Authenticator apps of others: oathtool makes the codes, zbar reads the QR code."""
import base64
import os
import re
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from diary import SETTINGS, Person  # noqa: E402
from support import Stack  # noqa: E402


def run(*command, data=None):
    return subprocess.run(command, input=data, check=True, capture_output=True, timeout=60).stdout


def scanned(data_uri, scale=8):
    """What a camera would read: the SVG's squares as a grey picture, given to zbar."""
    svg = base64.b64decode(data_uri.removeprefix("data:image/svg+xml;base64,")).decode()
    size = int(re.search(r'viewBox="0 0 (\d+) \1"', svg).group(1))
    picture = bytearray(b"\xff" * (size * scale) ** 2)
    for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", svg):
        for line in range(int(y) * scale, (int(y) + 1) * scale):
            at = line * size * scale + int(x) * scale
            picture[at:at + scale] = bytes(scale)
    return run("zbarimg", "--raw", "--quiet", "-Sdisable", "-Sqrcode.enable", "pgm:-", data=b"P5 %d %d 255\n" % (size * scale, size * scale) + bytes(picture)).decode().strip()


class Totp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(probe=False, env=SETTINGS)

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def test_oathtool_and_zbar(self):
        me = Person(self.stack).join()
        added = me.call("POST", "/api/profile/totp", {"action": "register"}).json
        self.assertEqual(scanned(added["qr_code"]), added["otpauth_uri"])
        secret = re.search(r"[?&]secret=([A-Z2-7]+)&", added["otpauth_uri"]).group(1)
        self.assertEqual(secret, added["secret"])

        def code(steps):
            return run("oathtool", "--totp", "--base32", "--now", f"@{int(time.time()) + 30 * steps}", secret).decode().strip()
        self.assertEqual(me.call("POST", "/api/profile/totp", {"action": "confirm", "code": code(0)}).status, 200)
        half = me.login().json["session_token"]
        self.assertEqual(me.verify(code(1), half).status, 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
