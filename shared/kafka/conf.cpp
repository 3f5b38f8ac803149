#include "shared/kafka/conf.hpp"

#include <fmt/format.h>

#include <array>
#include <stdexcept>
#include <tuple>

namespace millrace::kafka {

namespace {

constexpr std::chrono::seconds k_told_again_after{10};

// One producer or consumer connects to few brokers, on a network of its own: notice a dead one
// early, come back early.
void set_common(Conf& conf, const std::string& brokers, const std::string& client_id) {
    conf.set({{"bootstrap.servers", brokers},
              {"socket.nagle.disable", "true"},  // 2.0.2 leaves Nagle on: +40 ms for some sizes
              {"socket.keepalive.enable", "true"},
              {"socket.timeout.ms", "10000"},
              {"socket.connection.setup.timeout.ms", "5000"},
              {"reconnect.backoff.ms", "50"},
              {"reconnect.backoff.max.ms", "1000"}});
    if (!client_id.empty()) conf.set("client.id", client_id);
    rd_kafka_conf_set_log_cb(conf.get(), nullptr);  // what matters arrives as error events
}

}  // namespace

Conf::Conf() : conf_(rd_kafka_conf_new()) {}

Conf& Conf::set(const std::string& name, const std::string& value) {
    std::array<char, 512> why{};
    if (rd_kafka_conf_set(conf_.get(), name.c_str(), value.c_str(), why.data(), why.size()) !=
        RD_KAFKA_CONF_OK) {
        throw std::runtime_error(fmt::format("kafka setting {}: {}", name, why.data()));
    }
    return *this;
}

Conf& Conf::set(const std::map<std::string, std::string>& settings) {
    for (const auto& [name, value] : settings) set(name, value);
    return *this;
}

Client Conf::create(rd_kafka_type_t type) {
    std::array<char, 512> why{};
    auto* client = rd_kafka_new(type, conf_.get(), why.data(), why.size());
    if (client == nullptr) throw std::runtime_error(fmt::format("kafka client: {}", why.data()));
    std::ignore = conf_.release();  // the client owns it now
    // A consumer that said farewell is closed by now; for one that did not, destruction shall not
    // wait for the group.
    return {client, [](rd_kafka_t* gone) {
                rd_kafka_destroy_flags(gone, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
            }};
}

Conf producer_conf(const ProducerOptions& options) {
    Conf conf;
    set_common(conf, options.brokers, options.client_id);
    conf.set({{"enable.idempotence", "true"},
              {"acks", "all"},
              {"message.timeout.ms", std::to_string(options.message_timeout.count())},
              {"linger.ms", std::to_string(options.linger.count())},
              {"partitioner", "murmur2_random"},  // as the Java tools
              {"batch.num.messages", "1000"},
              {"queue.buffering.max.messages", std::to_string(options.queue_records_max)},
              {"queue.buffering.max.kbytes", std::to_string(options.queue_kbytes_max)},
              // How long a topic that the cluster does not know may still be on its way to it.
              {"topic.metadata.propagation.max.ms", "2000"}});
    conf.set(options.overrides);
    rd_kafka_conf_set_events(conf.get(), RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    return conf;
}

Conf consumer_conf(const ConsumerOptions& options) {
    Conf conf;
    set_common(conf, options.brokers, options.client_id);
    conf.set({{"group.id", options.group},
              {"enable.auto.offset.store", "false"},
              {"enable.auto.commit", "true"},
              {"auto.commit.interval.ms", "500"},
              {"auto.offset.reset", "earliest"},
              {"partition.assignment.strategy",
               "range"},  // eager: cooperative-sticky is not fit in 2.0.2
              {"session.timeout.ms", "6000"},
              {"heartbeat.interval.ms", "2000"},
              // The driver polls the control queue every second whether or not anybody fetches, so
              // this is the watchdog of a hung io thread, and how long a rebalance waits for one.
              {"max.poll.interval.ms", "60000"},
              {"fetch.wait.max.ms", "500"},
              {"fetch.min.bytes", "1"},
              {"fetch.error.backoff.ms", "50"},
              {"queued.min.messages", std::to_string(options.buffered_records_min)},
              {"queued.max.messages.kbytes", std::to_string(options.buffered_kbytes_max)},
              {"enable.partition.eof", "true"},  // tells progress() where an idle partition stands
              // A topic that does not exist yet, or grows, is seen within this time.
              {"topic.metadata.refresh.interval.ms", "5000"}});
    if (!options.instance.empty()) conf.set("group.instance.id", options.instance);
    conf.set(options.overrides);
    rd_kafka_conf_set_events(conf.get(), RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR);
    return conf;
}

Conf admin_conf(const std::string& brokers) {
    Conf conf;
    set_common(conf, brokers, "millrace-admin");
    return conf;
}

bool is_fatal(rd_kafka_event_t* event) {
    // The event carries the cause, not ERR__FATAL, and a flag.
    return rd_kafka_event_error_is_fatal(event) != 0 ||
           rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__FATAL;
}

Error delivery_error(rd_kafka_resp_err_t err, rd_kafka_msg_status_t status) {
    auto text = fmt::format("{}: {}", rd_kafka_err2name(err), rd_kafka_err2str(err));
    const auto made = [&](ErrorCode code, std::string detail) {
        return fail(code, std::move(detail),
                    {.log = std::move(text), .source = rd_kafka_err2name(err)})
            .error();
    };
    switch (err) {
        case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
        case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
            return made(ErrorCode::too_large, "the record is too large");
        case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        case RD_KAFKA_RESP_ERR__INVALID_ARG:
            return made(ErrorCode::invalid, "the topic does not exist");
        default:
            break;
    }
    if (status == RD_KAFKA_MSG_STATUS_NOT_PERSISTED) {
        return made(ErrorCode::unavailable, "the event log is not available");
    }
    return made(ErrorCode::timeout, "the event log did not confirm in time");
}

Error request_error(rd_kafka_resp_err_t err, std::string_view text) {
    auto log = fmt::format("{}: {}", rd_kafka_err2name(err), text);
    const auto made = [&](ErrorCode code) {
        return fail(code, std::string(text),
                    {.log = std::move(log), .source = rd_kafka_err2name(err)})
            .error();
    };
    switch (err) {
        case RD_KAFKA_RESP_ERR__TIMED_OUT:
        case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
        case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
            return made(ErrorCode::timeout);
        case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        case RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND:
            return made(ErrorCode::not_found);
        case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS:
            return made(ErrorCode::conflict);
        case RD_KAFKA_RESP_ERR__INVALID_ARG:
        case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
        case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
        case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
        case RD_KAFKA_RESP_ERR_INVALID_REQUEST:
            return made(ErrorCode::invalid);
        case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
            return made(ErrorCode::forbidden);
        default:
            return made(ErrorCode::unavailable);
    }
}

void EventSink::operator()(std::string text) const {
    if (hook_) hook_(std::move(text));
}

void EventSink::operator()(std::string_view who, rd_kafka_resp_err_t err, std::string_view text) {
    const auto now = std::chrono::steady_clock::now();
    const auto [told, first] = told_.try_emplace(err, now);
    if (!first && now - told->second < k_told_again_after) return;
    told->second = now;
    (*this)(fmt::format("{}: {}: {}", who, rd_kafka_err2name(err), text));
}

}  // namespace millrace::kafka
