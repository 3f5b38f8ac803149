#pragma once
// Pages of text → chunks: whole sentences, a small overlap, page numbers kept. Pure functions, any
// thread.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace millrace::domain::knowledge {

struct Page {
    std::int32_t number = 1;
    std::string text;
};

struct Chunk {
    std::int32_t index = 0;
    std::int32_t page_first = 1, page_last = 1;
    std::string text;  ///< cleaned (clean_text), sentences unwrapped, trimmed; text of different
                       ///< pages is joined with a newline
};

/// Sizes in CJK characters; a character of another script counts 0.6 of one, because it says less.
struct ChunkOptions {
    std::size_t target = 600;    ///< a chunk is closed when the next sentence would exceed this
                                 ///< (1,000 Latin characters)
    std::size_t hard_max = 900;  ///< no chunk is larger; a document up to this size is one chunk
    std::size_t overlap = 80;    ///< at most, in whole sentences, repeated from the chunk before
    std::size_t chunks_max = 100'000;
};

/// White space only gives no chunks. A heading goes with what follows it.
[[nodiscard]] std::vector<Chunk> split_chunks(std::span<const Page> pages,
                                              const ChunkOptions& options = {});

}  // namespace millrace::domain::knowledge
