// The consumer: at least once, offsets stored by the caller and committed in the background, eager
// assignor.
//
// Two queues. Control (rebalances, errors) is polled whenever something lands there and once a
// second, whether or not anybody fetches: so the member stays in its group, and lets partitions go,
// however long the back-pressure lasts. Data holds the records of all assigned partitions; fetch()
// alone polls it, and when it is full the fetcher stops.

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "shared/async/event.hpp"
#include "shared/kafka/background.hpp"
#include "shared/kafka/conf.hpp"
#include "shared/kafka/event_fd.hpp"
#include "shared/kafka/record.hpp"

namespace millrace::kafka {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds k_destroy_patience{5'000};
constexpr seconds k_tick{1};
constexpr milliseconds k_close_check{50};
constexpr milliseconds k_backoff_min{500};
constexpr milliseconds k_backoff_max{30'000};
constexpr seconds k_stable_after{60};

struct Assigned {
    std::string topic;
    std::int32_t partition = -1;
    std::int64_t next = -1;  // after the last record fetched
    std::int64_t stored =
        -1;  // what was stored last, in librdkafka's sense: the next to be consumed
};

class RdConsumer final : public Consumer {
 public:
    RdConsumer(Executor executor, ConsumerOptions options)
        : executor_(executor),
          options_(std::move(options)),
          emit_(options_.on_event),
          background_(k_destroy_patience),
          wake_(executor, [this] { woken(); }),
          readable_(executor),
          control_served_(executor),
          tick_(executor),
          rebuild_timer_(executor) {
        build();
        tick();
    }

    ~RdConsumer() override { retire(); }
    RdConsumer(const RdConsumer&) = delete;
    RdConsumer& operator=(const RdConsumer&) = delete;

    Task<std::vector<Record>> fetch(std::size_t records_max) override {
        while (!closed_) {
            auto records = take(records_max);
            if (!records.empty()) co_return records;
            co_await readable_.wait(Deadline::in(k_tick));
        }
        co_return std::vector<Record>{};
    }

    void store(const Position& position) override {
        auto* assigned = find(position.topic, position.partition);
        const auto next = position.offset + 1;
        if (assigned == nullptr || next <= assigned->stored || !client_) return;
        const Partitions one(rd_kafka_topic_partition_list_new(1));
        rd_kafka_topic_partition_list_add(one.get(), position.topic.c_str(), position.partition)
            ->offset = next;
        // Refused only when the assignment was lost a moment ago: then the record is someone else's
        // again.
        if (rd_kafka_offsets_store(client_.get(), one.get()) == RD_KAFKA_RESP_ERR_NO_ERROR)
            assigned->stored = next;
    }

    std::vector<Progress> progress() override {
        std::vector<Progress> all;
        all.reserve(assigned_.size());
        for (const auto& [topic, partition, next, stored] : assigned_) {
            std::int64_t low = -1;
            std::int64_t high = -1;
            rd_kafka_get_watermark_offsets(client_.get(), topic.c_str(), partition, &low, &high);
            all.push_back({{topic, partition, next}, std::max<std::int64_t>(high, -1)});
        }
        return all;
    }

    Task<void> close(Deadline deadline) override {
        closed_ = true;
        readable_.set();
        if (!client_) co_return;
        if (const RdError refused(rd_kafka_consumer_close_queue(client_.get(), control_.get()));
            !refused) {
            while (rd_kafka_consumer_closed(client_.get()) == 0 && !deadline.passed()) {
                co_await control_served_.wait(deadline.capped(k_close_check));
            }
        }
        if (rd_kafka_consumer_closed(client_.get()) == 0)
            emit_("kafka consumer: closed without a farewell");
        retire();
    }

 private:
    /// A handler of a later turn, which may come after `this` is gone.
    template <class Handler>
    auto while_alive(Handler handler) {
        return [alive = std::weak_ptr(alive_),
                handler = std::move(handler)](const boost::system::error_code& cancelled) {
            if (!alive.expired()) handler(cancelled);
        };
    }

    // --- one instance of librdkafka's consumer
    // --------------------------------------------------------------------

    void build() {
        client_ = consumer_conf(options_).create(RD_KAFKA_CONSUMER);
        rd_kafka_poll_set_consumer(client_.get());
        control_.reset(rd_kafka_queue_new(client_.get()));
        data_.reset(rd_kafka_queue_new(client_.get()));
        const Queue group(rd_kafka_queue_get_consumer(client_.get()));
        rd_kafka_queue_forward(group.get(), control_.get());
        wake_.watch(control_.get());
        wake_.watch(data_.get());
        built_at_ = std::chrono::steady_clock::now();

        const Partitions topics(
            rd_kafka_topic_partition_list_new(static_cast<int>(options_.topics.size())));
        for (const auto& topic : options_.topics) {
            rd_kafka_topic_partition_list_add(topics.get(), topic.c_str(), RD_KAFKA_PARTITION_UA);
        }
        if (const auto err = rd_kafka_subscribe(client_.get(), topics.get());
            err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            throw std::runtime_error(fmt::format("kafka subscribe: {}", rd_kafka_err2str(err)));
        }
    }

    /// Gives the instance up without a farewell (close() has said it, or cannot). Its destruction
    /// joins threads: not here.
    void retire() {
        assigned_.clear();
        if (!client_) return;
        EventFd::unwatch(control_.get());
        EventFd::unwatch(data_.get());
        data_.reset();
        control_.reset();
        background_.run([client = std::exchange(client_, nullptr)] {});
    }

    /// After a fatal error, such as another process with our instance name.
    void rebuild(const std::string& why) {
        const auto lived = std::chrono::steady_clock::now() - built_at_;
        backoff_ = lived > k_stable_after ? k_backoff_min
                                          : std::clamp(backoff_ * 2, k_backoff_min, k_backoff_max);
        emit_(fmt::format("kafka consumer: fatal error, rebuilt after {} ms: {}", backoff_.count(),
                          why));
        retire();
        rebuild_timer_.expires_after(backoff_);
        rebuild_timer_.async_wait(while_alive([this](const boost::system::error_code& cancelled) {
            if (cancelled || closed_) return;
            try {
                build();
            } catch (const std::exception&
                         e) {  // no thread or memory to be had: the settings were good before
                rebuild(e.what());
            }
        }));
    }

    // --- control
    // --------------------------------------------------------------------------------------------------

    void woken() {
        while (control_ && rd_kafka_queue_length(control_.get()) > 0) poll_control();
        control_served_.notify_all();
        readable_.notify_all();
    }

    /// Polling, even of an empty queue, is what tells the group that this member lives.
    void tick() {
        if (control_) poll_control();
        tick_.expires_after(k_tick);
        tick_.async_wait(while_alive([this](const boost::system::error_code& cancelled) {
            if (!cancelled) tick();
        }));
    }

    void poll_control() {
        RdEvent event(rd_kafka_queue_poll(control_.get(), 0));
        if (!event) return;
        if (rd_kafka_event_type(event.get()) == RD_KAFKA_EVENT_REBALANCE) {
            rebalance(event.get());
        } else if (rd_kafka_event_type(event.get()) == RD_KAFKA_EVENT_ERROR) {
            const auto err = rd_kafka_event_error(event.get());
            const std::string text = rd_kafka_event_error_string(event.get());
            const bool fatal = is_fatal(event.get());
            event.reset();  // before its instance
            if (fatal && !closed_) {
                rebuild(text);
            } else {
                emit_("kafka consumer", err, text);
            }
        }
    }

    void rebalance(rd_kafka_event_t* event) {
        if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
            const bool lost = rd_kafka_assignment_lost(client_.get()) != 0;
            rd_kafka_assign(client_.get(), nullptr);  // commits what was stored
            emit_(fmt::format("kafka consumer: {} partitions {}", assigned_.size(),
                              lost ? "lost" : "revoked"));
            assigned_.clear();
            return;
        }
        auto* list = rd_kafka_event_topic_partition_list(event);
        assigned_.clear();
        for (int i = 0; i < list->cnt; ++i) {
            const auto& given = list->elems[i];
            assigned_.push_back({.topic = given.topic, .partition = given.partition});
            // Before the fetcher starts: then it leaves the forwarding alone.
            const Queue fetched(
                rd_kafka_queue_get_partition(client_.get(), given.topic, given.partition));
            rd_kafka_queue_forward(fetched.get(), data_.get());
        }
        last_found_ = 0;
        rd_kafka_assign(client_.get(), list);
        emit_(fmt::format("kafka consumer: {} partitions assigned", assigned_.size()));
    }

    // --- data
    // -----------------------------------------------------------------------------------------------------

    std::vector<Record> take(std::size_t records_max) {
        std::vector<Record> records;
        while (data_ && records.size() < records_max) {
            const RdMessage message(rd_kafka_consume_queue(data_.get(), 0));
            if (!message) break;
            auto* assigned = message->rkt == nullptr
                                 ? nullptr
                                 : find(rd_kafka_topic_name(message->rkt), message->partition);
            if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                if (assigned != nullptr) assigned->next = message->offset;
            } else if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
                emit_("kafka consumer", message->err, rd_kafka_message_errstr(message.get()));
            } else if (assigned != nullptr) {  // else it was revoked: its new owner gets it
                assigned->next = message->offset + 1;
                records.push_back(to_record(*message));
            }
        }
        return records;
    }

