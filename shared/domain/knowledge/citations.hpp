#pragma once
// What a language model says, checked as it streams: a citation goes through only if the bytes that
// it quotes stand in the passage that it names, and no link or image goes through that the passages
// do not hold [engineering S14, S15]. Text is held back until it has been checked and is never
// rewritten afterwards. Pure, any thread.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shared/domain/knowledge/answerer.hpp"

namespace millrace::domain::knowledge {

/// A citation that was verified.
struct Citation {
    std::size_t passage = 0;  ///< index; its mark is [passage + 1]
    std::string quote;        ///< what was found there
};

/// Whether the passage holds the quotation: the same text once widths, case and white space are
/// folded, at least three characters.
[[nodiscard]] bool holds_quote(const Passage& passage, std::string_view quote);
/// Whether the passage supports a sentence: it has two terms or more, and
/// at least 0.9 of them stand in the text (anybody
/// can write a title).
[[nodiscard]] bool supports(const Passage& passage, std::string_view sentence);

/// Understands `[2: "quoted text"]`, and plain `[2]` or `[1, 2]`, which cite the text between
/// quotation marks in the sentence before them, or else that whole sentence. Verified marks come
/// out as `[2]`; the others do not come out at all. Nor do images, HTML elements, invisible
/// characters, and addresses that the passages do not show, in whatever syntax; a link becomes text
/// with its address behind it. Spaces are added where pieces would make a link together.
class CitationFilter {
 public:
    /// `passages` outlive the filter.
    explicit CitationFilter(std::span<const Passage> passages) : passages_(passages) {}

    struct Out {
        std::string text;
        std::vector<Citation> citations;  ///< whose marks end this text
    };
    /// The output does not depend on how the input was split.
    [[nodiscard]] std::vector<Out> push(std::string_view delta);
    /// What was held back at the end of the model's answer.
    [[nodiscard]] std::vector<Out> finish();

    [[nodiscard]] std::size_t refused() const noexcept {
        return refused_;
    }  ///< marks, links and images that did not go through

 private:
    struct Mark;
    void take_raw(bool last);
    std::vector<Out> drain(bool last);
    bool read_bracket(bool last);
    bool read_image(bool last);
    bool read_link(bool image, bool last);
    bool read_tag(bool last);
    bool read_word(bool last);
    void say_between();
    void cite(const Mark& mark);
    void say(std::string_view text);
    void say_word(std::string_view word);
    void keep_apart(std::string_view next);
    void drop(std::size_t bytes);
    void consume(std::size_t bytes) { pending_.erase(0, bytes); }
    [[nodiscard]] bool may_pass(std::string_view url) const;
    [[nodiscard]] std::string claim() const;

    std::span<const Passage> passages_;
    std::string raw_;                               ///< the beginning of a character
    std::string pending_;                           ///< not yet checked
    std::string said_;                              ///< the end of what went out, without marks
    char32_t last_ = U' ';                          ///< the last character that went out
    bool after_address_ = false, dropped_ = false;  ///< … was the end of one, something dropped
    std::vector<Out> out_;
    std::size_t refused_ = 0;
};

}  // namespace millrace::domain::knowledge
