#include "shared/domain/billing/budgets.hpp"

#include <fmt/format.h>

namespace millrace::domain::billing {

namespace {

const postgres::Statement k_reserve{"budget_reserve",
                                    "SELECT reserve_spending($1, $2, $3, $4, $5::float8::numeric)"};
const postgres::Statement k_find{"budget_find", R"sql(
SELECT budget_of($1)::float8,
       coalesce((SELECT spent_usd FROM spending WHERE tenant_id = $1 AND month = this_month()), 0)::float8,
       coalesce((SELECT sum(usd) FROM reservations WHERE tenant_id = $1), 0)::float8)sql"};

}  // namespace

base::WallTime budget_resets_at(base::WallTime now) {
    using namespace std::chrono;
    const year_month_day today{floor<days>(now)};
    return sys_days{year_month_day_last{(today.year() / today.month()) / last}} + days(1);
}

std::unexpected<Error> budget_exceeded(base::WallTime now) {
    const auto resets = budget_resets_at(now);
    return fail(ErrorCode::rate_limited,
                fmt::format("this month's budget for model calls is used up; it starts anew on {}",
                            base::rfc3339(resets)),
                {.reason = std::string(k_budget_exceeded),
                 .retry_after = std::chrono::ceil<std::chrono::seconds>(resets - now)});
}

Task<Result<void>> Budgets::reserve(base::TenantId tenant, CallId call, double usd,
                                    Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(
               app_, tenant,
               postgres::call(k_reserve, tenant, call.job, static_cast<std::int32_t>(call.attempt),
                              static_cast<std::int32_t>(call.call), usd),
               deadline));
    if (!results[0].get<bool>(0)) co_return budget_exceeded(std::chrono::system_clock::now());
    co_return Result<void>{};
}

Task<Result<Budget>> Budgets::find(base::TenantId tenant, Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(app_, tenant, postgres::call(k_find, tenant), deadline));
    const auto row = results[0];
    co_return Budget{.limit_usd = row.get<std::optional<double>>(0),
                     .spent_usd = row.get<double>(1),
                     .reserved_usd = row.get<double>(2),
                     .resets_at = budget_resets_at(std::chrono::system_clock::now())};
}

}  // namespace millrace::domain::billing
