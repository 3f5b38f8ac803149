"""Operators' commands against a real system: verify, redrive, replay, lag, tail, audit."""
import json
import os
import subprocess
import time
import unittest
import uuid
from datetime import datetime, timezone

import documents
from support import OPS, Stack, eventually, register

UNFINISHED = "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running', 'waiting', 'parked')"


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def setUpModule():
    Operators.stack = Stack(env={"MILLRACE_LEASE": "3s"})


def tearDownModule():
    Operators.stack.destroy()


class Operators(unittest.TestCase):
    stack = None

    def setUp(self):
        self.me = register(self.stack.edge())
        self.tenant = self.sql(f"SELECT tenant_id FROM users WHERE email = '{self.me.account['email']}'")
        eventually(lambda: self.sql(UNFINISHED) == "0", 60, "the end of every job")
        time.sleep(0.002)  # a window is told in milliseconds
        self.started = now()

    def tearDown(self):
        eventually(lambda: self.sql(UNFINISHED) == "0", 60, "the end of every job")
        self.assertTrue(self.ops("verify", "jobs")["clean"])

    def sql(self, query):
        return self.stack.sql(query)

    def run_ops(self, *arguments):
        return self.stack.ops(*arguments)

    def ops(self, *arguments, code=0):
        done = self.run_ops(*arguments, "--json")
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout[-2000:]} {done.stderr}")
        return json.loads(done.stdout) if done.stdout else None

    def replay(self, *arguments, worker="probe", code=0):
        return self.ops("replay", "--worker", worker, *arguments, code=code)

    def status(self, job_id):
        return self.sql(f"SELECT status FROM jobs WHERE id = '{job_id}'")

    def all_end(self):
        eventually(lambda: self.sql(UNFINISHED) == "0", 60, "the end of every job")

    def done_jobs(self, count, kind="probe.ok"):
        ids = [self.me.enqueue(kind, {"echo": number}) for number in range(count)]
        for job_id in ids:
            self.me.wait_job(job_id)
        return ids


