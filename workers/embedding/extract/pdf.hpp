#pragma once
// What poppler's pdftotext says about a PDF, and what it does not say.

#include <filesystem>
#include <optional>
#include <string_view>

#include "workers/embedding/extract/refusal.hpp"

namespace millrace::workers::embedding::extract {

/// Whether the end-of-file marker (ISO 32000 §7.5.5) stands near the end. Without it poppler
/// guesses at what is left of a file, and half a document would be taken for a whole one.
[[nodiscard]] bool pdf_is_complete(const std::filesystem::path& file);

/// What a non-zero exit means; nullopt: nothing about the file.
[[nodiscard]] std::optional<Refusal> pdf_refusal(int exit_code, std::string_view messages) noexcept;

}  // namespace millrace::workers::embedding::extract
