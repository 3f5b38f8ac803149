#pragma once
// The planner: work items, voice commands, threads (contract planner.md).

#include <string>
#include <vector>

#include "edge/middleware/exchange.hpp"
#include "shared/domain/identity/challenges.hpp"
#include "shared/domain/mail/post.hpp"

namespace millrace::edge::surfaces::planner {

struct Ports {
    postgres::Database& app;
    domain::identity::Challenges& challenges;
    domain::mail::Post post;
    middleware::RateLimits& limits;
    bool development = false;
};

/// `{error, message, details?}`; X-RateLimit-* on limited operations. `details` and `x-user-id` in
/// development only.
[[nodiscard]] middleware::Surface surface(bool development);
[[nodiscard]] std::vector<middleware::Endpoint> health_endpoints(Ports ports);
[[nodiscard]] std::vector<middleware::Endpoint> otp_endpoints(Ports ports);
/// None in production.
[[nodiscard]] std::vector<middleware::Endpoint> test_endpoints(Ports ports);

/// The contract's table.
inline constexpr std::chrono::minutes k_otp_window{10};
inline constexpr middleware::Limit k_otp_send{.name = "otp_send",
                                              .per = middleware::Limit::Per::subject,
                                              .max = 3,
                                              .window = k_otp_window,
                                              .aligned = true};
inline constexpr middleware::Limit k_otp_send_ip{.name = "otp_send_ip",
                                                 .per = middleware::Limit::Per::ip,
                                                 .max = 10,
                                                 .window = k_otp_window,
                                                 .aligned = true};
inline constexpr middleware::Limit k_otp_try{.name = "otp_try",
                                             .per = middleware::Limit::Per::subject,
                                             .max = 5,
                                             .window = k_otp_window,
                                             .aligned = true};

}  // namespace millrace::edge::surfaces::planner
