#include "edge/middleware/surface.hpp"

#include "shared/json/writer.hpp"

namespace millrace::edge::middleware {

const Surface& surface_of(const std::vector<Surface>& surfaces, std::string_view path) {
    const Surface* best = &surfaces.back();
    std::size_t longest = 0;
    for (const auto& surface : surfaces) {
        for (const auto& prefix : surface.prefixes) {
            const bool below = path.starts_with(prefix) &&
                               (prefix.ends_with('/') || path.size() == prefix.size() ||
                                path[prefix.size()] == '/');
            if (below && prefix.size() > longest) {
                longest = prefix.size();
                best = &surface;
            }
        }
    }
    return *best;
}

int http_status(const Error& error, int invalid_status) {
    if (error.reason == "METHOD_NOT_ALLOWED") return 405;
    if (error.reason == "IDEMPOTENCY_MISMATCH") return 422;
    if (error.reason == "UNSUPPORTED_MEDIA_TYPE") return 415;
    switch (error.code) {
        case ErrorCode::invalid:
            return invalid_status;
        case ErrorCode::unauthenticated:
            return 401;
        case ErrorCode::forbidden:
            return 403;
        case ErrorCode::not_found:
            return 404;
        case ErrorCode::conflict:
            return 409;
        case ErrorCode::too_large:
            return 413;
        case ErrorCode::rate_limited:
            return 429;
        case ErrorCode::timeout:
        case ErrorCode::unavailable:
            return 503;
        case ErrorCode::cancelled:
            return 409;
        case ErrorCode::internal:
            return 500;
    }
    return 500;
}

Surface problem_surface() {
    return {.name = "jobs",
            .prefixes = {"/api/jobs", "/api/hooks"},
            .render = [](const Error& error, int status, const telemetry::TraceContext& trace) {
                json::Object body{{"type", "about:blank"},
                                  {"title", base::to_string(error.code)},
                                  {"status", status},
                                  {"detail", error.detail},
                                  {"trace_id", trace.trace_id_hex()}};
                if (!error.reason.empty()) body["code"] = error.reason;
                if (!error.field.empty()) body["field"] = error.field;
                return Rendered{"application/problem+json", json::dump(body)};
            }};
}

}  // namespace millrace::edge::middleware
