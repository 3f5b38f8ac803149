#include "shared/domain/knowledge/sentences.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include "shared/domain/knowledge/normalize.hpp"

namespace millrace::domain::knowledge {
namespace {

constexpr std::size_t k_bracketed_bytes_max = 900;  // an unclosed bracket must not swallow a page
constexpr std::size_t k_heading_bytes_max = 90;
constexpr std::size_t k_wrapped_cjk_bytes_min =
    60;  // a line that was wrapped is at least 20 characters long

bool is_full_stop(char32_t c) {
    return c == U'。' || c == U'！' || c == U'？' || c == U'．' || c == U'｡' || c == '!' ||
           c == '?';
}
bool is_closer(char32_t c) {
    return c == U'」' || c == U'』' || c == U'）' || c == U'】' || c == U'》' || c == U'〉' ||
           c == ')' || c == '"' || c == '\'' || c == ']' || c == U'”' || c == U'’' || c == U'］';
}
int depth_change(char32_t c) {
    switch (c) {
        case U'「':
        case U'『':
        case U'（':
        case U'【':
        case '(':
            return 1;
        case U'」':
        case U'』':
        case U'）':
        case U'】':
        case ')':
            return -1;
        default:
            return 0;
    }
}

bool is_upper(char32_t c) {
    return c >= 'A' && c <= 'Z';
}
bool is_lower(char32_t c) {
    return c >= 'a' && c <= 'z';
}

/// Whether the full stop at `dot` belongs to an abbreviation: "Dr.", "e.g.", "J.", "No.".
bool is_abbreviation(std::string_view text, std::size_t dot) {
    std::size_t begin = dot;
    while (begin > 0 &&
           (is_word(static_cast<unsigned char>(text[begin - 1])) || text[begin - 1] == '.') &&
           static_cast<unsigned char>(text[begin - 1]) < 0x80 && dot - begin < 12) {
        --begin;
    }
    const auto word = text.substr(begin, dot - begin);
    if (word.size() == 1 && is_upper(static_cast<unsigned char>(word[0])))
        return true;  // an initial
    constexpr std::array<std::string_view, 22> known{
        "Mr",     "Mrs", "Ms",  "Dr",  "Prof", "St", "No",  "vs",  "e.g",  "i.e", "cf",
        "approx", "Fig", "fig", "Art", "Sec",  "Jr", "Gen", "Col", "Capt", "Rev", "Vol"};
    return std::ranges::find(known, word) != known.end();
}

std::size_t skip_space(std::string_view text, std::size_t at) {
    while (at < text.size()) {
        const auto [c, bytes] = code_point_at(text, at);
        if (!is_space(c)) break;
        at += bytes;
    }
    return at;
}

/// Whether the ASCII full stop at `dot` ends a sentence.
bool dot_ends(std::string_view text, std::size_t dot) {
    std::size_t after = dot + 1;
    while (after < text.size() && is_closer(code_point_at(text, after).value))
        after += code_point_at(text, after).bytes;
    if (after >= text.size()) return true;
    const auto next = code_point_at(text, after).value;
    if (is_cjk(next)) return dot > 0 && !is_word(static_cast<unsigned char>(text[dot - 1]));
    if (!is_space(next) || is_abbreviation(text, dot)) return false;
    const auto start = skip_space(text, after);
    if (start >= text.size()) return true;
    if (dot > 0 && text[dot - 1] >= '0' && text[dot - 1] <= '9' &&
        text.substr(after, start - after).find('\n') == std::string_view::npos) {
        std::size_t digits =
            dot;  // "1. Heading" at the start of a line is a number, not a sentence
        while (digits > 0 && text[digits - 1] >= '0' && text[digits - 1] <= '9') --digits;
        if (dot - digits <= 2 && (digits == 0 || text[digits - 1] == '\n')) return false;
    }
    return !is_lower(code_point_at(text, start).value);
}

bool ends_clause(std::string_view line) {
    if (line.empty()) return true;
    std::size_t at = line.size() - 1;
    while (at > 0 && (static_cast<unsigned char>(line[at]) & 0xC0) == 0x80) --at;
    const auto c = code_point_at(line, at).value;
    return is_full_stop(c) || is_closer(c) || c == '.' || c == ':' || c == U'：' || c == ';';
}

/// Whether the line break at `newline` merely wraps a sentence.
bool is_wrap(std::string_view text, std::size_t line_begin, std::size_t newline) {
    const auto line = text.substr(line_begin, newline - line_begin);
    if (newline + 1 >= text.size() || text[newline + 1] == '\n' || ends_clause(line)) return false;
    const auto next_at = newline + 1;
    const auto next = code_point_at(text, next_at).value;
    if (is_lower(next)) return line.size() >= 30;
    if (!is_cjk(next) || line.size() < k_wrapped_cjk_bytes_min) return false;
    const auto next_line_end = text.find('\n', next_at);
    const auto next_line = text.substr(
        next_at, next_line_end == std::string_view::npos ? next_line_end : next_line_end - next_at);
    return next_line.size() >= k_wrapped_cjk_bytes_min || ends_clause(next_line);
}

}  // namespace

std::vector<Sentence> split_sentences(std::string_view text) {
    std::vector<Sentence> out;
    std::size_t begin = 0, line_begin = 0;
    int depth = 0;
    bool paragraph = true;
    const auto close = [&](std::size_t end, bool at_newline) {
        const auto first = skip_space(text, begin);
        while (end > first && is_space(static_cast<unsigned char>(text[end - 1]))) --end;
        while (end >= first + 3 && text.substr(end - 3, 3) == "　") end -= 3;
        if (end > first) {
            const auto body = text.substr(first, end - first);
            const bool heading = paragraph && at_newline && body.size() <= k_heading_bytes_max &&
                                 !ends_clause(body) && skip_space(text, end) < text.size();
            out.push_back({static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(end),
                           paragraph, heading});
            paragraph = false;
        }
        if (at_newline) paragraph = true;
        depth = 0;
    };
    for (std::size_t at = 0; at < text.size();) {
        const auto [c, bytes] = code_point_at(text, at);
        if (c == '\n') {
            if (!is_wrap(text, line_begin, at)) {
                close(at, true);
                begin = at + 1;
            }
            line_begin = at + 1;
            at += bytes;
            continue;
        }
        depth = std::max(0, depth + depth_change(c));
        at += bytes;
        const bool stop = is_full_stop(c) || (c == '.' && dot_ends(text, at - 1));
        if (!stop || (depth > 0 && at - begin < k_bracketed_bytes_max)) continue;
        while (at < text.size()) {
            const auto next = code_point_at(text, at);
            if (!is_closer(next.value) && !is_full_stop(next.value)) break;
            at += next.bytes;
        }
        if (at < text.size() && (c == '!' || c == '?') &&
            !is_space(code_point_at(text, at).value) && !is_cjk(code_point_at(text, at).value)) {
            continue;  // "?id=3"
        }
        close(at, false);
        begin = at;
    }
    close(text.size(), true);
    return out;
}

}  // namespace millrace::domain::knowledge
