#pragma once
// Which uploads are taken: the name's extension and the first bytes must agree [engineering S12].
// No I/O; the thorough look happens in the extractor's sandbox.

#include <cstdint>
#include <string>
#include <string_view>

#include "shared/base/result.hpp"

namespace millrace::domain::knowledge {

enum class FileType : std::uint8_t { pdf, docx, txt };

inline constexpr std::uint64_t k_upload_bytes_max = 100ULL << 20;
/// detect() needs the first so many bytes, or the whole file if it is shorter.
inline constexpr std::size_t k_detect_bytes = 4096;
inline constexpr std::size_t k_file_name_bytes_max = 255;

/// "pdf", "docx", "txt": as the contract and the database spell it.
[[nodiscard]] std::string_view to_string(FileType type) noexcept;
/// `invalid` for anything else.
[[nodiscard]] Result<FileType> parse_file_type(std::string_view text);

/// `invalid` (field "file") when the extension is not allowed, or the bytes are not what the
/// extension says.
[[nodiscard]] Result<FileType> detect(std::string_view first_bytes, std::string_view file_name);

/// A client's file name made fit to show and to store: its last path segment, valid UTF-8, no
/// control or invisible characters, at most k_file_name_bytes_max bytes, the extension kept. Never
/// used as a path.
[[nodiscard]] std::string display_name(std::string_view client_name);

}  // namespace millrace::domain::knowledge
