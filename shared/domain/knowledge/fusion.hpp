#pragma once
// Weighted reciprocal rank fusion: ranks are comparable between retrievers, scores are not.
// Cormack, Clarke, Büttcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank
// Learning Methods, SIGIR 2009.

#include <cstddef>
#include <span>
#include <vector>

#include "shared/domain/knowledge/bm25.hpp"

namespace millrace::domain::knowledge {

struct RankedList {
    std::span<const Retrieved> ranked;  ///< best first
    double weight = 1;
};

/// The `limit` best of all lists; score = Σ weight / (k + rank), coverage = the highest that a list
/// gave the chunk. Equal scores keep the order of first appearance.
[[nodiscard]] std::vector<Retrieved> fuse(std::span<const RankedList> lists, std::size_t limit,
                                          double k = 60);

}  // namespace millrace::domain::knowledge
