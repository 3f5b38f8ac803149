// Contract §3.6 and §3.7: what was used, and how a plan is paid.

#include <algorithm>
#include <array>

#include "edge/surfaces/knowledge/knowledge.hpp"
#include "shared/base/crypto.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::knowledge {

namespace billing = domain::billing;
using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using server::Method;
using server::Response;

namespace {

constexpr std::array<std::string_view, 3> k_plans = {"STARTER", "PRO", "ENTERPRISE"};
constexpr std::array<std::string_view, 2> k_cycles = {"MONTHLY", "YEARLY"};

json::Object budget_json(const billing::Budget& budget) {
    return {{"limit_usd", json::or_null(budget.limit_usd)},
            {"spent_usd", budget.spent_usd},
            {"reserved_usd", budget.reserved_usd},
            {"resets_at", base::rfc3339(budget.resets_at)}};
}

json::Array rows_json(const std::vector<billing::Usage::Row>& rows, std::string_view name) {
    json::Array out;
    for (const auto& row : rows)
        out.push_back({{name, row.name}, {"tokens", row.tokens}, {"cost", row.cost_usd}});
    return out;
}

Task<Result<Response>> usage(Ports ports, Exchange& exchange) {
    const auto& request = exchange.request;
    CO_TRY(auto period, billing::read_period(
                            request.query_param("start_date"), request.query_param("end_date"),
                            request.query_param("granularity"), std::chrono::system_clock::now()));
    const auto tenant = exchange.who().tenant;
    billing::UsageReader reader(ports.app);
    billing::Budgets budgets(ports.app);
    CO_TRY(const auto used, co_await reader.read(tenant, std::move(period), exchange.deadline));
    CO_TRY(const auto budget, co_await budgets.find(tenant, exchange.deadline));
    co_return middleware::json_response(
        200, json::dump(json::Object{{"total_tokens", used.tokens},
                                     {"total_cost", used.cost_usd},
                                     {"by_date", rows_json(used.by_date, "date")},
                                     {"by_model", rows_json(used.by_model, "model")},
                                     {"budget", budget_json(budget)}}));
}

struct Plan {
    std::string name, cycle;
};

Result<Plan> decode_plan(std::string_view body) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    Plan out{.name = in.string("plan", {1, 50}),
             .cycle = in.optional_string("billing_cycle", {1, 50}).value_or("MONTHLY")};
    if (std::ranges::find(k_plans, out.name) == k_plans.end())
        in.reject("plan", "must be one of STARTER, PRO, ENTERPRISE");
    if (std::ranges::find(k_cycles, out.cycle) == k_cycles.end())
        in.reject("billing_cycle", "must be MONTHLY or YEARLY");
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Task<Result<Response>> checkout(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(require_admin(exchange));
    CO_TRY(const auto plan, decode_plan(exchange.request.body));
    if (ports.payments == nullptr) {
        co_return fail(ErrorCode::unavailable,
                       "payments are not set up here: MILLRACE_STRIPE_KEY is not configured",
                       {.reason = "PAYMENTS_NOT_CONFIGURED"});
    }
    const auto& who = exchange.who();
    CO_TRY(const auto user, co_await ports.accounts.find(who.user, exchange.deadline));
    // A repetition of this request is the same purchase to the payment service too.
    const auto key = exchange.request.header("idempotency-key");
    const auto session = co_await ports.payments->checkout(
        {.plan = plan.name,
         .cycle = plan.cycle,
         .reference = who.tenant.str(),
         .email = user.email,
         .success_url = ports.deployment.public_url + "/console#/usage?paid=1",
         .cancel_url = ports.deployment.public_url + "/console#/usage",
         .idempotency_key =
             key.empty()
                 ? "checkout-" + base::random_token()
                 : "checkout-" + base::hex(base::sha256(who.user.str() + "\n" + std::string(key)))},
        exchange.deadline);
    if (!session) co_return std::unexpected(session.error());
    co_return middleware::json_response(
        200, json::dump(json::Object{{"url", session->url}, {"session_id", session->id}}));
}

}  // namespace

std::vector<Endpoint> billing_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    return {
        {Method::get, "/api/v1/stats/usage", "getUsage", Auth::bearer, with(usage)},
        {Method::post,
         "/api/v1/billing/checkout",
         "createCheckout",
         Auth::bearer,
         with(checkout),
         {},
         {},
         true},
    };
}

}  // namespace millrace::edge::surfaces::knowledge
