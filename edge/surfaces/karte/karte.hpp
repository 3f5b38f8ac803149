#pragma once
// Karte AI+: an assistant for medical records (contract karte.md).

#include <string>
#include <vector>

#include "edge/middleware/exchange.hpp"
#include "shared/domain/identity/challenges.hpp"
#include "shared/domain/identity/jwt.hpp"
#include "shared/domain/mail/post.hpp"

namespace millrace::edge::surfaces::karte {

/// Where a browser goes once its address is proven.
struct Destinations {
    std::string checkout;  ///< who has not paid; empty: nobody has to
    std::string success;   ///< who may go on, with "#token=<session>"; empty: a page of ours
};

struct Ports {
    postgres::Database& app;
    domain::identity::Challenges& challenges;
    const domain::identity::TokenIssuer& tokens;
    domain::mail::Post post;
    middleware::RateLimits& limits;
    std::string public_url;
    Destinations destinations;
};

/// `{error, message}` in Japanese, with `retryAfter` where a limit refuses; any origin.
[[nodiscard]] middleware::Surface surface();
[[nodiscard]] std::vector<middleware::Endpoint> auth_endpoints(Ports ports);

/// What links and their buttons show, ja or en.
enum class Notice : std::uint8_t { stale, signed_in };
[[nodiscard]] server::Response confirm_page(std::string_view token, std::string_view locale,
                                            const Destinations& destinations);
[[nodiscard]] server::Response notice_page(int status, Notice notice, std::string_view locale);

}  // namespace millrace::edge::surfaces::karte
