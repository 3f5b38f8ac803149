#pragma once
// What a client of a job's event stream is sent, as a function of where it stands: clients at the
// same position get the same bytes.

#include <optional>
#include <string>
#include <string_view>

#include "shared/domain/jobs/live.hpp"

namespace millrace::edge::surfaces::jobs {

/// Where one client stands: what it has been sent so far. The first three are its event's id,
/// "<job tag>-<attempt>-<seq>-<byte offset>".
struct Position {
    int attempt = 0;
    std::uint32_t seq = 0;
    std::uint64_t offset = 0;
    std::optional<domain::jobs::Status> said;  ///< the last status it was told
    bool resumed = false;                      ///< it came with an id of this job
    bool lost = false;  ///< Redis does not have its next event of this attempt: the result follows
    bool ended = false;

    bool operator==(const Position&) const = default;
    /// Whether an event of the running attempt may still be sent to it.
    [[nodiscard]] bool wants_live() const noexcept;
};

/// From a Last-Event-ID. One that is not this job's starts from the beginning.
[[nodiscard]] Position parse_position(std::string_view id, base::JobId job);
/// Whether it has seen all that a job that has ended will ever say.
[[nodiscard]] bool has_seen_end(const Position& at, const domain::jobs::View& job);

// Each appends frames to `out` and moves `at` past them.

/// The restart that a new attempt begins with, and the status if it is news.
void say_state(const domain::jobs::View& job, Position& at, std::string& out);
/// The next event of the attempt. One that does not follow on the last means that events are lost.
void say_event(base::JobId job, const domain::jobs::LiveEvent& event, Position& at,
               std::string& out);
void say_lost(base::JobId job, Position& at, std::string& out);
/// What the result has beyond what was sent, then the result or the error.
void say_end(const domain::jobs::View& job, Position& at, std::string& out);

}  // namespace millrace::edge::surfaces::jobs
