#pragma once
// Natural batching: while one batch is being worked on, arrivals queue; the next batch takes what
// is there. No timer, unless nobody waits for the work and it is to be done seldom.

#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "shared/async/event.hpp"
#include "shared/async/task_group.hpp"

namespace millrace::async {

/// Items carry their own completion. One flush at a time; at most `batch_max` items each; at most
/// `queue_max` wait.
template <class Item>
class Batcher {
 public:
    using Flush = std::function<Task<void>(std::vector<Item>)>;

    struct Limits {
        std::size_t batch_max = 256;
        std::size_t queue_max = 16'384;
        std::chrono::milliseconds pause{};  ///< between batches that are not full
    };

    Batcher(TaskGroup& tasks, std::string name, Limits limits, Flush flush)
        : limits_(limits),
          flush_(std::move(flush)),
          executor_(tasks.executor()),
          arrived_(tasks.executor()),
          idle_(tasks.executor()) {
        tasks.spawn(std::move(name), run());
    }

    /// False when the queue is full: the item was not taken.
    [[nodiscard]] bool add(Item&& item) {
        if (queue_.size() >= limits_.queue_max) return false;
        queue_.push_back(std::move(item));
        if (!working_) arrived_.notify_all();
        return true;
    }

    [[nodiscard]] std::size_t waiting() const noexcept { return queue_.size(); }
    [[nodiscard]] bool idle() const noexcept { return queue_.empty() && !working_; }
    /// True when nothing waits or is being worked on before the deadline.
    Task<bool> drained(Deadline deadline) {
        while (!idle()) {
            if (!co_await idle_.wait(deadline)) co_return idle();
        }
        co_return true;
    }

 private:
    Task<void> run() {
        for (;;) {
            while (queue_.empty()) co_await arrived_.wait(Deadline::at(base::SteadyTime::max()));
            const auto size = std::min(queue_.size(), limits_.batch_max);
            const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(size);
            std::vector<Item> batch(std::make_move_iterator(queue_.begin()),
                                    std::make_move_iterator(end));
            queue_.erase(queue_.begin(), end);
            working_ = true;
            co_await flush_(std::move(batch));
            working_ = false;
            if (queue_.empty()) idle_.notify_all();
            if (limits_.pause > limits_.pause.zero() && queue_.size() < limits_.batch_max)
                co_await delay(executor_, limits_.pause);
        }
    }

    Limits limits_;
    Flush flush_;
    Executor executor_;
    std::deque<Item> queue_;
    bool working_ = false;
    Event arrived_;
    Event idle_;
};

}  // namespace millrace::async
