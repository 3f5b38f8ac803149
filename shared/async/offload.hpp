#pragma once
// Blocking or CPU-bound work goes to a small thread pool, and its result comes back to the
// io_context.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <concepts>
#include <exception>
#include <memory>
#include <optional>

#include "shared/async/task.hpp"

namespace millrace::async {

using Pool = asio::thread_pool;

/// Runs `fn()` on the pool; the caller resumes on its own executor with the result, or with what fn
/// threw. `fn` must own all it touches: the caller may be cancelled, and gone, while it runs.
template <std::invocable Fn>
Task<std::invoke_result_t<Fn>> offload(Executor executor, Pool& pool, Fn fn) {
    using Value = std::invoke_result_t<Fn>;
    struct State {
        Fn fn;
        Timer done;
        std::optional<Value> value;
        std::exception_ptr thrown;
        State(Fn f, Executor e) : fn(std::move(f)), done(e, Timer::time_point::max()) {}
    };
    auto state = std::make_shared<State>(std::move(fn), executor);
    auto work = asio::make_work_guard(executor);
    asio::post(pool, [state, executor, work] {
        try {
            state->value.emplace(state->fn());
        } catch (...) {
            state->thrown = std::current_exception();
        }
        asio::post(executor, [state] { state->done.expires_at(Timer::time_point::min()); });
    });
    co_await state->done.async_wait(use_result);
    if (state->thrown) std::rethrow_exception(state->thrown);
    if (!state->value)
        throw boost::system::system_error(
            asio::error::operation_aborted);  // cancelled while it ran
    co_return std::move(*state->value);
}

}  // namespace millrace::async
