#include "shared/base/utf8.hpp"

#include <algorithm>
#include <cstdint>

namespace millrace::base {

namespace {
bool is_continuation(char c) {
    return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}
}  // namespace

bool is_valid_utf8(std::string_view text) noexcept {
    std::size_t i = 0;
    while (i < text.size()) {
        const auto lead = static_cast<unsigned char>(text[i]);
        if (lead < 0x80) {
            ++i;
            continue;
        }
        std::size_t size = 0;
        std::uint32_t point = 0;
        std::uint32_t least = 0;
        if ((lead & 0xE0) == 0xC0) {
            size = 2, point = lead & 0x1FU, least = 0x80;
        } else if ((lead & 0xF0) == 0xE0) {
            size = 3, point = lead & 0x0FU, least = 0x800;
        } else if ((lead & 0xF8) == 0xF0) {
            size = 4, point = lead & 0x07U, least = 0x10000;
        } else {
            return false;
        }
        if (i + size > text.size()) return false;
        for (std::size_t k = 1; k < size; ++k) {
            if (!is_continuation(text[i + k])) return false;
            point = point << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3FU);
        }
        if (point < least || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return false;
        i += size;
    }
    return true;
}

std::size_t utf8_length(std::string_view text) noexcept {
    return static_cast<std::size_t>(
        std::ranges::count_if(text, [](char c) { return !is_continuation(c); }));
}

std::string_view utf8_prefix(std::string_view text, std::size_t bytes_max) noexcept {
    if (text.size() <= bytes_max) return text;
    auto end = bytes_max;
    while (end > 0 && is_continuation(text[end])) --end;
    return text.substr(0, end);
}

std::string_view trim(std::string_view text) noexcept {
    const auto first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::string ascii_lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

std::string html_escape(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            case '\'':
                out += "&#39;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

}  // namespace millrace::base
