#pragma once
// An io_context that runs until something is true, and what the tests of shared/kafka do with a
// producer and a consumer.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shared/kafka/kafka.hpp"

namespace millrace::tests {

/// The one thread of a test.
class Loop {
 public:
    [[nodiscard]] Executor executor() { return io_.get_executor(); }

    /// Runs the loop until `met()`; false when `span` passed first.
    template <class Condition>
    bool until(Condition met, std::chrono::milliseconds span = std::chrono::seconds(15)) {
        const auto deadline = std::chrono::steady_clock::now() + span;
        while (!met()) {
            if (std::chrono::steady_clock::now() >= deadline) return false;
            io_.restart();
            io_.run_one_for(std::chrono::milliseconds(20));
        }
        return true;
    }

    /// Runs the loop for a span: to show that something does not happen.
    void run_for(std::chrono::milliseconds span) {
        until([] { return false; }, span);
    }

    /// Runs the loop until the task is done, and returns what it returned.
    template <class T>
    T run(Task<T> task) {
        std::optional<T> value;
        std::exception_ptr thrown;
        asio::co_spawn(io_, std::move(task), [&](std::exception_ptr e, T v) {
            thrown = e;
            value.emplace(std::move(v));
        });
        check(until([&] { return value.has_value(); }, std::chrono::seconds(60)),
              "the task ended within 60 s");
        if (thrown) std::rethrow_exception(thrown);
        return std::move(*value);
    }
    void run(Task<void> task) {
        bool done = false;
        std::exception_ptr thrown;
        asio::co_spawn(io_, std::move(task), [&](std::exception_ptr e) {
            thrown = e;
            done = true;
        });
        check(until([&] { return done; }, std::chrono::seconds(60)), "the task ended within 60 s");
        if (thrown) std::rethrow_exception(thrown);
    }

 private:
    asio::io_context io_{1};
};

/// A worker in miniature: fetches, remembers how often it saw each value, stores.
struct Reader {
    kafka::Consumer& consumer;
    std::map<std::string, int>& seen;
    std::size_t at_once = 100;
    bool ended = false;
    std::vector<std::size_t> sizes{};

    void start(Loop& on) {
        asio::co_spawn(on.executor(), run(this), [](std::exception_ptr died) {
            if (died) std::rethrow_exception(died);
        });
    }

 private:
    static Task<void> run(Reader* self) {
        for (;;) {
            auto records = co_await self->consumer.fetch(self->at_once);
            if (records.empty()) break;
            self->sizes.push_back(records.size());
            for (const auto& record : records) {
                ++self->seen[record.value];
                self->consumer.store(record.position);
            }
        }
        self->ended = true;
    }
};

/// What a driver told its operator.
struct Told {
    std::vector<std::string> texts;

    [[nodiscard]] bool has(std::string_view part) const {
        for (const auto& text : texts) {
            if (text.find(part) != std::string::npos) return true;
        }
        return false;
    }
    std::function<void(std::string)> hook() {
        return [this](std::string text) { texts.push_back(std::move(text)); };
    }
};

}  // namespace millrace::tests
