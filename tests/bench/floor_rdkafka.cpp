#include "tests/bench/floor_rdkafka.hpp"

#include <librdkafka/rdkafka.h>

#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <utility>

namespace millrace::bench {

namespace {

using Clock = std::chrono::steady_clock;

void set(rd_kafka_conf_t* conf,
         std::initializer_list<std::pair<const char*, const char*>> settings) {
    char why[256];
    for (const auto& [name, value] : settings) {
        if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
            std::fprintf(stderr, "%s: %s\n", name, why);
            std::exit(1);
        }
    }
}

rd_kafka_t* create(rd_kafka_type_t type, rd_kafka_conf_t* conf) {
    char why[256];
    auto* client = rd_kafka_new(type, conf, why, sizeof why);
    if (client == nullptr) {
        std::fprintf(stderr, "%s\n", why);
        std::exit(1);
    }
    return client;
}

struct Produced {
    int reported = 0;
    std::vector<double> latency_ms{};
};

void reported(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
    auto& all = *static_cast<Produced*>(opaque);
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        std::fprintf(stderr, "%s\n", rd_kafka_err2str(message->err));
        std::exit(1);
    }
    const auto began = Clock::duration(
        static_cast<Clock::rep>(reinterpret_cast<std::intptr_t>(message->_private)));
    all.latency_ms.push_back(
        std::chrono::duration<double, std::milli>(Clock::now().time_since_epoch() - began).count());
    ++all.reported;
}

/// What a consumer of CloudEvents cannot do without.
void walk_headers(const rd_kafka_message_t* message) {
    rd_kafka_headers_t* headers = nullptr;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return;
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    for (std::size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == 0; ++i) {
    }
}

}  // namespace

KafkaRun floor_produce(const KafkaLoad& load) {
    Produced all;
    auto* conf = rd_kafka_conf_new();
    set(conf, {{"bootstrap.servers", load.brokers.c_str()},
               {"enable.idempotence", "true"},
               {"acks", "all"},
               {"linger.ms", "1"},
               {"socket.nagle.disable", "true"},
               {"partitioner", "murmur2_random"},
               {"batch.num.messages", "1000"}});
    rd_kafka_conf_set_opaque(conf, &all);
    rd_kafka_conf_set_dr_msg_cb(conf, reported);
    auto* client = create(RD_KAFKA_PRODUCER, conf);
    auto* topic = rd_kafka_topic_new(client, load.topic.c_str(), nullptr);
    const rd_kafka_metadata_t* metadata = nullptr;
    if (rd_kafka_metadata(client, 0, topic, &metadata, 10'000) == 0)
        rd_kafka_metadata_destroy(metadata);

    const auto produce = [&](int i) {
        auto* headers = rd_kafka_headers_new(static_cast<std::size_t>(load.headers));
        for (int h = 0; h < load.headers; ++h)
            rd_kafka_header_add(headers, "ce_header_name", -1, "a header's value", -1);
        const auto key = std::to_string(i);
        const auto now = Clock::now().time_since_epoch().count();
        rd_kafka_vu_t arguments[] = {
            {.vtype = RD_KAFKA_VTYPE_RKT, .u = {.rkt = topic}},
            {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u = {.i = RD_KAFKA_MSG_F_COPY}},
            {.vtype = RD_KAFKA_VTYPE_KEY,
             .u = {.mem = {const_cast<char*>(key.data()), key.size()}}},
            {.vtype = RD_KAFKA_VTYPE_VALUE,
             .u = {.mem = {const_cast<char*>(load.value.data()), load.value.size()}}},
            {.vtype = RD_KAFKA_VTYPE_HEADERS, .u = {.headers = headers}},
            {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u = {.ptr = reinterpret_cast<void*>(now)}}};
        rd_kafka_produceva(client, arguments, std::size(arguments));
    };
    produce(0);
    while (all.reported < 1) rd_kafka_poll(client, 10);
    all = {};
    const Meter meter;
    for (int sent = 0; all.reported < load.records;) {
        while (sent < load.records && sent - all.reported < load.outstanding) produce(sent++);
        rd_kafka_poll(client, 100);
    }
    auto run = meter.stop(load.records);
    run.latency_ms = std::move(all.latency_ms);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
    return run;
}

KafkaRun floor_consume(const KafkaLoad& load) {
    auto* conf = rd_kafka_conf_new();
    set(conf, {{"bootstrap.servers", load.brokers.c_str()},
               {"group.id", ("floor-" + load.topic).c_str()},
               {"auto.offset.reset", "earliest"},
               {"enable.auto.commit", "false"},
               {"fetch.wait.max.ms", "100"},
               {"queued.min.messages", "10000"},
               {"queued.max.messages.kbytes", "8192"},
               {"socket.nagle.disable", "true"}});
    auto* client = create(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(client);
    auto* topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, load.topic.c_str(), RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(client, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    const auto next = [&] {
        for (;;) {
            auto* message = rd_kafka_consumer_poll(client, 1000);
            const bool got = message != nullptr && message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
            if (got && load.headers > 0) walk_headers(message);
            if (message != nullptr) rd_kafka_message_destroy(message);
            if (got) return;
        }
    };
    next();
    const Meter meter;
    for (int i = 1; i < load.records; ++i) next();
    auto run = meter.stop(load.records - 1);
    rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
    return run;
}

}  // namespace millrace::bench
