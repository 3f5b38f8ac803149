#pragma once
// Clocks and deadlines: steady_clock for durations, system_clock only for stamps.

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::base {

using SteadyTime = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

/// A point in time by which the whole call must be over; callees get the rest of it, never a fresh
/// timeout.
class Deadline {
 public:
    [[nodiscard]] static Deadline in(std::chrono::nanoseconds span) {
        return Deadline(std::chrono::steady_clock::now() + span);
    }
    [[nodiscard]] static Deadline at(SteadyTime when) { return Deadline(when); }

    [[nodiscard]] SteadyTime when() const noexcept { return when_; }
    [[nodiscard]] std::chrono::nanoseconds remaining() const {
        return std::max(std::chrono::nanoseconds::zero(),
                        std::chrono::nanoseconds(when_ - std::chrono::steady_clock::now()));
    }
    [[nodiscard]] bool passed() const { return std::chrono::steady_clock::now() >= when_; }
    /// The sooner of this and `span` from now.
    [[nodiscard]] Deadline capped(std::chrono::nanoseconds span) const {
        return Deadline(std::min(when_, in(span).when_));
    }

 private:
    explicit Deadline(SteadyTime when) : when_(when) {}
    SteadyTime when_;
};

/// RFC 3339 in UTC with `Z`, whole seconds ("2025-01-01T00:00:00Z") or with milliseconds.
[[nodiscard]] std::string rfc3339(WallTime when);
[[nodiscard]] std::string rfc3339_millis(WallTime when);
/// Strict RFC 3339 date-time; nothing else.
[[nodiscard]] std::optional<WallTime> parse_rfc3339(std::string_view text);
/// IMF-fixdate (RFC 9110 §5.6.7) for the Date header.
[[nodiscard]] std::string http_date(WallTime when);

}  // namespace millrace::base

namespace millrace {
using base::Deadline;
}
