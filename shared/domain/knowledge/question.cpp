#include "shared/domain/knowledge/question.hpp"

#include <algorithm>
#include <cmath>

#include "shared/domain/knowledge/normalize.hpp"

namespace millrace::domain::knowledge {
namespace {

constexpr double k_synonym_match = 0.85;
constexpr double k_prior_chunks =
    1000;  // the imagined corpus that rarities come from where the real one is small
constexpr std::size_t k_words_max = 64;

enum class Script { other, han, hiragana, katakana, hangul, latin };

Script script_of(char32_t c) {
    if (is_hiragana(c)) return Script::hiragana;
    if (is_katakana(c)) return Script::katakana;
    if (is_han(c)) return Script::han;
    if (is_cjk(c)) return Script::hangul;
    return is_word(c) ? Script::latin : Script::other;
}

class Reader {
 public:
    Reader(Question& question, const CorpusStats& corpus) : question_(question), corpus_(corpus) {}

    void read() {
        const std::string_view text = question_.folded;
        while (at_ < text.size()) {
            const auto rest = text.substr(at_);
            const auto script = script_of(code_point_at(rest, 0).value);
            if (const auto size = synonym_prefix(rest); size > 0) {
                add(rest.substr(0, size), 1.0);
                at_ += size;
            } else if (script == Script::hiragana || rest.starts_with("何") ||
                       rest.starts_with("誰") || rest.starts_with("教")) {
                read_kana(rest);
            } else if (script == Script::other) {
                at_ += code_point_at(rest, 0).bytes;
            } else if (script == Script::latin) {
                read_latin(rest);
            } else {
                read_run(rest, script);
            }
        }
    }

 private:
    double rarity(Term term, double prior) const {
        const auto with =
            corpus_.chunks_with ? static_cast<double>(corpus_.chunks_with(term)) : 0.0;
        return std::log((static_cast<double>(corpus_.chunks) + k_prior_chunks + 1) /
                        (with + prior * k_prior_chunks));
    }

    /// `text` is a CJK word, or the stem of another.
    void add(std::string_view text, double importance) {
        if (question_.words.size() >= k_words_max) return;
        if (std::ranges::any_of(question_.words,
                                [&](const auto& word) { return word.text == text; }))
            return;
        ContentWord word;
        word.text = text;
        if (is_cjk(code_point_at(text, 0).value)) {
            add_cjk_parts(text, word);
            if (is_weak_word(text)) importance *= 0.3;
        } else {
            word.parts.push_back({hash_term(text), rarity(hash_term(text), 0.001)});
        }
        if (word.parts.empty()) return;
        double sum = 0;
        for (const auto& part : word.parts) sum += part.rarity;
        const auto count = static_cast<double>(word.parts.size());
        word.weight = std::max(0.1, sum / count) * std::sqrt(count) * importance;
        word.strong = importance >= 0.9;
        word.others = synonyms(text);
        question_.weight += word.weight;
        question_.words.push_back(std::move(word));
    }

    void add_cjk_parts(std::string_view text, ContentWord& word) const {
        std::vector<std::string> singles;
        for_each_term(text, [&](std::string_view term) {
            const auto first = code_point_at(term, 0);
            if (is_cjk(first.value) && first.bytes == term.size()) {
                singles.emplace_back(term);
            } else {
                word.parts.push_back(
                    {hash_term(term),
                     rarity(hash_term(term), is_hiragana(first.value) ? 0.02 : 0.001)});
            }
        });
        if (!word.parts.empty()) return;
        for (const auto& single : singles)
            word.parts.push_back({hash_term(single), rarity(hash_term(single), 0.02)});
    }

    /// Grammar is skipped; what is left of a run of kana is a word of little weight ("ふるさと").
    void read_kana(std::string_view rest) {
        std::size_t size = 0;
        while (size < rest.size()) {
            const auto [c, bytes] = code_point_at(rest, size);
            if (!is_hiragana(c) || synonym_prefix(rest.substr(size)) > 0 ||
                function_phrase(rest.substr(size)) > 0)
                break;
            size += bytes;
        }
        if (size >= 6) add(rest.substr(0, size), 0.4);
        at_ += size;
        if (size < rest.size()) {
            const auto phrase = function_phrase(rest.substr(size));
            at_ += phrase > 0 ? phrase : size == 0 ? code_point_at(rest, 0).bytes : 0;
        }
    }

