#include "shared/domain/knowledge/chunker.hpp"

#include <algorithm>
#include <string_view>

#include "shared/domain/knowledge/normalize.hpp"
#include "shared/domain/knowledge/sentences.hpp"

namespace millrace::domain::knowledge {
namespace {

constexpr std::size_t k_unit = 10;       // a CJK character
constexpr std::size_t k_latin_unit = 6;  // any other
constexpr std::size_t k_overlap_sentences_max = 2;

/// A sentence, or a part of one that is too long for a chunk.
struct Piece {
    std::size_t page;  // index
    std::uint32_t begin, end;
    std::size_t size;  // units
    bool opens_paragraph, heading;
};

std::size_t units(char32_t c) {
    return is_cjk(c) || (c >= 0x3000 && c <= 0x303F) || c >= 0xFF00 ? k_unit : k_latin_unit;
}

bool is_clause_end(char32_t c) {
    return c == U'、' || c == U'，' || c == ',' || c == ';' || c == ':' || is_space(c);
}

/// Cuts a sentence into parts of at most `max` units, at the last clause end or space where there
/// is one in the later half.
void cut(std::string_view text, const Sentence& sentence, std::size_t page, std::size_t max,
         std::vector<Piece>& out) {
    std::uint32_t begin = sentence.begin, clause = sentence.begin;
    std::size_t size = 0, size_at_clause = 0;
    bool first = true;
    const auto close = [&](std::uint32_t end, std::size_t taken) {
        out.push_back({page, begin, end, taken, first && sentence.opens_paragraph,
                       first && sentence.heading});
        first = false;
        begin = end;
        size -= taken;
        size_at_clause = 0;
    };
    for (std::uint32_t at = sentence.begin; at < sentence.end;) {
        const auto [c, bytes] = code_point_at(text, at);
        if (size + units(c) > max) {
            if (size_at_clause * 2 > max) {
                close(clause, size_at_clause);
            } else {
                close(at, size);
            }
        }
        size += units(c);
        at += bytes;
        if (is_clause_end(c)) {
            clause = at;
            size_at_clause = size;
        }
    }
    if (begin < sentence.end) close(sentence.end, size);
}

/// Hard-wrapped sentences on one line each: a PDF breaks lines where its paper ends, between any
/// two CJK characters.
std::string unwrapped(std::string_view text) {
    std::string out;
    std::size_t done = 0;
    for (const auto& sentence : split_sentences(text)) {
        out += text.substr(done, sentence.begin - done);
        for (std::size_t at = sentence.begin; at < sentence.end;) {
            const auto [c, bytes] = code_point_at(text, at);
            if (c != '\n') {
                out += text.substr(at, bytes);
            } else if (at + 1 < sentence.end && !is_cjk(code_point_at(text, at + 1).value)) {
                out += ' ';
            }
            at += bytes;
        }
        done = sentence.end;
    }
    return out += text.substr(done);
}

std::vector<Piece> pieces_of(std::span<const std::string> pages, std::size_t max) {
    std::vector<Piece> out;
    for (std::size_t page = 0; page < pages.size(); ++page) {
        for (const auto& sentence : split_sentences(pages[page]))
            cut(pages[page], sentence, page, max, out);
    }
    return out;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty()) {
        const auto [c, bytes] = code_point_at(text, 0);
        if (!is_space(c)) break;
        text.remove_prefix(bytes);
    }
    while (!text.empty() && is_space(static_cast<unsigned char>(text.back())))
        text.remove_suffix(1);
    while (text.ends_with("　")) text.remove_suffix(3);
    return text;
}

/// The text of pieces [first, last), which follow each other.
std::string text_of(std::span<const std::string> pages, std::span<const Piece> pieces) {
    std::string out;
    for (std::size_t i = 0; i < pieces.size();) {
        std::size_t j = i;
        while (j + 1 < pieces.size() && pieces[j + 1].page == pieces[i].page) ++j;
        if (!out.empty()) out += '\n';
        out += trimmed(std::string_view(pages[pieces[i].page])
                           .substr(pieces[i].begin, pieces[j].end - pieces[i].begin));
        i = j + 1;
    }
    return out;
}

/// Where the chunk that begins at `first` ends.
std::size_t end_of_chunk(std::span<const Piece> pieces, std::size_t first, std::size_t target) {
    std::size_t size = 0, at = first, paragraph = first;
    while (at < pieces.size() && (at == first || size + pieces[at].size <= target)) {
        if (at > first && pieces[at].opens_paragraph && size * 2 >= target) paragraph = at;
        size += pieces[at].size;
        ++at;
    }
    if (at == pieces.size()) return at;
    if (!pieces[at].opens_paragraph && paragraph > first) at = paragraph;
    while (at > first + 1 && pieces[at - 1].heading) --at;  // a heading goes with what follows it
    return at;
}

std::size_t with_overlap(std::span<const Piece> pieces, std::size_t first, std::size_t end,
                         std::size_t overlap) {
    if (pieces[end].heading) return end;  // a new section
    std::size_t begin = end, size = 0;
    while (begin > first + 1 && end - begin < k_overlap_sentences_max &&
           size + pieces[begin - 1].size <= overlap) {
        --begin;
        size += pieces[begin].size;
    }
    return begin;
}

}  // namespace

std::vector<Chunk> split_chunks(std::span<const Page> pages, const ChunkOptions& options) {
    std::vector<std::string> texts;
    texts.reserve(pages.size());
    for (const Page& page : pages) texts.push_back(unwrapped(clean_text(page.text)));
    // A piece plus the overlap before it must fit into a chunk.
    const auto pieces = pieces_of(texts, (options.hard_max - options.overlap) * k_unit);
    std::size_t all = 0;
    for (const Piece& piece : pieces) all += piece.size;
    const std::size_t target =
        (all <= options.hard_max * k_unit ? options.hard_max : options.target) * k_unit;

    std::vector<Chunk> out;
    for (std::size_t first = 0, fresh = 0;
         fresh < pieces.size() && out.size() < options.chunks_max;) {
        auto end = end_of_chunk(pieces, first, target);
        if (end <= fresh)
            end = fresh +
                  1;  // the overlap left no room below the target: take one piece all the same
        const auto members = std::span(pieces).subspan(first, end - first);
        out.push_back({static_cast<std::int32_t>(out.size()), pages[members.front().page].number,
                       pages[members.back().page].number, text_of(texts, members)});
        fresh = end;
        if (end < pieces.size()) first = with_overlap(pieces, first, end, options.overlap * k_unit);
    }
    return out;
}

}  // namespace millrace::domain::knowledge
