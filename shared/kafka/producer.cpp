// The producer: idempotent, acks=all; delivery reports arrive in batches through an eventfd. A
// fatal error of librdkafka (an idempotent producer of 2.0.2 can go fatal after an ambiguous
// disconnect) costs one instance, not the process.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <exception>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "shared/async/event.hpp"
#include "shared/kafka/background.hpp"
#include "shared/kafka/conf.hpp"
#include "shared/kafka/event_fd.hpp"
#include "shared/kafka/pending.hpp"

namespace millrace::kafka {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds k_destroy_patience{5'000};
constexpr milliseconds k_probe_timeout{1'000};
constexpr milliseconds k_probe_interval{1'000};
constexpr milliseconds k_warm_interval{100};
constexpr milliseconds k_backoff_min{100};
constexpr milliseconds k_backoff_max{5'000};
constexpr seconds k_stable_after{10};  // an instance that lived so long is rebuilt at once

/// What the cluster answered about the topics that a client uses.
struct Knowledge {
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    std::unordered_set<std::string> ready;  // every partition has a leader
};

/// Blocks up to k_probe_timeout.
Knowledge ask(rd_kafka_t* client) {
    Knowledge answer;
    const rd_kafka_metadata_t* metadata = nullptr;
    answer.err =
        rd_kafka_metadata(client, 0, nullptr, &metadata, static_cast<int>(k_probe_timeout.count()));
    if (answer.err != RD_KAFKA_RESP_ERR_NO_ERROR) return answer;
    for (int i = 0; i < metadata->topic_cnt; ++i) {
        const auto& topic = metadata->topics[i];
        const std::span partitions(topic.partitions, static_cast<std::size_t>(topic.partition_cnt));
        const bool led =
            std::ranges::all_of(partitions, [](const auto& p) { return p.leader >= 0; });
        if (topic.err == RD_KAFKA_RESP_ERR_NO_ERROR && topic.partition_cnt > 0 && led)
            answer.ready.emplace(topic.topic);
    }
    rd_kafka_metadata_destroy(metadata);
    return answer;
}

class RdProducer final : public Producer {
 public:
    RdProducer(Executor executor, ProducerOptions options)
        : executor_(executor),
          options_(std::move(options)),
          emit_(options_.on_event),
          background_(k_destroy_patience),
          wake_(executor, [this] { drain(); }),
          drained_(executor),
          probed_(executor),
          probe_timer_(executor),
          rebuild_timer_(executor) {
        build();
    }

    ~RdProducer() override {
        auto lost = retire();
        for (auto& refused : refused_) lost.push_back(std::move(refused.callback));
        report_lost(std::move(lost), "the producer was closed");
    }

    RdProducer(const RdProducer&) = delete;
    RdProducer& operator=(const RdProducer&) = delete;

    void publish(OutRecord record, OnDelivered on_delivered) override {
        auto* topic = client_ ? topic_handle(record.topic) : nullptr;
        if (topic == nullptr) {
            refuse(std::move(on_delivered),
                   client_ ? RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC : RD_KAFKA_RESP_ERR__FATAL);
            return;
        }
        auto* opaque = pending_.put(std::move(on_delivered));
        if (const auto err = enqueue(record, topic, opaque); err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            refuse(pending_.take(opaque), err);
        }
    }

    Task<Result<void>> warm(std::vector<std::string> topics, Deadline deadline) override {
        for (;;) {
            for (const auto& topic : topics) {
                if (client_ && topic_handle(topic) == nullptr) {
                    co_return fail(ErrorCode::invalid,
                                   fmt::format("{} is not a topic name", topic));
                }
            }
            probe();
            co_await probed_.wait(deadline);
            const auto missing = std::ranges::find_if(
                topics, [this](const auto& topic) { return !known_.ready.contains(topic); });
            if (connected_ && missing == topics.end()) co_return Result<void>{};
            if (deadline.passed()) {
                co_return fail(
                    ErrorCode::unavailable, "the event log is not available",
                    {.log = connected_
                                ? fmt::format("topic {} has no leader, or does not exist", *missing)
                                : rd_kafka_err2str(known_.err)});
            }
            co_await async::delay(executor_, deadline.capped(k_warm_interval).remaining());
        }
    }

    Task<bool> flush(Deadline deadline) override {
        while (outstanding() > 0 && !deadline.passed()) co_await drained_.wait(deadline);
        co_return outstanding() == 0;
    }

    [[nodiscard]] bool connected() const override { return connected_; }

 private:
    struct Refused {
        OnDelivered callback;
        rd_kafka_resp_err_t err;
    };

    [[nodiscard]] std::size_t outstanding() const { return pending_.size() + refused_.size(); }

    /// A handler of a later turn, which may come after `this` is gone.
    template <class Handler>
    auto while_alive(Handler handler) {
        return [alive = std::weak_ptr(alive_),
                handler = std::move(handler)]<class... Arguments>(Arguments&&... arguments) {
            if (!alive.expired()) handler(std::forward<Arguments>(arguments)...);
        };
    }

    // --- one instance of librdkafka's producer
    // --------------------------------------------------------------------

    void build() {
        client_ = producer_conf(options_).create(RD_KAFKA_PRODUCER);
        queue_.reset(rd_kafka_queue_get_main(client_.get()));
        wake_.watch(queue_.get());
        built_at_ = std::chrono::steady_clock::now();
        fatal_ = false;
        probe();
    }

    /// Gives the instance up and returns whom it still owes a report. Its destruction joins
    /// threads: not here.
    std::vector<OnDelivered> retire() {
        connected_ = false;
        if (client_) {
            EventFd::unwatch(queue_.get());
            topics_.clear();
            queue_.reset();
            background_.run([client = std::exchange(client_, nullptr)] {});
        }
        return pending_.take_all();
    }

    /// After a fatal error. The new instance stands before the callbacks of the old one run: they
    /// may publish.
    void rebuild(const std::string& why) {
        const auto lived = std::chrono::steady_clock::now() - built_at_;
        backoff_ = lived > k_stable_after ? milliseconds(0)
                                          : std::clamp(backoff_ * 2, k_backoff_min, k_backoff_max);
        emit_(fmt::format("kafka producer: fatal error, rebuilt after {} ms: {}", backoff_.count(),
                          why));
        auto lost = retire();
        if (backoff_.count() == 0) {
            try_build();
        } else {
            rebuild_timer_.expires_after(backoff_);
            rebuild_timer_.async_wait(
                while_alive([this](const boost::system::error_code& cancelled) {
                    if (!cancelled) try_build();
                }));
        }
        report_lost(std::move(lost), why);
    }

    void try_build() {
        try {
            build();
        } catch (const std::exception&
                     e) {  // no thread or memory to be had: the settings were good before
            rebuild(e.what());
        }
    }

    static void report_lost(std::vector<OnDelivered> lost, const std::string& why) {
        for (auto& callback : lost) {
            if (callback) {
                callback(fail(ErrorCode::timeout, "the event log did not confirm in time",
                              {.log = why, .source = "kafka:instance lost"}));
            }
        }
    }

    // --- records out
    // ----------------------------------------------------------------------------------------------

    /// Null when that cannot be the name of a topic.
    rd_kafka_topic_t* topic_handle(const std::string& name) {
        if (name.empty() || name.size() > 249) return nullptr;
        if (const auto found = topics_.find(name); found != topics_.end())
            return found->second.get();
        Topic made(rd_kafka_topic_new(client_.get(), name.c_str(), nullptr));
        return made ? topics_.emplace(name, std::move(made)).first->second.get() : nullptr;
    }

    /// Copies the record into librdkafka's queue, or says why not.
    rd_kafka_resp_err_t enqueue(const OutRecord& record, rd_kafka_topic_t* topic, void* opaque) {
        std::array<rd_kafka_vu_t, 7> arguments;
        std::size_t count = 0;
        const auto add = [&](rd_kafka_vtype_t type) -> auto& {
            arguments[count].vtype = type;
            return arguments[count++].u;
        };
        add(RD_KAFKA_VTYPE_RKT).rkt = topic;
        add(RD_KAFKA_VTYPE_MSGFLAGS).i = RD_KAFKA_MSG_F_COPY;
        add(RD_KAFKA_VTYPE_OPAQUE).ptr = opaque;
        if (record.partition >= 0) add(RD_KAFKA_VTYPE_PARTITION).i32 = record.partition;
        if (!record.key.empty()) {
            add(RD_KAFKA_VTYPE_KEY).mem = {const_cast<char*>(record.key.data()), record.key.size()};
        }
        if (record.has_value) {
            add(RD_KAFKA_VTYPE_VALUE).mem = {const_cast<char*>(record.value.data()),
                                             record.value.size()};
        }
        rd_kafka_headers_t* headers = nullptr;
        if (!record.headers.empty()) {
            headers = rd_kafka_headers_new(record.headers.size());
            for (const auto& [name, value] : record.headers) {
                rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()),
                                    value.data(), static_cast<ssize_t>(value.size()));
            }
            add(RD_KAFKA_VTYPE_HEADERS).headers = headers;
        }
        const RdError error(rd_kafka_produceva(client_.get(), arguments.data(), count));
        if (!error) return RD_KAFKA_RESP_ERR_NO_ERROR;
        if (headers != nullptr) rd_kafka_headers_destroy(headers);  // still ours after a failure
        return rd_kafka_error_is_fatal(error.get()) != 0 ? RD_KAFKA_RESP_ERR__FATAL
                                                         : rd_kafka_error_code(error.get());
    }

    /// Reports from a later turn of the loop that a record was not taken.
    void refuse(OnDelivered callback, rd_kafka_resp_err_t err) {
        if (!callback) return;
        refused_.push_back({std::move(callback), err});
        if (refused_.size() > 1) return;  // a turn is on its way
        asio::post(executor_, while_alive([this] {
                       for (auto& [refused, err] : std::exchange(refused_, {})) {
                           refused(std::unexpected(
                               delivery_error(err, RD_KAFKA_MSG_STATUS_NOT_PERSISTED)));
                       }
                       if (outstanding() == 0) drained_.notify_all();
                   }));
    }

    // --- reports in
    // -----------------------------------------------------------------------------------------------

    void drain() {
        if (!queue_) return;
        const bool any = outstanding() > 0;
        do {
            const RdEvent event(rd_kafka_queue_poll(queue_.get(), 0));
            if (!event) continue;
            if (rd_kafka_event_type(event.get()) == RD_KAFKA_EVENT_DR) {
                reports(event.get());
            } else if (rd_kafka_event_type(event.get()) == RD_KAFKA_EVENT_ERROR) {
                error(event.get());
            }
            // An empty queue needs no further poll to be told: what lands on it from now on wakes
            // us again.
        } while (rd_kafka_queue_length(queue_.get()) > 0);
        if (fatal_) rebuild(std::exchange(fatal_text_, {}));
        if (any && outstanding() == 0) drained_.notify_all();
    }

    void reports(rd_kafka_event_t* event) {
        while (const auto* message = rd_kafka_event_message_next(event)) {
            if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                connected_ = true;
            } else if (message->err == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT) {
                disconnected();
            }
            pending_.answer(message->_private, [message]() -> Result<Position> {
                if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
                    return std::unexpected(
                        delivery_error(message->err, rd_kafka_message_status(message)));
                }
                return Position{rd_kafka_topic_name(message->rkt), message->partition,
                                message->offset};
            });
        }
    }

