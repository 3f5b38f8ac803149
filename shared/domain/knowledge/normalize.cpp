#include "shared/domain/knowledge/normalize.hpp"

#include <utf8proc.h>

#include <array>

namespace millrace::domain::knowledge {
namespace {

constexpr std::size_t k_segment_bytes_max =
    256;  // a base character with its marks; longer chains are cut

/// Whether `c` may merge with the character before it under NFKC.
bool continues(char32_t c) noexcept {
    if (c < 0x300) return false;
    if (c == 0xFF9E || c == 0xFF9F) return true;  // half-width voicing marks
    if (c >= 0x1160 && c <= 0x11FF) return true;  // Hangul vowels and finals
    return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class != 0;
}

/// Appends NFKC + case folding of one segment.
void fold_segment(std::string_view segment, std::string& out) {
    constexpr auto options =
        static_cast<utf8proc_option_t>(UTF8PROC_COMPAT | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD);
    std::array<utf8proc_int32_t, 2048> points{};
    const auto size =
        utf8proc_decompose(reinterpret_cast<const utf8proc_uint8_t*>(segment.data()),
                           static_cast<utf8proc_ssize_t>(segment.size()), points.data(),
                           static_cast<utf8proc_ssize_t>(points.size()), options);
    if (size < 0 || size > static_cast<utf8proc_ssize_t>(points.size())) {
        out += "\xEF\xBF\xBD";
        return;
    }
    const auto composed = utf8proc_normalize_utf32(points.data(), size, options);
    for (utf8proc_ssize_t i = 0; i < composed; ++i) {
        append_utf8(out, static_cast<char32_t>(points[static_cast<std::size_t>(i)]));
    }
}

template <class Segment>
void for_each_segment(std::string_view text, Segment take) {
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t begin = at;
        at += code_point_at(text, at).bytes;
        while (at < text.size() && static_cast<unsigned char>(text[at]) >= 0x80 &&
               at - begin < k_segment_bytes_max) {
            const auto next = code_point_at(text, at);
            if (!continues(next.value)) break;
            at += next.bytes;
        }
        take(begin, at);
    }
}

/// The characters most Japanese text consists of are their own folded form.
bool folds_to_itself(char32_t c) noexcept {
    return (c >= 0x3041 && c <= 0x3096) || (c >= 0x30A1 && c <= 0x30FA) || c == 0x30FC ||
           (c >= 0x4E00 && c <= 0x9FFF) || c == 0x3001 || c == 0x3002 ||
           (c >= 0x300C && c <= 0x300F);
}

void append_folded(std::string_view segment, std::string& out) {
    if (segment.size() == 1) {
        const auto byte = static_cast<unsigned char>(segment[0]);
        if (byte >= 0x80) {
            out += "\xEF\xBF\xBD";
        } else {
            out += static_cast<char>(byte >= 'A' && byte <= 'Z' ? byte + 32 : byte);
        }
        return;
    }
    if (segment.size() == 3 && folds_to_itself(code_point_at(segment, 0).value)) {
        out += segment;
        return;
    }
    fold_segment(segment, out);
}

}  // namespace

CodePoint code_point_at(std::string_view text, std::size_t at) noexcept {
    constexpr CodePoint broken{0xFFFD, 1};
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
    const std::size_t left = text.size() - at;
    const unsigned char first = byte(0);
    if (first < 0x80) return {first, 1};
    const auto tail = [&](std::size_t i) { return i < left && (byte(i) & 0xC0) == 0x80; };
    const auto bits = [&](std::size_t i) { return static_cast<char32_t>(byte(i) & 0x3F); };
    if (first >= 0xC2 && first <= 0xDF && tail(1))
        return {(static_cast<char32_t>(first & 0x1F) << 6) | bits(1), 2};
    if (first >= 0xE0 && first <= 0xEF && tail(1) && tail(2)) {
        const char32_t c = (static_cast<char32_t>(first & 0x0F) << 12) | (bits(1) << 6) | bits(2);
        return c >= 0x800 && (c < 0xD800 || c > 0xDFFF) ? CodePoint{c, 3} : broken;
    }
    if (first >= 0xF0 && first <= 0xF4 && tail(1) && tail(2) && tail(3)) {
        const char32_t c = (static_cast<char32_t>(first & 0x07) << 18) | (bits(1) << 12) |
                           (bits(2) << 6) | bits(3);
        return c >= 0x10000 && c <= 0x10FFFF ? CodePoint{c, 4} : broken;
    }
    return broken;
}

