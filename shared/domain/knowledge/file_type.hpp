#pragma once
// What an upload may be: extension and first bytes must agree (contract knowledge.md §5.2, engineering S12).

#include <string>
#include <string_view>

#include "shared/base/result.hpp"

namespace millrace::domain::knowledge {

enum class FileType : std::uint8_t { pdf, txt, docx };
[[nodiscard]] std::string_view to_string(FileType type) noexcept;

/// `head`: the first bytes of the file, 4 KiB are enough. `invalid`, naming the field `file`, with reason FILE_TYPE.
[[nodiscard]] Result<FileType> detect(std::string_view head, std::string_view file_name);

/// The last segment of whatever path a client sent, without control characters, at most 255 bytes; "unnamed" when nothing is
/// left. For showing only: nothing is ever opened by it.
[[nodiscard]] std::string display_name(std::string_view sent);

}  // namespace millrace::domain::knowledge
