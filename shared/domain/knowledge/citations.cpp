#include "shared/domain/knowledge/citations.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "shared/base/utf8.hpp"
#include "shared/domain/knowledge/normalize.hpp"
#include "shared/domain/knowledge/sentences.hpp"

namespace millrace::domain::knowledge {
namespace {

constexpr std::size_t k_mark_bytes_max = 2000;  // a longer bracket is text
constexpr std::size_t k_url_bytes_max = 4000;
constexpr std::size_t k_said_bytes_max = 2000;
constexpr std::size_t k_quote_characters_min = 3;
constexpr double k_support_min = 0.9;  // [S15]

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

/// Whether `text` may still become `word` when more of it comes.
bool may_become(std::string_view text, std::string_view word) {
    if (text.size() > word.size()) text = text.substr(0, word.size());
    return std::ranges::equal(text, word.substr(0, text.size()), {}, [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    });
}

bool is_url(std::string_view text) {
    return (text.size() >= 7 && may_become(text, "http://")) ||
           (text.size() >= 8 && may_become(text, "https://"));
}

bool ends_url(char32_t c) {
    return is_space(c) || c == U'<' || c == U'>' || c == U'"' || c == U'\'' || c == U')' ||
           c == U']' || c == U'`' || c >= 0x3000;
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
    if (wanted.empty()) return false;
    const auto held = count_chunk_terms(passage.title, passage.text);
    const auto found = std::ranges::count_if(wanted, [&](const TermCount& term) {
        return std::ranges::binary_search(held, term.term, {}, &TermCount::term);
    });
    return static_cast<double>(found) >= k_support_min * static_cast<double>(wanted.size());
}

std::vector<CitationFilter::Out> CitationFilter::push(std::string_view delta) {
    pending_ += delta;
    return drain(false);
}

std::vector<CitationFilter::Out> CitationFilter::finish() {
    return drain(true);
}

/// Takes from `pending_` what can be judged; with `last`, all of it.
std::vector<CitationFilter::Out> CitationFilter::drain(bool last) {
    while (!pending_.empty()) {
        const auto at = pending_.find_first_of("[!hH");
        if (at != 0) {
            const auto plain = pending_.substr(0, at);
            say(plain);
            consume(plain.size());
            continue;
        }
        const bool image = pending_[0] == '!';
        if (image && pending_.size() == 1 && !last) break;
        bool settled = true;
        if (image && pending_.size() > 1 && pending_[1] == '[')
            settled = read_link(true, last);
        else if (pending_[0] == '[')
            settled = read_bracket(last);
        else if (!image && (may_become(pending_, "http://") || may_become(pending_, "https://")))
            settled = read_url(last);
        else {
            say(pending_.substr(0, 1));
            consume(1);
        }
        if (!settled) break;
    }
    return std::exchange(out_, {});
}

/// The functions that read from `pending_` return false when they need more of it.
bool CitationFilter::read_bracket(bool last) {
    Mark mark;
    const auto reading = read_mark(pending_, mark);
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
        ++refused_;
        consume(pending_.size());
        return true;
    }
    return read_link(false, last);
}

/// `[text](url)` and `![text](url)`. The text of a link goes through, its address only when the
/// passages hold it; images never.
bool CitationFilter::read_link(bool image, bool last) {
    const std::size_t open = image ? 1 : 0;
    const auto undecided = [&] { return !last && pending_.size() < k_url_bytes_max; };
    const auto as_text = [&] {
        if (image)
            ++refused_;
        else
            say("[");
        consume(open + 1);
        return true;
    };
    const auto close = pending_.find(']', open);
    if (close == std::string::npos || close + 1 == pending_.size()) {
        return close == std::string::npos && pending_.find('\n') != std::string::npos ? as_text()
               : undecided()                                                          ? false
                                                                                      : as_text();
    }
    if (pending_[close + 1] != '(') return as_text();
    const auto end = pending_.find(')', close);
    if (end == std::string::npos) {
        if (undecided()) return false;
        ++refused_;
        consume(pending_.size());
        return true;
    }
    const auto text = pending_.substr(open + 1, close - open - 1);
    auto url = pending_.substr(close + 2, end - close - 2);
    consume(end + 1);
    if (image) {
        ++refused_;
        return true;
    }
    say(text);
    if (const auto title = url.find(' '); title != std::string::npos) url.resize(title);
    if (url_allowed(url))
        say(" (" + url + ")");
    else
        ++refused_;
    return true;
}

bool CitationFilter::read_url(bool last) {
    if (!is_url(pending_)) {  // only its beginning so far
        if (!last) return false;
        say(pending_);
        consume(pending_.size());
        return true;
    }
    std::size_t at = 0;
    while (at < pending_.size()) {
        const auto [c, bytes] = code_point_at(pending_, at);
        if (ends_url(c)) break;
        at += bytes;
    }
    if (at == pending_.size() && !last && at < k_url_bytes_max) return false;
    auto url = std::string_view(pending_).substr(0, at);
    while (!url.empty() && std::string_view(".,;:!?").find(url.back()) != std::string_view::npos)
        url.remove_suffix(1);
    const auto size = url.size();
    if (url_allowed(url))
        say(std::string(url));
    else
        ++refused_;
    consume(size);
    return true;
}

/// Only what a passage shows, and nothing that could carry data out: no query, no fragment, no
/// credentials.
bool CitationFilter::url_allowed(std::string_view url) const {
    if (!is_url(url) || url.find_first_of("?#@") != std::string_view::npos) return false;
    return std::ranges::any_of(passages_, [&](const Passage& passage) {
        for (std::size_t at = 0; (at = passage.text.find(url, at)) != std::string_view::npos;
             ++at) {
            const auto end = at + url.size();
            if (end == passage.text.size() || ends_url(code_point_at(passage.text, end).value))
                return true;
            if (std::string_view(".,;:!?").find(passage.text[end]) != std::string_view::npos)
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
            continue;
        }
        if (out_.empty()) out_.emplace_back();
        out_.back().text += "[" + std::to_string(number) + "]";
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

void CitationFilter::say(std::string_view text) {
    if (text.empty()) return;
    if (out_.empty() || !out_.back().citations.empty()) out_.emplace_back();
    out_.back().text += text;
    said_ += text;
    if (said_.size() > 2 * k_said_bytes_max) {
        auto cut = said_.size() - k_said_bytes_max;
        while (cut < said_.size() && (static_cast<unsigned char>(said_[cut]) & 0xC0) == 0x80) ++cut;
        said_.erase(0, cut);
    }
}

}  // namespace millrace::domain::knowledge
