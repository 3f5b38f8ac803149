#pragma once
#include "shared/kafka/conf.hpp"

namespace millrace::kafka {

/// A copy of a good message of librdkafka.
[[nodiscard]] Record to_record(const rd_kafka_message_t& message);

}  // namespace millrace::kafka
