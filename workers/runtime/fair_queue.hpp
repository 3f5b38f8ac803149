#pragma once
// Who runs next: weighted round robin over lanes, round robin over tenants inside a lane, first
// come first served inside a tenant.

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <string_view>

#include "workers/runtime/handler.hpp"

namespace millrace::workers::runtime {

/// A claimed job that has not started.
struct Queued {
    Job job;
    bool alone = false;  ///< a suspect: its process died under it twice
};

class FairQueue {
 public:
    void push(Queued item);
    /// The next one; nullopt when empty.
    std::optional<Queued> pop();
    /// Everything, in no particular order.
    std::vector<Queued> drain();
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
    struct Lane {
        std::map<base::TenantId, std::deque<Queued>> tenants;
        std::deque<base::TenantId> turns;  ///< tenants with work, in turn
        int weight = 1;
        int credit = 0;
    };
    static std::size_t lane_index(std::string_view lane) noexcept;

    std::array<Lane, 3> lanes_ = {Lane{.weight = 8}, Lane{.weight = 2},
                                  Lane{.weight = 1}};  // interactive, bulk, replay
    std::size_t size_ = 0;
};

}  // namespace millrace::workers::runtime
