#pragma once
// Text at the boundaries: UTF-8 validity, lengths in characters, cutting without breaking one,
// case.

#include <cstddef>
#include <string>
#include <string_view>

namespace millrace::base {

/// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
[[nodiscard]] bool is_valid_utf8(std::string_view text) noexcept;
/// Code points in valid UTF-8.
[[nodiscard]] std::size_t utf8_length(std::string_view text) noexcept;
/// The longest prefix of at most `bytes_max` bytes that does not end inside a character.
[[nodiscard]] std::string_view utf8_prefix(std::string_view text, std::size_t bytes_max) noexcept;
/// Without the spaces and tabs around it (optional white space of RFC 9110 §5.6.3).
[[nodiscard]] std::string_view trim(std::string_view text) noexcept;
/// A to Z only; every other byte stays.
[[nodiscard]] std::string ascii_lower(std::string_view text);
/// For text and quoted attributes of HTML.
[[nodiscard]] std::string html_escape(std::string_view text);

}  // namespace millrace::base
