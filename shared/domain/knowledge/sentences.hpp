#pragma once
// Sentence boundaries of Japanese and English text. Pure functions, any thread.

#include <cstdint>
#include <string_view>
#include <vector>

namespace millrace::domain::knowledge {

struct Sentence {
    std::uint32_t begin = 0, end = 0;  ///< bytes, without surrounding white space; never empty
    bool opens_paragraph = false;      ///< a line of its own begins here
    bool heading = false;  ///< a short line without closing punctuation that more text follows
};

/// Sentences in order. Text between them is white space. Line breaks inside a sentence
/// (hard-wrapped text) do not end it; brackets and quotation marks are not broken unless the
/// sentence would become very long.
[[nodiscard]] std::vector<Sentence> split_sentences(std::string_view text);

}  // namespace millrace::domain::knowledge
