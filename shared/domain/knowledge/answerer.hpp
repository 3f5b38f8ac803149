#pragma once
// Answers without a language model: sentences quoted from the passages that a search found, each
// run of them followed by the mark of its passage, [1] for the first. What the passages do not
// answer is refused. Pure functions, any thread.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shared/domain/knowledge/question.hpp"

namespace millrace::domain::knowledge {

/// A retrieved chunk, best first; its number in marks is its position + 1.
struct Passage {
    std::string_view title, text;
};

/// Whether the passages answer the question, judged by words alone.
struct Relevance {
    double confidence = 0;  ///< 0…1, calibrated on labelled questions
    // What it was judged by, each 0…1:
    double passage_coverage = 0;   ///< share of the question's content that the best passage holds
    double sentence_coverage = 0;  ///< … that one sentence with its context holds
    double missing =
        0;  ///< share of the question's weight in its heaviest word that this context lacks
    double kind_missing = 0;  ///< 1: a time, number, price … was asked for and the context has none
    [[nodiscard]] bool answerable(double threshold) const noexcept {
        return confidence >= threshold;
    }
};

struct AnswerOptions {
    std::size_t characters_max = 300;  ///< of the whole answer, marks included
    std::size_t tokens_max = 500;      ///< estimated: one per CJK character, one per four others
    std::size_t passages_max = 5;      ///< later ones are not looked at
    double threshold = 0.5;            ///< of confidence, below which the question is refused
};

/// A quotation with its mark. An answer is the concatenation of its pieces, so they can be streamed
/// one by one.
struct AnswerPiece {
    std::string text;         ///< what the reader sees: the quotation and "[n]"
    std::size_t passage = 0;  ///< index of the cited passage
    std::string quote;        ///< exact bytes of that passage
};

struct LocalAnswer {
    bool refused = true;
    Relevance relevance;
    std::vector<AnswerPiece> pieces;  ///< one without quote when refused
    [[nodiscard]] std::string text() const;
};

[[nodiscard]] Relevance judge(const Question& question, std::span<const Passage> passages,
                              std::size_t passages_max = 5);

[[nodiscard]] LocalAnswer answer_locally(std::string_view question,
                                         std::span<const Passage> passages,
                                         const CorpusStats& corpus,
                                         const AnswerOptions& options = {});

/// "The documents do not answer this." in the question's language.
[[nodiscard]] std::string_view refusal(bool japanese) noexcept;

}  // namespace millrace::domain::knowledge
