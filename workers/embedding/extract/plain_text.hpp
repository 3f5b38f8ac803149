#pragma once
// TXT in the encodings that Japanese and Western customers have → UTF-8.

#include <string>
#include <string_view>

#include "workers/embedding/extract/refusal.hpp"

namespace millrace::workers::embedding::extract {

/// A byte order mark decides; then UTF-8 if valid; then ISO-2022-JP by its escapes; then Shift_JIS
/// (CP932) or EUC-JP, whichever decodes, and reads more like Japanese if both do. Binary data are
/// refused.
[[nodiscard]] Parsed<std::string> read_plain_text(std::string_view file);

}  // namespace millrace::workers::embedding::extract
