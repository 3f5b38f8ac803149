"""Every operation of every surface as schemas/http/ describes it, and credentials of every kind made in the database:
what the tests share that go over the whole API."""
import glob
import hashlib
import json
import os
import secrets
import uuid

import yaml

from support import ROOT

AUDIENCES = {"knowledge": "knowledge", "diary": "diary", "karte": "karte", "planner": "planner habits", "habits": "planner habits"}
REALMS = {**{name: name for name in AUDIENCES}, "habits": "planner"}


def load_yaml(path):
    """YAML without the one thing in it that JSON does not have: times stay text."""
    class Loader(yaml.SafeLoader):
        pass
    Loader.yaml_implicit_resolvers = {first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:timestamp"]
                                      for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, Loader)


def resolved(document, node):
    """What a $ref of the document stands for."""
    while isinstance(node, dict) and "$ref" in node:
        reference, node = node["$ref"], document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


class Operation:
    def __init__(self, surface, method, path, document, node):
        self.surface, self.method, self.path = surface, method.upper(), path
        self.document, self.node = document, node
        self.name = node["operationId"]
        security = node.get("security", document.get("security", []))
        self.schemes = {scheme for requirement in security for scheme in requirement}
        self.optional = not security or {} in security
        self.role = node.get("x-role")  # "admin": the owner or an administrator of the tenant

    def __repr__(self):
        return f"{self.method} {self.path}"

    def resolve(self, node):
        return resolved(self.document, node)

    def parameters(self, place):
        everywhere = self.document["paths"][self.path].get("parameters", []) + self.node.get("parameters", [])
        return [p for p in map(self.resolve, everywhere) if p["in"] == place]

    def url(self, value):
        """The path with `value(parameter)` in the place of each {parameter}."""
        out = self.path
        for parameter in self.parameters("path"):
            out = out.replace("{" + parameter["name"] + "}", str(value(parameter)))
        return out

    def content(self):
        """(media type, schema, example) of the body; None without one."""
        body = self.resolve(self.node.get("requestBody"))
        if not body:
            return None
        kind, media = next(iter(body["content"].items()))
        schema = self.resolve(media.get("schema", {}))
        examples = [example["value"] for example in map(self.resolve, media.get("examples", {}).values())]
        example = media.get("example", examples[0] if examples else schema.get("example", (schema.get("examples") or [{}])[0]))
        return kind, schema, example


def operations():
    out = []
    for file in sorted(glob.glob(os.path.join(ROOT, "schemas/http/*.yaml"))):
        document = load_yaml(file)
        surface = os.path.basename(file).removesuffix(".yaml")
        for path, node in document["paths"].items():
            for method in ("get", "post", "put", "patch", "delete"):
                if method in node:
                    out.append(Operation(surface, method, path, document, node[method]))
    return out


def quoted(value):
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"


class Account:
    """An account and one session of it, written as the services would write them."""

    def __init__(self, stack, surface, role="OPERATOR", owner=True, tenant=None, state="good", name=None):
        realm = REALMS[surface]
        self.surface, self.user, self.session = surface, str(uuid.uuid4()), str(uuid.uuid4())
        self.tenant, self.token = tenant or str(uuid.uuid4()), "mrs_" + secrets.token_urlsafe(32)
        self.email = f"{name or 'person'}-{self.user[:8]}@example.com"
        made = "" if tenant else f"INSERT INTO tenants (id, realm, name) VALUES ('{self.tenant}', '{realm}', {quoted(name or self.email)});"
        ends = "now() - interval '1 minute'" if state == "expired" else "now() + interval '1 hour'"
        stack.sql(f"BEGIN; {made} INSERT INTO users (id, tenant_id, realm, email, email_key, username, role, is_owner, is_verified)"
                  f" VALUES ('{self.user}', '{self.tenant}', '{realm}', '{self.email}', '{self.email}', 'tester', '{role}', {owner}, true);"
                  " INSERT INTO sessions (id, tenant_id, user_id, audience, token_hash, second_factor, expires_at, revoked_at)"
                  f" VALUES ('{self.session}', '{self.tenant}', '{self.user}', '{AUDIENCES[surface]}',"
                  f" '\\x{hashlib.sha256(self.token.encode()).hexdigest()}', {state != 'half'}, {ends},"
                  f" {'now()' if state == 'revoked' else 'NULL'}); COMMIT")


def body_bytes(operation):
    """A body that the operation's own example describes, and its content type."""
    content = operation.content()
    if not content:
        return None, None
    kind, _, example = content
    if kind == "multipart/form-data":
        return (b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nsome text\r\n--x--\r\n',
                "multipart/form-data; boundary=x")
    if kind == "application/x-www-form-urlencoded":
        return b"a=b", kind
    return json.dumps(example).encode(), kind
