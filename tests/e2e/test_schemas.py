"""What schemas/ promises agrees with itself and with the code: events, OpenAPI, AsyncAPI, topics. Needs no running system."""
import glob
import json
import os
import re
import unittest

import jsonschema

from operations import load_yaml, resolved
from support import ROOT

SCHEMAS = os.path.join(ROOT, "schemas")
# A row of a route table: {Method::post, "/api/v1/chats/rag", "askQuestion", Auth::bearer, …
ROUTE = re.compile(r'\{\s*(?:server::)?Method::(\w+),\s*"([^"]+)",\s*"(\w+)",\s*(?:middleware::)?Auth::(\w+)')
SECURITY = {"none": [], "bearer": [{"bearer": []}], "first_factor": [{"bearer": []}],
            "bearer_or_job_token": [{"bearer": []}, {"jobToken": []}], "optional_bearer": [{}, {"bearer": []}],
            "optional_first_factor": [{}, {"bearer": []}], "widget": [{"widgetKey": []}]}
REFUSES_CREDENTIALS = ("login", "diaryLogin", "refreshTokens", "verifyToken")  # of its body or URL
METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def load(*path):
    return load_yaml(os.path.join(*path))


def names(folder, suffix):
    return {os.path.basename(path).removesuffix(suffix) for path in glob.glob(os.path.join(SCHEMAS, folder, "*" + suffix))}


def walk(value, path=()):
    """Every node of a document with the keys that lead to it."""
    yield path, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from walk(child, path + (key,))


def validator(schema, formats=None):
    return jsonschema.Draft202012Validator(schema, format_checker=formats)


class Events(unittest.TestCase):
    formats = jsonschema.FormatChecker(formats=["uuid"])

    def test_each_type_has_a_schema_and_an_example(self):
        types = {kind["event"] for kind in load(SCHEMAS, "topics.yaml")["kinds"]}
        examples = names("events", ".example.json")
        self.assertEqual(examples, types)
        self.assertEqual({name for name in names("events", ".json") if not name.endswith(".example")}, types)

    def test_schemas_are_schemas_and_carry_their_name(self):
        for name in names("events", ".example.json"):
            with self.subTest(name):
                schema = json.loads(read(SCHEMAS, "events", name + ".json"))
                jsonschema.Draft202012Validator.check_schema(schema)
                self.assertEqual((schema["title"], schema["$id"]), (name, "urn:millrace:event:" + name))
                self.assertEqual(schema["$schema"], "https://json-schema.org/draft/2020-12/schema")

    def test_examples_fit(self):
        for name in names("events", ".example.json"):
            with self.subTest(name):
                check = validator(json.loads(read(SCHEMAS, "events", name + ".json")), self.formats)
                example = json.loads(read(SCHEMAS, "events", name + ".example.json"))
                check.validate(example)
                self.assertEqual(set(example), set(check.schema["properties"]), "the example shows every member")

    def test_schemas_refuse(self):
        for name in names("events", ".example.json"):
            check = validator(json.loads(read(SCHEMAS, "events", name + ".json")), self.formats)
            example = json.loads(read(SCHEMAS, "events", name + ".example.json"))
            for member in check.schema.get("required", []):
                with self.subTest(name, without=member):
                    self.assertFalse(check.is_valid({key: value for key, value in example.items() if key != member}))
            for member, rule in check.schema["properties"].items():
                if "type" in rule:
                    with self.subTest(name, wrong=member):
                        self.assertFalse(check.is_valid({**example, member: [1]}))


class OpenApi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.documents = {name: load(SCHEMAS, "http", name + ".yaml") for name in names("http", ".yaml")}

    def operations(self, name):
        document = self.documents[name]
        for path, item in document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield method, path, item, item[method]

    def test_route_table_and_description_name_the_same_operations(self):
        surfaces = {os.path.basename(path) for path in glob.glob(os.path.join(ROOT, "edge/surfaces/*")) if os.path.isdir(path)}
        self.assertEqual(set(self.documents), surfaces, "one file per surface")
        for surface in surfaces:
            sources = glob.glob(os.path.join(ROOT, "edge/surfaces", surface, "*.cpp"))
            text = "".join(read(path) for path in sources)
            table = ROUTE.findall(text)
            self.assertEqual(len(table), len(re.findall(r'Method::\w+,\s*"/', text)), "every row is understood")
            routes = {(method.replace("del", "delete"), path, name, json.dumps(SECURITY[auth])) for method, path, name, auth in table}
            default = self.documents[surface]["security"]
            described = {(method, path, operation["operationId"], json.dumps(operation.get("security", default)))
                         for method, path, _, operation in self.operations(surface)}
            self.assertEqual(routes, described)

    def test_operation_ids_are_unique(self):
        ids = [operation["operationId"] for name in self.documents for _, _, _, operation in self.operations(name)]
        self.assertEqual(len(ids), len(set(ids)))

    def test_references_lead_somewhere_and_everything_is_referred_to(self):
        for name, document in self.documents.items():
            used = set()
            for path, node in walk(document):
                if isinstance(node, dict) and "$ref" in node:
                    with self.subTest(name, at=path):
                        self.assertTrue(node["$ref"].startswith("#/components/"))
                        self.assertIsNotNone(resolved(document, node))
                        used.add(node["$ref"])
            for kind, parts in document["components"].items():
                if kind != "securitySchemes":
                    self.assertEqual({f"#/components/{kind}/{part}" for part in parts} - used, set(), name)

    def test_path_parameters_are_described(self):
        for name, document in self.documents.items():
            for method, path, item, operation in self.operations(name):
                given = [resolved(document, p) for p in item.get("parameters", []) + operation.get("parameters", [])]
                with self.subTest(name, operation=f"{method} {path}"):
                    self.assertEqual({p["name"] for p in given if p["in"] == "path"}, set(re.findall(r"\{(\w+)\}", path)))

    def test_statuses_that_the_code_implies(self):
        for name, document in self.documents.items():
            for method, path, _, operation in self.operations(name):
                answers = operation["responses"]
                with self.subTest(name, operation=operation["operationId"]):
                    self.assertTrue({"400", "413", "414", "431", "500"} <= set(answers))
                    self.assertEqual("401" in answers, operation.get("security", [1]) != [] or operation["operationId"] in REFUSES_CREDENTIALS)
                    self.assertTrue(operation["operationId"] == "health" or "503" in answers)
                    self.assertTrue("{" not in path or "404" in answers)
                    for status, answer in answers.items():
                        headers = resolved(document, answer).get("headers", {})
                        wanted = {"401": "WWW-Authenticate", "429": "Retry-After", "503": "Retry-After"}.get(status)
                        self.assertTrue(wanted is None or wanted in headers, status)

    def test_schemas_are_schemas_and_examples_fit(self):
        """Formats aside: the contract writes "uuid" where one stands."""
        checked = 0
        for name, document in self.documents.items():
            for path, node in walk(document):
                if not isinstance(node, dict) or "schema" not in node or "example" in path or "examples" in path:
                    continue
                schema = {**node["schema"], "components": document["components"]}
                jsonschema.Draft202012Validator.check_schema(node["schema"])
                examples = [node["example"]] if "example" in node else []
                examples += [resolved(document, each)["value"] for each in node.get("examples", {}).values()]
                for example in examples:
                    with self.subTest(name, at=path):
                        validator(schema).validate(example)
                        checked += 1
            for part, schema in document["components"]["schemas"].items():
                jsonschema.Draft202012Validator.check_schema(schema)
                if "example" in schema:
                    validator({**schema, "components": document["components"]}).validate(schema["example"])
        self.assertGreater(checked, 20)


