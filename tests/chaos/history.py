"""Clients that write down what they sent and what they were told.

One line of JSON per event: `invoke` (sent), `ok` (accepted, with the job's id), `unknown` (no answer, or one that promises nothing:
the same request goes out again with the same Idempotency-Key), `fail` (refused for good) and `lost` (never answered). The checker
compares these with the truth afterwards."""
import dataclasses
import http.client
import json
import random
import select
import threading
import time
import urllib.parse
import uuid

ANSWER_SECONDS = 12  # the edge answers within its own deadline of 5 s; longer is silence
GIVE_UP_SECONDS = 120
RETRY_PAUSE = 0.1


@dataclasses.dataclass
class Op:
    """One request in all its tries: at most one job, whatever happens on the way."""
    op: str
    kind: str
    order_key: str
    data: dict
    invoked: float = 0.0
    answered: float = 0.0
    jobs: set = dataclasses.field(default_factory=set)
    failed: str = ""

    def body(self):
        body = {"kind": self.kind, "input": {**self.data, "op": self.op, "echo": self.op}}
        return json.dumps({**body, "order_key": self.order_key} if self.order_key else body)


class History:
    def __init__(self, path):
        self.lock, self.file = threading.Lock(), open(path, "a", buffering=1 << 16)
        self.ops, self.counts, self.slowest = [], {}, 0.0

    def write(self, event, op, **more):
        line = json.dumps({"t": round(time.monotonic(), 6), "event": event, "op": op.op, **more})
        with self.lock:
            self.counts[event] = self.counts.get(event, 0) + 1
            self.file.write(line + "\n")

    def add(self, op):
        with self.lock:
            self.ops.append(op)

    def close(self):
        with self.lock:
            self.file.close()


class Poster:
    """One keep-alive connection per edge; on trouble the next try goes to the other edge."""

    def __init__(self, history, edges, token, rng):
        self.history, self.token, self.rng = history, token, rng
        self.addresses = [urllib.parse.urlsplit(edge).netloc for edge in edges]
        self.connections = {}
        self.turn = rng.randrange(len(edges))

    def connection(self, address):
        """As every good pool: a connection that the server has closed meanwhile is not used."""
        old = self.connections.get(address)
        if old and old.sock and select.select([old.sock], [], [], 0)[0]:
            self.connections.pop(address).close()
        if address not in self.connections:
            self.connections[address] = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS)
        return self.connections[address]

    def close(self):
        for connection in self.connections.values():
            connection.close()

    def once(self, op):
        """(status, parsed body), or None when there was no answer."""
        address = self.addresses[self.turn]
        started = time.monotonic()
        try:
            connection = self.connection(address)
            connection.request("POST", "/api/jobs", op.body(), {
                "Authorization": "Bearer " + self.token, "Content-Type": "application/json", "Idempotency-Key": op.op})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError) as problem:
            self.history.write("unknown", op, edge=address, why=repr(problem), seconds=round(time.monotonic() - started, 3))
            self.connections.pop(address).close()
            self.turn = (self.turn + 1) % len(self.addresses)
            return None
        finally:
            self.history.slowest = max(self.history.slowest, time.monotonic() - started)

    def post(self, op):
        """Until it is answered, accepted or refused for good."""
        op.invoked = time.monotonic()
        self.history.add(op)
        self.history.write("invoke", op, kind=op.kind, order_key=op.order_key)
        while time.monotonic() < op.invoked + GIVE_UP_SECONDS:
            answer = self.once(op)
            if answer and answer[0] == 202:
                op.answered = time.monotonic()
                op.jobs.add(answer[1]["job_id"])
                self.history.write("ok", op, job=answer[1]["job_id"])
                return True
            if answer and answer[0] not in (409, 429, 503):
                op.failed = f"{answer[0]} {answer[1]}"
                self.history.write("fail", op, status=answer[0], body=answer[1])
                return False
            if answer:
                self.history.write("unknown", op, status=answer[0])
            time.sleep(RETRY_PAUSE * self.rng.random())  # a client's own pace between tries
        op.failed = "never answered"
        self.history.write("lost", op)
        return False


def random_op(rng, hot_keys):
    """The mix: half trivial, the rest slow, failing, ordered, with effects."""
    kind = rng.choices(["probe.ok", "probe.sleep", "probe.fail", "probe.ordered", "probe.effect", "probe.effect_ordered"],
                       [30, 5, 5, 10, 30, 20])[0]
    data = {}
    if kind == "probe.sleep":
        data = {"ms": rng.randrange(1, 300)}
    elif kind == "probe.fail":
        data = {"times": rng.randrange(1, 3)}
    elif kind in ("probe.effect", "probe.effect_ordered") and rng.random() < 0.1:
        data = {"times": 1, "ms": rng.randrange(0, 50)}
    return Op(str(uuid.UUID(int=rng.getrandbits(128), version=4)), kind, rng.choice(hot_keys) if "ordered" in kind else "", data)


class Workload:
    """`clients` threads post until stopped, then see their last request through."""

    def __init__(self, history, edges, token, seed, clients=16, rate=400, make=None):
        self.stopping = threading.Event()
        self.make = make or (lambda rng: random_op(rng, [f"hot-{n}" for n in range(24)]))
        self.pause = clients / rate
        self.threads = [threading.Thread(target=self.run, args=(Poster(history, edges, token, random.Random(f"{seed} {n}")),))
                        for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, poster):
        due = time.monotonic()
        while not self.stopping.is_set():
            poster.post(self.make(poster.rng))
            due = max(due + self.pause, time.monotonic() - 1)
            self.stopping.wait(max(0, due - time.monotonic()))
        poster.close()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(GIVE_UP_SECONDS + ANSWER_SECONDS)
            assert not thread.is_alive(), "a client is still waiting for its answer"
