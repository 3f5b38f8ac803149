"""Documents that the end-to-end tests make up: small, broken and hostile ones."""
import io
import os
import zipfile

from support import ROOT

SAMPLES = os.path.join(ROOT, "scripts", "sample")
GOLDEN = os.path.join(ROOT, "tests", "golden", "documents")

CONTENT_TYPES = '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
DOCUMENT = ('<?xml version="1.0"?>{prolog}<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
            "<w:body>{body}</w:body></w:document>")


def samples():
    return sorted(name for name in os.listdir(SAMPLES) if name.endswith((".pdf", ".docx", ".txt")))


def sample(name):
    with open(os.path.join(SAMPLES, name), "rb") as file:
        return file.read()


def golden(name):
    with open(os.path.join(GOLDEN, name), "rb") as file:
        return file.read()


def pdf(drawing):
    """One page that draws `drawing` (PDF operators)."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
               b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
               b"<</Length %d>>stream\n%s\nendstream" % (len(drawing), drawing),
               b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, body)
    xref = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, xref)


def docx(body="<w:p><w:r><w:t>text</w:t></w:r></w:p>", prolog="", more=()):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", CONTENT_TYPES)
        archive.writestr("word/document.xml", DOCUMENT.format(prolog=prolog, body=body))
        for name, content in more:
            archive.writestr(name, content)
    return out.getvalue()


def paragraph(text):
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


LAUGHS = ('<!DOCTYPE lolz [<!ENTITY a "ha">' +
          "".join(f'<!ENTITY {chr(97 + i)} "{("&" + chr(96 + i) + ";") * 10}">' for i in range(1, 10)) + "]>")
OUTSIDE = '<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>'

# name, content, reason that the job gives
UNREADABLE = [
    ("bomb.docx", docx(paragraph("a" * (60 << 20))), "DOCX_BOMB"),
    ("laughs.docx", docx(paragraph("&j;"), prolog=LAUGHS), "DOCX_UNSAFE"),
    ("outside.docx", docx(paragraph("&x;"), prolog=OUTSIDE), "DOCX_UNSAFE"),
    ("nested.docx", docx(more=[("word/media/more.zip", docx())]), "DOCX_UNSAFE"),
    ("truncated.docx", docx(paragraph("x" * 1000))[:-40], "DOCX_DAMAGED"),
    ("blank.docx", docx(paragraph("  ")), "NO_TEXT"),
    ("truncated.pdf", pdf(b"BT /F1 12 Tf 20 100 Td (half of it) Tj ET")[:400], "PDF_TRUNCATED"),
    ("picture.pdf", pdf(b"20 20 100 100 re f"), "PDF_NO_TEXT"),
    ("encrypted.pdf", golden("encrypted.pdf"), "PDF_ENCRYPTED"),
    ("garbage.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 40 + b"\n%%EOF\n", "PDF_DAMAGED"),
    ("blank.txt", "　 \n\t\n".encode(), "NO_TEXT"),
]
