#include "shared/domain/jobs/view.hpp"

#include <algorithm>

namespace millrace::domain::jobs {

namespace {

#define MILLRACE_VIEW_COLUMNS                                                                 \
    "id, tenant_id, owner_id, kind, status::text, attempt, cancel, created_at, finished_at, " \
    "result"

// The range names the partitions: without it every one of them is opened and searched.
const postgres::Statement k_find{"jobs_find", "SELECT " MILLRACE_VIEW_COLUMNS R"sql( FROM jobs
 WHERE id = ANY ($1::uuid[]) AND id BETWEEN ($1::uuid[])[1] AND ($1::uuid[])[cardinality($1::uuid[])])sql"};
const postgres::Statement k_list{"jobs_list", "SELECT " MILLRACE_VIEW_COLUMNS R"sql( FROM jobs
 WHERE owner_id = $1 AND replay_of IS NULL AND ($2::uuid IS NULL OR id < $2) AND ($3::text IS NULL OR status = $3::text::job_status)
 ORDER BY id DESC LIMIT $4)sql"};
const postgres::Statement k_cancel{"jobs_cancel",
                                   "SELECT was::text, announced FROM cancel_job($1)"};

View view_of(const postgres::Row& row) {
    return {.id = row.get<JobId>(0),
            .tenant = row.get<TenantId>(1),
            .owner = row.get<UserId>(2),
            .kind = row.get<std::string>(3),
            .status = parse_status(row.get<std::string_view>(4)),
            .attempt = row.get<std::int32_t>(5),
            .cancel_requested = row.get<bool>(6),
            .created_at = row.get<base::WallTime>(7),
            .finished_at = row.get<std::optional<base::WallTime>>(8),
            .result = row.get<std::optional<std::string>>(9)};
}

std::vector<View> views_of(const postgres::Rows& rows) {
    std::vector<View> out;
    out.reserve(rows.size());
    for (std::size_t r = 0; r < rows.size(); ++r) out.push_back(view_of(rows[r]));
    return out;
}

}  // namespace

Task<Result<std::vector<View>>> Reader::find(std::vector<base::Uuid> ids, Deadline deadline) {
    std::ranges::sort(ids);
    CO_TRY(const auto rows, co_await db_.run(postgres::call(k_find, ids), deadline));
    co_return views_of(rows);
}

Task<Result<std::optional<View>>> Reader::find(JobId id, Deadline deadline) {
    std::vector<base::Uuid> one{id.uuid};
    CO_TRY(auto views, co_await find(std::move(one), deadline));
    co_return views.empty() ? std::nullopt : std::optional(std::move(views.front()));
}

Task<Result<std::vector<View>>> Reader::list(UserId owner, int limit, std::optional<JobId> before,
                                             std::optional<Status> status, Deadline deadline) {
    const auto wanted = status ? std::optional<std::string>(to_string(*status)) : std::nullopt;
    CO_TRY(const auto rows,
           co_await db_.run(postgres::call(k_list, owner, before, wanted, std::int64_t{limit}),
                            deadline));
    co_return views_of(rows);
}

Task<Result<Reader::Cancelled>> Reader::cancel(JobId id, Deadline deadline) {
    CO_TRY(const auto rows, co_await db_.run(postgres::call(k_cancel, id), deadline));
    const auto before = rows[0].get<std::optional<std::string>>(0);
    co_return Cancelled{before ? std::optional(parse_status(*before)) : std::nullopt,
                        rows[0].get<std::optional<base::Uuid>>(1)};
}

}  // namespace millrace::domain::jobs
