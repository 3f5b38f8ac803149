#pragma once
// Runs one task on an io_context of the test's own.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>

#include "shared/async/task.hpp"

namespace millrace::tests {

/// Until the task has ended; what it returned, or threw. A task that takes longer than `span` is a
/// failed check.
template <class T>
T run_task(asio::io_context& io, Task<T> task,
           std::chrono::seconds span = std::chrono::seconds(60)) {
    std::optional<T> value;
    std::exception_ptr thrown;
    asio::co_spawn(io, std::move(task), [&](std::exception_ptr e, T v) {
        thrown = e;
        value.emplace(std::move(v));
    });
    const auto until = std::chrono::steady_clock::now() + span;
    io.restart();
    while (!value && std::chrono::steady_clock::now() < until) io.run_one_until(until);
    check(value.has_value(), "the task ended in time");
    if (thrown) std::rethrow_exception(thrown);
    return std::move(*value);
}

}  // namespace millrace::tests
