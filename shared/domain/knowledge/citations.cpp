#include "shared/domain/knowledge/citations.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "shared/base/utf8.hpp"
#include "shared/domain/knowledge/addresses.hpp"
#include "shared/domain/knowledge/normalize.hpp"
#include "shared/domain/knowledge/sentences.hpp"

namespace millrace::domain::knowledge {
namespace {

constexpr std::size_t k_mark_bytes_max = 2000;  // a longer bracket is text
constexpr std::size_t k_word_bytes_max = 4000;  // so much is held back of a word or a link …
constexpr std::size_t k_tag_bytes_max = 1000;   // … and of what may become an element
constexpr std::size_t k_said_bytes_max = 2000;
constexpr std::size_t k_quote_characters_min = 3;
constexpr double k_support_min = 0.9;  // [S15]
constexpr std::size_t k_support_terms_min = 2;

std::string without_space(std::string_view text) {
    std::string out;
    const auto folded = fold(text);
    for (std::size_t at = 0; at < folded.size();) {
        const auto [c, bytes] = code_point_at(folded, at);
        if (!is_space(c)) out.append(folded, at, bytes);
        at += bytes;
    }
    return out;
}

bool digit(char c) {
    return c >= '0' && c <= '9';
}

struct Quotes {
    std::string_view open, close;
};
constexpr Quotes k_quotes[] = {{"\"", "\""}, {"“", "”"}, {"「", "」"}, {"『", "』"}};

/// The longest text between quotation marks.
std::string_view quotation_in(std::string_view text) {
    std::string_view best;
    for (const auto& marks : k_quotes) {
        for (std::size_t from = 0;
             (from = text.find(marks.open, from)) != std::string_view::npos;) {
            from += marks.open.size();
            const auto to = text.find(marks.close, from);
            if (to == std::string_view::npos) break;
            if (to - from > best.size()) best = text.substr(from, to - from);
            from = to + marks.close.size();
        }
    }
    return best;
}

/// What an address or a host name does not begin behind.
bool in_name(char c) {
    return digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("-._+@").contains(c);
}

/// `… [1` or `… [1, 2`
bool ends_like_mark(std::string_view text) {
    const auto digits = text.find_last_not_of("0123456789, ");
    return digits != std::string_view::npos && text[digits] == '[' && digit(text.back());
}

}  // namespace

struct CitationFilter::Mark {
    std::vector<std::size_t> numbers;
    std::optional<std::string> quote;
    std::size_t bytes = 0;
};

namespace {

enum class Reading { incomplete, other, complete };

/// `[1]`, `[1, 2]`, `[3: "…"]` at the start of `text`; `take(number)`, then the quotation if there
/// is one.
template <class Mark>
Reading read_mark(std::string_view text, Mark& mark) {
    std::size_t at = 1;
    const auto skip_spaces = [&] {
        while (at < text.size() && text[at] == ' ') ++at;
    };
    for (;;) {
        skip_spaces();
        if (at == text.size()) return Reading::incomplete;
        std::size_t number = 0;
        const auto end = std::from_chars(text.data() + at, text.data() + text.size(), number);
        if (!digit(text[at])) return Reading::other;
        at = static_cast<std::size_t>(end.ptr - text.data());
        mark.numbers.push_back(end.ec == std::errc{} ? number : 0);
        if (mark.numbers.size() > 20) return Reading::other;
        skip_spaces();
        if (at == text.size()) return Reading::incomplete;
        if (text[at] != ',') break;
        ++at;
    }
    if (text[at] == ']') {
        mark.bytes = at + 1;
        return Reading::complete;
    }
    if (text[at] == ':') ++at;
    skip_spaces();
    const auto rest = text.substr(at);
    for (const auto& marks : k_quotes) {
        if (rest.size() < marks.open.size() && marks.open.starts_with(rest))
            return Reading::incomplete;
        if (!rest.starts_with(marks.open)) continue;
        // The quotation may hold brackets and quotation marks itself: it ends where mark and
        // bracket stand together.
        const auto end = rest.find(std::string(marks.close) + "]", marks.open.size());
        if (end == std::string_view::npos) return Reading::incomplete;
        mark.quote = std::string(rest.substr(marks.open.size(), end - marks.open.size()));
        mark.bytes = at + end + marks.close.size() + 1;
        return Reading::complete;
    }
    return Reading::other;
}

}  // namespace

bool holds_quote(const Passage& passage, std::string_view quote) {
    const auto wanted = without_space(quote);
    return base::utf8_length(wanted) >= k_quote_characters_min &&
           without_space(passage.text).find(wanted) != std::string::npos;
}

bool supports(const Passage& passage, std::string_view sentence) {
    const auto wanted = count_terms(sentence);
    if (wanted.size() < k_support_terms_min) return false;
    const auto held = count_chunk_terms({}, passage.text);
    const auto found = std::ranges::count_if(wanted, [&](const TermCount& term) {
        return std::ranges::binary_search(held, term.term, {}, &TermCount::term);
    });
    return static_cast<double>(found) >= k_support_min * static_cast<double>(wanted.size());
}

std::vector<CitationFilter::Out> CitationFilter::push(std::string_view delta) {
    raw_ += delta;
    take_raw(false);
    return drain(false);
}

std::vector<CitationFilter::Out> CitationFilter::finish() {
    take_raw(true);
    return drain(true);
}

/// Characters that nobody sees do not go through: they hide what is written, from readers and from
/// us. A character that is cut in two waits for the rest of it.
void CitationFilter::take_raw(bool last) {
    std::size_t at = 0;
    while (at < raw_.size()) {
        const auto [c, bytes] = code_point_at(raw_, at);
        if (c == 0xFFFD && bytes == 1 && !last && raw_.size() - at < 4) break;
        if (c == U'\t' || (c != U'\r' && !is_invisible(c))) append_utf8(pending_, c);
        at += bytes;
    }
    raw_.erase(0, at);
}

/// Takes from `pending_` what can be judged; with `last`, all of it.
std::vector<CitationFilter::Out> CitationFilter::drain(bool last) {
    bool settled = true;
    while (settled && !pending_.empty()) {
        if (pending_[0] == '[')
            settled = read_bracket(last);
        else if (pending_.starts_with("!["))
            settled = read_image(last);
        else if (pending_[0] == '<')
            settled = read_tag(last);
        else
            settled = read_word(last);
    }
    return std::exchange(out_, {});
}

/// The functions that read from `pending_` return false when they need more of it.
bool CitationFilter::read_bracket(bool last) {
    Mark mark;
    const auto reading = read_mark(std::string_view(pending_).substr(0, k_mark_bytes_max), mark);
    if (reading == Reading::complete) {
        // `[1](…)` would be a link.
        if (mark.bytes == pending_.size() && !last) return false;
        if (pending_.size() > mark.bytes && pending_[mark.bytes] == '(')
            return read_link(false, last);
        cite(mark);
        consume(mark.bytes);
        return true;
    }
    if (reading == Reading::incomplete && !last && pending_.size() < k_mark_bytes_max) return false;
    if (reading == Reading::incomplete && !mark.numbers.empty()) {  // a mark that never ended
        drop(std::min(pending_.size(), k_mark_bytes_max));
        return true;
    }
    return read_link(false, last);
}

/// `![alt](url)`, or an exclamation mark before a citation.
bool CitationFilter::read_image(bool last) {
    Mark mark;
    const auto after = std::string_view(pending_).substr(1);
    const auto reading = read_mark(after.substr(0, k_mark_bytes_max), mark);
    if (reading == Reading::incomplete && !last && after.size() < k_mark_bytes_max) return false;
    if (reading != Reading::complete) return read_link(true, last);
    if (mark.bytes == after.size() && !last) return false;
    if (mark.bytes < after.size() && after[mark.bytes] == '(') return read_link(true, last);
    say("!");
    consume(1);
    return true;
}

/// `[text](url)` and `![text](url)`. The text of a link is read again as text, and its address
/// where the passages hold it; images never go through.
bool CitationFilter::read_link(bool image, bool last) {
    const std::size_t open = image ? 1 : 0;
    const auto undecided = [&] { return !last && pending_.size() < k_word_bytes_max; };
    const auto as_text = [&] {
        if (image) {
            drop(open + 1);
        } else {
            say("[");
            consume(1);
        }
        return true;
    };
    const auto held = std::string_view(pending_).substr(0, k_word_bytes_max);
    const auto close = held.find_first_of("]\n", open);
    if (close == std::string::npos || close + 1 == held.size())
        return undecided() && !held.ends_with('\n') ? false : as_text();
    if (held[close] == '\n' || held[close + 1] != '(') return as_text();
    const auto end = held.find(')', close);
    if (end == std::string::npos) {
        if (undecided()) return false;
        drop(held.size());
        return true;
    }
    const auto text = pending_.substr(open + 1, close - open - 1);
    auto url = pending_.substr(close + 2, end - close - 2);
    if (const auto title = url.find(' '); title != std::string::npos) url.resize(title);
    const bool allowed = !image && may_pass(url);
    drop(end + 1);
    if (allowed) --refused_;
    if (!image) pending_.insert(0, allowed ? text + " (" + url + ")" : text);
    return true;
}

/// `<https://…>` and HTML elements. What only looks like one is text.
bool CitationFilter::read_tag(bool last) {
    const auto after = std::string_view(pending_).substr(1);
    if (after.empty() && !last) return false;
    const auto begins = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '/' || c == '!' || c == '?';
    };
    const bool possible = !after.empty() && begins(after[0]);
    const auto end = possible ? after.substr(0, k_tag_bytes_max).find_first_of("<>") : 0;
    const bool endless = end == std::string_view::npos && after.size() >= k_tag_bytes_max;
    if (end == std::string_view::npos && !last && !endless) return false;
    const auto content = after.substr(0, end);
    const bool closed = possible && end != std::string_view::npos && after[end] == '>';
    if (closed && !content.contains(' ') && find_address(content)) {
        const std::string url(content);
        drop(content.size() + 2);
        if (may_pass(url)) {
            --refused_;
            pending_.insert(0, url);
        }
    } else if (possible && (endless || is_markup(content))) {
        drop(closed ? content.size() + 2 : 1);
    } else {
        say("<");
        consume(1);
    }
    return true;
}

