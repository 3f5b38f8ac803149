#include "shared/domain/knowledge/tokenizer.hpp"

#include <algorithm>

#include "shared/domain/knowledge/normalize.hpp"

namespace millrace::domain::knowledge {
namespace {

constexpr std::size_t k_word_bytes_max = 64;  // longer "words" are base64 and the like
constexpr std::uint32_t k_count_max = 1U << 20;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_vowel(char c) {
    return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u' || c == 'y';
}
bool has_vowel(std::string_view s) {
    return std::ranges::any_of(s, is_vowel);
}

/// What is left of a stem after -ed or -ing: hopp → hop.
std::string undouble(std::string_view s) {
    const auto n = s.size();
    if (n > 3 && s[n - 1] == s[n - 2] && !is_vowel(s[n - 1]) && s[n - 1] != 'l' &&
        s[n - 1] != 's' && s[n - 1] != 'z') {
        s.remove_suffix(1);
    }
    return std::string(s);
}

void put_varint(std::string& out, std::uint64_t value) {
    while (value >= 0x80) {
        out += static_cast<char>(static_cast<unsigned char>(value | 0x80));
        value >>= 7;
    }
    out += static_cast<char>(static_cast<unsigned char>(value));
}

/// False at the end of input, and for more than 9 bytes.
bool get_varint(std::string_view& in, std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 63 && !in.empty(); shift += 7) {
        const auto byte = static_cast<unsigned char>(in.front());
        in.remove_prefix(1);
        value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
        if (byte < 0x80) return shift == 0 || byte != 0;
    }
    return false;
}

TermCounts counted(std::vector<Term>& terms) {
    std::ranges::sort(terms);
    TermCounts out;
    for (const Term term : terms) {
        if (!out.empty() && out.back().term == term) {
            if (out.back().count < k_count_max) ++out.back().count;
        } else {
            out.push_back({term, 1});
        }
    }
    return out;
}

void add_terms(std::string_view text, std::vector<Term>& terms) {
    for_each_term(fold(text), [&](std::string_view bytes) { terms.push_back(hash_term(bytes)); });
}

/// How much a term says about what a question is after. Kana are mostly grammar, single characters
/// mostly part of something; a word stands for the several n-grams that a CJK word of its meaning
/// would give.
double query_weight(std::string_view term) {
    const auto first = code_point_at(term, 0);
    if (!is_cjk(first.value)) return 2.5;
    if (first.bytes == term.size()) return is_han(first.value) ? 0.6 : 0.2;
    const auto second = code_point_at(term, first.bytes);
    const int kana = (is_hiragana(first.value) ? 1 : 0) + (is_hiragana(second.value) ? 1 : 0);
    return kana == 2 ? 0.3 : kana == 1 ? 0.7 : 1.0;
}

/// A run of word characters that are not CJK; commas inside numbers (12,000) are left out. Returns
/// its end.
std::size_t read_word(std::string_view text, std::size_t at, std::string& word) {
    word.clear();
    while (at < text.size()) {
        const auto [c, bytes] = code_point_at(text, at);
        const bool inside_number = (c == ',' || c == '.') && !word.empty() &&
                                   is_digit(word.back()) && at + 1 < text.size() &&
                                   is_digit(text[at + 1]);
        if (inside_number) {
            if (c == '.') word += '.';
        } else if (is_word(c) && !is_cjk(c)) {
            if (word.size() < k_word_bytes_max) word.append(text, at, bytes);
        } else if (c == '\'' || c == 0x2019) {  // don't, company's
            const auto next =
                at + bytes < text.size() ? code_point_at(text, at + bytes).value : U' ';
            if (word.empty() || next >= 0x80 || !is_word(next)) break;
            if (next == 's' && (at + bytes + 1 >= text.size() ||
                                !is_word(code_point_at(text, at + bytes + 1).value))) {
                return at + bytes + 1;
            }
        } else {
            break;
        }
        at += bytes;
    }
    return at;
}

}  // namespace

Term hash_term(std::string_view bytes) noexcept {
    std::uint64_t h =
        14695981039346656037ULL;  // FNV-1a, then mixed so that the low half depends on every byte
    for (const char c : bytes) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    h ^= h >> 32;
    h *= 0x9E3779B97F4A7C15ULL;
    return static_cast<Term>(h >> 32);
}

