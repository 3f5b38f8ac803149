#include "shared/domain/knowledge/file_type.hpp"

#include <algorithm>

#include "shared/base/utf8.hpp"

namespace millrace::domain::knowledge {

namespace {

constexpr std::size_t k_name_bytes_max = 255;

std::string extension_of(std::string_view name) {
    const auto dot = name.rfind('.');
    std::string out(dot == std::string_view::npos ? std::string_view{} : name.substr(dot + 1));
    std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return out;
}

std::unexpected<Error> refuse(std::string_view why) {
    return fail(ErrorCode::invalid, "file: " + std::string(why), {.field = "file"});
}

bool is_pdf(std::string_view head) { return head.substr(0, 1024).find("%PDF-") != std::string_view::npos; }
bool is_zip(std::string_view head) { return head.starts_with("PK\x03\x04"); }

bool is_text(std::string_view head) {
    if (head.starts_with("\xFF\xFE") || head.starts_with("\xFE\xFF")) return true;  // UTF-16 with its mark
    return head.find('\0') == std::string_view::npos && !is_pdf(head) && !is_zip(head) && !head.starts_with("\x7F" "ELF") && !head.starts_with("MZ");
}

}  // namespace

std::string_view to_string(FileType type) noexcept {
    switch (type) {
        case FileType::pdf: return "pdf";
        case FileType::txt: return "txt";
        case FileType::docx: return "docx";
    }
    return "";
}

Result<FileType> detect(std::string_view head, std::string_view file_name) {
    const auto extension = extension_of(file_name);
    if (extension == "pdf") {
        if (!is_pdf(head)) return refuse("its name says PDF, its content does not");
        return FileType::pdf;
    }
    if (extension == "docx") {
        if (!is_zip(head)) return refuse("its name says DOCX, its content does not");
        return FileType::docx;
    }
    if (extension == "txt") {
        if (!is_text(head)) return refuse("its name says TXT, its content is not text");
        return FileType::txt;
    }
    return refuse("must be a PDF, TXT or DOCX file");
}

std::string display_name(std::string_view sent) {
    const auto slash = sent.find_last_of("/\\");
    std::string name;
    for (const char c : slash == std::string_view::npos ? sent : sent.substr(slash + 1)) {
        if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F) name += c;
    }
    if (name.size() > k_name_bytes_max) {  // keep the extension
        const auto dot = name.rfind('.');
        const auto tail = dot == std::string::npos || name.size() - dot > 10 ? std::string() : name.substr(dot);
        name = std::string(base::utf8_prefix(name, k_name_bytes_max - tail.size())) + tail;
    }
    return name.empty() || name == "." || name == ".." ? "unnamed" : name;
}

}  // namespace millrace::domain::knowledge
