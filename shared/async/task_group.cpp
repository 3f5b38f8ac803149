#include "shared/async/task_group.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

namespace millrace::async {

TaskGroup::TaskGroup(Executor executor, OnFailure on_failure)
    : executor_(executor), on_failure_(std::move(on_failure)), idle_(executor) {
    idle_.set();
}

TaskGroup::~TaskGroup() {
    check(children_.empty(), "a task group is joined before it is destroyed");
}

TaskGroup::Id TaskGroup::spawn(std::string name, Task<void> task) {
    idle_.reset();
    const auto id = next_id_++;
    auto child = children_.emplace(children_.end());
    child->id = id;
    child->name = std::move(name);
    asio::co_spawn(executor_, std::move(task),
                   asio::bind_cancellation_slot(
                       child->signal.slot(), [this, child](const std::exception_ptr& died) {
                           if (died) {
                               try {
                                   std::rethrow_exception(died);
                               } catch (const boost::system::system_error& e) {
                                   if (e.code() != asio::error::operation_aborted)
                                       on_failure_(child->name, e.what());
                               } catch (const std::exception& e) {
                                   on_failure_(child->name, e.what());
                               }
                           }
                           children_.erase(child);
                           if (children_.empty()) idle_.set();
                       }));
    return id;
}

void TaskGroup::cancel(Id id) {
    for (auto& child : children_) {
        if (child.id != id) continue;
        child.signal.emit(asio::cancellation_type::all);
        return;
    }
}

void TaskGroup::cancel() {
    // A child may end, and erase itself, while it is being cancelled.
    for (auto it = children_.begin(); it != children_.end();) {
        auto& child = *it++;
        child.signal.emit(asio::cancellation_type::all);
    }
}

Task<bool> TaskGroup::join(Deadline deadline) {
    while (!children_.empty()) {
        if (!co_await idle_.wait(deadline)) co_return children_.empty();
    }
    co_return true;
}

}  // namespace millrace::async