    void read_latin(std::string_view rest) {
        std::size_t size = 0;
        while (size < rest.size()) {
            const auto [c, bytes] = code_point_at(rest, size);
            const bool joins = (c == '\'' || c == 0x2019 || c == '.' || c == ',') &&
                               size + bytes < rest.size() &&
                               script_of(code_point_at(rest, size + bytes).value) == Script::latin;
            if (script_of(c) != Script::latin && !joins) break;
            size += bytes;
        }
        const auto word = rest.substr(0, size);
        at_ += size;
        if (is_stop_word(word)) return;
        const bool number = word[0] >= '0' && word[0] <= '9';
        const double importance = is_weak_word(word) ? 0.3 : number ? 0.8 : 1.0;
        for_each_term(word, [&](std::string_view stemmed) { add(stemmed, importance); });
    }

    void read_run(std::string_view rest, Script script) {
        std::size_t size = 0, characters = 0;
        while (size < rest.size()) {
            const auto [c, bytes] = code_point_at(rest, size);
            if (script_of(c) != script ||
                (size > 0 && (synonym_prefix(rest.substr(size)) > 0 || c == U'何' || c == U'誰')))
                break;
            size += bytes;
            ++characters;
        }
        const bool verb = script == Script::han && characters == 1 && size < rest.size() &&
                          script_of(code_point_at(rest, size).value) == Script::hiragana;
        add(rest.substr(0, size), characters >= 2 ? 1.0 : verb ? 0.35 : 0.5);
        at_ += size;
    }

    Question& question_;
    const CorpusStats& corpus_;
    std::size_t at_ = 0;
};

}  // namespace

Question read_question(std::string_view text, const CorpusStats& corpus) {
    Question question;
    question.folded = fold(text);
    std::size_t cjk = 0, latin = 0;
    for (std::size_t at = 0; at < question.folded.size();) {
        const auto [c, bytes] = code_point_at(question.folded, at);
        cjk += is_cjk(c) ? 1U : 0U;
        latin += c < 0x80 && is_word(c) ? 1U : 0U;
        at += bytes;
    }
    question.japanese = cjk * 3 > latin;
    question.asked = asked_for(question.folded);
    Reader(question, corpus).read();
    return question;
}

MatchText::MatchText(std::string_view text) : folded_(fold(text)) {
    for_each_term(folded_, [&](std::string_view term) {
        if (!terms_.insert(hash_term(term)).second) return;
        if (static_cast<unsigned char>(term[0]) < 0x80) latin_.emplace_back(term);
    });
}

bool MatchText::holds_other(std::string_view other) const {
    if (static_cast<unsigned char>(other[0]) < 0x80) return terms_.contains(hash_term(other));
    return folded_.find(other) != std::string::npos;
}

double MatchText::match(const ContentWord& word) const {
    double found = 0, all = 0;
    for (const auto& [term, rarity] : word.parts) {
        all += rarity;
        if (terms_.contains(term)) found += rarity;
    }
    double best = all > 0 ? found / all : 0;
    if (best < k_synonym_match &&
        std::ranges::any_of(word.others, [&](const auto& other) { return holds_other(other); })) {
        best = k_synonym_match;
    }
    if (best == 0 && word.text.size() >= 5 && static_cast<unsigned char>(word.text[0]) < 0x80) {
        // approve, approval: a long common beginning
        for (const auto& other : latin_) {
            const auto common = static_cast<std::size_t>(
                std::ranges::mismatch(word.text, other).in1 - word.text.begin());
            if (common >= 5 && common * 10 >= std::max(word.text.size(), other.size()) * 6)
                best = std::max(best, 0.7);
        }
    }
    return best;
}

std::vector<double> match_words(const Question& question, const MatchText& text) {
    std::vector<double> out;
    out.reserve(question.words.size());
    for (const auto& word : question.words) out.push_back(text.match(word));
    return out;
}

double coverage(const Question& question, const std::vector<double>& matches) {
    if (question.weight <= 0) return 0;
    double sum = 0;
    for (std::size_t i = 0; i < matches.size(); ++i) sum += matches[i] * question.words[i].weight;
    return sum / question.weight;
}

}  // namespace millrace::domain::knowledge
