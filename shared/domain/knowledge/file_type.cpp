#include "shared/domain/knowledge/file_type.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "shared/base/utf8.hpp"
#include "shared/domain/knowledge/normalize.hpp"

namespace millrace::domain::knowledge {

namespace {

using namespace std::string_view_literals;

constexpr auto k_pdf_magic =
    "%PDF-"sv;  // within the first 1,024 bytes: readers accept junk before it
constexpr std::size_t k_pdf_magic_within = 1024;
constexpr auto k_zip_magic = "PK\x03\x04"sv;
constexpr auto k_ole_magic = "\xD0\xCF\x11\xE0"sv;  // .doc of old, and .docx with a password
constexpr std::array k_programs = {"MZ"sv,
                                   "\x7F"
                                   "ELF"sv,
                                   "#!"sv, "\xCF\xFA\xED\xFE"sv};
constexpr std::array k_types = {FileType::pdf, FileType::docx, FileType::txt};
constexpr std::size_t k_extension_bytes_max = 10;

std::unexpected<Error> refuse(std::string detail) {
    return fail(ErrorCode::invalid, "file: " + std::move(detail), {.field = "file"});
}

/// From the last dot on, or nothing.
std::string_view extension(std::string_view name) {
    const auto dot = name.rfind('.');
    return dot == std::string_view::npos ? std::string_view{} : name.substr(dot);
}

std::optional<FileType> type_of_name(std::string_view name) {
    std::string text(extension(name));
    if (text.empty()) return std::nullopt;
    text.erase(0, 1);
    for (char& c : text) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    const auto type = std::ranges::find(k_types, text, to_string);
    return type == k_types.end() ? std::nullopt : std::optional(*type);
}

/// A zip with a local header that names a part of an OPC package with a Word document in it.
bool is_docx(std::string_view head) {
    if (!head.starts_with(k_zip_magic)) return false;
    constexpr std::size_t k_header = 30;  // the fixed part of a local header; the name follows
    for (auto at = std::size_t{0}; at != std::string_view::npos;
         at = head.find(k_zip_magic, at + 1)) {
        if (head.size() - at <= k_header) return false;
        const auto name = head.substr(at + k_header);
        if (name.starts_with("[Content_Types].xml") || name.starts_with("word/")) return true;
    }
    return false;
}

/// Encodings are decided over the whole text in the sandbox; here only what no text in any of them
/// begins with.
bool may_be_text(std::string_view head) {
    if (head.starts_with("\xFF\xFE") || head.starts_with("\xFE\xFF"))
        return true;                  // UTF-16 with its mark
    const auto binary = [](char c) {  // C0 controls but tab, line breaks, form feed, the DOS end
                                      // mark and ISO-2022's escape
        return static_cast<unsigned char>(c) < 0x20 && !"\t\n\v\f\r\x1A\x1B"sv.contains(c);
    };
    if (std::ranges::any_of(head, binary) || head.starts_with(k_pdf_magic)) return false;
    return std::ranges::none_of(k_programs,
                                [&](std::string_view magic) { return head.starts_with(magic); });
}

}  // namespace

std::string_view to_string(FileType type) noexcept {
    switch (type) {
        case FileType::pdf:
            return "pdf";
        case FileType::docx:
            return "docx";
        case FileType::txt:
            return "txt";
    }
    return "";
}

Result<FileType> parse_file_type(std::string_view text) {
    const auto type = std::ranges::find(k_types, text, to_string);
    if (type == k_types.end())
        return fail(ErrorCode::invalid, "file_type: must be one of pdf, docx, txt",
                    {.field = "file_type"});
    return *type;
}

Result<FileType> detect(std::string_view first_bytes, std::string_view file_name) {
    const auto type = type_of_name(file_name);
    if (!type) return refuse("must be a PDF, DOCX or TXT file (.pdf, .docx, .txt)");
    if (first_bytes.empty()) return refuse("must not be empty");
    switch (*type) {
        case FileType::pdf:
            if (first_bytes.substr(0, k_pdf_magic_within + k_pdf_magic.size())
                    .contains(k_pdf_magic))
                return *type;
            return refuse("is named .pdf but is not a PDF");
        case FileType::docx:
            if (is_docx(first_bytes)) return *type;
            if (first_bytes.starts_with(k_ole_magic)) {
                return refuse(
                    "is protected by a password or is an old Word document: save it as .docx "
                    "without a password");
            }
            return refuse("is named .docx but is not a Word document");
        case FileType::txt:
            if (may_be_text(first_bytes)) return *type;
            return refuse("is named .txt but is not text");
    }
    return refuse("must be a PDF, DOCX or TXT file");
}

std::string display_name(std::string_view client_name) {
    if (const auto slash = client_name.find_last_of("/\\"); slash != std::string_view::npos) {
        client_name.remove_prefix(slash + 1);
    }
    std::string name(client_name);
    if (!base::is_valid_utf8(name)) {
        std::ranges::replace_if(
            name, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '_');
    }
    name = clean_text(name);  // a hidden or turning character can show another ending
    std::erase(name, '\n');
    if (name.size() > k_file_name_bytes_max) {
        const auto ending = std::string(extension(name));
        const auto kept = ending.size() <= k_extension_bytes_max ? ending : std::string{};
        name = std::string(base::utf8_prefix(name, k_file_name_bytes_max - kept.size())) + kept;
    }
    return name.empty() || name == "." || name == ".." ? "file" : name;
}

}  // namespace millrace::domain::knowledge
