// Contract habits.md, section 5.

#include "edge/surfaces/habits/habits.hpp"
#include "shared/domain/habits/quotas.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::habits {

using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using middleware::Limit;
using server::Method;
using server::Response;

namespace {

/// "その他のエンドポイント: 100リクエスト/分"
constexpr Limit k_requests{.name = "habits",
                           .per = Limit::Per::user,
                           .max = 100,
                           .window = std::chrono::minutes(1),
                           .outage = Limit::Outage::open};

Task<Result<Response>> quota(Ports ports, Exchange& exchange) {
    const auto& who = exchange.who();
    if (exchange.request.params[0] != who.user_id())
        co_return fail(ErrorCode::forbidden, "only one's own quota can be read");
    CO_TRY(const auto quota, co_await domain::habits::quota_of(ports.app, who, exchange.deadline));
    co_return middleware::json_response(
        200, json::dump(json::Object{{"quota_used", quota.used},
                                     {"quota_limit", quota.limit},
                                     {"remaining", quota.remaining()},
                                     {"period_start", base::rfc3339(quota.period_start)},
                                     {"period_end", base::rfc3339(quota.period_end)},
                                     {"is_unlimited", quota.is_unlimited()},
                                     {"plan", quota.is_unlimited() ? "premium" : "free"}}));
}

}  // namespace

std::vector<Endpoint> quota_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    return {
        {Method::get,
         "/api/users/{id}/thli-quota",
         "getQuota",
         Auth::bearer,
         with(quota),
         {},
         {k_requests}},
    };
}

}  // namespace millrace::edge::surfaces::habits
