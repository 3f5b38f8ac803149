#include <fmt/format.h>

#include "edge/surfaces/planner/planner.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::planner {

namespace {

std::string_view title_of(int status) {
    switch (status) {
        case 400:
            return "Bad Request";
        case 401:
            return "Unauthorized";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 408:
            return "Request Timeout";
        case 409:
            return "Conflict";
        case 413:
            return "Payload Too Large";
        case 429:
            return "Too Many Requests";
        case 503:
            return "Service Unavailable";
        default:
            return status < 500 ? "Request Refused" : "Internal Server Error";
    }
}

/// The contract's 429.
std::string limit_body(const middleware::Standing& standing) {
    return json::dump(json::Object{
        {"error", title_of(429)},
        {"message",
         fmt::format("Rate limit exceeded for {}. Try again later.", standing.limit.name)},
        {"reset_at", middleware::reset_seconds(standing)}});
}

}  // namespace

middleware::Surface surface(bool development) {
    return {
        .name = "planner",
        .prefixes = {"/health", "/api/otp", "/api/work-items", "/api/voice", "/api/threads", "/i",
                     "/admin", "/test"},
        .audience = "planner",
        .shows_limits = true,
        .limit_body = limit_body,
        .user_header = development,
        .render = [development](const Error& error, int status, const telemetry::TraceContext&) {
            json::Object body{{"error", title_of(status)}, {"message", error.detail}};
            // The contract's answer to a wrong code.
            if (error.reason == "INVALID_OTP") body["valid"] = false;
            if (development && !error.log.empty()) body["details"] = error.log;
            return middleware::Rendered{"application/json", json::dump(body)};
        }};
}

namespace {

Task<Result<server::Response>> health(bool development) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    co_return middleware::json_response(
        200, fmt::format(R"({{"status":"ok","timestamp":{},"environment":"{}"}})",
                         std::chrono::duration_cast<std::chrono::seconds>(now).count(),
                         development ? "development" : "production"));
}

}  // namespace

std::vector<middleware::Endpoint> health_endpoints(Ports ports) {
    return {
        {server::Method::get, "/health", "health", middleware::Auth::none,
         [development = ports.development](middleware::Exchange&) { return health(development); }}};
}

}  // namespace millrace::edge::surfaces::planner
