#pragma once
// The contracts' limits: counted in Redis by one atomic script, so that all edges count together;
// while Redis is away each edge counts for itself [S17].

#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "shared/base/time.hpp"
#include "shared/redis/redis.hpp"

namespace millrace::edge::middleware {

struct Limit {
    /// Whom it counts: a client's address (IPv6: its /64), the principal's user, or a subject that
    /// the handler knows, such as an address in the body.
    enum class Per : std::uint8_t { ip, user, subject };
    /// Without Redis: half of it on each edge, or none.
    enum class Outage : std::uint8_t { half, open };

    std::string_view name;  ///< of the action, such as "otp_send"; part of the key
    Per per = Per::ip;
    int max = 0;
    std::chrono::seconds window{};
    /// Windows begin at multiples of their length; otherwise with the first request.
    bool aligned = false;
    Outage outage = Outage::half;
};

/// How a request stands with one limit.
struct Standing {
    Limit limit;
    bool allowed = true;
    int remaining = 0;
    base::WallTime reset{};  ///< end of the window
};

/// The end of the window, as X-RateLimit-Reset has it.
[[nodiscard]] inline std::int64_t reset_seconds(const Standing& standing) {
    return std::chrono::ceil<std::chrono::seconds>(standing.reset).time_since_epoch().count();
}

class RateLimits {
 public:
    explicit RateLimits(redis::Client& redis) : redis_(redis) {}

    struct Asked {
        Limit limit;
        std::string id;  ///< whom: the address, the user, the subject
    };
    /// Counts the request against each in turn until one refuses; the last of the answers is the
    /// one that decides.
    Task<std::vector<Standing>> take(std::vector<Asked> asked, Deadline deadline);

    /// `rate_limited` with the seconds to wait, in the words of the limit.
    [[nodiscard]] static std::unexpected<Error> refusal(const Standing& standing,
                                                        base::WallTime now);

    /// Starts anew for these.
    Task<Result<void>> forget(std::vector<Asked> asked, Deadline deadline);

    static constexpr std::size_t k_local_max = 65'536;

 private:
    struct Window {
        int count = 0;
        base::WallTime end{};
    };
    std::vector<Standing> take_locally(const std::vector<Asked>& asked, base::WallTime now);

    redis::Client& redis_;
    std::unordered_map<std::string, Window> local_;
};

}  // namespace millrace::edge::middleware
