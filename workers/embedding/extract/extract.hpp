#pragma once
// A document's text, read in the sandbox: pdftotext for PDF, millrace-extract for the rest. The
// caller's side.

#include <filesystem>
#include <string>
#include <vector>

#include "shared/domain/knowledge/chunker.hpp"
#include "shared/sandbox/sandbox.hpp"

namespace millrace::workers::embedding::extract {

struct Programs {
    std::filesystem::path extract;  ///< millrace-extract
    std::filesystem::path pdftotext = "/usr/bin/pdftotext";
};

struct Document {
    std::string title;  ///< as the file says; may be empty
    std::vector<domain::knowledge::Page> pages;
};

/// `file_type` is pdf, docx or txt. `invalid` with a reason ("PDF_ENCRYPTED") when the file can
/// never be read; whatever the sandbox says otherwise.
Task<Result<Document>> extract(sandbox::Sandbox& sandbox, Programs programs,
                               std::filesystem::path file, std::string file_type,
                               Deadline deadline);

}  // namespace millrace::workers::embedding::extract