class AsyncApi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.document = load(SCHEMAS, "asyncapi.yaml")
        cls.catalog = load(SCHEMAS, "topics.yaml")

    def messages(self, channel):
        return [resolved(self.document, message) for message in channel["messages"].values()]

    def test_every_topic_is_a_channel(self):
        topics = {topic["name"]: topic for topic in self.catalog["topics"]}
        channels = {channel["address"]: channel for channel in self.document["channels"].values()}
        self.assertEqual(set(channels), set(topics))
        for name, topic in topics.items():
            count, unit = re.fullmatch(r"(\d+)([a-z]+)", topic["retention"]).groups()
            kafka = channels[name]["bindings"]["kafka"]
            with self.subTest(name):
                self.assertEqual(kafka["partitions"], topic["partitions"])
                self.assertEqual(kafka["topicConfiguration"]["retention.ms"], int(count) * UNITS[unit])

    def test_channels_carry_the_types_of_their_worker(self):
        by_address = {channel["address"]: channel for channel in self.document["channels"].values()}
        for topic in self.catalog["topics"]:
            types = {kind["event"] for kind in self.catalog["kinds"] if kind["worker"] == topic["worker"]}
            carried = {message["name"] for message in self.messages(by_address[topic["name"]])}
            self.assertEqual(carried, types or {"deadLetter"}, topic["name"])

    def test_messages_name_type_kinds_and_schema(self):
        messages = {message["name"]: message for message in self.document["components"]["messages"].values()}
        for name in {kind["event"] for kind in self.catalog["kinds"]}:
            with self.subTest(name):
                headers = messages[name]["headers"]["properties"]
                kinds = headers["ce_kind"].get("enum", [headers["ce_kind"].get("const")])
                self.assertEqual(headers["ce_type"], {"const": name})
                self.assertEqual(set(kinds), {kind["kind"] for kind in self.catalog["kinds"] if kind["event"] == name})
                self.assertEqual(messages[name]["payload"], {"$ref": f"./events/{name}.json"})

    def test_headers_are_those_that_are_written(self):
        text = read(ROOT, "shared/events/cloud_event.cpp")
        written = set(re.findall(r'emplace_back\("([\w-]+)"', text))
        trait = self.document["components"]["messageTraits"]["jobRecord"]["headers"]
        self.assertEqual(set(trait["properties"]), written)
        self.assertEqual(set(trait["required"]), written - {"ce_orderkey", "ce_dataref"})
        dead = set(re.findall(r'add\("(dead_\w+)"', read(ROOT, "shared/domain/jobs/publish.cpp")))
        self.assertEqual(set(self.document["components"]["messages"]["deadLetter"]["headers"]["properties"]), dead)

    def test_every_channel_is_sent_to_and_received_from(self):
        operations = [(o["action"], o["channel"]["$ref"].removeprefix("#/channels/")) for o in self.document["operations"].values()]
        self.assertEqual(len(operations), len(set(operations)))
        worked = {name for name, channel in self.document["channels"].items() if channel["address"] != "dead-letters"}
        self.assertEqual({channel for action, channel in operations if action == "send"}, set(self.document["channels"]))
        self.assertEqual({channel for action, channel in operations if action == "receive"}, worked)

    def test_references_lead_somewhere(self):
        for path, node in walk(self.document):
            if isinstance(node, dict) and "$ref" in node:
                with self.subTest(at=path):
                    if node["$ref"].startswith("#/"):
                        self.assertIsNotNone(resolved(self.document, node))
                    else:
                        self.assertTrue(os.path.exists(os.path.join(SCHEMAS, node["$ref"])))


if __name__ == "__main__":
    unittest.main(verbosity=2)
