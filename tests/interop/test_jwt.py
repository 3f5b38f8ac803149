"""Our JWTs beside PyJWT's: theirs reads ours, ours reads theirs; and the classes of forgery that Project Wycheproof's JWT vectors and
RFC 8725 list are all refused."""
import base64
import hashlib
import hmac
import json
import os
import sys
import time
import unittest
import uuid

import jwt

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from support import Client, Stack, register  # noqa: E402


def b64(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Jwt(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(probe=False)
        cls.client = register(cls.stack.edge())
        cls.key = cls.stack.env["MILLRACE_SECRET_KEY"].encode()
        cls.header = jwt.get_unverified_header(cls.client.token)
        cls.claims = jwt.decode(cls.client.token, cls.key, algorithms=["HS256"], audience="knowledge", issuer="millrace")

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()

    def signed(self, header=None, claims=None, key=None, digest=hashlib.sha256):
        """A token of these parts (dicts, or bytes as they are), signed as they say."""
        head = b64(self.header if header is None else header) + "." + b64(self.claims if claims is None else claims)
        return head + "." + b64(hmac.new(self.key if key is None else key, head.encode(), digest).digest())

    def status(self, token):
        return Client(self.stack.edge(), token).call("GET", "/api/v1/auth/me").status

    def test_theirs_reads_ours(self):
        self.assertEqual(self.header, {"alg": "HS256", "typ": "JWT", "kid": hashlib.sha256(b"kid" + self.key).hexdigest()[:8]})
        self.assertEqual(self.claims["type"], "access")
        self.assertEqual(self.claims["exp"] - self.claims["iat"], 1800)
        uuid.UUID(self.claims["sub"])
        for wrong in (b"x" * 32, self.key + b"x"):
            with self.assertRaises(jwt.InvalidSignatureError):
                jwt.decode(self.client.token, wrong, algorithms=["HS256"], audience="knowledge")

    def test_ours_reads_theirs(self):
        again = jwt.encode(self.claims, self.key, algorithm="HS256", headers={"kid": self.header["kid"]})
        self.assertEqual(self.status(again), 200)
        self.assertEqual(self.status(self.signed()), 200, "the forgeries below differ from a good token in one thing only")
        self.assertEqual(self.status(self.signed(claims={**self.claims, "unknown": {"a": [1]}})), 200, "unknown claims are ignored")
        self.assertEqual(self.status(self.signed(claims={**self.claims, "exp": int(time.time()) - 30})), 200, "a minute of skew")

    def refuse(self, cases):
        for name, token in cases.items():
            with self.subTest(name):
                self.assertEqual(self.status(token), 401)

    def test_other_algorithms(self):
        payload = b64(self.claims)
        cases = {f"alg {alg!r}": self.signed({**self.header, "alg": alg}) for alg in
                 ("none", "None", "NONE", "nOnE", "", "HS384", "HS512", "hs256", "RS256", "ES256", "EdDSA", "dir", None, 256, ["HS256"])}
        cases |= {f"unsigned {alg}": b64({**self.header, "alg": alg}) + "." + payload + "." for alg in ("none", "None", "NONE", "HS256")}
        cases["HS384, truly"] = self.signed({**self.header, "alg": "HS384"}, digest=hashlib.sha384)
        cases["HS512, truly"] = self.signed({**self.header, "alg": "HS512"}, digest=hashlib.sha512)
        cases["HS256 said, SHA-512 done"] = self.signed(digest=hashlib.sha512)
        cases["no alg"] = self.signed({k: v for k, v in self.header.items() if k != "alg"})
        self.refuse(cases)

    def test_other_keys(self):
        cases = {f"kid {kid!r}": self.signed({**self.header, "kid": kid}) for kid in
                 ("", "00000000", "../../dev/null", self.header["kid"].upper(), self.header["kid"] + "0", None, 1)}
        cases["no kid"] = self.signed({k: v for k, v in self.header.items() if k != "kid"})
        cases |= {f"key {i}": self.signed(key=key) for i, key in enumerate((b"", b"secret", b"\0" * 32, self.key[:-1], self.header["kid"].encode()))}
        own = b"0123456789abcdef0123456789abcdef"
        cases["jwk of the forger"] = self.signed({**self.header, "jwk": {"kty": "oct", "k": b64(own)}}, key=own)
        self.refuse(cases)

    def test_headers_that_change_the_meaning(self):
        self.refuse({name: self.signed({**self.header, name: value}) for name, value in (
            ("crit", ["exp"]), ("crit", []), ("jku", "https://evil.example/k"), ("jwk", {}), ("x5u", "https://evil.example/c"), ("x5c", []), ("b64", False))})
        self.refuse({f"typ {typ!r}": self.signed({**self.header, "typ": typ}) for typ in ("JWE", "at+jwt", "", None, 5)})
        self.refuse({"header is no object": self.signed(b"[]"), "header is no JSON": self.signed(b"{"), "header twice alg":
                     self.signed(b'{"alg":"none",' + json.dumps(self.header).encode()[1:]), "empty header": self.signed(b"")})

    def test_altered_tokens(self):
        head, payload, signature = self.client.token.split(".")
        elsewhere = b64({**self.claims, "sid": str(uuid.uuid4())})
        flipped = bytes([unb64(signature)[0] ^ 1]) + unb64(signature)[1:]
        good = self.client.token
        self.refuse({
            "another payload": f"{head}.{elsewhere}.{signature}", "another signature": f"{head}.{payload}.{b64(flipped)}",
            "half a signature": f"{head}.{payload}.{b64(unb64(signature)[:16])}", "no signature": f"{head}.{payload}.", "two parts": f"{head}.{payload}",
            "one part": head, "four parts": good + ".x", "five parts": good + "..", "empty fourth": good + ".", "leading dot": "." + good,
            "nothing but dots": "..", "padded": good + "=", "longer signature": f"{head}.{payload}.{signature}AA", "hex signature":
            f"{head}.{payload}.{unb64(signature).hex()}", "swapped": f"{payload}.{head}.{signature}", "long": self.signed(claims={**self.claims, "x": "y" * 4096}),
            "non-canonical last character": good[:-1] + chr(ord(good[-1]) + 1), "json serialisation":
            json.dumps({"protected": head, "payload": payload, "signature": signature})})

    def test_claims(self):
        now = int(time.time())
        cases = {f"no {name}": self.signed(claims={k: v for k, v in self.claims.items() if k != name})
                 for name in ("iss", "aud", "sub", "sid", "type", "jti", "iat", "nbf", "exp")}
        cases |= {f"{name} {value!r}": self.signed(claims={**self.claims, name: value}) for name, value in (
            ("exp", now - 61), ("exp", 0), ("exp", -1), ("exp", str(now + 100)), ("exp", now + 100.5), ("exp", None), ("exp", 1 << 62), ("nbf", now + 120),
            ("nbf", "0"), ("iss", "somebody"), ("iss", ["millrace"]), ("aud", "diary"), ("aud", ""), ("aud", ["knowledge"]), ("type", "refresh"), ("type", ""),
            ("sid", str(uuid.uuid4())), ("sid", "x"), ("sub", "x"), ("sub", 5))}
        cases["repeated exp"] = self.signed(claims=json.dumps(self.claims).encode()[:-1] + b',"exp":99999999999}')
        cases["payload is no object"] = self.signed(claims=b'"x"')
        cases["payload is no UTF-8"] = self.signed(claims=b'{"\xff":1}')
        cases["nested"] = self.signed(claims=b64(self.claims).encode())
        cases["trailing bytes"] = self.signed(claims=json.dumps(self.claims).encode() + b"{}")
        self.refuse(cases)


if __name__ == "__main__":
    unittest.main(verbosity=2)
