#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <tuple>

#include "edge/middleware/client_address.hpp"
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

Result<std::int64_t> integer_param(const middleware::Exchange& exchange, std::string_view name,
                                   std::int64_t otherwise, std::int64_t min, std::int64_t max) {
    const auto text = exchange.request.query_param(name);
    if (!text) return otherwise;
    std::int64_t value = 0;
    const auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (ec != std::errc{} || end != text->data() + text->size() || value < min || value > max) {
        return fail(ErrorCode::invalid,
                    fmt::format("{}: must be an integer between {} and {}", name, min, max),
                    {.field = std::string(name)});
    }
    return value;
}

Result<std::optional<std::string>> choice_param(const middleware::Exchange& exchange,
                                                std::string_view name,
                                                std::initializer_list<std::string_view> choices) {
    auto text = exchange.request.query_param(name);
    if (!text) return std::nullopt;
    if (std::ranges::find(choices, *text) == choices.end()) {
        return fail(ErrorCode::invalid,
                    fmt::format("{}: must be one of {}", name, fmt::join(choices, ", ")),
                    {.field = std::string(name)});
    }
    return text;
}

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

Task<Result<void>> take_visitor_rate(Ports ports, middleware::Exchange& exchange) {
    using middleware::Limit;
    const auto tenant = exchange.who().tenant.str();
    const int rate = ports.deployment.chat_rate;
    for (const auto& [name, max, whom] :
         {std::tuple("widget_visitor", rate,
                     tenant + " " + middleware::limit_key(exchange.client_address)),
          std::tuple("widget", 10 * rate, tenant)}) {
        std::vector<Limit> limits;
        limits.push_back(
            {.name = name, .per = Limit::Per::subject, .max = max, .window = k_minute});
        CO_TRY_VOID(
            co_await middleware::take_limits(ports.limits, exchange, std::move(limits), whom));
    }
    co_return Result<void>{};
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
            .prefixes = {"/api/v1", "/console", "/docs", "/redoc", "/openapi", "/widget.js"},
            .invalid_status = 422,
            .audience = "knowledge",
            .open_paths = {"/api/v1/chats/widget/chat", "/api/v1/chats/widget/feedback"},
            .render = [](const Error& error, int, const telemetry::TraceContext&) {
                json::Object body{{"detail", error.detail},
                                  {"error_code", error_code(error)},
                                  {"timestamp", base::rfc3339(std::chrono::system_clock::now())}};
                if (!error.field.empty()) body["field"] = error.field;
                return middleware::Rendered{"application/json", json::dump(body)};
            }};
}

}  // namespace millrace::edge::surfaces::knowledge