class Verify(Operators):
    def test_what_is_well_is_clean(self):
        key = uuid.uuid4().hex
        ids = [self.me.enqueue("probe.ordered", {"times": i % 2}, order_key=key) for i in range(6)]
        ids += [self.me.enqueue("probe.fail", {"times": i}) for i in range(4)]
        ids += [self.me.enqueue("probe.never"), self.me.enqueue("probe.fail", {"times": 99})]
        ids.append(self.me.enqueue("probe.ok", headers={"Idempotency-Key": key}))
        self.assertTrue(self.ops("verify", "jobs")["clean"])  # in the middle of it
        for job_id in ids:
            self.me.wait_job(job_id)
        report = self.ops("verify", "jobs", "--settle", "0")
        self.assertTrue(report["clean"])
        counts = dict(line.split("|") for line in self.sql("SELECT status, count(*) FROM jobs GROUP BY status").splitlines())
        self.assertEqual({status: str(count) for status, count in report["jobs"].items()}, counts)
        self.assertEqual(report["total"], sum(map(int, counts.values())))
        later = self.ops("verify", "jobs", "--since", now())
        self.assertEqual(later["total"], 0)

    def test_a_backlog_is_announced(self):
        self.stack.hold("worker-probe")
        try:
            for number in range(40):
                self.me.enqueue("probe.ok", {"echo": number})
            eventually(lambda: self.sql("SELECT count(*) FROM outbox") == "0", what="an empty outbox")
            report = self.ops("verify", "jobs", "--settle", "0")
            self.assertEqual((report["jobs"]["queued"], report["clean"]), (40, True))
            lag = self.ops("lag", "--worker", "probe")
            self.assertEqual(sum(p["lag"] for p in lag["partitions"]), 40)
            [kind] = lag["kinds"]
            self.assertEqual((kind["kind"], kind["queued"], kind["running"]), ("probe.ok", 40, 0))
            self.assertGreater(kind["oldest_seconds"], 0)
        finally:
            self.stack.release("worker-probe")
        self.all_end()
        eventually(lambda: sum(p["lag"] for p in self.ops("lag", "--worker", "probe")["partitions"]) == 0, what="no lag")

    def test_what_mends_itself_is_no_violation(self):
        job_id = self.me.enqueue("probe.sleep", {"ms": 1500})
        eventually(lambda: self.status(job_id) == "running", what="running")
        self.stack.kill("worker-probe")
        self.assertTrue(self.ops("verify", "jobs")["clean"])
        self.assertEqual(self.me.wait_job(job_id)["status"], "succeeded")

    def insert_job(self, **columns):
        row = {"id": str(uuid.UUID(int=int(time.time() * 1000) << 80 | uuid.uuid4().int & (1 << 80) - 1)), "tenant_id": self.tenant,
               "owner_id": self.tenant, "kind": "probe.ok", "lane": "interactive", "status": "queued", "input": "{}", **columns}
        self.sql(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({', '.join(repr(v) for v in row.values())})")
        return row["id"]

    def check_planted(self, name, key, undo):
        """`name` is the only check that complains, and it names `key`."""
        report = self.ops("verify", "jobs", "--settle", "0", code=1)
        found = {check["name"]: check for check in report["checks"] if check["violations"]}
        self.assertEqual(list(found), [name])
        self.assertIn(key, found[name]["first"])
        self.assertEqual(found[name]["violations"], len(found[name]["first"]))
        for statement in undo:
            self.sql(statement)
        self.assertTrue(self.ops("verify", "jobs", "--settle", "0")["clean"], name)

    def test_each_violation_is_named(self):
        [good] = self.done_jobs(1)
        self.stack.hold("scheduler")  # it would mend some of it
        self.stack.hold("worker-probe")
        try:
            for name, columns in [
                    ("queued_unannounced", {}), ("waiting_without_due", {"status": "waiting"}),
                    ("running_without_worker", {"status": "running", "worker": 999999, "attempt": 1}),
                    ("parked_unblocked", {"status": "parked", "order_key": "planted"}),
                    ("ended_without_time", {"status": "failed", "result": "{}"}),
                    ("succeeded_without_result", {"status": "succeeded", "finished_at": now()}),
                    ("dead_without_letter", {"status": "dead", "finished_at": now(), "result": "{}"})]:
                with self.subTest(name):
                    job = self.insert_job(**columns)
                    self.check_planted(name, job, [f"DELETE FROM jobs WHERE id = '{job}'"])
            for name, columns in [("kind_unknown", {"kind": "no.such"}), ("unended_with_time", {"finished_at": now()})]:
                with self.subTest(name):
                    job = self.insert_job(status="waiting", **columns)
                    self.sql(f"INSERT INTO due VALUES ('{job}', now() + interval '1 day', 'planted')")
                    self.check_planted(name, job, [f"DELETE FROM jobs WHERE id = '{job}'", f"DELETE FROM due WHERE job_id = '{job}'"])
            with self.subTest("order_broken"):
                first = self.insert_job(kind="probe.ordered", order_key="k", status="succeeded", result="{}", finished_at="2025-01-01T00:00:02Z",
                                        created_at="2025-01-01T00:00:00Z")
                second = self.insert_job(kind="probe.ordered", order_key="k", status="succeeded", result="{}", finished_at="2025-01-01T00:00:01Z")
                self.check_planted("order_broken", second, [f"DELETE FROM jobs WHERE id IN ('{first}', '{second}')"])
            self.plant_in_other_tables(good)
        finally:
            self.stack.release("scheduler")
            self.stack.release("worker-probe")

    def plant_in_other_tables(self, good):
        missing = str(uuid.uuid4()).replace("-4", "-7")
        usage = f"INSERT INTO usage VALUES ('{good}', {{}}, 0, '{self.tenant}', 'p', 'p', 'm', 1, 1, 0, 1, 'ok')"
        file = str(uuid.uuid4())
        plants = [
            ("outbox_stale", missing, [f"INSERT INTO outbox VALUES ('{missing}', now() - interval '1 hour', ARRAY['{good}'::uuid])"],
             ["DELETE FROM outbox"]),
            ("outbox_without_job", missing, [f"INSERT INTO outbox VALUES (gen_random_uuid(), now(), ARRAY['{missing}'::uuid])"],
             ["DELETE FROM outbox"]),
            ("due_without_waiting", good, [f"INSERT INTO due VALUES ('{good}', now() + interval '1 day', 'planted')"], ["DELETE FROM due"]),
            ("key_without_job", missing, [f"INSERT INTO idempotency (scope_hash, body_hash, job_id) VALUES ('planted', 'x', '{missing}')"],
             ["DELETE FROM idempotency WHERE scope_hash = 'planted'"]),
            ("usage_twice", good, ["ALTER TABLE usage DROP CONSTRAINT usage_pkey", usage.format(1), usage.format(1)],
             [f"DELETE FROM usage WHERE job_id = '{good}'", "ALTER TABLE usage ADD PRIMARY KEY (job_id, attempt, call)"]),
            ("usage_without_attempt", good, [usage.format(7)], [f"DELETE FROM usage WHERE job_id = '{good}'"]),
            ("document_generation", file, [
                "INSERT INTO files (id, tenant_id, uploaded_by, file_name, file_type, title, file_size, object_key, sha256, job_id, status, "
                f"generation, chunk_count) VALUES ('{file}', '{self.tenant}', '{self.tenant}', 'a', 'txt', 'a', 1, 'k', 's', '{good}', "
                "'completed', 1, 3)"], [f"DELETE FROM files WHERE id = '{file}'"])]
        for name, key, plant, undo in plants:
            with self.subTest(name):
                for statement in plant:
                    self.sql(statement)
                self.check_planted(name, key, undo)
        report = self.ops("verify", "jobs")
        tried = {name for name, *_ in plants} | {
            "queued_unannounced", "waiting_without_due", "running_without_worker", "parked_unblocked", "ended_without_time",
            "succeeded_without_result", "dead_without_letter", "kind_unknown", "unended_with_time", "order_broken"}
        self.assertEqual({check["name"] for check in report["checks"]}, tried, "every check was seen to find something")


class Redrive(Operators):
    def test_filters_preview_and_act(self):
        never = [self.me.enqueue("probe.never") for _ in range(3)]
        dead = [self.me.enqueue("probe.fail", {"times": 5}) for _ in range(2)]
        for job_id in never + dead:
            self.me.wait_job(job_id)
        mine = ["redrive", "--tenant", self.tenant]
        self.assertEqual(self.ops(*mine)["jobs"], 5)
        self.assertEqual(self.ops(*mine, "--kind", "probe.never")["jobs"], 3)
        self.assertEqual(self.ops(*mine, "--cause", "PROBE_NEVER")["jobs"], 3)
        self.assertEqual(self.ops(*mine, "--cause", "attempts")["jobs"], 2)
        self.assertEqual(self.ops(*mine, "--cause", "crashed")["jobs"], 0)
        self.assertEqual(self.ops(*mine, "--status", "dead")["jobs"], 2)
        self.assertEqual(self.ops(*mine, "--status", "cancelled")["jobs"], 0)
        self.assertEqual(self.ops(*mine, "--until", self.started)["jobs"], 0)
        self.assertEqual(self.ops(*mine, "--since", self.started, "--limit", "4")["jobs"], 4)
        self.assertEqual({self.status(job_id) for job_id in dead}, {"dead"}, "a preview changes nothing")
        done = self.ops(*mine, "--cause", "attempts", "--yes")["done"]
        self.assertEqual((done["selected"], done["queued"], done["produced"], done["busy"]), (2, 2, 2, 0))
        for job_id in dead:
            job = self.me.wait_job(job_id)
            self.assertEqual((job["status"], job["attempt"]), ("succeeded", 6))
        self.assertEqual(self.ops(*mine, "--cause", "attempts", "--yes")["jobs"], 0)
        self.assertEqual(self.sql(f"SELECT count(*) FROM dead_letters WHERE tenant_id = '{self.tenant}' AND redriven_at IS NULL"), "0")

    def test_a_cancelled_job_goes_round_only_when_named(self):
        job_id = self.me.enqueue("probe.sleep", {"ms": 60000})
        eventually(lambda: self.status(job_id) == "running", what="running")
        self.assertTrue(self.ops("jobs", "cancel", job_id)["requested"])
        self.me.wait_job(job_id)
        self.assertEqual(self.ops("redrive", "--tenant", self.tenant)["jobs"], 0)
        self.assertEqual(self.ops("redrive", "--tenant", self.tenant, "--status", "cancelled", "--yes")["done"]["queued"], 1)
        eventually(lambda: self.status(job_id) == "running", what="running again")
        self.ops("jobs", "cancel", job_id)

    def test_order_is_kept(self):
        key = uuid.uuid4().hex
        ids = [self.me.enqueue("probe.ordered", {"times": 3 if i == 0 else 0}, order_key=key) for i in range(5)]
        self.assertEqual(self.me.wait_job(ids[0])["status"], "dead")
        eventually(lambda: [self.status(job_id) for job_id in ids[1:]] == ["parked"] * 4, what="the later ones parked")
        self.assertEqual(self.ops("redrive", "--tenant", self.tenant, "--yes")["done"]["queued"], 1)
        finished = [self.me.wait_job(job_id)["finished_at"] for job_id in ids]
        self.assertEqual(finished, sorted(finished))

    def test_one_key_never_runs_two(self):
        key = uuid.uuid4().hex
        first = self.me.enqueue("probe.ordered", {"echo": "never"}, order_key=key)
        self.me.wait_job(first)
        self.sql(f"UPDATE jobs SET status = 'failed' WHERE id = '{first}'")
        second = self.me.enqueue("probe.ordered", order_key=key)
        self.me.wait_job(second)
        self.sql(f"UPDATE jobs SET status = 'running', finished_at = NULL WHERE id = '{second}'")
        refused = self.run_ops("jobs", "retry", first)
        self.assertIn("a later job of its key is running", refused.stderr)
        self.assertEqual((refused.returncode, self.status(first)), (1, "failed"))
        self.sql(f"UPDATE jobs SET status = 'succeeded', finished_at = now() WHERE id = '{second}'")
        self.ops("jobs", "retry", first)
        self.assertEqual(self.me.wait_job(first)["status"], "succeeded")


class Replay(Operators):
    def result(self, job_id):
        return json.loads(self.sql(f"SELECT convert_from(result, 'UTF8') FROM jobs WHERE id = '{job_id}'"))

    def test_default_leaves_alone_what_succeeded(self):
        ok = self.done_jobs(4)
        never = self.done_jobs(2, "probe.never")
        preview = self.replay("--from", self.started, "--dry-run")
        self.assertNotIn("done", preview)
        self.assertEqual((preview["preview"]["jobs"], preview["preview"]["skipped"], preview["preview"]["again"]), (6, {"succeeded": 4}, 2))
        done = self.replay("--from", self.started)["done"]
        self.assertEqual([done[name] for name in ("produced", "confirmed", "found", "moved_on")], [2, 2, 2, 0])
        self.all_end()
        attempts = {job_id: self.sql(f"SELECT attempt FROM jobs WHERE id = '{job_id}'") for job_id in ok + never}
        self.assertEqual(attempts, {**dict.fromkeys(ok, "1"), **dict.fromkeys(never, "2")})

    def test_window_by_offsets_type_and_tenant(self):
        self.done_jobs(6)
        first = json.loads(self.run_ops("tail", "--topic", "probe.interactive", "--from", self.started, "--json").stdout.splitlines()[0])
        offsets = ("--topic", "probe.interactive", "--partition", str(first["partition"]), "--offsets", f"{first['offset']}-{first['offset']}")
        preview = self.replay(*offsets, "--force", "--dry-run")["preview"]
        self.assertEqual((preview["records"], preview["repeat"]), (1, 1))
        preview = self.replay("--from", self.started, "--tenant", str(uuid.uuid4()), "--dry-run")["preview"]
        self.assertEqual((preview["records"], preview["filtered"], preview["jobs"]), (6, 6, 0))
        preview = self.replay("--from", self.started, "--type", "millrace.probe.requested.v1", "--dry-run")["preview"]
        self.assertEqual((preview["filtered"], preview["jobs"]), (0, 6))
        preview = self.replay("--from", self.started, "--until", self.started, "--dry-run")["preview"]
        self.assertEqual(preview["records"], 0)

    def test_options_that_do_not_fit_are_refused(self):
        for arguments in [("--force", "--shadow", "--from", "1h"), ("--repeat-effects", "--from", "1h"), (), ("--from", "yesterday"),
                          ("--offsets", "1-2"), ("--cause", "x", "--from", "1h"), ("--topic", "rag.bulk", "--from", "1h"),
                          ("--topic", "probe.interactive", "--partition", "0", "--offsets", "2-1")]:
            with self.subTest(arguments):
                self.replay(*arguments, code=1)
        self.assertIn("no worker", self.run_ops("replay", "--worker", "nobody", "--from", "1h").stderr)

    def test_force_makes_new_jobs_with_the_keys_of_the_old(self):
        ids = self.done_jobs(3)
        run = self.replay("--from", self.started, "--force")
        self.assertEqual(run["done"]["found"], 3)
        self.all_end()
        copies = dict(line.split("|") for line in self.sql(
            f"SELECT replay_of, j.id FROM jobs j JOIN replay_jobs r ON r.job_id = j.id WHERE r.run = '{run['run']}'").splitlines())
        self.assertEqual(set(copies), set(ids))
        for old, copy in copies.items():
            self.assertEqual(self.result(copy)["origin"], old)
            self.assertEqual(self.sql(f"SELECT lane FROM jobs WHERE id = '{copy}'"), "replay")
        listed = [job["job_id"] for job in self.me.call("GET", "/api/jobs").json["jobs"]]
        self.assertEqual(set(listed), set(ids), "what operators make is not listed as the owner's")
        # A copy of a copy has the first one's keys.
        again = self.replay("--topic", "replay.probe", "--from", self.started, "--force")
        self.assertEqual(again["done"]["found"], 3)
        self.all_end()
        origins = self.sql(f"SELECT origin FROM replay_jobs WHERE run = '{again['run']}'").splitlines()
        self.assertEqual(set(origins), set(ids))

    def test_repeat_effects_gives_new_keys(self):
        [old] = self.done_jobs(1)
        run = self.replay("--from", self.started, "--force", "--repeat-effects")
        self.all_end()
        copy, origin = self.sql(f"SELECT job_id, origin FROM replay_jobs WHERE run = '{run['run']}'").split("|")
        self.assertEqual(copy, origin)
        self.assertNotIn("origin", self.result(copy))
        self.assertEqual(self.sql(f"SELECT replay_of FROM jobs WHERE id = '{copy}'"), old)

    def test_order_of_a_key_is_kept(self):
        key = uuid.uuid4().hex
        ids = [self.me.enqueue("probe.ordered", {"echo": i}, order_key=key) for i in range(5)]
        for job_id in ids:
            self.me.wait_job(job_id)
        for mode in ("--force", "--shadow"):
            run = self.replay("--from", self.started, mode)
            self.all_end()
            order = self.sql(f"SELECT j.replay_of FROM jobs j JOIN replay_jobs r ON r.job_id = j.id WHERE r.run = '{run['run']}' "
                             "ORDER BY j.finished_at").splitlines()
            self.assertEqual(order, ids, mode)

    def test_shadow_stores_results_beside(self):
        ok = self.done_jobs(3)
        changed, failed = self.done_jobs(1) + self.done_jobs(1, "probe.never")
        planted = '{"echo":"something else","attempt":1}'
        self.sql(f"UPDATE jobs SET result = '{planted}' WHERE id = '{changed}'")
        before = self.sql("SELECT id, status, attempt, result, finished_at FROM jobs WHERE replay_of IS NULL ORDER BY id")
        run = self.replay("--from", self.started, "--shadow")
        self.assertEqual((run["preview"]["repeat"], run["done"]["found"]), (5, 5))
        self.all_end()
        self.assertEqual(self.sql("SELECT id, status, attempt, result, finished_at FROM jobs WHERE replay_of IS NULL ORDER BY id"), before)
        rows = self.sql(f"SELECT job_id, outcome FROM replay_results WHERE run = '{run['run']}'").splitlines()
        self.assertEqual(set(rows), {f"{job_id}|succeeded" for job_id in ok + [changed]} | {failed + "|failed"})
        diff = self.ops("replay", "diff", run["run"], "--values")
        self.assertEqual([diff[name] for name in ("jobs", "same", "outcome_changed", "result_changed", "pending")], [5, 4, 0, 1, 0])
        [change] = diff["changes"]
        self.assertEqual((change["job_id"], change["differences"]), (changed, [{"path": "echo", "before": "something else", "after": 0}]))
        self.assertEqual(self.ops("replay", "diff", run["run"], "--ignore", "echo")["same"], 5)
        self.assertNotIn("something", self.run_ops("replay", "diff", run["run"]).stdout, "texts are masked")
        # What was made for a comparison is neither replayed nor redriven.
        self.assertEqual(self.ops("redrive", "--tenant", self.tenant)["jobs"], 1)
        self.assertEqual(self.run_ops("replay", "diff", str(uuid.uuid4())).returncode, 1)

    def test_rate_is_a_cap(self):
        self.done_jobs(24)
        started = time.monotonic()
        run = self.replay("--from", self.started, "--force", "--rate", "12")
        self.assertEqual(run["done"]["found"], 24)
        self.assertGreaterEqual(time.monotonic() - started, 2.0)
        self.all_end()

    def test_dead_letters_by_cause(self):
        dead = [self.me.enqueue("probe.fail", {"times": 5}) for _ in range(2)]
        for job_id in dead:
            self.assertEqual(self.me.wait_job(job_id)["status"], "dead")
        mine = ("--dead-letters", "--from", self.started)
        self.assertEqual(self.replay(*mine, "--cause", "crashed", "--dry-run")["preview"]["jobs"], 0)
        done = self.replay(*mine, "--cause", "attempts")["done"]
        self.assertEqual((done["produced"], done["found"]), (2, 2))
        for job_id in dead:
            self.assertEqual(self.me.wait_job(job_id)["status"], "succeeded")
        self.assertEqual(self.replay(*mine, "--cause", "attempts", "--dry-run")["preview"]["records"], 0, "they are cleared")

    def test_an_orphan_s_record_is_copied_as_it_was(self):
        self.stack.hold("worker-probe")
        try:
            job_id = self.me.enqueue("probe.ok", {"echo": "lost"})
            eventually(lambda: self.sql("SELECT count(*) FROM outbox") == "0", what="an empty outbox")
            self.sql(f"CREATE TABLE kept AS SELECT * FROM jobs WHERE id = '{job_id}'; DELETE FROM jobs WHERE id = '{job_id}'")
        finally:
            self.stack.release("worker-probe")
        eventually(lambda: self.sql(f"SELECT cause FROM dead_letters WHERE job_id = '{job_id}'") == "orphan", what="the dead letter")
        columns = self.sql("SELECT string_agg(column_name, ', ') FROM information_schema.columns WHERE table_name = 'kept'")
        self.sql(f"INSERT INTO jobs ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM kept; DROP TABLE kept")
        run = self.replay("--dead-letters", "--cause", "orphan", "--from", self.started)
        self.assertEqual((run["preview"]["copy"], run["done"]["found"]), (1, 1))
        self.assertEqual(self.me.wait_job(job_id)["status"], "succeeded")


class KnowledgeShadow(Operators):
    def test_a_shadow_has_no_effects_and_its_spend_is_marked(self):
        uploaded = self.me.upload("espresso-machine-en.docx", documents.sample("espresso-machine-en.docx"))
        self.assertEqual(uploaded.status, 201)
        self.me.wait_job(uploaded.job)
        answer = self.me.call("POST", "/api/v1/chats/rag", {"query": "How often does the espresso machine have to be descaled?"})
        self.assertEqual(answer.status, 200, answer.text)
        tables = "(SELECT count(*) FROM messages), (SELECT count(*) FROM chunks), (SELECT sum(generation) FROM files)"
        before = self.sql("SELECT " + tables)
        for worker in ("rag", "embedding"):
            run = self.replay("--from", self.started, "--tenant", self.tenant, "--shadow", worker=worker)
            self.assertEqual(run["done"]["found"], 1)
            self.all_end()
            diff = self.ops("replay", "diff", run["run"], "--ignore", "metadata.latency_ms")
            self.assertEqual((diff["jobs"], diff["same"]), (1, 1), diff)
        self.assertEqual(self.sql("SELECT " + tables), before)
        self.assertEqual(self.sql(f"SELECT shadow, count(*) FROM usage WHERE tenant_id = '{self.tenant}' AND purpose = 'answer' "
                                  "GROUP BY shadow ORDER BY shadow").splitlines(), ["f|1", "t|1"])
        preview = self.replay("--from", self.started, "--shadow", "--dry-run", worker="rag")["preview"]
        [kind] = preview["estimate"]["kinds"]
        self.assertGreater(kind["tokens"], 0, "the estimate comes from what such jobs have used")


class Look(Operators):
    def test_tail(self):
        job_id = self.me.enqueue("probe.ok", {"echo": {"secret": "hunter2", "n": 5}})
        self.me.wait_job(job_id)
        lines = self.run_ops("tail", "--from", self.started, "--json").stdout.splitlines()
        [event] = [json.loads(line) for line in lines if json.loads(line)["headers"].get("ce_id") == job_id]
        self.assertEqual(event["data"], {"echo": {"secret": "<7 bytes>", "n": 5}})
        self.assertEqual((event["topic"], event["headers"]["ce_tenant"]), ("probe.interactive", self.tenant))
        text = self.run_ops("tail", "--from", self.started, "--tenant", self.tenant).stdout
        self.assertIn(job_id, text)
        self.assertNotIn("hunter2", text)
        self.assertIn("hunter2", self.run_ops("tail", "--from", self.started, "--values").stdout)
        self.assertEqual(self.run_ops("tail", "--from", self.started, "--type", "no.such.v1").stdout, "")
        at = ("--topic", event["topic"], "--from", str(event["offset"]))
        first = self.run_ops("tail", *at, "--limit", "1", "--json").stdout.splitlines()
        self.assertEqual((len(first), json.loads(first[0])["offset"]), (1, event["offset"]))
        self.assertIn("no topic", self.run_ops("tail", "--topic", "nothing").stderr)

    def test_tail_follows_what_comes(self):
        with subprocess.Popen([OPS, "tail", "--topic", "probe.interactive", "--follow", "--from", self.started, "--limit", "2", "--json"],
                              env={**os.environ, **self.stack.env}, text=True, stdout=subprocess.PIPE) as following:
            try:
                ids = [self.me.enqueue("probe.ok")]
                seen = [json.loads(following.stdout.readline())["headers"]["ce_id"]]
                ids.append(self.me.enqueue("probe.ok"))
                seen.append(json.loads(following.stdout.readline())["headers"]["ce_id"])
                self.assertEqual(seen, ids)
                self.assertEqual(following.wait(20), 0)
            finally:
                following.kill()

    def audit(self, *arguments):
        return self.ops("audit", "list", *arguments)

    def test_acting_commands_are_recorded(self):
        actor = "tester-" + uuid.uuid4().hex[:8]
        [job_id] = self.done_jobs(1, "probe.never")
        self.ops("jobs", "retry", job_id, "--as", actor)
        self.me.wait_job(job_id)
        self.ops("redrive", "--tenant", self.tenant, "--as", actor)
        self.ops("redrive", "--tenant", self.tenant, "--yes", "--as", actor)
        self.me.wait_job(job_id)
        self.replay("--from", self.started, "--dry-run", "--as", actor)
        self.replay("--from", self.started, "--as", actor)
        self.me.wait_job(job_id)
        self.run_ops("jobs", "cancel", job_id, "--as", actor)
        rows = self.audit("--actor", actor)
        self.assertEqual([(row["command"], row["outcome"]) for row in rows],
                         [("jobs cancel", "failed"), ("replay", "done"), ("redrive", "done"), ("jobs retry", "done")])
        self.assertEqual(rows[1]["counts"]["found"], 1)
        self.assertEqual(rows[2]["arguments"]["tenant"], self.tenant)
        self.assertEqual(rows[3]["counts"], {"queued": 1})
        self.assertIn("already ended", rows[0]["counts"]["error"])
        self.assertEqual(len({row["trace_id"] for row in rows}), 4)
        self.assertEqual(self.sql(f"SELECT outcome, count(*) FROM audit_logs WHERE actor = '{actor}' GROUP BY 1 ORDER BY 1").splitlines(),
                         ["begun|4", "done|3", "failed|1"])
        self.assertEqual(self.sql(f"SELECT count(*) FROM job_attempts WHERE outcome = 'redriven' AND cause LIKE '%{actor}'"), "3")
        self.assertEqual([row["command"] for row in self.audit("--since", "1h", "--limit", "1000")][-2:], ["topics apply", "migrate"])

    def test_the_account_takes_no_change(self):
        for change in ("UPDATE audit_logs SET actor = 'nobody'", "DELETE FROM audit_logs", "TRUNCATE audit_logs"):
            for role in ("", "SET ROLE millrace_pipeline; "):
                with self.subTest(role + change), self.assertRaisesRegex(AssertionError, "append-only|permission denied"):
                    self.sql(role + change)


if __name__ == "__main__":
    unittest.main(verbosity=2)