    /// Records come in runs of one partition.
    Assigned* find(std::string_view topic, std::int32_t partition) {
        const auto is = [&](const Assigned& a) {
            return a.partition == partition && a.topic == topic;
        };
        if (last_found_ < assigned_.size() && is(assigned_[last_found_]))
            return &assigned_[last_found_];
        const auto found = std::ranges::find_if(assigned_, is);
        if (found == assigned_.end()) return nullptr;
        last_found_ = static_cast<std::size_t>(found - assigned_.begin());
        return &*found;
    }

    Executor executor_;
    ConsumerOptions options_;
    EventSink emit_;
    Background background_;
    EventFd wake_;
    Client client_;  // null between a fatal error and the next instance, and after close()
    Queue control_;
    Queue data_;
    std::vector<Assigned> assigned_;
    std::size_t last_found_ = 0;
    async::Event readable_;
    async::Event control_served_;
    async::Timer tick_;
    async::Timer rebuild_timer_;
    base::SteadyTime built_at_{};
    milliseconds backoff_{0};
    bool closed_ = false;
    std::shared_ptr<char> alive_ = std::make_shared<char>();  // last: expires first
};

}  // namespace

std::string_view Record::header(std::string_view name) const noexcept {
    const auto found = std::ranges::find(headers, name, &Headers::value_type::first);
    return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

std::unique_ptr<Consumer> make_consumer(Executor executor, ConsumerOptions options) {
    return std::make_unique<RdConsumer>(std::move(executor), std::move(options));
}

}  // namespace millrace::kafka
