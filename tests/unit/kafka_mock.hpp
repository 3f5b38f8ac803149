#pragma once
// librdkafka's mock cluster, and an io_context that runs until something is true. For the tests of shared/kafka.

#include <librdkafka/rdkafka.h>
// after rdkafka.h:
#include <librdkafka/rdkafka_mock.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "shared/async/task.hpp"

namespace millrace::tests {

class MockCluster {
 public:
    explicit MockCluster(int brokers = 1) {
        char why[256];
        auto* conf = rd_kafka_conf_new();
        rd_kafka_conf_set_log_cb(conf, nullptr);
        owner_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
        check(owner_ != nullptr, "mock owner");
        cluster_ = rd_kafka_mock_cluster_new(owner_, brokers);
        check(cluster_ != nullptr, "mock cluster");
    }
    ~MockCluster() {
        rd_kafka_mock_cluster_destroy(cluster_);
        rd_kafka_destroy(owner_);
    }
    MockCluster(const MockCluster&) = delete;
    MockCluster& operator=(const MockCluster&) = delete;

    [[nodiscard]] std::string brokers() const { return rd_kafka_mock_cluster_bootstraps(cluster_); }
    [[nodiscard]] rd_kafka_mock_cluster_t* get() const { return cluster_; }
    void topic(const std::string& name, int partitions = 1) const {
        check(rd_kafka_mock_topic_create(cluster_, name.c_str(), partitions, 1) == 0, "mock topic");
    }
    void down() const { rd_kafka_mock_broker_set_down(cluster_, -1); }
    void up() const { rd_kafka_mock_broker_set_up(cluster_, -1); }
    void rtt(int ms) const { rd_kafka_mock_broker_set_rtt(cluster_, -1, ms); }
    template <class... Errors>
    void fail_requests(std::int16_t api, Errors... errors) const {
        rd_kafka_mock_push_request_errors(cluster_, api, sizeof...(errors), errors...);
    }

 private:
    rd_kafka_t* owner_ = nullptr;
    rd_kafka_mock_cluster_t* cluster_ = nullptr;
};

inline constexpr std::int16_t k_api_produce = 0;
inline constexpr std::int16_t k_api_init_producer_id = 22;

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
        check(until([&] { return value.has_value(); }, std::chrono::seconds(60)), "the task ended within 60 s");
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

}  // namespace millrace::tests
