#include "shared/kafka/reader.hpp"

#include <algorithm>

#include "shared/kafka/conf.hpp"
#include "shared/kafka/record.hpp"

namespace millrace::kafka {

namespace {

using std::chrono::milliseconds;

constexpr int k_poll_ms = 100;

int count(milliseconds timeout) {
    return static_cast<int>(timeout.count());
}

class RdReader final : public Reader {
 public:
    explicit RdReader(std::string brokers) {
        // Partitions are assigned by hand and nothing is committed: the group exists in name only,
        // because librdkafka wants one.
        ConsumerOptions options{.brokers = std::move(brokers),
                                .client_id = "millrace-reader",
                                .group = "millrace-reader",
                                .instance = {},
                                .topics = {}};
        options.overrides = {{"enable.auto.commit", "false"}, {"auto.offset.reset", "error"}};
        client_ = consumer_conf(options).create(RD_KAFKA_CONSUMER);
        rd_kafka_poll_set_consumer(client_.get());
    }

    Result<std::vector<std::int64_t>> offsets_at(const std::string& topic, int partitions,
                                                 base::WallTime when,
                                                 milliseconds timeout) override {
        const auto millis = std::chrono::duration_cast<milliseconds>(when.time_since_epoch());
        const Partitions asked(rd_kafka_topic_partition_list_new(partitions));
        for (int p = 0; p < partitions; ++p)
            rd_kafka_topic_partition_list_add(asked.get(), topic.c_str(), p)->offset =
                std::max<std::int64_t>(0, millis.count());
        const auto err = rd_kafka_offsets_for_times(client_.get(), asked.get(), count(timeout));
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return std::unexpected(request_error(err, rd_kafka_err2str(err)));
        std::vector<std::int64_t> offsets;
        for (int i = 0; i < asked->cnt; ++i) {
            const auto& p = asked->elems[i];
            if (p.err != RD_KAFKA_RESP_ERR_NO_ERROR)
                return std::unexpected(request_error(p.err, topic));
            if (p.offset >= 0) {
                offsets.push_back(p.offset);
                continue;
            }
            TRY(const auto log, watermarks(topic, p.partition, timeout));
            offsets.push_back(log.second);
        }
        return offsets;
    }

    Result<void> read(std::vector<Range> ranges, const std::function<bool(Record)>& each,
                      milliseconds patience) override {
        std::vector<Range> open;
        for (auto& range : ranges) {
            TRY(const auto log, watermarks(range.topic, range.partition, patience));
            range.first = std::clamp(range.first, log.first, log.second);
            if (range.end >= 0) range.end = std::min(range.end, log.second);
            if (range.end < 0 || range.first < range.end) open.push_back(range);
        }
        if (open.empty()) return {};
        const Partitions wanted(rd_kafka_topic_partition_list_new(static_cast<int>(open.size())));
        for (const auto& range : open) {
            rd_kafka_topic_partition_list_add(wanted.get(), range.topic.c_str(), range.partition)
                ->offset = range.first;
        }
        if (const auto err = rd_kafka_assign(client_.get(), wanted.get());
            err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return std::unexpected(request_error(err, rd_kafka_err2str(err)));
        auto done = poll(open, each, patience);
        rd_kafka_assign(client_.get(), nullptr);
        return done;
    }

 private:
    Result<std::pair<std::int64_t, std::int64_t>> watermarks(const std::string& topic,
                                                             std::int32_t partition,
                                                             milliseconds timeout) {
        std::int64_t low = -1;
        std::int64_t high = -1;
        const auto err = rd_kafka_query_watermark_offsets(client_.get(), topic.c_str(), partition,
                                                          &low, &high, count(timeout));
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return std::unexpected(request_error(err, topic + ": " + rd_kafka_err2str(err)));
        return std::pair(low, high);
    }

    Result<void> poll(std::vector<Range>& open, const std::function<bool(Record)>& each,
                      milliseconds patience) {
        auto deadline = Deadline::in(patience);
        rd_kafka_resp_err_t last = RD_KAFKA_RESP_ERR__TIMED_OUT;
        while (!open.empty()) {
            const RdMessage message(rd_kafka_consumer_poll(client_.get(), k_poll_ms));
            const bool endless =
                std::ranges::any_of(open, [](const Range& r) { return r.end < 0; });
            if (!endless && deadline.passed())
                return std::unexpected(request_error(last, rd_kafka_err2str(last)));
            if (!message) continue;
            if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) continue;
            if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
                last = message->err;  // passes, or patience does
                continue;
            }
            const std::string_view topic = rd_kafka_topic_name(message->rkt);
            const auto range = std::ranges::find_if(open, [&](const Range& r) {
                return r.partition == message->partition && r.topic == topic;
            });
            if (range == open.end()) continue;  // read to its end already
            deadline = Deadline::in(patience);
            const bool last_one = range->end >= 0 && message->offset + 1 >= range->end;
            const bool inside = range->end < 0 || message->offset < range->end;
            if (last_one) open.erase(range);
            if (inside && !each(to_record(*message))) return {};
        }
        return {};
    }

    Client client_;
};

}  // namespace

std::unique_ptr<Reader> make_reader(std::string brokers) {
    return std::make_unique<RdReader>(std::move(brokers));
}

}  // namespace millrace::kafka
