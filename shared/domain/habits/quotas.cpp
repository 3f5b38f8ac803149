#include "shared/domain/habits/quotas.hpp"

namespace millrace::domain::habits {

namespace {

using postgres::Statement;

const Statement k_begin{"quotas_begin", R"sql(
INSERT INTO assessment_quotas (tenant_id, user_id, period_start, quota_limit)
SELECT $1, $2, date_trunc('month', now() AT TIME ZONE 'UTC')::date,
       coalesce((SELECT quota_limit FROM assessment_quotas WHERE tenant_id = $1 AND user_id = $2
                  ORDER BY period_start DESC LIMIT 1), $3)
    ON CONFLICT DO NOTHING)sql"};
// A statement of its own, so that it sees a row that another request has just begun.
const Statement k_read{"quotas_read", R"sql(
SELECT used, quota_limit, period_start::timestamp AT TIME ZONE 'UTC',
       (period_start + interval '1 month' - interval '1 second') AT TIME ZONE 'UTC'
  FROM assessment_quotas
 WHERE tenant_id = $1 AND user_id = $2 AND period_start = date_trunc('month', now() AT TIME ZONE 'UTC')::date)sql"};

}  // namespace

Task<Result<Quota>> quota_of(postgres::Database& app, identity::Principal who, Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(who.tenant));
    calls.push_back(postgres::call(k_begin, who.tenant, who.user, k_free_limit));
    calls.push_back(postgres::call(k_read, who.tenant, who.user));
    CO_TRY(const auto results, co_await app.transaction(std::move(calls), deadline));
    const auto row = results[2][0];
    co_return Quota{.used = row.get<std::int32_t>(0),
                    .limit = row.get<std::int32_t>(1),
                    .period_start = row.get<base::WallTime>(2),
                    .period_end = row.get<base::WallTime>(3)};
}

}  // namespace millrace::domain::habits
