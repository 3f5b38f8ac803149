#pragma once
// Text as it leaves the sandbox: the title on the first line, then the pages, separated by form
// feeds.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::workers::embedding::extract {

inline constexpr std::size_t k_text_bytes_max = 10UL << 20;
inline constexpr char k_page_break = '\f';

/// Appends `text`, which must be valid UTF-8, in our spelling: line feeds only; no control
/// characters but tab and line feed; no byte order marks, noncharacters or invisible direction
/// controls.
void append_clean(std::string& to, std::string_view text);

/// Valid UTF-8 from anything: what is invalid is left out.
[[nodiscard]] std::string keep_valid_utf8(std::string_view bytes);

/// Cuts at page breaks; what follows the last one counts only if it is not empty.
[[nodiscard]] std::vector<std::string_view> split_pages(std::string_view text);

/// Whether there is anything but white space (the ideographic space included).
[[nodiscard]] bool has_text(std::string_view text);

}  // namespace millrace::workers::embedding::extract
