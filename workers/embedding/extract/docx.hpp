#pragma once
// DOCX (ECMA-376, WordprocessingML) → text. Only three or four parts are unpacked; XML is read as a
// stream without DTD, entities or network.

#include <string>
#include <string_view>

#include "workers/embedding/extract/refusal.hpp"

namespace millrace::workers::embedding::extract {

struct ExtractedText {
    std::string title;  ///< one line; may be empty
    std::string pages;  ///< separated by form feeds
};

/// `file` is the whole archive. Pages are those of Word's last layout where it wrote them down, and
/// of explicit page breaks.
[[nodiscard]] Parsed<ExtractedText> read_docx(std::string_view file);

}  // namespace millrace::workers::embedding::extract
