#pragma once
// librdkafka's handles as RAII, its settings, and its errors in our words.

#include <librdkafka/rdkafka.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "shared/base/time.hpp"
#include "shared/kafka/kafka.hpp"

namespace millrace::kafka {

template <auto Destroy>
struct Destroyer {
    template <class T>
    void operator()(T* handle) const noexcept {
        Destroy(handle);
    }
};
using Queue = std::unique_ptr<rd_kafka_queue_t, Destroyer<rd_kafka_queue_destroy>>;
using Topic = std::unique_ptr<rd_kafka_topic_t, Destroyer<rd_kafka_topic_destroy>>;
using RdEvent = std::unique_ptr<rd_kafka_event_t, Destroyer<rd_kafka_event_destroy>>;
using RdMessage = std::unique_ptr<rd_kafka_message_t, Destroyer<rd_kafka_message_destroy>>;
using RdError = std::unique_ptr<rd_kafka_error_t, Destroyer<rd_kafka_error_destroy>>;
using Partitions = std::unique_ptr<rd_kafka_topic_partition_list_t,
                                   Destroyer<rd_kafka_topic_partition_list_destroy>>;
/// Shared with background calls in progress. Every queue, topic and message of it must be gone
/// before the last owner is, or destruction hangs; and the last owner must not be the io thread,
/// because destruction joins threads.
using Client = std::shared_ptr<rd_kafka_t>;

/// Settings by name; throws std::runtime_error when librdkafka refuses one.
class Conf {
 public:
    Conf();
    Conf& set(const std::string& name, const std::string& value);
    Conf& set(const std::map<std::string, std::string>& settings);
    [[nodiscard]] rd_kafka_conf_t* get() const { return conf_.get(); }
    /// Consumes the settings.
    [[nodiscard]] Client create(rd_kafka_type_t type);

 private:
    std::unique_ptr<rd_kafka_conf_t, Destroyer<rd_kafka_conf_destroy>> conf_;
};

[[nodiscard]] Conf producer_conf(const ProducerOptions& options);
[[nodiscard]] Conf consumer_conf(const ConsumerOptions& options);
[[nodiscard]] Conf admin_conf(const std::string& brokers);

/// An error event after which its client can do nothing more.
[[nodiscard]] bool is_fatal(rd_kafka_event_t* event);
/// A failed delivery: what the caller can make of it. `status` tells whether the record may stand
/// in the log all the same.
[[nodiscard]] Error delivery_error(rd_kafka_resp_err_t err, rd_kafka_msg_status_t status);
/// A failed request of an administrator.
[[nodiscard]] Error request_error(rd_kafka_resp_err_t err, std::string_view text);

/// Tells the operator. An error that repeats, as those of a broker that is away do, is told once in
/// 10 s.
class EventSink {
 public:
    explicit EventSink(std::function<void(std::string)> hook) : hook_(std::move(hook)) {}
    void operator()(std::string text) const;
    void operator()(std::string_view who, rd_kafka_resp_err_t err, std::string_view text);

 private:
    std::function<void(std::string)> hook_;
    std::map<rd_kafka_resp_err_t, base::SteadyTime> told_;
};

}  // namespace millrace::kafka
