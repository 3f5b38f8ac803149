#include "workers/runtime/fair_queue.hpp"

namespace millrace::workers::runtime {

std::size_t FairQueue::lane_index(std::string_view lane) noexcept {
    if (lane == "bulk") return 1;
    if (lane == "replay") return 2;
    return 0;
}

void FairQueue::push(Queued item) {
    auto& lane = lanes_[lane_index(item.job.lane)];
    auto& mine = lane.tenants[item.job.tenant];
    if (mine.empty()) lane.turns.push_back(item.job.tenant);
    mine.push_back(std::move(item));
    ++size_;
}

std::optional<Queued> FairQueue::pop() {
    if (size_ == 0) return std::nullopt;
    for (;;) {
        for (auto& lane : lanes_) {
            if (lane.turns.empty() || lane.credit == 0) continue;
            --lane.credit;
            const auto tenant = lane.turns.front();
            lane.turns.pop_front();
            const auto mine = lane.tenants.find(tenant);
            Queued next = std::move(mine->second.front());
            mine->second.pop_front();
            if (mine->second.empty()) {
                lane.tenants.erase(mine);
            } else {
                lane.turns.push_back(tenant);
            }
            --size_;
            return next;
        }
        for (auto& lane : lanes_) lane.credit = lane.weight;  // a new round
    }
}

std::vector<Queued> FairQueue::drain() {
    std::vector<Queued> all;
    all.reserve(size_);
    while (auto next = pop()) all.push_back(std::move(*next));
    return all;
}

}  // namespace millrace::workers::runtime
