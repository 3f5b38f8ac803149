#pragma once
// What the local answerer knows about Japanese and English: words that carry no content, words that
// mean much the same, and what kind of answer a question word asks for. All strings are folded.
// Pure functions, any thread.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::domain::knowledge {

/// An English word (not stemmed) that says nothing about the subject of a question.
[[nodiscard]] bool is_stop_word(std::string_view word);
/// A word that is in every second question or document and says little about the subject: "方法",
/// "場合", "get".
[[nodiscard]] bool is_weak_word(std::string_view word);
/// Length in bytes of the Japanese grammar or question phrase that `text` begins with, or 0.
[[nodiscard]] std::size_t function_phrase(std::string_view text);

/// Length in bytes of the longest Japanese word with synonyms that `text` begins with, or 0.
[[nodiscard]] std::size_t synonym_prefix(std::string_view text);
/// Words that may stand for `word`: Japanese ones as written, English ones as stems. Without the
/// word itself.
[[nodiscard]] std::vector<std::string> synonyms(std::string_view word);

/// What the answer must hold besides the subject.
enum class Asked { anything, time, number, money, phone, mail };
[[nodiscard]] Asked asked_for(std::string_view folded_question);
/// Whether folded text holds something of that kind.
[[nodiscard]] bool holds(Asked what, std::string_view folded_text);

}  // namespace millrace::domain::knowledge
