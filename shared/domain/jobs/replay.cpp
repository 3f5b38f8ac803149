#include "shared/domain/jobs/replay.hpp"

namespace millrace::domain::jobs {

namespace {

using postgres::Statement;

const Statement k_find_repeated{"replay_find", R"sql(
SELECT r.run, j.replay_of, r.origin, r.shadow, old.order_key
  FROM replay_jobs r JOIN jobs j ON j.id = r.job_id LEFT JOIN jobs old ON old.id = j.replay_of
 WHERE r.job_id = $1)sql"};
const Statement k_keep_beside{"replay_keep", R"sql(
INSERT INTO replay_results (run, job_id, tenant_id, outcome, result) VALUES ($1, $2, $3, $4::text::job_status, $5))sql"};

const Statement k_candidates{"replay_candidates", R"sql(
SELECT j.id, j.seq, j.kind, j.status::text, coalesce(r.shadow, false)
  FROM jobs j LEFT JOIN replay_jobs r ON r.job_id = j.id WHERE j.id = ANY ($1::uuid[]) ORDER BY j.seq)sql"};
const Statement k_redrive{"replay_redrive",
                          "SELECT job, outcome FROM redrive_jobs($1, $2, $3, $4)"};

// A copy of a copy keeps the keys of the first, unless those were given up with --repeat-effects.
// The order key of a shadow is its run's own.
const Statement k_repeat{"replay_repeat", R"sql(
WITH wanted AS (
    SELECT w.copy, old.*, CASE WHEN $5 THEN w.copy ELSE coalesce(r.origin, old.id) END AS origin
      FROM unnest($1::uuid[], $2::uuid[]) AS w (copy, of)
      JOIN jobs old ON old.id = w.of LEFT JOIN replay_jobs r ON r.job_id = old.id
), made AS (
    INSERT INTO jobs (id, tenant_id, owner_id, kind, lane, order_key, replay_of, trace, input)
    SELECT copy, tenant_id, owner_id, kind, 'replay',
           CASE WHEN $4 AND order_key IS NOT NULL THEN 'shadow:' || $3::uuid::text || ':' || order_key ELSE order_key END, id, $6, input
      FROM wanted ORDER BY seq
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), noted AS (
    INSERT INTO replay_jobs (job_id, run, origin, shadow) SELECT copy, $3, origin, $4 FROM wanted WHERE copy IN (SELECT id FROM made)
)
INSERT INTO outbox (id, jobs) SELECT $7, array_agg(id) FROM made HAVING count(*) > 0)sql"};
const Statement k_load{"replay_load", R"sql(
SELECT id, tenant_id, owner_id, kind, lane, order_key, trace, input FROM jobs WHERE id = ANY ($1::uuid[]) AND status = 'queued' ORDER BY seq)sql"};
const Statement k_announced{"replay_announced", "DELETE FROM outbox WHERE id = $1"};

}  // namespace

Task<Result<std::optional<Repeated>>> find_repeated(postgres::Database& db, JobId id,
                                                    Deadline deadline) {
    CO_TRY(const auto rows, co_await db.run(postgres::call(k_find_repeated, id), deadline));
    if (rows.empty()) co_return std::optional<Repeated>();
    const auto row = rows[0];
    co_return std::optional<Repeated>(
        Repeated{.run = row.get<base::Uuid>(0),
                 .of = row.get<JobId>(1),
                 .origin = row.get<JobId>(2),
                 .shadow = row.get<bool>(3),
                 .order_key = row.get<std::optional<std::string>>(4).value_or("")});
}

postgres::Call keep_beside(const Repeated& repeated, TenantId tenant, Status outcome,
                           const std::string& result) {
    return postgres::call(k_keep_beside, repeated.run, repeated.of, tenant, to_string(outcome),
                          postgres::Bytes{result});
}

Task<Result<std::vector<Candidate>>> Replay::find(std::vector<base::Uuid> ids, Deadline deadline) {
    CO_TRY(const auto rows, co_await db_.run(postgres::call(k_candidates, ids), deadline));
    std::vector<Candidate> found;
    found.reserve(rows.size());
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto row = rows[r];
        found.push_back({row.get<JobId>(0), row.get<std::int64_t>(1), row.get<std::string>(2),
                         parse_status(row.get<std::string_view>(3)), row.get<bool>(4)});
    }
    co_return found;
}

Task<Result<std::vector<std::pair<JobId, Redriven>>>> Replay::redrive(std::vector<base::Uuid> ids,
                                                                      std::string_view lane,
                                                                      base::Uuid outbox,
                                                                      Deadline deadline) {
    const auto to_lane = lane.empty() ? std::nullopt : std::optional<std::string>(lane);
    CO_TRY(const auto rows,
           co_await db_.run(postgres::call(k_redrive, ids, to_lane, actor_, outbox), deadline));
    std::vector<std::pair<JobId, Redriven>> out;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto text = rows[r].get<std::string_view>(1);
        out.emplace_back(rows[r].get<JobId>(0), text == "queued"      ? Redriven::queued
                                                : text == "busy"      ? Redriven::busy
                                                : text == "unchanged" ? Redriven::unchanged
                                                                      : Redriven::unknown);
    }
    co_return out;
}

Task<Result<void>> Replay::repeat(std::vector<Pair> pairs, Mode mode, base::Uuid outbox,
                                  telemetry::TraceContext trace, Deadline deadline) {
    std::vector<base::Uuid> copies, olds;
    for (const auto& pair : pairs) {
        copies.push_back(pair.copy);
        olds.push_back(pair.of);
    }
    const auto bytes = trace.bytes();
    CO_TRY_VOID(
        co_await db_.run(postgres::call(k_repeat, copies, olds, mode.run, mode.shadow,
                                        mode.repeat_effects, postgres::Bytes{bytes}, outbox),
                         deadline));
    co_return Result<void>{};
}

Task<Result<std::vector<NewJob>>> Replay::load(std::vector<base::Uuid> ids, Deadline deadline) {
    CO_TRY(const auto rows, co_await db_.run(postgres::call(k_load, ids), deadline));
    std::vector<NewJob> jobs;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto row = rows[r];
        const auto* kind = catalog_.kind(row.get<std::string_view>(3));
        if (kind == nullptr) continue;  // of another version: its outbox row waits for that one
        jobs.push_back({.id = row.get<JobId>(0),
                        .tenant = row.get<TenantId>(1),
                        .owner = row.get<UserId>(2),
                        .kind = kind,
                        .lane = row.get<std::string>(4),
                        .order_key = row.get<std::optional<std::string>>(5).value_or(""),
                        .trace = telemetry::TraceContext::from_bytes(
                            row.get<std::optional<std::string>>(6).value_or("")),
                        .input = row.get<std::string>(7)});
    }
    co_return jobs;
}

Task<Result<void>> Replay::announced(base::Uuid outbox, Deadline deadline) {
    CO_TRY_VOID(co_await db_.run(postgres::call(k_announced, outbox), deadline));
    co_return Result<void>{};
}

}  // namespace millrace::domain::jobs
