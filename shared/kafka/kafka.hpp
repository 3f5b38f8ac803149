#pragma once
// The Kafka port: records out with delivery reports, records in with explicit offset stores. All on
// one thread.

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shared/async/task.hpp"
#include "shared/base/time.hpp"

namespace millrace::kafka {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Position {
    std::string topic;
    std::int32_t partition = -1;
    std::int64_t offset = -1;
};

struct OutRecord {
    std::string topic;
    std::string key;  ///< empty = none: any partition; records of one key keep their order
    std::string value;
    Headers headers;
    bool has_value = true;        ///< false: a tombstone
    std::int32_t partition = -1;  ///< -1: as the key decides
};

struct Record {
    Position position;
    std::string key;
    std::string value;
    bool has_value = true;  ///< false: a tombstone
    Headers headers;
    base::WallTime time;

    [[nodiscard]] std::string_view header(
        std::string_view name) const noexcept;  ///< empty when absent
};

/// Called exactly once per record, on the io thread: where it stands, or why it does not (code
/// `timeout` = possibly persisted, `unavailable` = not persisted, `too_large`, `invalid` = unknown
/// topic).
using OnDelivered = std::move_only_function<void(const Result<Position>&)>;

/// Destruction reports what is outstanding (`timeout`) at once: flush() first. Callbacks must not
/// throw; they may publish.
class Producer {
 public:
    virtual ~Producer() = default;
    /// Never blocks. A full queue is reported to on_delivered as `unavailable` (from a later turn
    /// of the loop).
    virtual void publish(OutRecord record, OnDelivered on_delivered) = 0;
    /// Fetches the topics' metadata so that the first real record is not the slow one.
    virtual Task<Result<void>> warm(std::vector<std::string> topics, Deadline deadline) = 0;
    /// Waits for outstanding reports; true when none is left.
    virtual Task<bool> flush(Deadline deadline) = 0;
    /// Whether a broker has answered lately.
    [[nodiscard]] virtual bool connected() const = 0;
};

/// At most one fetch() at a time; destroy it only when none waits (close() ends them).
class Consumer {
 public:
    virtual ~Consumer() = default;
    /// At least one record, at most `records_max`; waits for the first. Empty only when the
    /// consumer was closed. Not calling it is the back-pressure: nothing is fetched beyond the
    /// configured buffers.
    virtual Task<std::vector<Record>> fetch(std::size_t records_max) = 0;
    /// This record and all before it on its partition are owned elsewhere now; committed in the
    /// background.
    virtual void store(const Position& position) = 0;
    /// Per partition currently assigned: the offset after the last record fetched, and the log end,
    /// if known.
    struct Progress {
        Position next;
        std::int64_t log_end = -1;
    };
    virtual std::vector<Progress> progress() = 0;
    /// Commits what was stored and leaves; fetch() returns empty.
    virtual Task<void> close(Deadline deadline) = 0;
};

struct ProducerOptions {
    std::string brokers;
    std::string client_id;
    std::chrono::milliseconds message_timeout{5000};
    std::chrono::milliseconds linger{1};
    std::map<std::string, std::string>
        overrides;                   ///< librdkafka property -> value, for tests and operators
    int queue_records_max = 20'000;  ///< beyond it publish() reports `unavailable`
    int queue_kbytes_max = 65'536;
    /// What an operator should read: errors, rebuilds. On the io thread; a repeated text is dropped
    /// for 10 s.
    std::function<void(std::string)> on_event{};
};
/// Throws std::runtime_error when librdkafka refuses the settings; a broker that is away is no
/// error.
std::unique_ptr<Producer> make_producer(Executor executor, ProducerOptions options);

struct ConsumerOptions {
    std::string brokers;
    std::string client_id;
    std::string group;
    std::string instance;  ///< group.instance.id; empty = dynamic member
    std::vector<std::string> topics;
    std::map<std::string, std::string> overrides;
    int buffered_records_min =
        10'000;  ///< fetched ahead, over all partitions, until this many wait …
    int buffered_kbytes_max = 8'192;  ///< … or this much
    /// As in ProducerOptions; also assignments.
    std::function<void(std::string)> on_event{};
};
/// Throws as make_producer does.
std::unique_ptr<Consumer> make_consumer(Executor executor, ConsumerOptions options);

// --- administration: blocking, for one-shot tools only
// ------------------------------------------------------------

struct TopicSpec {
    std::string name;
    int partitions = 1;
    int replication = 1;
    std::map<std::string, std::string> config;
};
struct TopicState {
    std::string name;
    int partitions = 0;
    std::int64_t records = 0;  ///< sum of (high - low watermark)
};

class Admin {
 public:
    virtual ~Admin() = default;
    virtual Result<std::vector<TopicState>> topics(std::chrono::milliseconds timeout) = 0;
    /// An existing topic is no error.
    virtual Result<void> create(const std::vector<TopicSpec>& topics,
                                std::chrono::milliseconds timeout) = 0;
    /// As many already is no error.
    virtual Result<void> add_partitions(const std::string& topic, int total,
                                        std::chrono::milliseconds timeout) = 0;
    /// An absent topic is no error.
    virtual Result<void> remove(const std::vector<std::string>& topics,
                                std::chrono::milliseconds timeout) = 0;
    /// Committed offsets of a group for all partitions of these topics; offset -1 = none.
    virtual Result<std::vector<Position>> committed(const std::string& group,
                                                    const std::vector<std::string>& topics,
                                                    std::chrono::milliseconds timeout) = 0;
    /// Low and high watermarks.
    virtual Result<std::pair<std::int64_t, std::int64_t>> watermarks(
        const std::string& topic, int partition, std::chrono::milliseconds timeout) = 0;
};
std::unique_ptr<Admin> make_admin(std::string brokers);

}  // namespace millrace::kafka
