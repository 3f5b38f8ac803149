// DOCX, ZIP and plain text as the program in the sandbox reads them; the caller's side with a
// scripted sandbox.

#include "workers/embedding/extract/extract.hpp"

#include <doctest/doctest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "shared/base/utf8.hpp"
#include "tests/support/run_task.hpp"
#include "workers/embedding/extract/docx.hpp"
#include "workers/embedding/extract/page_text.hpp"
#include "workers/embedding/extract/pdf.hpp"
#include "workers/embedding/extract/plain_text.hpp"
#include "workers/embedding/extract/zip.hpp"

using namespace millrace;
using namespace millrace::workers::embedding::extract;

namespace {

void put(std::string& out, std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}

std::string deflated(const std::string& text) {
    z_stream stream{};
    deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
    std::string out(text.size() + 1024, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    deflate(&stream, Z_FINISH);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}

struct Entry {
    std::string name, content;
    std::uint16_t flags = 0;
    std::uint32_t mode = 0;      ///< unix, 0: none
    std::int64_t declared = -1;  ///< size that is told; -1: the true one
};

std::string zip(const std::vector<Entry>& entries) {
    std::string out, directory;
    for (const auto& entry : entries) {
        const auto packed = deflated(entry.content);
        const auto crc = crc32(0, reinterpret_cast<const Bytef*>(entry.content.data()),
                               static_cast<uInt>(entry.content.size()));
        const auto size =
            entry.declared < 0 ? entry.content.size() : static_cast<std::uint64_t>(entry.declared);
        const auto offset = out.size();
        std::string common;
        put(common, 20, 2);
        put(common, entry.flags, 2);
        put(common, 8, 2);
        put(common, 0, 4);
        put(common, crc, 4);
        put(common, packed.size(), 4);
        put(common, size, 4);
        put(common, entry.name.size(), 2);
        put(common, 0, 2);
        put(out, 0x04034B50, 4);
        out += common + entry.name + packed;
        put(directory, 0x02014B50, 4);
        put(directory, entry.mode != 0 ? 0x0314 : 20, 2);
        directory += common;
        put(directory, 0, 2);
        put(directory, 0, 2);
        put(directory, 0, 2);
        put(directory, std::uint64_t{entry.mode} << 16, 4);
        put(directory, offset, 4);
        directory += entry.name;
    }
    const auto at = out.size();
    out += directory;
    put(out, 0x06054B50, 4);
    put(out, 0, 4);
    put(out, entries.size(), 2);
    put(out, entries.size(), 2);
    put(out, directory.size(), 4);
    put(out, at, 4);
    put(out, 0, 2);
    return out;
}

std::string body(const std::string& inside, const std::string& prolog = {}) {
    return "<?xml version=\"1.0\"?>" + prolog +
           "<w:document "
           "xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"><w:body>" +
           inside + "</w:body></w:document>";
}
std::string paragraph(const std::string& text) {
    return "<w:p><w:r><w:t>" + text + "</w:t></w:r></w:p>";
}
std::string docx(const std::string& inside, std::vector<Entry> more = {},
                 const std::string& prolog = {}) {
    std::vector<Entry> entries{{"[Content_Types].xml", "<Types/>"},
                               {"word/document.xml", body(inside, prolog)}};
    entries.insert(entries.end(), more.begin(), more.end());
    return zip(entries);
}

Refusal refusal_of(const std::string& file) {
    const auto read = read_docx(file);
    REQUIRE_FALSE(read);
    return read.error().refusal;
}

}  // namespace

TEST_CASE("a Word document's text: paragraphs, tables, breaks, no deleted words") {
    const auto read =
        read_docx(docx(paragraph("First &amp; last") + "<w:tbl><w:tr><w:tc>" + paragraph("a") +
                       "</w:tc><w:tc>" + paragraph("b") + "</w:tc></w:tr></w:tbl>" +
                       "<w:p><w:del><w:r><w:t>gone</w:t></w:r></w:del><w:r><w:t>日本語</w:t><w:br "
                       "w:type=\"page\"/></w:r></w:p>" +
                       paragraph("next page")));
    REQUIRE(read);
    CHECK(read->pages.contains("First & last\n"));
    CHECK(read->pages.contains("a\tb\n"));
    CHECK(read->pages.contains("日本語"));
    CHECK_FALSE(read->pages.contains("gone"));
    const auto pages = split_pages(read->pages);
    REQUIRE(pages.size() == 2);
    CHECK(pages[1].contains("next page"));
}

TEST_CASE("hostile Word documents are refused for the right reason") {
    CHECK(refusal_of("") == Refusal::empty_file);
    CHECK(refusal_of("PK\x03\x04 nothing else") == Refusal::docx_damaged);
    CHECK(refusal_of("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1") == Refusal::docx_encrypted);
    CHECK(refusal_of(docx(paragraph(" \u3000"))) == Refusal::no_text);
    CHECK(refusal_of(docx(paragraph(std::string(8 << 20, 'a')))) == Refusal::docx_bomb);  // ratio
    CHECK(refusal_of(
              docx(paragraph("x"), {{.name = "big", .content = "y", .declared = 200 << 20}})) ==
          Refusal::docx_bomb);  // declared
    CHECK(refusal_of(zip({{"[Content_Types].xml", "<Types/>"},
                          {.name = "word/document.xml",
                           .content = body(paragraph("longer than it says")),
                           .declared = 10}})) == Refusal::docx_bomb);
    CHECK(refusal_of(docx(paragraph("x"), {{.name = "e", .content = "y", .flags = 1}})) ==
          Refusal::docx_encrypted);
    CHECK(refusal_of(docx(paragraph("x"),
                          {{.name = "link", .content = "/etc/passwd", .mode = 0120777}})) ==
          Refusal::docx_unsafe);
    CHECK(refusal_of(docx(paragraph("x"), {{"a.zip", "PK"}})) == Refusal::docx_unsafe);
    CHECK(refusal_of(docx(paragraph("x"), {{"word/document.xml", body(paragraph("another"))}})) ==
          Refusal::docx_unsafe);
    CHECK(refusal_of(docx(paragraph("&x;"), {},
                          "<!DOCTYPE d [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>")) ==
          Refusal::docx_unsafe);
    std::string deep;
    for (int i = 0; i < 300; ++i) deep += "<w:p>";
    CHECK(refusal_of(docx(deep)) == Refusal::docx_bomb);
    CHECK(refusal_of(docx("<w:p><w:r>")) == Refusal::docx_damaged);
    std::vector<Entry> many;
    for (int i = 0; i < 2100; ++i) many.push_back({"f" + std::to_string(i), "x"});
    CHECK(refusal_of(docx(paragraph("x"), many)) == Refusal::docx_bomb);
}

TEST_CASE("no truncation and no flipped byte of a Word document does harm") {
    const auto good = docx(paragraph("some words that stay the same"));
    for (std::size_t cut = 0; cut < good.size(); ++cut) CHECK_FALSE(read_docx(good.substr(0, cut)));
    for (std::size_t at = 0; at < good.size(); ++at) {
        auto flipped = good;
        flipped[at] = static_cast<char>(flipped[at] ^ 0x41);
        const auto read = read_docx(flipped);
        if (read) CHECK(base::is_valid_utf8(read->pages));
    }
}

TEST_CASE("plain text in the encodings that customers have") {
    CHECK(read_plain_text("caf\xC3\xA9\r\nnext").value() == "café\nnext");
    CHECK(read_plain_text("\xEF\xBB\xBFx").value() == "x");
    CHECK(read_plain_text(std::string("\xFF\xFE\x42\x30", 4)).value() == "あ");
    CHECK(read_plain_text(std::string("\xFE\xFF\x30\x42", 4)).value() == "あ");
    CHECK(read_plain_text("\x93\xFA\x96\x7B\x8C\xEA\x82\xCC\x95\xB6\x8F\x91").value() ==
          "日本語の文書");  // Shift_JIS
    CHECK(read_plain_text("\xC6\xFC\xCB\xDC\xB8\xEC\xA4\xCE\xCA\xB8\xBD\xF1").value() ==
          "日本語の文書");                                              // EUC-JP
    CHECK(read_plain_text("\x1B$BF|K\\8l\x1B(B").value() == "日本語");  // ISO-2022-JP
    CHECK(read_plain_text("").error().refusal == Refusal::empty_file);
    CHECK(read_plain_text(" \n\u3000").error().refusal == Refusal::no_text);
    CHECK(read_plain_text(std::string("bin\0ary", 7)).error().refusal == Refusal::text_encoding);
    CHECK(read_plain_text(std::string(11 << 20, 'a')).error().refusal == Refusal::too_much_text);
}

TEST_CASE("every refusal has words and a number of its own") {
    for (int code = static_cast<int>(Refusal::empty_file);
         code <= static_cast<int>(Refusal::pdf_no_text); ++code) {
        const auto refusal = refusal_of_exit_code(code);
        REQUIRE(refusal);
        CHECK_FALSE(reason(*refusal).empty());
        CHECK_FALSE(sentence(*refusal).empty());
    }
    CHECK_FALSE(refusal_of_exit_code(0));
    CHECK_FALSE(refusal_of_exit_code(9));
    CHECK_FALSE(refusal_of_exit_code(127));
}

namespace {

class ScriptedSandbox final : public sandbox::Sandbox {
 public:
    Result<sandbox::Output> answer;
    Task<Result<sandbox::Output>> run(sandbox::Command, Deadline) override { co_return answer; }
};

Result<Document> extracted(Result<sandbox::Output> answer, const std::string& type,
                           const std::string& content = "%PDF-1.4 … %%EOF") {
    const auto path =
        std::filesystem::temp_directory_path() / ("extract-test-" + std::to_string(::getpid()));
    std::ofstream(path, std::ios::binary) << content;
    asio::io_context io(1);
    ScriptedSandbox sandbox;
    sandbox.answer = std::move(answer);
    auto out = tests::run_task(io, extract(sandbox, {.extract = "/bin/false"}, path, type,
                                           Deadline::in(std::chrono::seconds(5))));
    std::filesystem::remove(path);
    return out;
}

}  // namespace

TEST_CASE("what the sandboxed program says becomes pages, refusals, or a retry") {
    const auto pdf = extracted(sandbox::Output{0, "one\ftwo\f", ""}, "pdf");
    REQUIRE(pdf);
    REQUIRE(pdf->pages.size() == 2);
    CHECK(pdf->pages[1].number == 2);
    CHECK(pdf->pages[1].text == "two");
    CHECK(extracted(sandbox::Output{0, "The title\nbody", ""}, "docx")->title == "The title");
    CHECK(extracted(sandbox::Output{0, " \f\f", ""}, "pdf").error().reason == "PDF_NO_TEXT");
    CHECK(extracted(sandbox::Output{0, "x", ""}, "pdf", "%PDF-1.4 cut").error().reason ==
          "PDF_TRUNCATED");
    CHECK(extracted(sandbox::Output{1, "", "Command Line Error: Incorrect password"}, "pdf")
              .error()
              .reason == "PDF_ENCRYPTED");
    CHECK(extracted(sandbox::Output{1, "", "Syntax Error"}, "pdf").error().reason == "PDF_DAMAGED");
    CHECK(extracted(sandbox::Output{3, "", ""}, "pdf").error().reason == "PDF_ENCRYPTED");
    CHECK(extracted(sandbox::Output{99, "", "Command Line Error: Wrong page range given: …"}, "pdf")
              .error()
              .reason == "PDF_DAMAGED");
    CHECK(extracted(sandbox::Output{99, "", "usage"}, "pdf").error().code ==
          ErrorCode::unavailable);
    CHECK(extracted(sandbox::Output{static_cast<int>(Refusal::docx_bomb), "", ""}, "docx")
              .error()
              .reason == "DOCX_BOMB");
    CHECK(extracted(sandbox::Output{137, "", ""}, "docx").error().reason == "TOO_COMPLEX");
    CHECK(extracted(sandbox::Output{127, "", "exec"}, "docx").error().code ==
          ErrorCode::unavailable);
    CHECK(extracted(fail(ErrorCode::too_large, "much"), "txt").error().reason == "TOO_MUCH_TEXT");
    CHECK(extracted(fail(ErrorCode::unavailable, "no namespaces"), "txt").error().code ==
          ErrorCode::unavailable);
    CHECK(extracted(sandbox::Output{0, "t\nbad \xFF bytes", ""}, "txt")->pages[0].text ==
          "bad  bytes");
}