void append_utf8(std::string& out, char32_t c) {
    const auto put = [&](char32_t byte) {
        out += static_cast<char>(static_cast<unsigned char>(byte));
    };
    if (c < 0x80) {
        put(c);
    } else if (c < 0x800) {
        put(0xC0 | (c >> 6));
        put(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        put(0xE0 | (c >> 12));
        put(0x80 | ((c >> 6) & 0x3F));
        put(0x80 | (c & 0x3F));
    } else {
        put(0xF0 | (c >> 18));
        put(0x80 | ((c >> 12) & 0x3F));
        put(0x80 | ((c >> 6) & 0x3F));
        put(0x80 | (c & 0x3F));
    }
}

bool is_han(char32_t c) noexcept {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
           (c >= 0x20000 && c <= 0x3FFFF) || (c >= 0xF900 && c <= 0xFAFF) || c == 0x3005 ||
           c == 0x3006 || c == 0x3007 || c == 0x303B;
}
bool is_hiragana(char32_t c) noexcept {
    return c >= 0x3041 && c <= 0x309F;
}
bool is_katakana(char32_t c) noexcept {
    return (c >= 0x30A1 && c <= 0x30FA) || (c >= 0x30FC && c <= 0x30FF) ||
           (c >= 0x31F0 && c <= 0x31FF) || (c >= 0xFF66 && c <= 0xFF9F);
}
bool is_cjk(char32_t c) noexcept {
    return c >= 0x1100 && (is_han(c) || is_hiragana(c) || is_katakana(c) ||
                           (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0x1100 && c <= 0x11FF));
}

bool is_word(char32_t c) noexcept {
    if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (is_cjk(c)) return true;
    switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
        case UTF8PROC_CATEGORY_MN:
        case UTF8PROC_CATEGORY_MC:
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_NO:
            return true;
        default:
            return false;
    }
}

bool is_space(char32_t c) noexcept {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v' || c == 0xA0 ||
           c == 0x3000 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F;
}

bool is_invisible(char32_t c) noexcept {
    if (c < 0x20) return c != '\n';
    if (c >= 0x7F && c <= 0x9F) return true;
    switch (c) {
        case 0x00AD:  // soft hyphen
        case 0x034F:  // combining grapheme joiner
        case 0x061C:  // Arabic letter mark
        case 0x180E:
        case 0x3164:  // Hangul filler
        case 0xFEFF:
        case 0xFFA0:
            return true;
        default:
            break;
    }
    return (c >= 0x115F && c <= 0x1160) || (c >= 0x17B4 && c <= 0x17B5) ||
           (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
           (c >= 0x2060 && c <= 0x206F) || (c >= 0xFE00 && c <= 0xFE0F) ||
           (c >= 0xFFF0 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE0FFF);
}

std::string clean_text(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const auto [c, bytes] = code_point_at(text, at);
        if (c == '\r') {
            if (at + 1 >= text.size() || text[at + 1] != '\n') out += '\n';
        } else if (c == '\t') {
            out += ' ';
        } else if (c == '\f' || c == '\v' || c == 0x85 || c == 0x2028 || c == 0x2029) {
            out += '\n';
        } else if (c == 0xFFFD) {
            out += "\xEF\xBF\xBD";
        } else if (!is_invisible(c)) {
            out.append(text, at, bytes);
        }
        at += bytes;
    }
    return out;
}

Folded fold_with_origin(std::string_view text) {
    Folded out;
    out.text.reserve(text.size());
    out.begin.reserve(text.size());
    out.end.reserve(text.size());
    for_each_segment(text, [&](std::size_t begin, std::size_t end) {
        append_folded(text.substr(begin, end - begin), out.text);
        out.begin.resize(out.text.size(), static_cast<std::uint32_t>(begin));
        out.end.resize(out.text.size(), static_cast<std::uint32_t>(end));
    });
    return out;
}

std::string fold(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for_each_segment(text, [&](std::size_t begin, std::size_t end) {
        append_folded(text.substr(begin, end - begin), out);
    });
    return out;
}

}  // namespace millrace::domain::knowledge
