#pragma once
// Background work that is owned: no task is detached.

#include <boost/asio/cancellation_signal.hpp>
#include <functional>
#include <list>
#include <string>

#include "shared/async/event.hpp"

namespace millrace::async {

/// Owns child tasks of one thread. A child that throws anything but its own cancellation is
/// reported to `on_failure` (name, what); the group goes on. Destroy it only after join(): checked.
class TaskGroup {
 public:
    using OnFailure = std::function<void(const std::string& name, const std::string& what)>;

    TaskGroup(Executor executor, OnFailure on_failure);
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;
    ~TaskGroup();

    using Id = std::uint64_t;
    Id spawn(std::string name, Task<void> task);
    /// Asks one child to stop at its next suspension; nothing happens if it has ended.
    void cancel(Id id);
    /// Asks every child to stop at its next suspension. Children may be spawned again afterwards.
    void cancel();
    /// Waits until no child runs; true if that happened before the deadline.
    Task<bool> join(Deadline deadline);

    [[nodiscard]] std::size_t size() const noexcept { return children_.size(); }
    [[nodiscard]] Executor executor() const { return executor_; }

 private:
    struct Child {
        Id id;
        std::string name;
        asio::cancellation_signal signal;
    };
    Executor executor_;
    OnFailure on_failure_;
    std::list<Child> children_;
    Id next_id_ = 1;
    Event idle_;
};

}  // namespace millrace::async
