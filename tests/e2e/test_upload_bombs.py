"""Documents that are made to hurt [S12]: each ends with a clear refusal, or as a document where it is one; the extractor that refuses it takes
little time and memory, reads no file of the machine and calls nobody."""
import http.server
import json
import os
import subprocess
import tempfile
import threading
import time
import unittest

import bombs
import documents
from documents import docx, paragraph
from support import BIN_DIR, Stack, register

EXTRACT = os.path.join(BIN_DIR, "millrace-extract")
TIME_MS_MAX, MEMORY_KIB_MAX = 200, 64 << 10  # beyond the control's, a tiny good document
# A process of its own measures, because a child's peak counts from what its parent held.
MEASURE = """
import json, os, sys, time
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0),
    (os.POSIX_SPAWN_OPEN, 1, '/dev/null', os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 2, '/dev/null', os.O_WRONLY, 0)])
_, status, used = os.wait4(pid, 0)
print(json.dumps({'code': os.waitstatus_to_exitcode(status), 'ms': 1000 * (used.ru_utime + used.ru_stime), 'kib': used.ru_maxrss}))
"""
CODES = {10: "EMPTY_FILE", 11: "NO_TEXT", 12: "TOO_MUCH_TEXT", 13: "TOO_COMPLEX", 14: "TEXT_ENCODING", 15: "DOCX_DAMAGED", 16: "DOCX_BOMB",
         17: "DOCX_UNSAFE", 18: "DOCX_ENCRYPTED"}