/// What stands between words: white space and CJK characters in a run, anything else by itself.
void CitationFilter::say_between() {
    std::size_t at = 0;
    while (at < pending_.size()) {
        const auto [c, bytes] = code_point_at(pending_, at);
        const bool runs = is_space(c) || (c >= 0x3000 && ends_word(c));
        if (at > 0 && !runs) break;
        at += bytes;
        if (!runs) break;
    }
    say(pending_.substr(0, at));
    consume(at);
}

/// Text up to the end of a word, because a word may be an address.
bool CitationFilter::read_word(bool last) {
    std::size_t at = 0;
    while (at < pending_.size() && at < k_word_bytes_max && pending_[at] != '[') {
        const auto [c, bytes] = code_point_at(pending_, at);
        if (ends_word(c)) break;
        at += bytes;
    }
    if (at == 0) {
        say_between();
        return true;
    }
    if (at == pending_.size() && !last && at < k_word_bytes_max) return false;
    auto word = pending_.substr(0, at);
    if (pending_.substr(at).starts_with('[') && word.ends_with('!')) word.pop_back();
    const auto address = find_address(word);
    if (address && address->begin > 0) word.resize(address->begin);
    if (!address || address->begin > 0) {
        say_word(word);
        consume(word.size());
        return true;
    }
    while (is_trailing(word.back())) word.pop_back();
    if (may_pass(word)) {
        say_word(word);
        consume(word.size());
        after_address_ = true;
    } else {
        drop(word.size());
    }
    return true;
}

