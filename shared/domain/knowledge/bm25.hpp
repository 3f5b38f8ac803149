#pragma once
// An exact BM25 index of one tenant's chunks in memory: built from stored terms, kept up to date
// document by document. One thread writes; const calls may run on several threads while nobody
// writes. About 4 bytes per posting.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "shared/base/uuid.hpp"
#include "shared/domain/knowledge/tokenizer.hpp"

namespace millrace::domain::knowledge {

/// A chunk that a search found.
struct Retrieved {
    base::FileId file;
    std::int32_t chunk_index = 0;
    double score = 0;     ///< BM25, or the fused score; only its order means anything
    double coverage = 0;  ///< share of the question's idf-weighted terms that the chunk holds, 0…1:
                          ///< comparable across corpora
};

struct Bm25Options {
    double k1 = 0.6, b = 0.5;  ///< best of a grid on jsquad with these query weights (0.9 and 0.4:
                               ///< 0.3 points of nDCG less)
    std::size_t query_terms_max = 512;  ///< the rarest are kept
};

class Bm25Index {
 public:
    struct Chunk {
        std::int32_t index = 0;
        TermCounts terms;
    };
    using FileFilter = std::function<bool(const base::FileId&)>;

    explicit Bm25Index(Bm25Options options = {}) : options_(options) {}

    /// Adds a document, or replaces it.
    void add_document(base::FileId file, std::span<const Chunk> chunks);
    /// Unknown ones are ignored. What they leave behind is cleared away once it is a quarter of the
    /// index, in one pass (tens of milliseconds at 20,000 chunks): replacing all documents one by
    /// one costs a few passes, not one each.
    void remove_documents(std::span<const base::FileId> files);
    void remove_document(base::FileId file) { remove_documents(std::span(&file, 1)); }

    /// The k best chunks that hold at least one of the terms, best first; equal scores by file,
    /// then chunk. `accept` (may be empty) is asked once per candidate that could be among the
    /// best.
    [[nodiscard]] std::vector<Retrieved> top_k(std::span<const QueryTerm> query, std::size_t k,
                                               const FileFilter& accept = {}) const;

    [[nodiscard]] std::size_t chunk_count() const noexcept { return live_; }
    [[nodiscard]] bool contains(base::FileId file) const { return documents_.contains(file); }
    /// How many chunks hold the term.
    [[nodiscard]] std::size_t chunks_with(Term term) const noexcept;
    /// Bytes allocated, about.
    [[nodiscard]] std::size_t memory() const noexcept;

 private:
    using Posting = std::uint32_t;  ///< slot << 8 | min(count, 255)
    /// The postings of a term; up to two live in the struct itself, as most terms are rare.
    class Postings {
     public:
        Postings() noexcept : inline_{} {}
        Postings(Postings&& other) noexcept;
        Postings& operator=(Postings&& other) noexcept;
        ~Postings();
        void push(Posting posting);
        void resize_down(std::uint32_t size) noexcept { size_ = size; }
        [[nodiscard]] std::span<Posting> all() noexcept { return {data(), size_}; }
        [[nodiscard]] std::span<const Posting> all() const noexcept {
            return {const_cast<Postings*>(this)->data(), size_};
        }
        [[nodiscard]] std::size_t heap_bytes() const noexcept {
            return capacity_ > 2 ? capacity_ * sizeof(Posting) : 0;
        }

     private:
        [[nodiscard]] Posting* data() noexcept { return capacity_ > 2 ? heap_ : inline_; }
        union {
            Posting inline_[2];
            Posting* heap_;
        };
        std::uint32_t size_ = 0, capacity_ = 2;
    };
    struct Entry {
        Term term = 0;
        bool used = false;
        Postings postings;
    };
    struct Slot {
        std::uint32_t document = 0;  ///< into files_
        std::int32_t chunk_index = 0;
        std::uint32_t length = 0;  ///< terms, with repetition; 0 for a dead or free slot
    };
    struct Document {
        std::uint32_t number;
        std::vector<std::uint32_t> slots;
    };

    void purge();
    [[nodiscard]] std::size_t live_postings(const Entry& entry) const noexcept;
    [[nodiscard]] const Entry* find(Term term) const noexcept;
    Entry& find_or_add(Term term);
    void grow();
    [[nodiscard]] std::uint32_t take_slot();
    [[nodiscard]] double idf(std::size_t chunks_with_term) const noexcept;
    void accumulate(const Entry& entry, double weight, double idf, std::span<const float> norms,
                    std::span<float> scores, std::span<float> coverage) const;
    [[nodiscard]] std::vector<Retrieved> best(std::span<const float> scores,
                                              std::span<const float> coverage, double weight_all,
                                              std::size_t k, const FileFilter& accept) const;

    Bm25Options options_;
    std::vector<Entry> table_;  ///< open addressing, a power of two
    std::size_t terms_ = 0;
    std::vector<Slot> slots_;
    std::vector<std::uint32_t> free_slots_;
    std::vector<std::uint32_t> dead_slots_;  ///< postings still point at them
    std::vector<base::FileId> files_;
    std::vector<std::uint32_t> free_files_;
    std::unordered_map<base::FileId, Document> documents_;
    std::size_t live_ = 0;
    std::uint64_t length_sum_ = 0;
};

}  // namespace millrace::domain::knowledge
