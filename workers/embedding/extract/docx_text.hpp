#pragma once
// What the elements of a Word document mean for its text. Fed by a SAX parser; knows nothing of XML
// libraries.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::workers::embedding::extract {

enum class Element : std::uint8_t {
    other,
    paragraph,       // w:p
    text,            // w:t, m:t
    tab,             // w:tab inside a run (elsewhere it describes a tab stop)
    line_break,      // w:br, w:cr
    page_break,      // w:br w:type="page", w:pageBreakBefore
    rendered_break,  // w:lastRenderedPageBreak
    hyphen,          // w:noBreakHyphen
    row,             // w:tr
    cell,            // w:tc
    skipped,  // w:moveFrom, w:del, w:rt (ruby), mc:Fallback: their text is elsewhere, or gone
    run,      // w:r
};

/// Paragraphs as lines, table rows as lines with tabs between the cells, page breaks as form feeds
/// after the paragraph that they fall into (a paragraph belongs to the page where it begins).
class DocxText {
 public:
    void begin(Element element);
    void end(Element element);
    void characters(std::string_view utf8);

    /// Bytes so far: the caller stops at its limit.
    [[nodiscard]] std::size_t size() const noexcept { return out_.size() + pending_bytes_; }
    /// What was read, balanced or not.
    [[nodiscard]] std::string take();

 private:
    void append(std::string_view text);
    void break_page();
    void emit(std::string line);

    struct Cells {  ///< a table row being read
        std::vector<std::string> done;
    };
    std::string out_;
    std::vector<std::string> paragraphs_;  ///< the open ones: a text box nests paragraphs
    std::vector<Cells> rows_;
    std::vector<std::string> cells_;  ///< the open ones
    std::size_t pending_bytes_ = 0;
    int skipping_ = 0, texts_ = 0, runs_ = 0;
    bool page_has_text_ = false;
    bool break_pending_ = false;
};

}  // namespace millrace::workers::embedding::extract
