#include "edge/middleware/rate_limits.hpp"

#include <fmt/format.h>

#include "shared/base/crypto.hpp"

namespace millrace::edge::middleware {

namespace {

using namespace std::chrono;

constexpr auto k_redis_timeout = milliseconds(250);

// KEYS: one counter per limit. ARGV: max, milliseconds of the window, 1 = aligned; for each. Counts
// until one refuses. Returns count, milliseconds to the window's end; for each that was counted.
// The server's clock counts, so that all edges agree.
const redis::Script k_take{"rate_limits", R"lua(
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local out = {}
for i, key in ipairs(KEYS) do
    local max, window, aligned = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), ARGV[3 * i] == '1'
    local count = redis.call('INCR', key)
    local left = redis.call('PTTL', key)
    if count == 1 or left < 0 then
        left = aligned and window - now % window or window
        redis.call('PEXPIRE', key, left)
    end
    out[#out + 1] = count
    out[#out + 1] = left
    if count > max then break end
end
return out)lua"};

/// The id is hashed: whatever a client calls itself, keys stay short and say nothing.
std::string key_of(const RateLimits::Asked& asked) {
    return fmt::format("millrace:limit:{}:{}:{}", asked.limit.name,
                       static_cast<int>(asked.limit.per),
                       base::hex(base::sha256(asked.id)).substr(0, 32));
}

base::WallTime end_of_window(const Limit& limit, base::WallTime now) {
    if (!limit.aligned) return now + limit.window;
    const auto since = duration_cast<seconds>(now.time_since_epoch());
    return base::WallTime(since - since % limit.window + limit.window);
}

Standing standing_of(const Limit& limit, int count, base::WallTime reset) {
    return {.limit = limit,
            .allowed = count <= limit.max,
            .remaining = std::max(limit.max - count, 0),
            .reset = reset};
}

}  // namespace

Task<std::vector<Standing>> RateLimits::take(std::vector<Asked> asked, Deadline deadline) {
    redis::Args keys, args;
    for (const auto& one : asked) {
        keys.push_back(key_of(one));
        args.push_back(std::to_string(one.limit.max));
        args.push_back(std::to_string(milliseconds(one.limit.window).count()));
        args.emplace_back(one.limit.aligned ? "1" : "0");
    }
    const auto reply = co_await redis_.script(k_take, std::move(keys), std::move(args),
                                              deadline.capped(k_redis_timeout));
    const auto now = system_clock::now();
    if (!reply || reply->array().empty()) co_return take_locally(asked, now);
    std::vector<Standing> out;
    const auto& counts = reply->array();
    for (std::size_t i = 0; i < asked.size() && 2 * i + 1 < counts.size(); ++i) {
        auto reset = now + milliseconds(counts[2 * i + 1].integer());
        // The reply took a moment: the end of an aligned window is a whole second all the same.
        if (asked[i].limit.aligned) reset = round<seconds>(reset);
        out.push_back(
            standing_of(asked[i].limit, static_cast<int>(counts[2 * i].integer()), reset));
    }
    co_return out;
}

Task<Result<void>> RateLimits::forget(std::vector<Asked> asked, Deadline deadline) {
    redis::Args command{"DEL"};
    for (const auto& one : asked) {
        command.push_back(key_of(one));
        local_.erase(command.back());
    }
    CO_TRY_VOID(co_await redis_.command(std::move(command), deadline.capped(k_redis_timeout)));
    co_return Result<void>{};
}

std::vector<Standing> RateLimits::take_locally(const std::vector<Asked>& asked,
                                               base::WallTime now) {
    if (local_.size() >= k_local_max)
        std::erase_if(local_, [now](const auto& entry) { return entry.second.end <= now; });
    std::vector<Standing> out;
    for (const auto& one : asked) {
        auto limit = one.limit;
        if (limit.outage == Limit::Outage::open) {
            out.push_back(standing_of(limit, 0, now + limit.window));
            continue;
        }
        limit.max = std::max(limit.max / 2, 1);
        // Too many callers to count each: those who come now share one count.
        const auto key = local_.size() >= k_local_max ? std::string(limit.name) : key_of(one);
        auto& window = local_[key];
        if (window.end <= now) window = {.count = 0, .end = end_of_window(limit, now)};
        out.push_back(standing_of(limit, ++window.count, window.end));
        if (!out.back().allowed) break;
    }
    return out;
}

std::unexpected<Error> RateLimits::refusal(const Standing& standing, base::WallTime now) {
    const auto wait = std::max(ceil<seconds>(standing.reset - now), seconds(1));
    return fail(ErrorCode::rate_limited,
                fmt::format("Rate limit exceeded for {}. Please try again in {} seconds.",
                            standing.limit.name, wait.count()),
                {.retry_after = wait});
}

}  // namespace millrace::edge::middleware
