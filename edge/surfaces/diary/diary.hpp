#pragma once
// The diary product (contract diary.md): people who keep a diary, and its avatars.

#include <optional>
#include <vector>

#include "edge/middleware/exchange.hpp"
#include "shared/domain/diary/accounts.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::diary {

struct Ports {
    domain::diary::Accounts& accounts;
    domain::diary::TotpDevices& devices;
    postgres::Database& app;
    middleware::RateLimits& limits;
};

/// `{error: {code, message}, trace_id}`; invalid input is 400.
[[nodiscard]] middleware::Surface surface();
[[nodiscard]] std::vector<middleware::Endpoint> auth_endpoints(Ports ports);
[[nodiscard]] std::vector<middleware::Endpoint> sessions_endpoints(Ports ports);
[[nodiscard]] std::vector<middleware::Endpoint> profile_endpoints(Ports ports);

// What the files of this surface share.

/// A success with what every one carries: `trace_id`, `token_usage`, and `ttl_hint`: how long the
/// thing that waits (a code, an unconfirmed device) lives.
[[nodiscard]] server::Response success(const middleware::Exchange& exchange, int status,
                                       json::Object body,
                                       std::optional<std::chrono::seconds> ttl = {});
[[nodiscard]] domain::diary::Caller caller_of(const middleware::Exchange& exchange);
/// Six digits.
[[nodiscard]] std::string read_code(json::Reader& in);
/// A session as the one who has just signed in gets it.
[[nodiscard]] json::Object to_json(const domain::diary::Session& session);

// The limits [S17]. Whoever has signed in:
[[nodiscard]] std::vector<middleware::Limit> member_limits();
/// Guesses of a code, whichever way it came; by account [S6].
inline constexpr middleware::Limit k_guess_limit{.name = "diary_code",
                                                 .per = middleware::Limit::Per::subject,
                                                 .max = 10,
                                                 .window = std::chrono::hours(1)};
/// Guesses of a password; by account.
inline constexpr middleware::Limit k_password_limit{.name = "diary_password",
                                                    .per = middleware::Limit::Per::subject,
                                                    .max = 5,
                                                    .window = std::chrono::minutes(1)};

}  // namespace millrace::edge::surfaces::diary
