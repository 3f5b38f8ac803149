#include "shared/kafka/record.hpp"

namespace millrace::kafka {

namespace {

std::string text_of(const void* bytes, std::size_t size) {
    return bytes == nullptr ? std::string() : std::string(static_cast<const char*>(bytes), size);
}

}  // namespace

Record to_record(const rd_kafka_message_t& message) {
    Record record;
    record.position = {rd_kafka_topic_name(message.rkt), message.partition, message.offset};
    record.key = text_of(message.key, message.key_len);
    record.value = text_of(message.payload, message.len);
    record.has_value = message.payload != nullptr;
    record.time =
        base::WallTime(std::chrono::milliseconds(rd_kafka_message_timestamp(&message, nullptr)));
    rd_kafka_headers_t* headers = nullptr;
    if (rd_kafka_message_headers(&message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const auto count = rd_kafka_header_cnt(headers);
        record.headers.reserve(count);
        for (std::size_t i = 0; i < count; ++i) {
            const char* name = nullptr;
            const void* value = nullptr;
            std::size_t size = 0;
            rd_kafka_header_get_all(headers, i, &name, &value, &size);
            record.headers.emplace_back(name, text_of(value, size));
        }
    }
    return record;
}

}  // namespace millrace::kafka
