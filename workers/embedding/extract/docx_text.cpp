#include "workers/embedding/extract/docx_text.hpp"

#include <utility>

#include "workers/embedding/extract/page_text.hpp"

namespace millrace::workers::embedding::extract {

void DocxText::begin(Element element) {
    if (skipping_ > 0 || element == Element::skipped) {
        skipping_ += element == Element::skipped ? 1 : 0;
        return;
    }
    switch (element) {
        case Element::paragraph:
            paragraphs_.emplace_back();
            break;
        case Element::text:
            ++texts_;
            break;
        case Element::run:
            ++runs_;
            break;
        case Element::tab:
            if (runs_ > 0) append("\t");
            break;
        case Element::line_break:
            append("\n");
            break;
        case Element::hyphen:
            append("-");
            break;
        case Element::page_break:
        case Element::rendered_break:
            break_page();
            break;
        case Element::row:
            rows_.emplace_back();
            break;
        case Element::cell:
            cells_.emplace_back();
            break;
        case Element::skipped:
        case Element::other:
            break;
    }
}

void DocxText::end(Element element) {
    if (element == Element::skipped) {
        --skipping_;
        return;
    }
    if (skipping_ > 0) return;
    switch (element) {
        case Element::text:
            --texts_;
            break;
        case Element::run:
            --runs_;
            break;
        case Element::paragraph: {
            auto line = std::move(paragraphs_.back());
            paragraphs_.pop_back();
            emit(std::move(line));
            break;
        }
        case Element::cell: {
            auto cell = std::move(cells_.back());
            cells_.pop_back();
            if (rows_.empty()) {
                emit(std::move(cell));
            } else {
                rows_.back().done.push_back(std::move(cell));
            }
            break;
        }
        case Element::row: {
            std::string line;
            for (std::size_t i = 0; i < rows_.back().done.size(); ++i) {
                if (i > 0) line += '\t';
                line += rows_.back().done[i];
            }
            rows_.pop_back();
            emit(std::move(line));
            break;
        }
        default:
            break;
    }
}

void DocxText::characters(std::string_view utf8) {
    if (skipping_ == 0 && texts_ > 0) append(utf8);
}

void DocxText::append(std::string_view text) {
    if (paragraphs_.empty()) return;
    const auto before = paragraphs_.back().size();
    append_clean(paragraphs_.back(), text);
    pending_bytes_ += paragraphs_.back().size() - before;
}

/// Word marks a break in the run, and again where its layout began the new page: only the first of
/// them counts.
void DocxText::break_page() {
    const bool inside = !cells_.empty() || (!paragraphs_.empty() && has_text(paragraphs_.back()));
    if (inside) {
        break_pending_ = true;
    } else if (page_has_text_) {
        out_ += k_page_break;
        page_has_text_ = false;
    }
}

/// A finished line goes to the cell around it, or else to the page.
void DocxText::emit(std::string line) {
    if (!cells_.empty()) {
        auto& cell = cells_.back();
        if (!cell.empty() && !line.empty()) cell += ' ';
        for (const char c : line) cell += c == '\n' ? ' ' : c;
        return;
    }
    pending_bytes_ = 0;
    page_has_text_ |= has_text(line);
    out_ += line;
    out_ += '\n';
    if (std::exchange(break_pending_, false)) break_page();
}

std::string DocxText::take() {
    while (!paragraphs_.empty()) end(Element::paragraph);
    return std::exchange(out_, {});
}

}  // namespace millrace::workers::embedding::extract
