#include "workers/embedding/extract/page_text.hpp"

#include <algorithm>

#include "shared/base/utf8.hpp"

namespace millrace::workers::embedding::extract {

namespace {

/// The code point at the start of valid UTF-8, and its length.
struct CodePoint {
    char32_t value;
    std::size_t bytes;
};

CodePoint first(std::string_view text) {
    const auto byte = [&](std::size_t i) {
        return static_cast<char32_t>(static_cast<unsigned char>(text[i]));
    };
    if (byte(0) < 0x80) return {byte(0), 1};
    if (byte(0) < 0xE0) return {(byte(0) & 0x1F) << 6 | (byte(1) & 0x3F), 2};
    if (byte(0) < 0xF0)
        return {(byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
    return {
        (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
        4};
}

bool is_line_break(char32_t c) {
    return c == U'\n' || c == U'\v' || c == U'\f' || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool is_dropped(char32_t c) {
    return (c < 0x20 && c != U'\t') || (c >= 0x7F && c < 0xA0)              // C0, DEL, C1
           || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069)  // direction overrides
           || c == 0xFEFF || (c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE;
}

}  // namespace

void append_clean(std::string& to, std::string_view text) {
    while (!text.empty()) {
        const auto [c, bytes] = first(text);
        if (c == U'\r') {
            if (text.size() == 1 || text[1] != '\n') to += '\n';
        } else if (is_line_break(c)) {
            to += '\n';
        } else if (!is_dropped(c)) {
            to += text.substr(0, bytes);
        }
        text.remove_prefix(bytes);
    }
}

std::string keep_valid_utf8(std::string_view bytes) {
    if (base::is_valid_utf8(bytes)) return std::string(bytes);
    std::string out;
    while (!bytes.empty()) {
        std::size_t length = 1;
        while (length <= 4 && !base::is_valid_utf8(bytes.substr(0, length))) ++length;
        if (length <= 4 && length <= bytes.size()) {
            out += bytes.substr(0, length);
        } else {
            length = 1;
        }
        bytes.remove_prefix(length);
    }
    return out;
}

std::vector<std::string_view> split_pages(std::string_view text) {
    std::vector<std::string_view> pages;
    while (!text.empty()) {
        const auto end = std::min(text.find(k_page_break), text.size());
        pages.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return pages;
}

bool has_text(std::string_view text) {
    constexpr std::string_view k_ideographic_space = "\xE3\x80\x80";
    while (!text.empty()) {
        if (text.starts_with(k_ideographic_space)) {
            text.remove_prefix(k_ideographic_space.size());
        } else if (static_cast<unsigned char>(text.front()) <= 0x20) {
            text.remove_prefix(1);
        } else if (text.starts_with("\xC2\xA0")) {  // no-break space
            text.remove_prefix(2);
        } else {
            return true;
        }
    }
    return false;
}

}  // namespace millrace::workers::embedding::extract