/// Only what a passage shows, and nothing that runs or could carry data out: no query, no fragment,
/// no credentials.
bool CitationFilter::may_pass(std::string_view url) const {
    const auto address = find_address(url);
    if (!address || address->begin != 0 || !address->may_pass || url.starts_with(':') ||
        url.find_first_of("?#") != std::string_view::npos ||
        (url.contains('@') && !address->is_email))
        return false;
    return std::ranges::any_of(passages_, [&](const Passage& passage) {
        for (std::size_t at = 0; (at = passage.text.find(url, at)) != std::string_view::npos;
             ++at) {
            if (at > 0 && in_name(passage.text[at - 1])) continue;
            auto end = at + url.size();
            while (end < passage.text.size() && is_trailing(passage.text[end])) ++end;
            if (end == passage.text.size() || ends_word(code_point_at(passage.text, end).value))
                return true;
        }
        return false;
    });
}

void CitationFilter::cite(const Mark& mark) {
    const auto sentence = claim();
    for (const auto number : mark.numbers) {
        bool verified = false;
        std::string quote = mark.quote.value_or(std::string(quotation_in(sentence)));
        if (number >= 1 && number <= passages_.size()) {
            const auto& passage = passages_[number - 1];
            verified = holds_quote(passage, quote);
            if (!verified && !mark.quote &&
                (holds_quote(passage, sentence) || supports(passage, sentence))) {
                verified = true;
                quote = sentence;
            }
        }
        if (!verified) {
            ++refused_;
            dropped_ = true;
            continue;
        }
        if (out_.empty()) out_.emplace_back();
        keep_apart("[");
        out_.back().text += "[" + std::to_string(number) + "]";
        last_ = ']';
        out_.back().citations.push_back({number - 1, std::move(quote)});
    }
}

