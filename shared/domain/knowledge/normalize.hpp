#pragma once
// Text as it is stored, and text as it is compared. Pure functions, any thread.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::domain::knowledge {

/// One code point of UTF-8 at `at` and its length; malformed bytes read as U+FFFD, one byte each.
struct CodePoint {
    char32_t value;
    std::uint32_t bytes;
};
[[nodiscard]] CodePoint code_point_at(std::string_view text, std::size_t at) noexcept;
void append_utf8(std::string& out, char32_t code_point);

/// Han, kana (with the prolonged sound mark) and Hangul: text without spaces between words.
[[nodiscard]] bool is_cjk(char32_t c) noexcept;
[[nodiscard]] bool is_han(char32_t c) noexcept;
[[nodiscard]] bool is_hiragana(char32_t c) noexcept;
[[nodiscard]] bool is_katakana(char32_t c) noexcept;
/// A letter or digit of any script.
[[nodiscard]] bool is_word(char32_t c) noexcept;
[[nodiscard]] bool is_space(char32_t c) noexcept;

/// Control (but for the line feed), zero-width, bidirectional, tag and variation-selector
/// characters: they hide text from a reader.
[[nodiscard]] bool is_invisible(char32_t c) noexcept;

/// What is stored at ingest: valid UTF-8 with line feeds only, without invisible characters
/// [S14]. Newlines stay, tabs become spaces.
[[nodiscard]] std::string clean_text(std::string_view text);

/// Text under NFKC and case folding, with the way back: byte i of `text` came from the source
/// character (with its combining marks) that spans [begin[i], end[i]). Both vectors are as long as
/// `text`.
struct Folded {
    std::string text;
    std::vector<std::uint32_t> begin, end;
};
[[nodiscard]] Folded fold_with_origin(std::string_view text);
/// The same text without the way back.
[[nodiscard]] std::string fold(std::string_view text);

}  // namespace millrace::domain::knowledge
