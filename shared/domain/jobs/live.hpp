#pragma once
// What a running attempt says before it ends: one Redis Stream per attempt, capped in bytes, plus
// wake-ups. Written by the worker runtime, read by the edge. All of it may be lost: the result in
// PostgreSQL is the truth.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shared/domain/jobs/job.hpp"
#include "shared/redis/redis.hpp"

namespace millrace::domain::jobs {

/// An event of an attempt. `seq` counts from 1 without gaps; `offset` is the number of answer bytes
/// said up to and with this event.
struct LiveEvent {
    std::uint32_t seq = 0;
    std::uint64_t offset = 0;
    std::string type;  ///< status | progress | delta | citation | restart
    std::string data;  ///< JSON; of a delta {"text":…}
};

inline constexpr std::string_view k_done_channel =
    "millrace:done";  ///< payload: 16-byte ids of jobs that ended, one after the other
inline constexpr std::string_view k_cancel_channel =
    "millrace:cancel";  ///< payload: one 16-byte id

/// Wake-ups of one job: published after each event.
[[nodiscard]] std::string live_channel(JobId id);

/// The writing side of one attempt. Never waits: Redis away means that clients wait for the result.
/// What Redis may hold of a job's attempts 1 to `attempts`.
[[nodiscard]] std::vector<std::string> live_keys(JobId id, int attempts);

class LiveWriter {
 public:
    LiveWriter(redis::Client& redis, JobId id, int attempt);

    void status(std::string_view status);
    void progress(std::string_view json);
    void delta(std::string_view text);
    void citation(std::string_view json);
    /// What was said so far is void; the answer starts again at offset 0.
    void restart(std::string_view reason);

    [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }
    [[nodiscard]] bool said_anything() const noexcept { return offset_ > 0; }

    static constexpr std::size_t k_bytes_max = 1 << 20;

 private:
    void add(std::string_view type, std::string data);

    redis::Client& redis_;
    std::string key_, progress_key_, channel_;
    std::uint32_t seq_ = 0;
    std::uint64_t offset_ = 0;
    std::size_t bytes_ = 0;
};

/// The reading side.
class LiveReader {
 public:
    explicit LiveReader(redis::Client& redis) : redis_(redis) {}

    /// Events of an attempt after `seq`, at most 500. `unavailable` when Redis is away.
    Task<Result<std::vector<LiveEvent>>> after(JobId id, int attempt, std::uint32_t seq,
                                               Deadline deadline);
    /// The latest progress of a running attempt, JSON.
    Task<Result<std::optional<std::string>>> progress(JobId id, int attempt, Deadline deadline);

 private:
    redis::Client& redis_;
};

}  // namespace millrace::domain::jobs
