#pragma once
// UTF-8 at the boundaries: validity, lengths in characters, and cutting without breaking one.

#include <cstddef>
#include <string_view>

namespace millrace::base {

/// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
[[nodiscard]] bool is_valid_utf8(std::string_view text) noexcept;
/// Code points in valid UTF-8.
[[nodiscard]] std::size_t utf8_length(std::string_view text) noexcept;
/// The longest prefix of at most `bytes_max` bytes that does not end inside a character.
[[nodiscard]] std::string_view utf8_prefix(std::string_view text, std::size_t bytes_max) noexcept;

}  // namespace millrace::base
