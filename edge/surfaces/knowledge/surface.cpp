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

Result<void> require_admin(const middleware::Exchange& exchange) {
    if (exchange.who().is_admin()) return {};
    return fail(ErrorCode::forbidden,
                "only an administrator or the owner of the tenant may do this");
}

Task<Result<void>> take_user_rate(Ports ports, middleware::Exchange& exchange,
                                  std::string_view name, int max) {
    using middleware::Limit;
    if (exchange.who().opens("bulk")) co_return Result<void>{};  // an operator's session
    std::vector<Limit> limits;
    limits.push_back({.name = name, .per = Limit::Per::user, .max = max, .window = k_minute});
    co_return co_await middleware::take_limits(ports.limits, exchange, std::move(limits));
}

Task<Result<std::vector<postgres::Rows>>> commit_with_mail(Ports ports,
                                                           middleware::Exchange& exchange,
                                                           base::TenantId tenant,
                                                           std::vector<postgres::Call> calls,
                                                           domain::mail::Letter letter) {
    letter.data["product"] = k_product;
    co_return co_await domain::mail::post_letter(ports.post, std::move(letter), std::move(calls),
                                                 exchange.trace, exchange.deadline, tenant);
}

middleware::Surface surface() {
    return {.name = "knowledge",
            .prefixes = {"/api/v1", "/console"},
            .invalid_status = 422,
            .audience = "knowledge",
            .open_paths = {"/api/v1/chats/widget/chat"},
            .render = [](const Error& error, int, const telemetry::TraceContext&) {
                json::Object body{{"detail", error.detail},
                                  {"error_code", error_code(error)},
                                  {"timestamp", base::rfc3339(std::chrono::system_clock::now())}};
                if (!error.field.empty()) body["field"] = error.field;
                return middleware::Rendered{"application/json", json::dump(body)};
            }};
}

}  // namespace millrace::edge::surfaces::knowledge
