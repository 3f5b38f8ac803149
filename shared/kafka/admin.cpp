// Administration for one-shot tools: each call blocks until the cluster answered or the time is up.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <thread>

#include "shared/kafka/conf.hpp"

namespace millrace::kafka {

namespace {

using std::chrono::milliseconds;

using NewTopic = std::unique_ptr<rd_kafka_NewTopic_t, Destroyer<rd_kafka_NewTopic_destroy>>;
using DeleteTopic =
    std::unique_ptr<rd_kafka_DeleteTopic_t, Destroyer<rd_kafka_DeleteTopic_destroy>>;
using NewPartitions =
    std::unique_ptr<rd_kafka_NewPartitions_t, Destroyer<rd_kafka_NewPartitions_destroy>>;
using Options = std::unique_ptr<rd_kafka_AdminOptions_t, Destroyer<rd_kafka_AdminOptions_destroy>>;
using GroupOffsets = std::unique_ptr<rd_kafka_ListConsumerGroupOffsets_t,
                                     Destroyer<rd_kafka_ListConsumerGroupOffsets_destroy>>;
using Metadata = std::unique_ptr<const rd_kafka_metadata_t, Destroyer<rd_kafka_metadata_destroy>>;

constexpr milliseconds k_look_again{100};

int count(milliseconds timeout) {
    return static_cast<int>(timeout.count());
}

/// Both take a time and mean the past: librdkafka passes them on to the broker as they are.
constexpr std::int64_t k_latest = -1;
constexpr std::int64_t k_earliest = -2;

class RdAdmin final : public Admin {
 public:
    explicit RdAdmin(const std::string& brokers)
        : client_(admin_conf(brokers).create(RD_KAFKA_PRODUCER)),
          answers_(rd_kafka_queue_new(client_.get())) {}

    Result<std::vector<TopicState>> topics(milliseconds timeout) override {
        // Topics come and go, and partitions get their leaders, while we look: look again.
        const auto deadline = Deadline::in(timeout);
        for (;;) {
            auto states = topics_once(std::max(
                k_look_again, std::chrono::duration_cast<milliseconds>(deadline.remaining())));
            if (states || deadline.capped(k_look_again).when() == deadline.when()) return states;
            std::this_thread::sleep_for(k_look_again);
        }
    }

    Result<void> create(const std::vector<TopicSpec>& topics, milliseconds timeout) override {
        std::vector<NewTopic> owned;
        std::vector<rd_kafka_NewTopic_t*> wanted;
        std::array<char, 256> why{};
        for (const auto& spec : topics) {
            owned.emplace_back(rd_kafka_NewTopic_new(spec.name.c_str(), spec.partitions,
                                                     spec.replication, why.data(), why.size()));
            if (!owned.back())
                return fail(ErrorCode::invalid, fmt::format("topic {}: {}", spec.name, why.data()));
            for (const auto& [name, value] : spec.config) {
                rd_kafka_NewTopic_set_config(owned.back().get(), name.c_str(), value.c_str());
            }
            wanted.push_back(owned.back().get());
        }
        if (wanted.empty()) return {};
        const auto options = admin_options(RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout);
        rd_kafka_CreateTopics(client_.get(), wanted.data(), wanted.size(), options.get(),
                              answers_.get());
        TRY(const auto answer, wait(timeout));
        std::size_t size = 0;
        const auto* each = rd_kafka_CreateTopics_result_topics(
            rd_kafka_event_CreateTopics_result(answer.get()), &size);
        return first_error(each, size, RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS);
    }

    Result<void> add_partitions(const std::string& topic, int total,
                                milliseconds timeout) override {
        TRY(const auto metadata, describe(timeout));
        for (int i = 0; i < metadata->topic_cnt; ++i) {
            const auto& found = metadata->topics[i];
            if (topic == found.topic && found.partition_cnt == total) return {};
        }
        std::array<char, 256> why{};
        NewPartitions wanted(rd_kafka_NewPartitions_new(
            topic.c_str(), static_cast<std::size_t>(total), why.data(), why.size()));
        if (!wanted)
            return fail(ErrorCode::invalid, fmt::format("topic {}: {}", topic, why.data()));
        const auto options = admin_options(RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, timeout);
        auto* one = wanted.get();
        rd_kafka_CreatePartitions(client_.get(), &one, 1, options.get(), answers_.get());
        TRY(const auto answer, wait(timeout));
        std::size_t size = 0;
        const auto* each = rd_kafka_CreatePartitions_result_topics(
            rd_kafka_event_CreatePartitions_result(answer.get()), &size);
        return first_error(each, size, RD_KAFKA_RESP_ERR_NO_ERROR);
    }

