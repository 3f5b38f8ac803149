#pragma once
// Addresses and markup in what a language model says, found as a browser or a Markdown renderer
// would find them, spelled in full or half width [engineering S14]. Pure, any thread.

#include <cstddef>
#include <optional>
#include <string_view>

namespace millrace::domain::knowledge {

struct Address {
    std::size_t begin = 0;  ///< it goes on to the end of the word
    bool may_pass = true;   ///< false: it runs or carries content itself (javascript:, data:)
    bool is_email = false;
};

/// The first address in a word (text without white space): with a scheme, `//host`, `www.`, an
/// e-mail address, or a host name with a path or query.
[[nodiscard]] std::optional<Address> find_address(std::string_view word);

/// Whether `<content>` is an element that a browser would load, run or lay out; `<Enter>` and
/// `List<String>` are text.
[[nodiscard]] bool is_markup(std::string_view content);

/// Whether a word ends before this character: white space, quotation marks, closing brackets, and
/// the characters of languages that write no spaces. Full-width forms of ASCII do not end it.
[[nodiscard]] bool ends_word(char32_t c) noexcept;

/// Punctuation that follows an address and is no part of it.
[[nodiscard]] constexpr bool is_trailing(char c) noexcept {
    return std::string_view(".,;:!?").find(c) != std::string_view::npos;
}

}  // namespace millrace::domain::knowledge
