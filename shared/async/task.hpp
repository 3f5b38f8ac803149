#pragma once
// Coroutines: one io_context and one thread per process. Task<T> is Asio's awaitable on the
// concrete executor; fallible work is Task<Result<T>>. A Task runs only when awaited or handed to a
// TaskGroup.

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "shared/base/result.hpp"

namespace millrace::async {

namespace asio = boost::asio;

using Executor = asio::io_context::executor_type;

template <class T = void>
using Task = asio::awaitable<T, Executor>;

using Timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, Executor>;

/// Completion tokens: `use_task` throws system_error; `use_result` returns (error_code, values…) as
/// a tuple.
inline constexpr asio::use_awaitable_t<Executor> use_task{};
inline constexpr asio::as_tuple_t<asio::use_awaitable_t<Executor>> use_result{use_task};

/// Suspends for `span`; returns early, throwing operation_aborted, only when the task is cancelled.
Task<void> delay(Executor executor, std::chrono::nanoseconds span);

}  // namespace millrace::async

namespace millrace {
namespace asio = boost::asio;
using async::Executor;
using async::Task;
}  // namespace millrace
