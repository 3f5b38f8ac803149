"""Our JWTs beside PyJWT's: theirs reads ours, ours reads theirs; Project Wycheproof's vectors and the forgeries that RFC 8725 lists are
all refused."""
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
from support import CACHE, Client, Stack, register  # noqa: E402

VECTORS = os.path.join(CACHE, "wycheproof")


def b64(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Issued(unittest.TestCase):
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

    @staticmethod
    def mac(key, parts, digest=hashlib.sha256):
        return b64(hmac.new(key, ".".join(parts[:2]).encode(), digest).digest())

    def signed(self, header=None, claims=None, key=None, digest=hashlib.sha256):
        """A token of these parts (dicts, or bytes as they are), signed as they say."""
        parts = [b64(self.header if header is None else header), b64(self.claims if claims is None else claims)]
        return ".".join([*parts, self.mac(self.key if key is None else key, parts, digest)])

    def status(self, token):
        return Client(self.stack.edge(), token).call("GET", "/api/v1/auth/me").status

    def refuse(self, cases):
        for name, token in cases.items():
            with self.subTest(name):
                self.assertEqual(self.status(token), 401)


class Jwt(Issued):
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


def edited(good, bad, ours):
    """`ours`, changed where and as `bad` was made of `good`."""
    head = len(os.path.commonprefix((good, bad)))
    tail = len(os.path.commonprefix((good[head:][::-1], bad[head:][::-1])))
    at = head if head <= len(good) // 2 else len(ours) - len(good) + head
    return ours[:at] + bad[head:len(bad) - tail] + ours[at + len(good) - head - tail:] if bad else ""


def members(part):
    try:
        found = json.loads(unb64(part))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@unittest.skipUnless(os.path.isdir(VECTORS), "scripts/setup could not fetch Project Wycheproof's vectors")
class Wycheproof(Issued):
    @classmethod
    def groups(cls):
        """The key of each group of vectors, and its (name, result, token)."""
        for name in ("signature", "crypto", "key"):
            with open(os.path.join(VECTORS, f"json_web_{name}_test.json")) as file:
                for group in json.load(file)["testGroups"]:
                    yield group.get("private", {}), [
                        (f"{name} {test['tcId']} {test['comment']}", test["result"], test["jws"] if isinstance(test["jws"], str) else json.dumps(test["jws"]))
                        for test in group["tests"] if "jws" in test]

    def test_as_they_are(self):
        tokens = {token for _, tests in self.groups() for _, _, token in tests}
        self.assertGreater(len(tokens), 350)
        self.refuse({token: token for token in tokens})

    def test_on_a_token_of_ours(self):
        """What a vector does to a good HS256 token is done to ours; where its MAC still fits its parts, so does that of ours."""
        ours, tried, good = self.client.token.split("."), 0, 0
        for key, tests in self.groups():
            valid = [token.split(".") for name, result, token in tests if result == "valid" and "valid" in name.lower()]
            if key.get("alg") != "HS256" or not valid:
                continue
            for name, _, token in tests:
                parts = token.split(".")
                like = max(valid, key=lambda v, parts=parts: sum(a == b for a, b in zip(v, parts)))
                made = [edited(a, b, c) for a, b, c in zip(like, parts, ours)] + parts[3:]
                was, now = members(like[0]), members(parts[0])
                if was and now and was != now:
                    made[0] = b64({**self.header, **{name: value for name, value in now.items() if was.get(name) != value}})
                if parts != like and parts[2:] == [self.mac(unb64(key["k"]), parts)]:
                    made[2] = self.mac(self.key, made)
                tried, good = tried + 1, good + (made == ours)
                with self.subTest(name, made=made):
                    self.assertEqual(self.status(".".join(made)), 200 if made == ours else 401)
        print(f"{tried} vectors of HS256, {good} of them change nothing")
        self.assertGreater(tried - good, 30)
        self.assertGreater(good, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
