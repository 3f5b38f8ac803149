#include <algorithm>

#include "edge/surfaces/diary/diary.hpp"

namespace millrace::edge::surfaces::diary {

namespace {

std::string_view error_code(const Error& error) {
    if (!error.reason.empty()) return error.reason;
    switch (error.code) {
        case ErrorCode::invalid:
            return "VALIDATION_ERROR";
        case ErrorCode::unauthenticated:
            return "UNAUTHENTICATED";
        case ErrorCode::forbidden:
            return "FORBIDDEN";
        case ErrorCode::not_found:
            return "NOT_FOUND";
        case ErrorCode::conflict:
            return "CONFLICT";
        case ErrorCode::too_large:
            return "PAYLOAD_TOO_LARGE";
        case ErrorCode::rate_limited:
            return "RATE_LIMITED";
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
    return {.name = "diary",
            .prefixes = {"/api/auth", "/api/profile", "/api/diary", "/api/avatars", "/api/chat/",
                         "/api/rag", "/api/embeddings", "/api/billing", "/api/stripe/webhook",
                         "/api/admin", "/api/mobile", "/chat/"},
            .audience = "diary",
            .render = [](const Error& error, int, const telemetry::TraceContext& trace) {
                json::Object what{{"code", error_code(error)}, {"message", error.detail}};
                if (!error.field.empty()) what["field"] = error.field;
                return middleware::Rendered{
                    "application/json",
                    json::dump(json::Object{{"error", std::move(what)},
                                            {"trace_id", trace.trace_id_hex()}})};
            }};
}

server::Response success(const middleware::Exchange& exchange, int status, json::Object body,
                         std::optional<std::chrono::seconds> ttl) {
    body["trace_id"] = exchange.trace.trace_id_hex();
    body["token_usage"] =
        json::Object{{"prompt_tokens", 0}, {"completion_tokens", 0}, {"total_tokens", 0}};
    body["ttl_hint"] = ttl ? json::Value(ttl->count()) : json::Value(nullptr);
    return middleware::json_response(status, json::dump(body));
}

domain::diary::Caller caller_of(const middleware::Exchange& exchange) {
    return {.client = middleware::client_of(exchange),
            .trace = exchange.trace,
            .deadline = exchange.deadline};
}

std::string read_code(json::Reader& in) {
    auto code = in.string("code", {6, 6});
    if (!std::ranges::all_of(code, [](char c) { return c >= '0' && c <= '9'; }))
        in.reject("code", "must be six digits");
    return code;
}

json::Object to_json(const domain::diary::Session& session) {
    return {{"user_id", session.user.str()},
            {"session_id", session.id.str()},
            {"session_token", session.token},
            {"expires_at", base::rfc3339(session.expires_at)}};
}

std::vector<middleware::Limit> member_limits() {
    using namespace std::chrono_literals;
    using enum middleware::Limit::Per;
    return {{.name = "diary_member", .per = ip, .max = 300, .window = 60s},
            {.name = "diary_member", .per = user, .max = 60, .window = 60s}};
}

}  // namespace millrace::edge::surfaces::diary
