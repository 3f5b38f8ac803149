#include "workers/embedding/extract/refusal.hpp"

#include <algorithm>
#include <array>

namespace millrace::workers::embedding::extract {

namespace {

struct Row {
    Refusal refusal;
    std::string_view reason, sentence;
};

constexpr std::array k_rows = {
    Row{Refusal::empty_file, "EMPTY_FILE", "the file is empty"},
    Row{Refusal::no_text, "NO_TEXT", "the document contains no text"},
    Row{Refusal::too_much_text, "TOO_MUCH_TEXT",
        "the document has more than 10 MiB of text: split it and upload the parts"},
    Row{Refusal::too_complex, "TOO_COMPLEX",
        "the document takes more memory or time to read than is allowed"},
    Row{Refusal::text_encoding, "TEXT_ENCODING",
        "the file is not text in UTF-8, UTF-16, Shift_JIS, EUC-JP or ISO-2022-JP: save it as UTF-8 "
        "and upload it again"},
    Row{Refusal::docx_damaged, "DOCX_DAMAGED",
        "the Word document is damaged or incomplete: open it in Word, save it and upload it again"},
    Row{Refusal::docx_bomb, "DOCX_BOMB",
        "the Word document unpacks to far more data than a document can hold"},
    Row{Refusal::docx_unsafe, "DOCX_UNSAFE",
        "the Word document contains archives, links or declarations that Word does not write"},
    Row{Refusal::docx_encrypted, "DOCX_ENCRYPTED",
        "the Word document is encrypted: remove the password and upload it again"},
    Row{Refusal::pdf_damaged, "PDF_DAMAGED", "the PDF is damaged: create it again and upload it"},
    Row{Refusal::pdf_truncated, "PDF_TRUNCATED",
        "the PDF ends too early: upload the complete file"},
    Row{Refusal::pdf_encrypted, "PDF_ENCRYPTED",
        "the PDF is encrypted or forbids copying its text: remove the password and upload it "
        "again"},
    Row{Refusal::pdf_no_text, "PDF_NO_TEXT",
        "the PDF contains no text, only images: run a text recognition over it and upload the "
        "result"},
};

const Row& row(Refusal refusal) noexcept {
    return *std::ranges::find(k_rows, refusal,
                              &Row::refusal);  // the table is complete: a test walks it
}

}  // namespace

std::string_view reason(Refusal refusal) noexcept {
    return row(refusal).reason;
}
std::string_view sentence(Refusal refusal) noexcept {
    return row(refusal).sentence;
}

std::optional<Refusal> refusal_of_exit_code(int code) noexcept {
    const auto found =
        std::ranges::find(k_rows, code, [](const Row& r) { return static_cast<int>(r.refusal); });
    return found == k_rows.end() ? std::nullopt : std::optional(found->refusal);
}

}  // namespace millrace::workers::embedding::extract
