#include "shared/domain/knowledge/fusion.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace millrace::domain::knowledge {

std::vector<Retrieved> fuse(std::span<const RankedList> lists, std::size_t limit, double k) {
    std::vector<Retrieved> out;
    std::map<std::pair<base::FileId, std::int32_t>, std::size_t> places;
    for (const auto& [ranked, weight] : lists) {
        for (std::size_t rank = 0; rank < ranked.size(); ++rank) {
            const Retrieved& one = ranked[rank];
            const auto [place, added] = places.try_emplace({one.file, one.chunk_index}, out.size());
            if (added) out.push_back({one.file, one.chunk_index, 0, 0});
            Retrieved& fused = out[place->second];
            fused.score += weight / (k + static_cast<double>(rank + 1));
            fused.coverage = std::max(fused.coverage, one.coverage);
        }
    }
    std::ranges::stable_sort(out, std::greater<>{}, &Retrieved::score);
    if (out.size() > limit) out.resize(limit);
    return out;
}

}  // namespace millrace::domain::knowledge
