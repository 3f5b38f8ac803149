#include "shared/domain/knowledge/fusion.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace millrace::domain::knowledge {

std::vector<Retrieved> fuse(std::span<const RankedList> lists, std::size_t limit, double k) {
    struct Fused {
        Retrieved chunk;
        std::size_t place;  // of first appearance
    };
    std::vector<Fused> fused;
    std::map<std::pair<base::FileId, std::int32_t>, std::size_t> places;
    for (const auto& [ranked, weight] : lists) {
        for (std::size_t rank = 0; rank < ranked.size(); ++rank) {
            const Retrieved& one = ranked[rank];
            const auto [place, added] =
                places.try_emplace({one.file, one.chunk_index}, fused.size());
            if (added) fused.push_back({{one.file, one.chunk_index, 0, 0}, fused.size()});
            Retrieved& sum = fused[place->second].chunk;
            sum.score += weight / (k + static_cast<double>(rank + 1));
            sum.coverage = std::max(sum.coverage, one.coverage);
        }
    }
    std::ranges::sort(fused, [](const Fused& a, const Fused& b) {
        return a.chunk.score != b.chunk.score ? a.chunk.score > b.chunk.score : a.place < b.place;
    });
    if (fused.size() > limit) fused.resize(limit);
    std::vector<Retrieved> out;
    out.reserve(fused.size());
    for (const auto& one : fused) out.push_back(one.chunk);
    return out;
}

}  // namespace millrace::domain::knowledge