std::string stem(std::string_view word) {
    const auto ends = [&](std::string_view tail) {
        return word.size() > tail.size() + 2 && word.ends_with(tail);
    };
    if (word.size() < 4 || std::ranges::any_of(word, [](char c) { return c < 'a' || c > 'z'; }))
        return std::string(word);
    std::string out(word);
    if (ends("ies")) {
        out.replace(out.size() - 3, 3, "y");
    } else if (ends("sses") || ends("shes") || ends("ches") || ends("xes")) {
        out.resize(out.size() - 2);
    } else if (word.ends_with('s') && !word.ends_with("ss") && !word.ends_with("us") &&
               !word.ends_with("is")) {
        out.resize(out.size() - 1);
    }
    for (const std::string_view tail : {"ing", "ed"}) {
        if (out.size() > tail.size() + 2 && out.ends_with(tail) &&
            has_vowel(std::string_view(out).substr(0, out.size() - tail.size()))) {
            out = undouble(std::string_view(out).substr(0, out.size() - tail.size()));
            break;
        }
    }
    if (out.size() > 3 && out.ends_with("e")) out.resize(out.size() - 1);
    if (out.size() > 2 && out.ends_with("y")) out.back() = 'i';
    return out;
}

void for_each_term(std::string_view folded, const std::function<void(std::string_view)>& take) {
    std::string word;
    std::size_t previous = std::string_view::npos;  // where the CJK character just before began
    for (std::size_t at = 0; at < folded.size();) {
        const auto [c, bytes] = code_point_at(folded, at);
        if (is_cjk(c)) {
            take(folded.substr(at, bytes));
            if (previous != std::string_view::npos)
                take(folded.substr(previous, at + bytes - previous));
            previous = at;
            at += bytes;
            continue;
        }
        previous = std::string_view::npos;
        if (!is_word(c)) {
            at += bytes;
            continue;
        }
        at = read_word(folded, at, word);
        take(stem(word));
    }
}

TermCounts count_terms(std::string_view text) {
    std::vector<Term> terms;
    add_terms(text, terms);
    return counted(terms);
}

TermCounts count_chunk_terms(std::string_view title, std::string_view text) {
    std::vector<Term> terms;
    add_terms(title, terms);
    add_terms(text, terms);
    return counted(terms);
}

std::vector<QueryTerm> query_terms(std::string_view question) {
    std::vector<QueryTerm> out;
    for_each_term(fold(question), [&](std::string_view bytes) {
        out.push_back({hash_term(bytes), query_weight(bytes)});
    });
    std::ranges::sort(out, {}, &QueryTerm::term);
    out.erase(std::ranges::unique(out, {}, &QueryTerm::term).begin(), out.end());
    return out;
}

std::string encode_terms(const TermCounts& terms) {
    std::string out;
    out.reserve(terms.size() * 4 + 8);
    out += static_cast<char>(k_terms_version);
    put_varint(out, terms.size());
    std::uint64_t next = 0;  // the smallest value the next term may have
    for (const auto& [term, count] : terms) {
        put_varint(out, ((term - next) << 1) | (count > 1 ? 1U : 0U));
        if (count > 1) put_varint(out, count);
        next = static_cast<std::uint64_t>(term) + 1;
    }
    return out;
}

Result<TermCounts> decode_terms(std::string_view bytes) {
    const auto broken = [] { return fail(ErrorCode::invalid, "These index terms are damaged."); };
    if (bytes.empty() || static_cast<std::uint8_t>(bytes.front()) != k_terms_version)
        return broken();
    bytes.remove_prefix(1);
    std::uint64_t size = 0;
    if (!get_varint(bytes, size) || size > bytes.size()) return broken();
    TermCounts out;
    out.reserve(size);
    std::uint64_t next = 0;
    for (std::uint64_t i = 0; i < size; ++i) {
        std::uint64_t step = 0;
        std::uint64_t count = 1;
        if (!get_varint(bytes, step)) return broken();
        if ((step & 1) != 0 && (!get_varint(bytes, count) || count < 2 || count > k_count_max))
            return broken();
        const std::uint64_t term = next + (step >> 1);
        if ((step >> 1) > UINT32_MAX || term > UINT32_MAX) return broken();
        out.push_back({static_cast<Term>(term), static_cast<std::uint32_t>(count)});
        next = term + 1;
    }
    if (!bytes.empty()) return broken();
    return out;
}

}  // namespace millrace::domain::knowledge
