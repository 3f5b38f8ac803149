#pragma once
// One value, handed from a callback to one waiting coroutine of the same thread.

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "shared/async/task.hpp"

namespace millrace::async {

/// Copies share the same value. set() must be called exactly once by somebody: the wait is not
/// cancellable, so whoever takes a OneShot owes it an answer by a deadline of its own.
template <class T>
class OneShot {
 public:
    explicit OneShot(Executor executor) : state_(std::make_shared<State>(std::move(executor))) {}

    void set(T value) const {
        check(!state_->value, "a one-shot is set once");
        state_->value.emplace(std::move(value));
        if (state_->resume) std::exchange(state_->resume, nullptr)();
    }

    [[nodiscard]] Task<T> wait() const { return wait_for(state_); }

 private:
    struct State {
        explicit State(Executor e) : executor(std::move(e)) {}
        Executor executor;
        std::optional<T> value;
        std::move_only_function<void()> resume;
    };

    static Task<T> wait_for(std::shared_ptr<State> state) {
        if (!state->value) {
            co_await asio::async_initiate<const asio::use_awaitable_t<Executor>, void()>(
                [](auto handler, State* s) {
                    s->resume = [h = std::move(handler), s]() mutable {
                        asio::post(s->executor, std::move(h));
                    };
                },
                use_task, state.get());
        }
        co_return std::move(*state->value);
    }

    std::shared_ptr<State> state_;
};

}  // namespace millrace::async
