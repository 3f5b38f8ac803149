#include "edge/surfaces/knowledge/knowledge.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::knowledge {

namespace {

/// Contract §4.3, and what HTTP needs beyond it.
std::string_view error_code(const Error& error) {
    if (!error.reason.empty()) return error.reason;
    switch (error.code) {
        case ErrorCode::invalid:
            return "VALIDATION_ERROR";
        case ErrorCode::unauthenticated:
            return "AUTHENTICATION_ERROR";
        case ErrorCode::forbidden:
            return "PERMISSION_DENIED";
        case ErrorCode::not_found:
            return "RESOURCE_NOT_FOUND";
        case ErrorCode::conflict:
            return "CONFLICT";
        case ErrorCode::too_large:
            return "PAYLOAD_TOO_LARGE";
        case ErrorCode::rate_limited:
            return "RATE_LIMIT_EXCEEDED";
        case ErrorCode::timeout:
        case ErrorCode::unavailable:
            return "SERVICE_UNAVAILABLE";
        case ErrorCode::cancelled:
            return "CANCELLED";
        case ErrorCode::internal:
            return "INTERNAL_ERROR";
    }
    return "INTERNAL_ERROR";
}

}  // namespace

middleware::Surface surface() {
    return {.name = "knowledge",
            .prefixes = {"/api/v1"},
            .invalid_status = 422,
            .audience = "knowledge",
            .render = [](const Error& error, int, const telemetry::TraceContext&) {
                json::Object body{{"detail", error.detail},
                                  {"error_code", error_code(error)},
                                  {"timestamp", base::rfc3339(std::chrono::system_clock::now())}};
                if (!error.field.empty()) body["field"] = error.field;
                return middleware::Rendered{"application/json", json::dump(body)};
            }};
}

}  // namespace millrace::edge::surfaces::knowledge