    Result<void> remove(const std::vector<std::string>& topics, milliseconds timeout) override {
        std::vector<DeleteTopic> owned;
        std::vector<rd_kafka_DeleteTopic_t*> wanted;
        for (const auto& topic : topics) {
            owned.emplace_back(rd_kafka_DeleteTopic_new(topic.c_str()));
            wanted.push_back(owned.back().get());
        }
        if (wanted.empty()) return {};
        const auto options = admin_options(RD_KAFKA_ADMIN_OP_DELETETOPICS, timeout);
        rd_kafka_DeleteTopics(client_.get(), wanted.data(), wanted.size(), options.get(),
                              answers_.get());
        TRY(const auto answer, wait(timeout));
        std::size_t size = 0;
        const auto* each = rd_kafka_DeleteTopics_result_topics(
            rd_kafka_event_DeleteTopics_result(answer.get()), &size);
        return first_error(each, size, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    }

    Result<std::vector<Position>> committed(const std::string& group,
                                            const std::vector<std::string>& topics,
                                            milliseconds timeout) override {
        TRY(const auto metadata, describe(timeout));
        const Partitions asked(rd_kafka_topic_partition_list_new(16));
        for (const auto& name : topics) {
            bool found = false;
            for (int i = 0; i < metadata->topic_cnt; ++i) {
                const auto& topic = metadata->topics[i];
                if (name != topic.topic) continue;
                found = true;
                for (int p = 0; p < topic.partition_cnt; ++p) {
                    rd_kafka_topic_partition_list_add(asked.get(), topic.topic,
                                                      topic.partitions[p].id);
                }
            }
            if (!found)
                return fail(ErrorCode::not_found, fmt::format("topic {} does not exist", name));
        }
        const GroupOffsets request(
            rd_kafka_ListConsumerGroupOffsets_new(group.c_str(), asked.get()));
        const auto options = admin_options(RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, timeout);
        auto* one = request.get();
        rd_kafka_ListConsumerGroupOffsets(client_.get(), &one, 1, options.get(), answers_.get());
        TRY(const auto answer, wait(timeout));
        std::size_t size = 0;
        const auto* groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
            rd_kafka_event_ListConsumerGroupOffsets_result(answer.get()), &size);
        check(size == 1, "one group was asked for");
        if (const auto* error = rd_kafka_group_result_error(groups[0])) {
            return std::unexpected(
                request_error(rd_kafka_error_code(error), rd_kafka_error_string(error)));
        }
        std::vector<Position> positions;
        const auto* list = rd_kafka_group_result_partitions(groups[0]);
        for (int i = 0; i < list->cnt; ++i) {
            const auto& p = list->elems[i];
            if (p.err != RD_KAFKA_RESP_ERR_NO_ERROR)
                return std::unexpected(request_error(p.err, p.topic));
            positions.push_back({p.topic, p.partition, p.offset < 0 ? -1 : p.offset});
        }
        return positions;
    }

    Result<std::pair<std::int64_t, std::int64_t>> watermarks(const std::string& topic,
                                                             int partition,
                                                             milliseconds timeout) override {
        std::int64_t low = -1;
        std::int64_t high = -1;
        const auto err = rd_kafka_query_watermark_offsets(client_.get(), topic.c_str(), partition,
                                                          &low, &high, count(timeout));
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return std::unexpected(request_error(err, rd_kafka_err2str(err)));
        return std::pair(low, high);
    }