    void error(rd_kafka_event_t* event) {
        const auto err = rd_kafka_event_error(event);
        const auto* text = rd_kafka_event_error_string(event);
        if (is_fatal(event)) {
            fatal_ = true;
            fatal_text_ = text;
            return;
        }
        if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) disconnected();
        emit_("kafka producer", err, text);
    }

    // --- whether a broker answers
    // ---------------------------------------------------------------------------------

    /// librdkafka reconnects only when something needs it, so ask until somebody answers.
    void disconnected() {
        connected_ = false;
        probe_later();
    }

    void probe_later() {
        if (probing_ || probe_waits_) return;
        probe_waits_ = true;
        probe_timer_.expires_after(k_probe_interval);
        probe_timer_.async_wait(while_alive([this](const boost::system::error_code& cancelled) {
            if (cancelled) return;
            probe_waits_ = false;
            probe();
        }));
    }

    /// Asks for the metadata of every topic with a handle; one question at a time.
    void probe() {
        if (probing_ || !client_) return;
        probing_ = true;
        auto deliver = while_alive([this](Knowledge answer) { probed(std::move(answer)); });
        background_.run([client = client_, executor = executor_, deliver]() mutable {
            auto answer = ask(client.get());
            client.reset();
            asio::post(executor, [deliver, answer = std::move(answer)]() mutable {
                deliver(std::move(answer));
            });
        });
    }

    void probed(Knowledge answer) {
        probing_ = false;
        known_ = std::move(answer);
        connected_ = client_ && known_.err == RD_KAFKA_RESP_ERR_NO_ERROR;
        probed_.notify_all();
        if (!connected_) probe_later();
    }

    Executor executor_;
    ProducerOptions options_;
    EventSink emit_;
    Background background_;
    EventFd wake_;
    Client client_;  // null between a fatal error and the next instance
    Queue queue_;
    std::unordered_map<std::string, Topic> topics_;
    Pending pending_;
    std::vector<Refused> refused_;
    async::Event drained_;
    async::Event probed_;
    async::Timer probe_timer_;
    async::Timer rebuild_timer_;
    Knowledge known_;
    base::SteadyTime built_at_{};
    milliseconds backoff_{0};
    std::string fatal_text_;
    bool fatal_ = false;
    bool connected_ = false;
    bool probing_ = false;
    bool probe_waits_ = false;
    std::shared_ptr<char> alive_ = std::make_shared<char>();  // last: expires first
};

}  // namespace

std::unique_ptr<Producer> make_producer(Executor executor, ProducerOptions options) {
    return std::make_unique<RdProducer>(std::move(executor), std::move(options));
}

}  // namespace millrace::kafka
