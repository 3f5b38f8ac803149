#pragma once
// The callbacks of records on their way, found again by the opaque that librdkafka carries.

#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include "shared/kafka/kafka.hpp"

namespace millrace::kafka {

/// A slab. The opaque is index and generation, so a report that comes late or twice finds nothing.
/// Grows to the most records ever outstanding, which the producer's queue bounds.
class Pending {
 public:
    [[nodiscard]] void* put(OnDelivered callback) {
        if (free_.empty()) {
            free_.push_back(static_cast<std::uint32_t>(slots_.size()));
            slots_.emplace_back();
        }
        const auto index = free_.back();
        free_.pop_back();
        auto& slot = slots_[index];
        slot.callback = std::move(callback);
        slot.taken = true;
        ++size_;
        return std::bit_cast<void*>(std::uint64_t{slot.generation} << 32U | index);
    }

    /// Calls the callback, unless this opaque was answered before. The callback may put again.
    template <class Answer>
    void answer(void* opaque, const Answer& make_answer) {
        const auto bits = std::bit_cast<std::uint64_t>(opaque);
        const auto index = static_cast<std::uint32_t>(bits);
        if (index >= slots_.size()) return;
        auto& slot = slots_[index];
        if (!slot.taken || slot.generation != static_cast<std::uint32_t>(bits >> 32U)) return;
        auto callback = release(index);
        if (callback) callback(make_answer());
    }

    /// All that is left, in no order; their opaques are worthless from then on.
    [[nodiscard]] std::vector<OnDelivered> take_all() {
        std::vector<OnDelivered> left;
        left.reserve(size_);
        for (std::uint32_t i = 0; i < slots_.size(); ++i) {
            if (slots_[i].taken) left.push_back(release(i));
        }
        return left;
    }

    /// Takes back what was just put.
    [[nodiscard]] OnDelivered take(void* opaque) {
        return release(static_cast<std::uint32_t>(std::bit_cast<std::uint64_t>(opaque)));
    }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
    struct Slot {
        OnDelivered callback;
        std::uint32_t generation = 0;
        bool taken = false;
    };

    OnDelivered release(std::uint32_t index) {
        auto& slot = slots_[index];
        slot.taken = false;
        ++slot.generation;
        free_.push_back(index);
        --size_;
        return std::exchange(slot.callback, nullptr);
    }

    std::vector<Slot> slots_;
    std::vector<std::uint32_t> free_;
    std::size_t size_ = 0;
};

}  // namespace millrace::kafka