 private:
    Result<std::vector<TopicState>> topics_once(milliseconds timeout) {
        TRY(const auto metadata, describe(timeout));
        const Partitions all(rd_kafka_topic_partition_list_new(16));
        std::vector<TopicState> states;
        for (int i = 0; i < metadata->topic_cnt; ++i) {
            const auto& topic = metadata->topics[i];
            if (std::string_view(topic.topic).starts_with("__")) continue;  // the cluster's own
            states.push_back({topic.topic, topic.partition_cnt, 0});
            for (int p = 0; p < topic.partition_cnt; ++p) {
                rd_kafka_topic_partition_list_add(all.get(), topic.topic, topic.partitions[p].id);
            }
        }
        TRY(const auto high, offsets_at(k_latest, all.get(), timeout));
        TRY(const auto low, offsets_at(k_earliest, all.get(), timeout));
        std::map<std::string_view, std::int64_t> records;
        for (int i = 0; i < all->cnt; ++i) {
            records[all->elems[i].topic] += high->elems[i].offset - low->elems[i].offset;
        }
        for (auto& state : states) state.records = records[state.name];
        return states;
    }

    Result<Metadata> describe(milliseconds timeout) {
        const rd_kafka_metadata_t* metadata = nullptr;
        const auto err = rd_kafka_metadata(client_.get(), 1, nullptr, &metadata, count(timeout));
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return std::unexpected(request_error(err, rd_kafka_err2str(err)));
        return Metadata(metadata);
    }

    Result<Partitions> offsets_at(std::int64_t when, const rd_kafka_topic_partition_list_t* where,
                                  milliseconds timeout) {
        Partitions asked(rd_kafka_topic_partition_list_copy(where));
        if (asked->cnt == 0) return asked;
        for (int i = 0; i < asked->cnt; ++i) asked->elems[i].offset = when;
        const auto err = rd_kafka_offsets_for_times(client_.get(), asked.get(), count(timeout));
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return std::unexpected(request_error(err, rd_kafka_err2str(err)));
        for (int i = 0; i < asked->cnt; ++i) {
            const auto& p = asked->elems[i];
            if (p.err != RD_KAFKA_RESP_ERR_NO_ERROR)
                return std::unexpected(request_error(p.err, p.topic));
        }
        return asked;
    }

    Options admin_options(rd_kafka_admin_op_t operation, milliseconds timeout) {
        Options options(rd_kafka_AdminOptions_new(client_.get(), operation));
        std::array<char, 256> why{};
        rd_kafka_AdminOptions_set_request_timeout(options.get(), count(timeout), why.data(),
                                                  why.size());
        if (operation != RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS) {
            // Until the controller has done it, not only heard of it.
            rd_kafka_AdminOptions_set_operation_timeout(options.get(), count(timeout), why.data(),
                                                        why.size());
        }
        return options;
    }

    Result<RdEvent> wait(milliseconds timeout) {
        const auto deadline =
            Deadline::in(timeout + std::chrono::seconds(1));  // librdkafka answers a timeout itself
        while (!deadline.passed()) {
            RdEvent answer(rd_kafka_queue_poll(
                answers_.get(),
                count(std::chrono::duration_cast<milliseconds>(deadline.remaining()))));
            if (!answer) continue;
            const auto err = rd_kafka_event_error(answer.get());
            if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
                return std::unexpected(
                    request_error(err, rd_kafka_event_error_string(answer.get())));
            }
            return answer;
        }
        return std::unexpected(
            request_error(RD_KAFKA_RESP_ERR__TIMED_OUT, "the cluster did not answer"));
    }

    static Result<void> first_error(const rd_kafka_topic_result_t* const* each, std::size_t size,
                                    rd_kafka_resp_err_t accepted) {
        for (std::size_t i = 0; i < size; ++i) {
            const auto err = rd_kafka_topic_result_error(each[i]);
            if (err == RD_KAFKA_RESP_ERR_NO_ERROR || err == accepted) continue;
            const auto* text = rd_kafka_topic_result_error_string(each[i]);
            return std::unexpected(
                request_error(err, fmt::format("topic {}: {}", rd_kafka_topic_result_name(each[i]),
                                               text ? text : rd_kafka_err2str(err))));
        }
        return {};
    }

    Client client_;
    Queue answers_;  // goes before its client
};

}  // namespace

std::unique_ptr<Admin> make_admin(std::string brokers) {
    return std::make_unique<RdAdmin>(brokers);
}

}  // namespace millrace::kafka
