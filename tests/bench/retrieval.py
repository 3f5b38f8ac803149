"""Target retrieval: questions to a tenant of 20,000 chunks, through the whole pipeline (millrace-ops import and eval)."""
import itertools
import json
import os
import random
import tempfile

import machine
import setting
import support
from report import Report

CHUNKS, QUESTIONS = 20_000, 500
VOCABULARY, WORDS_PER_PARAGRAPH, PARAGRAPHS_PER_FILE = 30_000, 80, 100
SEED = 20_000


def vocabulary(chance):
    """Pronounceable words, the frequent ones first; weights after Zipf."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    words = list(dict.fromkeys("".join(chance.choices(syllables, k=chance.randint(2, 5))) for _ in range(2 * VOCABULARY)))[:VOCABULARY]
    return words, list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))


def write_corpus(folder, files, chance):
    """Files of paragraphs; questions that are eight words of one paragraph."""
    words, weights = vocabulary(chance)
    paragraphs = []
    for number in range(files):
        name = f"document {number}.txt"
        texts = []
        for _ in range(PARAGRAPHS_PER_FILE):
            drawn = chance.choices(words, cum_weights=weights, k=WORDS_PER_PARAGRAPH)
            texts.append(" ".join(drawn).capitalize() + ".")
            paragraphs.append((name, drawn))
        with open(os.path.join(folder, name), "w") as file:
            file.write("\n\n".join(texts))
    return [{"question": " ".join(chance.sample(drawn, 8)), "files": [name]} for name, drawn in chance.sample(paragraphs, QUESTIONS)]


def retrieval(options):
    report = Report("retrieval")
    chance = random.Random(SEED)
    with setting.stack(probe=False) as made, tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        environment = dict(os.environ, **made.env)

        def ops(*arguments):
            command = [setting.binary("millrace-ops"), "--json", *arguments]
            return json.loads(machine.output(command, env=environment))

        domain = support.register(made.edge()).account["tenant_domain"]
        corpus = os.path.join(folder, "corpus")
        os.mkdir(corpus)
        questions = write_corpus(corpus, CHUNKS // PARAGRAPHS_PER_FILE, chance)
        ops("import", corpus, "--tenant", domain)
        path = os.path.join(folder, "questions.jsonl")
        with open(path, "w") as file:
            file.writelines(json.dumps(question) + "\n" for question in questions)
        report.add("chunks", int(made.sql("SELECT count(*) FROM chunks")), at_least=CHUNKS)
        figures = ops("eval", "--questions", path, "--tenant", domain, "--parallel", "1")
        for quantile, goal in (("p50", None), ("p95", 15), ("p99", None)):
            report.add(f"search and answer in the worker: {quantile}", figures["worker_ms"][quantile], "ms", at_most=goal)
        for quantile in ("p50", "p95", "p99"):
            report.add(f"request to answer: {quantile}", figures["latency_ms"][quantile], "ms")
        report.add("nDCG@10", figures["ndcg@10"])
    return report
