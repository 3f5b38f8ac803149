#pragma once
// librdkafka's mock cluster, for the tests of shared/kafka.

#include <librdkafka/rdkafka.h>
// after rdkafka.h:
#include <librdkafka/rdkafka_mock.h>

#include <string>

#include "shared/base/result.hpp"

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

}  // namespace millrace::tests
