#pragma once
// A condition for coroutines of one thread.

#include <cstdint>
#include <vector>

#include "shared/async/task.hpp"
#include "shared/base/time.hpp"

namespace millrace::async {

/// While set, wait() returns at once. notify_all() wakes those who wait now without setting it.
/// Must outlive its waiters.
class Event {
 public:
    explicit Event(Executor executor) : executor_(std::move(executor)) {}

    void set();
    void reset() noexcept { set_ = false; }
    [[nodiscard]] bool is_set() const noexcept { return set_; }
    void notify_all();

    /// True when set or notified, false when the deadline passed first or the task is being
    /// cancelled.
    Task<bool> wait(Deadline deadline);

 private:
    Executor executor_;
    std::vector<Timer*> waiters_;
    bool set_ = false;
};

}  // namespace millrace::async