/// The sentence that was said last.
std::string CitationFilter::claim() const {
    const auto sentences = split_sentences(said_);
    return sentences.empty() ? std::string()
                             : said_.substr(sentences.back().begin,
                                            sentences.back().end - sentences.back().begin);
}

void CitationFilter::drop(std::size_t bytes) {
    ++refused_;
    dropped_ = true;
    consume(bytes);
}

/// What stood on both sides of something dropped does not grow together.
void CitationFilter::say_word(std::string_view word) {
    const bool apart = ends_word(last_) && last_ != U'<';
    const bool joins =
        dropped_ && !apart && (word.starts_with(':') || !std::ranges::all_of(word, is_trailing));
    if (joins) say(" ");
    say(word);
}

/// Between what went out and `next`: no link, image or definition of a link arises from pieces, and
/// an address that went through ends where we saw its end.
void CitationFilter::keep_apart(std::string_view next) {
    const bool space = is_space(code_point_at(next, 0).value);
    const bool punctuation = std::ranges::all_of(next, is_trailing) || next == ")";
    const bool link = last_ == U']' && (next[0] == '(' || next[0] == ':');
    const bool image = last_ == U'!' && next[0] == '[';
    if ((after_address_ && !space && !punctuation) || link || image) {
        if (out_.empty()) out_.emplace_back();
        out_.back().text += ' ';
        said_ += ' ';
    }
    after_address_ = after_address_ && punctuation;
}

void CitationFilter::say(std::string_view text) {
    if (text.empty()) return;
    if (text == "]" && ends_like_mark(said_)) {  // from pieces: read as one, it was refused
        ++refused_;
        return;
    }
    if (out_.empty() || !out_.back().citations.empty()) out_.emplace_back();
    keep_apart(text);
    out_.back().text += text;
    said_ += text;
    auto begin = text.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    last_ = code_point_at(text, begin).value;
    dropped_ = false;
    if (said_.size() > 2 * k_said_bytes_max) {
        auto cut = said_.size() - k_said_bytes_max;
        while (cut < said_.size() && (static_cast<unsigned char>(said_[cut]) & 0xC0) == 0x80) ++cut;
        said_.erase(0, cut);
    }
}

}  // namespace millrace::domain::knowledge
