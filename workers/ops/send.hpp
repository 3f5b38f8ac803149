#pragma once
// What redrive and replay share: an estimate of the cost, the pace, and records whose delivery is
// awaited.

#include <map>
#include <set>

#include "shared/domain/jobs/replay.hpp"
#include "shared/json/writer.hpp"
#include "workers/ops/command.hpp"
#include "workers/ops/text.hpp"

namespace millrace::workers::ops {

inline constexpr std::size_t k_send_batch = 256;

struct Estimate {
    struct Kind {
        std::int64_t jobs = 0;
        std::int64_t seen = 0;  ///< jobs that the average is taken over; 0: nothing was ever spent
        double cost_usd = 0, tokens = 0;
    };
    std::map<std::string, Kind> kinds;

    [[nodiscard]] double cost_usd() const;
    [[nodiscard]] double tokens() const;
    [[nodiscard]] json::Object to_json() const;
    void print() const;
};
/// What so many jobs per kind are likely to cost: the average of the last 30 days' usage rows.
Task<Result<Estimate>> estimate(Context& context, std::map<std::string, std::int64_t> jobs);

/// At most so many per second; 0: as fast as it goes.
class Pace {
 public:
    Pace(Executor executor, std::int64_t rate) : executor_(std::move(executor)), rate_(rate) {}
    /// How many to send at once, so that a second is never sent in one gulp.
    [[nodiscard]] std::size_t batch() const;
    /// Waits until `sent` more were due.
    Task<void> sent(std::size_t count);

 private:
    Executor executor_;
    std::int64_t rate_;
    std::size_t total_ = 0;
    base::SteadyTime started_ = std::chrono::steady_clock::now();
};

/// Publishes records and remembers where they came to stand.
class Sender {
 public:
    /// Connects before anything is changed that would have to be published.
    Sender(Context& context, domain::jobs::Replay& replay)
        : context_(context), replay_(replay), producer_(context.producer()) {}

    struct Sent {
        std::int64_t produced = 0, confirmed = 0;
    };
    /// The queued ones of these jobs, in the order of their acceptance. `outbox`: the row that
    /// announces them, deleted once all are confirmed; nil: none. `lane` empty: each in its own.
    Task<Result<Sent>> jobs(std::vector<base::Uuid> ids, base::Uuid outbox, std::string_view lane);
    /// A record as it was, on another topic.
    Task<Sent> copy(std::vector<kafka::Record> records, const std::string& topic);

    [[nodiscard]] const Sent& total() const noexcept { return total_; }
    /// Reads the records back: how many stand where the broker has confirmed them.
    Result<std::int64_t> found();

 private:
    Task<Sent> deliver(std::vector<kafka::OutRecord> records);

    Context& context_;
    domain::jobs::Replay& replay_;
    kafka::Producer& producer_;
    Sent total_;
    std::map<std::pair<std::string, std::int32_t>, std::set<std::int64_t>> stand_;
};

}  // namespace millrace::workers::ops
