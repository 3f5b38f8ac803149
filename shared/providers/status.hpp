#pragma once
// What an HTTP status of a provider means to us.

#include <charconv>
#include <string>

#include "shared/http_client/http_client.hpp"

namespace millrace::providers {

/// 408, 429 and 5xx pass; the others will not. Retry-After in seconds is kept. The body goes to the
/// log only.
[[nodiscard]] inline Error status_error(const http_client::Response& response,
                                        const std::string& provider, std::string_view body) {
    const int status = response.status;
    Error error{.code = ErrorCode::invalid,
                .detail = "the model provider refused the request",
                .log = {},
                .field = {},
                .reason = {}};
    if (status == 429)
        error.code = ErrorCode::rate_limited;
    else if (status == 408)
        error.code = ErrorCode::timeout;
    else if (status >= 500)
        error.code = ErrorCode::unavailable;
    else if (status == 401)
        error.code = ErrorCode::unauthenticated;
    else if (status == 403)
        error.code = ErrorCode::forbidden;
    error.log =
        provider + " answered " + std::to_string(status) + ": " + std::string(body.substr(0, 500));
    error.source = "http:" + std::to_string(status);
    const auto after = response.header("retry-after");
    int seconds = 0;
    if (std::from_chars(after.data(), after.data() + after.size(), seconds).ec == std::errc{} &&
        seconds > 0 && seconds < 3600) {
        error.retry_after = std::chrono::seconds(seconds);
    }
    return error;
}

}  // namespace millrace::providers
