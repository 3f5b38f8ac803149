#pragma once
// A tenant's dense vectors in memory, compared one by one: exact, and as fast as memory is read.
// Two bytes per dimension. One thread writes; const calls may run on several threads while nobody
// writes.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "shared/base/uuid.hpp"
#include "shared/domain/knowledge/bm25.hpp"

namespace millrace::domain::knowledge {

class VectorIndex {
 public:
    struct Chunk {
        std::int32_t index = 0;
        std::string_view halves;  ///< of length 1, as PostgreSQL sends a halfvec
    };
    using FileFilter = Bm25Index::FileFilter;

    explicit VectorIndex(std::size_t dimensions) : dimensions_(dimensions) {}

    /// Adds a document, or replaces it. Chunks of other dimensions are left out.
    void add_document(base::FileId file, std::span<const Chunk> chunks);
    /// Unknown ones are ignored.
    void remove_documents(std::span<const base::FileId> files);

    /// The k chunks whose vectors point most nearly where `query` does, best first; their score is
    /// the cosine when `query` is of length 1.
    [[nodiscard]] std::vector<Retrieved> top_k(std::span<const float> query, std::size_t k,
                                               const FileFilter& accept = {}) const;

    [[nodiscard]] std::size_t dimensions() const noexcept { return dimensions_; }
    [[nodiscard]] std::size_t chunk_count() const noexcept {
        return slots_.size() - free_slots_.size();
    }
    [[nodiscard]] std::size_t memory() const noexcept;

 private:
    struct Slot {
        std::uint32_t document = 0;  ///< into files_
        std::int32_t chunk_index = 0;
        bool used = false;
    };
    struct Document {
        std::uint32_t number;
        std::vector<std::uint32_t> slots;
    };

    std::size_t dimensions_;
    std::vector<std::uint16_t> halves_;  ///< dimensions_ of each slot
    std::vector<Slot> slots_;
    std::vector<std::uint32_t> free_slots_;
    std::vector<base::FileId> files_;
    std::vector<std::uint32_t> free_files_;
    std::unordered_map<base::FileId, Document> documents_;
};

/// Σ a·b of `size` elements, b in IEEE half precision.
[[nodiscard]] float inner_product(const float* a, const std::uint16_t* b,
                                  std::size_t size) noexcept;

}  // namespace millrace::domain::knowledge