class Canary:
    """A server on loopback that nobody should call."""

    def __init__(self):
        calls = self.calls = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 (the library's name)
                calls.append(self.path)
                self.send_error(404)

            do_POST = do_HEAD = do_OPTIONS = do_GET

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def with_part(name, content):
    return docx(paragraph("A good document"), more=[(name, content)])


def prolog(text):
    return docx(paragraph("&x;"), prolog=text)


def utf16_prolog(text):
    """The same in another encoding, for readers that look for <!DOCTYPE as bytes."""
    document = documents.DOCUMENT.format(prolog=text, body=paragraph("&x;")).replace('"1.0"', '"1.0" encoding="UTF-16"', 1)
    return bombs.replaced(docx(), "word/document.xml", document.encode("utf-16"))


def hostile_words(canary):
    """name, content, reason of the refusal (nothing: it is a document)."""
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/><xi:include href="{canary}/xi"/>'
    external = ('<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.'
                f'openxmlformats.org/officeDocument/2006/relationships/attachedTemplate" Target="{canary}/t.dotm" TargetMode="External"/></Relationships>')
    return [
        ("nested.docx", bombs.nested_docx("word/media/lib.zip"), "DOCX_UNSAFE"),
        ("nested-disguised.docx", bombs.nested_docx("word/media/image1.png"), None),  # packed, and never opened
        ("overlap.docx", bombs.overlapping(60, 100_000), "DOCX_BOMB"),
        ("overlap-giant.docx", bombs.overlapping(1000, 1 << 20), "DOCX_BOMB"),
        ("laughs.docx", docx(paragraph("&j;"), prolog=documents.LAUGHS), "DOCX_UNSAFE"),
        ("quadratic.docx", prolog(f'<!DOCTYPE x [<!ENTITY x "{"a" * 100_000}">]>'), "DOCX_UNSAFE"),
        ("entity-file.docx", prolog('<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>'), "DOCX_UNSAFE"),
        ("entity-http.docx", prolog(f'<!DOCTYPE x [<!ENTITY x SYSTEM "{canary}/entity">]>'), "DOCX_UNSAFE"),
        ("parameter-entity.docx", prolog(f'<!DOCTYPE x [<!ENTITY % p SYSTEM "{canary}/p.dtd"> %p;]>'), "DOCX_UNSAFE"),
        ("external-dtd.docx", prolog(f'<!DOCTYPE x SYSTEM "{canary}/x.dtd">'), "DOCX_UNSAFE"),
        ("utf-16-entity.docx", utf16_prolog('<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>'), "DOCX_UNSAFE"),
        ("unknown-entity.docx", docx(paragraph("&x;")), "DOCX_DAMAGED"),
        ("deep.docx", docx("<w:p>" * 5000), "DOCX_BOMB"),
        ("attributes.docx", docx(f'<w:p {" ".join(f"a{n}=" + chr(34) * 2 for n in range(20000))}/>'), "NO_TEXT"),
        ("ratio.docx", docx(paragraph("a" * (60 << 20))), "DOCX_BOMB"),
        ("lie.docx", bombs.lying(), "DOCX_BOMB"),
        ("million.docx", bombs.many_entries(1_000_000, 0xFFFF), "DOCX_BOMB"),
        ("million-few-said.docx", bombs.many_entries(1_000_000, 2000), "DOCX_BOMB"),
        ("quine.docx", bombs.quine(), "DOCX_DAMAGED"),
        ("link.docx", bombs.with_entry(external_attr=0o120777 << 16, create_system=3), "DOCX_UNSAFE"),
        ("encrypted.docx", docx().replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"), "DOCX_ENCRYPTED"),
        ("twins.docx", bombs.with_entry(filename="word/document.xml"), "DOCX_UNSAFE"),
        ("absolute.docx", bombs.with_entry(filename="/etc/cron.d/x"), None),
        ("parents.docx", bombs.with_entry(filename="../../../../tmp/millrace-bomb"), None),
        ("include.docx", docx(include + paragraph("A good document")), None),
        ("template.docx", with_part("word/_rels/settings.xml.rels", external), None),
        ("chunk.docx", docx('<w:altChunk r:id="x" xmlns:r="urn:r"/>' + paragraph("A good document"), more=[("word/x.html", f"<img src={canary}/h>")]), None),
    ]


def hostile_texts():
    return [
        ("one-line.txt", b"word " * (20 << 20), "TOO_MUCH_TEXT"),
        ("line.txt", b"a long line " * (1 << 18), None),
        ("no-words.txt", b" \n" * (4 << 20), "NO_TEXT"),
        ("marks.txt", ("a" + "\u0301" * 200_000 + " accents").encode(), None),
        ("sjis.txt", "符号化方式の検査です。紫陽花。".encode("shift_jis"), None),
        ("euc.txt", "符号化方式の検査です。紫陽花。".encode("euc_jp"), None),
        ("utf-16.txt", "符号化方式の検査です。紫陽花。".encode("utf-16"), None),
        ("utf-16-broken.txt", b"\xff\xfe" + b"\x00\xd8" * 5000, "TEXT_ENCODING"),
        ("late-binary.txt", b"text " * 2000 + bytes(range(256)), "TEXT_ENCODING"),
        ("image.txt", b"GIF89a;text that is a picture to others", None),
    ]


def hostile_pdfs(canary):
    """name, content, reasons of which one is given (none: it is a document)."""
    good = bombs.pdf(bombs.CATALOG, bombs.PAGES, bombs.PAGE % b"", bombs.HELLO, bombs.FONT)
    broken = {"PDF_DAMAGED", "PDF_NO_TEXT", "TOO_COMPLEX", "TOO_MUCH_TEXT"}
    page = bombs.PAGE % b""
    return [
        ("blank-bomb.pdf", bombs.inflating_pdf(b" ", 1 << 30), broken),
        ("text-bomb.pdf", bombs.inflating_pdf(b"BT /F1 9 Tf (aaaaaaaaaaaaaaaa aaaaaaaaaaaa) Tj ET ", 1 << 23), broken),
        ("own-parent.pdf", bombs.pdf(bombs.CATALOG, b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2>>"), broken),
        ("ring.pdf", bombs.pdf(bombs.CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count 1>>", b"<</Type/Pages/Parent 2 0 R/Kids[2 0 R]/Count 1>>"), broken),
        ("deep-tree.pdf", bombs.deep_pdf(20_000), broken | {None}),
        ("deep-array.pdf", bombs.pdf(bombs.CATALOG, bombs.PAGES, page, bombs.HELLO, bombs.FONT, b"[" * 2_000_000, trailer=b"/Info 6 0 R"), broken | {None}),
        ("many-pages.pdf", bombs.pdf(bombs.CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count 2147483647>>", page, bombs.HELLO, bombs.FONT), broken | {None}),
        ("own-form.pdf", bombs.pdf(bombs.CATALOG, bombs.PAGES, page.replace(b"/Font", b"/XObject<</X 6 0 R>>/Font"), bombs.stream(b"/X Do /X Do"), bombs.FONT,
                                   bombs.stream(b"/X Do /X Do", b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 6 0 R>>>>")), broken),
        ("active.pdf", bombs.active_pdf(canary.encode()), {None}),
        ("with-archive.pdf", good + docx(), {None, "PDF_TRUNCATED", "PDF_DAMAGED"}),
        ("behind-archive.pdf", docx(more=[("%PDF-1.7", "x")])[:100] + good, {None, "PDF_DAMAGED"}),
    ]


class Extractor(unittest.TestCase):
    """The program of the sandbox by itself: time and memory beyond those of a tiny good document."""

    def measure(self, folder, name, content):
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(content)
        done = subprocess.run(["/usr/bin/python3", "-IS", "-c", MEASURE, path, EXTRACT, name.rsplit(".", 1)[1]], capture_output=True, text=True, timeout=60)
        os.remove(path)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_a_bomb_is_refused_quickly_and_in_little_memory(self):
        worst = {"ms": (0, ""), "kib": (0, "")}
        with tempfile.TemporaryDirectory() as folder:
            control = min((self.measure(folder, "control.docx", docx()) for _ in range(3)), key=lambda m: m["ms"])
            self.assertEqual(control["code"], 0)
            for name, content, reason in hostile_words("http://127.0.0.1:9") + hostile_texts():
                with self.subTest(name):
                    took = min((self.measure(folder, name, content) for _ in range(2)), key=lambda m: m["ms"])
                    self.assertEqual(CODES.get(took["code"], took["code"]), reason or 0)
                    if not reason:
                        continue
                    for unit, most in (("ms", TIME_MS_MAX), ("kib", MEMORY_KIB_MAX)):
                        self.assertLessEqual(took[unit] - control[unit], most, unit)
                        worst[unit] = max(worst[unit], (round(took[unit] - control[unit], 1), name))
        print(f"control {control}, beyond it at worst {worst}")


class Bombs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.canary = Canary()
        cls.stack = Stack(probe=False)
        cls.me = register(cls.stack.edge())

    @classmethod
    def tearDownClass(cls):
        cls.stack.destroy()
        cls.canary.close()

    def memory(self, field):
        with open(f"/proc/{self.worker}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))

    def give(self, name, content):
        """The job of an upload, once ended; checks that job and list of contents say the same."""
        answer = self.me.upload(name, content)
        self.assertEqual(answer.status, 201, answer.text)
        job = self.me.wait_job(answer.job)
        listed = next(f for f in self.me.call("GET", "/api/v1/contents?limit=1000").json if f["id"] == answer.json["id"])
        if job["status"] == "succeeded":
            self.assertEqual(listed["status"], "completed")
            return None
        self.assertEqual((job["status"], job["attempt"], listed["status"], listed["reason"]), ("failed", 1, "failed", job["error"]["message"]))
        self.assertGreater(len(job["error"]["message"]), 10)
        return job["error"]["code"]

    def test_every_bomb_ends_with_a_reason_or_as_a_document(self):
        self.worker = self.stack.pid("worker-embedding")
        self.give("first.docx", docx(paragraph("so that the worker has seen a document")))
        worst = slowest = (0, "")
        cases = [(name, content, {reason}) for name, content, reason in hostile_words(self.canary.url) + hostile_texts()] + hostile_pdfs(self.canary.url)
        for name, content, reasons in cases:
            with self.subTest(name):
                before = self.memory("VmRSS")
                with open(f"/proc/{self.worker}/clear_refs", "w") as file:
                    file.write("5")  # the peak begins anew
                started = time.monotonic()
                self.assertIn(self.give(name, content), reasons)
                slowest = max(slowest, (round(time.monotonic() - started, 1), name))
                if None not in reasons:
                    grown = self.memory("VmHWM") - before
                    worst = max(worst, (grown, name))
                    self.assertLessEqual(grown, MEMORY_KIB_MAX)
        self.assertEqual(self.stack.pid("worker-embedding"), self.worker)
        self.assertEqual(self.canary.calls, [])
        told = self.stack.sql("SELECT text FROM chunks")
        for never in ("root:x:0", "EMBEDDED-WORDS", "launchURL", "hahaha"):
            self.assertNotIn(never, told)
        self.assertIn("A good document", told)
        self.assertEqual(told.count("紫陽花"), 3)
        self.assertFalse(os.path.exists("/tmp/millrace-bomb"))
        print(f"{len(cases)} documents; the worker grew at worst by {worst[0]} KiB ({worst[1]}), and took {slowest[0]} s ({slowest[1]})")

    def test_what_is_not_what_it_says_is_refused_at_the_door(self):
        for name, content in (("empty.pdf", b""), ("empty.docx", b""), ("empty.txt", b""), ("42.docx", bombs.nested()), ("ole.docx", b"\xd0\xcf\x11\xe0" * 100),
                              ("picture.docx", b"GIF89a" + docx()), ("pdf.docx", b"%PDF-1.7\n" + docx()), ("zip.txt", docx()), ("zip.pdf", docx()),
                              ("pdf.txt", bombs.pdf(bombs.CATALOG)), ("nul.txt", b"text\0text"), ("utf-16-unmarked.txt", "text".encode("utf-16-le")),
                              ("elf.txt", b"\x7fELF text"), ("script.txt", b"#!/bin/sh\nid"), ("page.html", b"<html>"), ("x.docx.exe", docx())):
            with self.subTest(name):
                answer = self.me.upload(name, content)
                self.assertEqual((answer.status, answer.json["error_code"]), (422, "VALIDATION_ERROR"), answer.text)
                self.assertIn("file", answer.json["detail"])

    def test_what_is_wrong_behind_the_file_leaves_no_object(self):
        def part(head, content):
            return b"--x\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + b"\r\n"
        file, end = part(b'name="file"; filename="a.txt"', b"a text"), b"--x--\r\n"
        for name, body in (("title", file + part(b'name="title"', b"t" * 256) + end), ("encoding", file + part(b'name="tags"', b"\xff") + end),
                           ("second", file + file + end), ("cut", file), ("large", file + part(b'name="description"', b"d" * 9000) + end)):
            with self.subTest(name):
                answer = self.me.call("POST", "/api/v1/contents/upload", body, {"Content-Type": "multipart/form-data; boundary=x"})
                self.assertEqual(answer.status, 422, answer.text)
        kept = sum(len(names) for _, _, names in os.walk(os.path.join(self.stack.env["MILLRACE_OBJECT_DIR"])))
        self.assertEqual(kept, int(self.stack.sql("SELECT count(*) FROM files")))

    def test_names_and_titles_hide_nothing(self):
        answer = self.me.upload("invoice\u202efdp.txt", b"a text", {"title": "Free\u200b \U000e0041offer\u2066"})
        self.assertEqual((answer.status, answer.json["file_name"], answer.json["title"]), (201, "invoicefdp.txt", "Free offer"))
        self.me.wait_job(answer.job)


if __name__ == "__main__":
    unittest.main(verbosity=2)
