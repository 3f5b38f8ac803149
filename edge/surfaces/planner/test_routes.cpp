// Contract planner.md, "Test Routes (Development Only)".

#include "edge/surfaces/planner/planner.hpp"
#include "shared/base/utf8.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::planner {

using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using middleware::Limit;
using server::Method;
using server::Response;

namespace {

constexpr Limit k_test{.name = "test",
                       .per = Limit::Per::user,
                       .max = 5,
                       .window = std::chrono::minutes(1),
                       .aligned = true};

Task<Result<Response>> check_limit(Ports, Exchange& exchange) {
    co_return middleware::json_response(
        200, json::dump(json::Object{{"message", "Within the limit"},
                                     {"user_id", exchange.who().user_id()}}));
}

/// The caller's own counters, and those of the address in the body.
Task<Result<Response>> reset_limits(Ports ports, Exchange& exchange) {
    std::string subject = "unknown";
    if (!exchange.request.body.empty()) {
        CO_TRY(const auto document, json::parse(exchange.request.body));
        auto in = document.reader();
        const auto email = in.optional_string("email", {0, 254});
        if (email && !email->empty()) subject = base::ascii_lower(*email);
        if (auto error = in.error()) co_return std::unexpected(std::move(*error));
    }
    CO_TRY_VOID(co_await middleware::forget_limits(
        ports.limits, exchange, {k_test, k_otp_send, k_otp_send_ip, k_otp_try}, subject));
    co_return middleware::json_response(200, R"({"success":true})");
}

}  // namespace

std::vector<Endpoint> test_endpoints(Ports ports) {
    if (!ports.development) return {};
    const auto with = middleware::with_ports(ports);
    return {
        {Method::get,
         "/test/rate-limit/check",
         "checkRateLimit",
         Auth::bearer,
         with(check_limit),
         {},
         {k_test}},
        {Method::post, "/test/rate-limit/reset", "resetRateLimits", Auth::bearer,
         with(reset_limits)},
    };
}

}  // namespace millrace::edge::surfaces::planner
