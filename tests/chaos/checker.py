"""The offline check of a history against PostgreSQL, the Kafka log and the effects.

I1 what was accepted ended exactly once, and well   I2 nothing ran that nobody sent; one job per key
I3 per order key the accept order                   I4 every outbox row is gone, every job has its record
I10 nothing is left over after the drain            verify: what operators are told by `millrace-ops verify jobs`"""
import collections
import json

import confluent_kafka

EFFECTS = ("probe.effect", "probe.effect_ordered")


def rows(stack, query):
    text = stack.sql(f"SELECT row_to_json(r) FROM ({query}) r")
    return [json.loads(line) for line in text.splitlines()]


class Log:
    """Every record of a topic, read once and remembered: job id -> number of records."""

    def __init__(self, brokers, topic="probe.interactive"):
        self.topic, self.seen = topic, collections.Counter()
        self.consumer = confluent_kafka.Consumer({"bootstrap.servers": brokers, "group.id": "chaos-checker",
                                                  "enable.auto.commit": False, "enable.partition.eof": True})
        self.next = {}

    def read(self):
        partitions = self.consumer.list_topics(self.topic, timeout=30).topics[self.topic].partitions
        self.consumer.assign([confluent_kafka.TopicPartition(self.topic, p, self.next.get(p, 0)) for p in partitions])
        ended = set()
        while len(ended) < len(partitions):
            message = self.consumer.poll(30)
            if message is None:
                raise AssertionError("the Kafka log cannot be read to its end")
            if message.error():
                if message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                continue
            self.next[message.partition()] = message.offset() + 1
            headers = dict(message.headers() or [])
            if "ce_id" in headers:
                self.seen[headers["ce_id"].decode()] += 1
        self.consumer.unassign()
        return self.seen


def unfinished(stack):
    """What stands in the way of a drained system; empty when nothing does."""
    left = {row["what"]: row["n"] for row in rows(stack, """
        SELECT status::text AS what, count(*) AS n FROM jobs WHERE finished_at IS NULL GROUP BY 1
        UNION ALL SELECT 'outbox', count(*) FROM outbox HAVING count(*) > 0
        UNION ALL SELECT 'due', count(*) FROM due HAVING count(*) > 0""")}
    return left


def check(stack, history, log, allowed_ends=None):
    """All violations, as sentences. `allowed_ends`: op -> statuses, for those that need not succeed."""
    bad, allowed = [], allowed_ends or {}
    jobs = rows(stack, "SELECT id, seq, kind, status, attempt, order_key, finished_at, convert_from(input, 'UTF8')::json->>'op' AS op, "
                       "convert_from(result, 'UTF8')::json->>'echo' AS echo FROM jobs WHERE kind LIKE 'probe.%' AND convert_from(input, 'UTF8')::json->>'op' IS NOT NULL")
    by_op = collections.defaultdict(list)
    for job in jobs:
        by_op[job["op"]].append(job)
    ops = {op.op: op for op in history.ops}
    bad += [f"I2: job {job['id']} was sent by nobody" for job in jobs if job["op"] not in ops]
    for op in history.ops:
        mine = by_op[op.op]
        if op.failed:
            bad.append(f"I12: request {op.op} ({op.kind}) was not accepted: {op.failed}")
        if len(mine) != 1 or {job["id"] for job in mine} != op.jobs:
            bad.append(f"I1: request {op.op} was told {sorted(op.jobs)}, the jobs are {[job['id'] for job in mine]}")
            continue
        expected = allowed.get(op.op, ("succeeded",))
        if mine[0]["status"] not in expected:
            bad.append(f"I1: job {mine[0]['id']} ({op.kind}) ended as {mine[0]['status']} in attempt {mine[0]['attempt']}")
        elif mine[0]["status"] == "succeeded" and mine[0]["echo"] not in (op.op, None):
            bad.append(f"I1: job {mine[0]['id']} has the result of {mine[0]['echo']}")
    bad += check_effects(stack, history, by_op)
    bad += check_order(history, by_op)
    if log:
        seen = log.read()
        bad += [f"I4: job {job['id']} has no record" for job in jobs if job["id"] not in seen]
    bad += check_leftovers(stack, history)
    bad += [f"verify: {found['violations']} {found['name']} ({found['what']}): {found['first']}"
            for found in stack.verify()["checks"] if found["violations"]]
    return bad


def check_effects(stack, history, by_op):
    effects = collections.defaultdict(list)
    for row in rows(stack, "SELECT n, job_id, attempt, order_key, op FROM probe_effects"):
        effects[row["op"]].append(row)
    bad, in_order = [], collections.defaultdict(list)
    for op in history.ops:
        mine, job = effects.pop(op.op, []), by_op[op.op][0] if by_op[op.op] else None
        wanted = 1 if op.kind in EFFECTS and job and job["status"] == "succeeded" else 0
        if len(mine) != wanted:
            bad.append(f"I1: {len(mine)} effects of request {op.op} ({op.kind}), expected {wanted}")
        elif mine and mine[0]["attempt"] != job["attempt"]:
            bad.append(f"I1: the effect of job {job['id']} is of attempt {mine[0]['attempt']}, the job ended in {job['attempt']}")
        if mine and op.order_key:
            in_order[op.order_key].append((mine[0]["n"], op))
    bad += [f"I2: {len(rest)} effects that nobody asked for: {op}" for op, rest in effects.items()]
    for key, pairs in in_order.items():
        bad += out_of_order(f"effects of key {key}", [op for _, op in sorted(pairs, key=lambda pair: pair[0])])
    return bad


def check_order(history, by_op):
    in_order = collections.defaultdict(list)
    for op in history.ops:
        if op.order_key and by_op[op.op] and by_op[op.op][0]["status"] == "succeeded":
            in_order[op.order_key].append((by_op[op.op][0]["finished_at"], by_op[op.op][0]["seq"], op))
    bad = []
    for key, ends in in_order.items():
        bad += out_of_order(f"jobs of key {key}", [op for _, _, op in sorted(ends, key=lambda end: end[:2])])
    return bad


def out_of_order(what, ops):
    """Real time decides: a request that was answered before another was sent must take effect before it."""
    bad, latest = [], None
    for op in ops:
        if latest and op.answered and op.answered < latest.invoked:
            bad.append(f"I3: {what}: {op.op} was accepted {latest.invoked - op.answered:.3f} s before {latest.op} was sent, and came after it")
        if latest is None or op.invoked > latest.invoked:
            latest = op
    return bad


def check_leftovers(stack, history):
    bad = [f"I10: {n} {what} after the drain" for what, n in unfinished(stack).items()]
    keys = int(stack.sql("SELECT count(*) FROM idempotency i JOIN jobs j ON j.id = i.job_id WHERE j.kind LIKE 'probe.%'"))
    ops = sum(1 for op in history.ops if op.jobs)
    if keys != ops:
        bad.append(f"I2: {keys} idempotency keys with a job for {ops} accepted requests")
    return bad
