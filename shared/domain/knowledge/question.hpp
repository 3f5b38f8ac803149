#pragma once
// A question taken apart into the words that carry its content, and how much of them a text holds.
// Pure, any thread.

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "shared/domain/knowledge/lexicon.hpp"
#include "shared/domain/knowledge/tokenizer.hpp"

namespace millrace::domain::knowledge {

/// How often a term occurs where the question is asked: Bm25Index::chunk_count() and chunks_with().
struct CorpusStats {
    std::size_t chunks = 0;
    std::function<std::size_t(Term)> chunks_with;  ///< may be empty: nothing is known
};

/// One content word of a question.
struct ContentWord {
    struct Part {
        Term term;  ///< a character pair of a CJK word, a single character, or the whole of another
                    ///< word
        double rarity;  ///< idf, with a prior so that it means something in a corpus of ten chunks
    };
    std::string text;  ///< folded; stemmed if English
    std::vector<Part> parts;
    std::vector<std::string> others;  ///< synonyms
    double weight = 0;
    bool strong =
        false;  ///< a name, number, code or noun compound: an answer can hardly do without it
};

struct Question {
    std::string folded;
    bool japanese = false;
    Asked asked = Asked::anything;
    std::vector<ContentWord> words;
    double weight = 0;  ///< of all words
};

[[nodiscard]] Question read_question(std::string_view text, const CorpusStats& corpus);

/// A text that questions are compared with.
class MatchText {
 public:
    explicit MatchText(std::string_view text);
    /// 0…1: how much of the word the text holds; a synonym counts 0.85.
    [[nodiscard]] double match(const ContentWord& word) const;
    [[nodiscard]] const std::string& folded() const noexcept { return folded_; }

 private:
    [[nodiscard]] bool holds_other(std::string_view other) const;

    std::string folded_;
    std::unordered_set<Term> terms_;
    std::vector<std::string> latin_;  ///< stems
};

/// Per word of the question, how much of it the text holds.
[[nodiscard]] std::vector<double> match_words(const Question& question, const MatchText& text);
/// Weighted mean of matches; 0 for a question without content words.
[[nodiscard]] double coverage(const Question& question, const std::vector<double>& matches);

}  // namespace millrace::domain::knowledge
