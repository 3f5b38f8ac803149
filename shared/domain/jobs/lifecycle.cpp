#include "shared/domain/jobs/lifecycle.hpp"

#include <algorithm>

namespace millrace::domain::jobs {

namespace {

using postgres::Statement;

const Statement k_next_epoch{"worker_epoch", "SELECT nextval('worker_epoch')"};
const Statement k_register{"worker_register",
                           "INSERT INTO workers (epoch, name, role, lease_until) VALUES ($1, $2, "
                           "$3, now() + make_interval(secs => $4))"};
const Statement k_renew{"worker_renew", R"sql(
UPDATE workers SET lease_until = now() + make_interval(secs => $2), in_flight = $3, topics = $4, partitions = $5, consumed = $6
 WHERE epoch = $1)sql"};
const Statement k_leave{"worker_leave", "SELECT leave_worker($1)"};

// The ids come sorted, so that the row locks of several workers are taken in one order. The claim
// counts only while the process is still listed: one that was written off takes nothing more. A job
// that already runs under this epoch, although nobody here holds it, is a claim whose answer was
// lost with its connection.
const Statement k_in_flight{"worker_in_flight",
                            "UPDATE workers SET in_flight = $2 WHERE epoch = $1 RETURNING epoch"};
const Statement k_claim{"jobs_claim", R"sql(
UPDATE jobs SET status = 'running', attempt = attempt + 1, worker = $1
  FROM unnest($2::uuid[]) AS wanted (id)
 WHERE jobs.id = wanted.id AND jobs.id BETWEEN ($2::uuid[])[1] AND ($2::uuid[])[cardinality($2::uuid[])]
   AND (jobs.status = 'queued' OR (jobs.status = 'running' AND jobs.worker = $1))
   AND EXISTS (SELECT FROM workers WHERE epoch = $1)
RETURNING jobs.id, jobs.attempt,
          jobs.attempt > 2 AND is_suspect(jobs.id))sql"};
const Statement k_alone{"worker_alone", "UPDATE workers SET alone = $2 WHERE epoch = $1"};
const Statement k_claim_ordered{"jobs_claim_ordered", R"sql(
SELECT n, n > 2 AND is_suspect($1)
  FROM claim_ordered($1, $2, $3) AS n WHERE n IS NOT NULL)sql"};
const Statement k_existing{"jobs_existing", R"sql(
SELECT id FROM jobs
 WHERE id = ANY ($1::uuid[]) AND id BETWEEN ($1::uuid[])[1] AND ($1::uuid[])[cardinality($1::uuid[])])sql"};
const Statement k_input{"jobs_input", "SELECT input FROM jobs WHERE id = $1"};

const Statement k_complete{"jobs_complete", R"sql(
UPDATE jobs SET status = ended.status::job_status, result = ended.result, finished_at = now()
  FROM unnest($1::uuid[], $2::int[], $3::text[], $4::bytea[]) AS ended (id, attempt, status, result)
 WHERE jobs.id = ended.id AND jobs.id BETWEEN ($1::uuid[])[1] AND ($1::uuid[])[cardinality($1::uuid[])]
   AND jobs.status = 'running' AND jobs.attempt = ended.attempt
RETURNING jobs.id)sql"};
const Statement k_finish{"jobs_finish", "SELECT finish_job($1, $2, $3::text::job_status, $4, $5)"};
const Statement k_retry{"jobs_retry",
                        "SELECT became::text, announced FROM retry_job($1, $2, now() + "
                        "make_interval(secs => $3), $4, $5)"};
const Statement k_bury{"jobs_bury",
                       "SELECT became::text, announced FROM bury_job($1, $2, $3, $4, $5, $6, "
                       "$7, $8, $9)"};
// A job whose record cannot be run would be announced again for ever: it ends with its record.
const Statement k_bury_record{"dead_letter_insert", R"sql(
WITH ended AS (
    UPDATE jobs SET status = 'dead', finished_at = now(),
           result = convert_to(json_build_object('error', json_build_object('code', 'dead', 'cause', $3::text, 'message', $4::text))::text, 'UTF8')
     WHERE id = $2 AND status = 'queued'
    RETURNING tenant_id, kind
)
INSERT INTO dead_letters (id, job_id, tenant_id, kind, cause, detail, topic, partition, "offset")
SELECT $1, $2, (SELECT tenant_id FROM ended), (SELECT kind FROM ended), $3, $4, $5, $6, $7
ON CONFLICT DO NOTHING)sql"};
const Statement k_give_back{"jobs_give_back", "SELECT return_jobs($1, $2)"};
const Statement k_returned{
    "jobs_returned",
    "SELECT count(*) FROM job_attempts WHERE job_id = $1 AND outcome = 'returned'"};
const Statement k_to_stop{"jobs_to_stop", R"sql(
SELECT held.id, held.attempt, jobs.id IS NOT NULL
  FROM unnest($2::uuid[], $3::int[]) AS held (id, attempt)
  LEFT JOIN jobs ON jobs.id = held.id AND jobs.status = 'running' AND jobs.worker = $1 AND jobs.attempt = held.attempt
 WHERE jobs.id IS NULL OR jobs.cancel)sql"};
const Statement k_follow_up{"jobs_follow_up", R"sql(
INSERT INTO jobs (id, tenant_id, owner_id, kind, lane, order_key, trace, input)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING)sql"};
// No conflict target: naming one would need the right to read the table, and millrace_app may only
// insert.
const Statement k_announce{"outbox_insert",
                           "INSERT INTO outbox (id, jobs) VALUES ($1, $2) ON CONFLICT DO NOTHING"};

GivenUp given_up(const postgres::Row& row) {
    const auto became = row.get<std::optional<std::string>>(0);
    return {became ? std::optional(parse_status(*became)) : std::nullopt,
            row.get<std::optional<base::Uuid>>(1)};
}

std::vector<base::Uuid> ids_of(const postgres::Rows& rows) {
    std::vector<base::Uuid> ids;
    ids.reserve(rows.size());
    for (std::size_t r = 0; r < rows.size(); ++r) ids.push_back(rows[r].get<base::Uuid>(0));
    std::ranges::sort(ids);
    return ids;
}

}  // namespace

Task<Result<Epoch>> Lifecycle::next_epoch(Deadline deadline) {
    CO_TRY(const auto rows, co_await durable_.run(postgres::call(k_next_epoch), deadline));
    co_return rows[0].get<std::int64_t>(0);
}

Task<Result<void>> Lifecycle::register_worker(Epoch epoch, std::string name, std::string role,
                                              std::chrono::seconds lease, Deadline deadline) {
    CO_TRY_VOID(co_await durable_.run(
        postgres::call(k_register, epoch, name, role, static_cast<double>(lease.count())),
        deadline));
    co_return Result<void>{};
}

Task<Result<void>> Lifecycle::renew(Epoch epoch, std::vector<base::Uuid> in_flight,
                                    std::vector<Consumed> consumed, std::chrono::seconds lease,
                                    Deadline deadline) {
    std::vector<std::string> topics;
    std::vector<std::int32_t> partitions;
    std::vector<base::WallTime> before;
    for (auto& c : consumed) {
        topics.push_back(std::move(c.topic));
        partitions.push_back(c.partitions);
        before.push_back(c.before);
    }
    CO_TRY(const auto rows,
           co_await claims_.run(postgres::call(k_renew, epoch, static_cast<double>(lease.count()),
                                               in_flight, topics, partitions, before),
                                deadline));
    if (rows.affected() == 0)
        co_return fail(ErrorCode::not_found, "this worker has been written off");
    co_return Result<void>{};
}

Task<Result<std::vector<Claimed>>> Lifecycle::claim(Epoch epoch, std::vector<base::Uuid> ids,
                                                    std::vector<base::Uuid> in_flight,
                                                    Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::call(k_in_flight, epoch, in_flight));
    calls.push_back(postgres::call(k_claim, epoch, ids));
    CO_TRY(const auto results, co_await claims_.transaction(std::move(calls), deadline));
    if (results[0].empty())
        co_return fail(ErrorCode::not_found, "this worker has been written off");
    std::vector<Claimed> claimed;
    for (std::size_t r = 0; r < results[1].size(); ++r) {
        const auto row = results[1][r];
        claimed.push_back({row.get<JobId>(0), row.get<std::int32_t>(1), row.get<bool>(2)});
    }
    std::ranges::sort(claimed, {}, &Claimed::id);
    co_return claimed;
}

Task<Result<std::optional<Claimed>>> Lifecycle::claim_ordered(Epoch epoch, base::Uuid id,
                                                              bool dead_blocks,
                                                              std::vector<base::Uuid> in_flight,
                                                              Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::call(k_in_flight, epoch, in_flight));
    calls.push_back(postgres::call(k_claim_ordered, id, epoch, dead_blocks));
    CO_TRY(const auto results, co_await claims_.transaction(std::move(calls), deadline));
    if (results[0].empty())
        co_return fail(ErrorCode::not_found, "this worker has been written off");
    if (results[1].empty()) co_return std::optional<Claimed>();
    const auto row = results[1][0];
    co_return std::optional<Claimed>(Claimed{{id}, row.get<std::int32_t>(0), row.get<bool>(1)});
}

Task<Result<void>> Lifecycle::run_alone(Epoch epoch, std::optional<JobId> id, Deadline deadline) {
    CO_TRY(const auto rows, co_await claims_.run(postgres::call(k_alone, epoch, id), deadline));
    if (rows.affected() == 0)
        co_return fail(ErrorCode::not_found, "this worker has been written off");
    co_return Result<void>{};
}

Task<Result<std::vector<base::Uuid>>> Lifecycle::existing(std::vector<base::Uuid> ids,
                                                          Deadline deadline) {
    std::ranges::sort(ids);
    CO_TRY(const auto rows, co_await claims_.run(postgres::call(k_existing, ids), deadline));
    co_return ids_of(rows);
}

Task<Result<std::string>> Lifecycle::input(base::Uuid id, Deadline deadline) {
    CO_TRY(const auto rows, co_await claims_.run(postgres::call(k_input, id), deadline));
    if (rows.empty()) co_return fail(ErrorCode::not_found, "no such job");
    co_return rows[0].get<std::string>(0);
}

Task<Result<std::vector<base::Uuid>>> Lifecycle::complete(std::vector<Completion> batch,
                                                          Deadline deadline) {
    std::ranges::sort(batch, {}, &Completion::id);
    std::vector<base::Uuid> ids;
    std::vector<std::int32_t> attempts;
    std::vector<std::string> statuses;
    std::vector<postgres::Bytes> results;
    for (const auto& c : batch) {
        ids.push_back(c.id.uuid);
        attempts.push_back(c.attempt);
        statuses.emplace_back(to_string(c.status));
        results.push_back({c.result});
    }
    CO_TRY(const auto rows,
           co_await durable_.run(postgres::call(k_complete, ids, attempts, statuses, results),
                                 deadline));
    co_return ids_of(rows);
}

Task<Result<GivenUp>> Lifecycle::retry(JobId id, int attempt, std::chrono::milliseconds wait,
                                       std::string cause, std::string worker, Deadline deadline) {
    CO_TRY(const auto rows,
           co_await durable_.run(
               postgres::call(k_retry, id, attempt, std::chrono::duration<double>(wait).count(),
                              cause, worker),
               deadline));
    co_return given_up(rows[0]);
}

Task<Result<GivenUp>> Lifecycle::bury(DeadLetter letter, std::string worker, bool dead_blocks,
                                      Deadline deadline) {
    CO_TRY(const auto rows,
           co_await durable_.run(
               postgres::call(k_bury, letter.job, letter.attempt, letter.cause, letter.detail,
                              worker, dead_blocks, letter.origin.topic, letter.origin.partition,
                              letter.origin.offset),
               deadline));
    co_return given_up(rows[0]);
}

Task<Result<void>> Lifecycle::bury_record(base::Uuid id, DeadLetter letter, Deadline deadline) {
    const auto job = letter.job.is_nil() ? std::nullopt : std::optional(letter.job);
    CO_TRY_VOID(co_await durable_.run(
        postgres::call(k_bury_record, id, job, letter.cause, letter.detail, letter.origin.topic,
                       letter.origin.partition, letter.origin.offset),
        deadline));
    co_return Result<void>{};
}

Task<Result<std::vector<base::Uuid>>> Lifecycle::give_back(Epoch epoch, std::vector<base::Uuid> ids,
                                                           Deadline deadline) {
    CO_TRY(const auto rows,
           co_await durable_.run(postgres::call(k_give_back, epoch, ids), deadline));
    co_return rows[0].get<std::vector<base::Uuid>>(0);
}

Task<Result<int>> Lifecycle::returned(JobId id, Deadline deadline) {
    CO_TRY(const auto rows, co_await durable_.run(postgres::call(k_returned, id), deadline));
    co_return static_cast<int>(rows[0].get<std::int64_t>(0));
}

Task<Result<std::vector<ToStop>>> Lifecycle::to_stop(Epoch epoch, std::vector<base::Uuid> ids,
                                                     std::vector<std::int32_t> attempts,
                                                     Deadline deadline) {
    CO_TRY(const auto rows,
           co_await claims_.run(postgres::call(k_to_stop, epoch, ids, attempts), deadline));
    std::vector<ToStop> out;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        out.push_back(
            {rows[r].get<base::Uuid>(0), rows[r].get<std::int32_t>(1), rows[r].get<bool>(2)});
    }
    co_return out;
}

Task<Result<std::vector<base::Uuid>>> Lifecycle::leave(Epoch epoch, Deadline deadline) {
    CO_TRY(const auto rows, co_await durable_.run(postgres::call(k_leave, epoch), deadline));
    co_return rows[0].get<std::vector<base::Uuid>>(0);
}

postgres::Call fence(const Completion& completion, bool dead_blocks) {
    return postgres::call(k_finish, completion.id, completion.attempt, to_string(completion.status),
                          postgres::Bytes{completion.result}, dead_blocks);
}

bool is_fenced(const Error& error) {
    return postgres::is_sqlstate(error, "MR001");
}

std::vector<postgres::Call> insert_jobs(std::span<const NewJob> jobs, const base::Uuid& outbox) {
    std::vector<postgres::Call> calls;
    std::vector<base::Uuid> ids;
    for (const auto& job : jobs) {
        const auto order_key = job.order_key.empty() ? std::nullopt : std::optional(job.order_key);
        const auto trace = job.trace.bytes();
        calls.push_back(postgres::call(k_follow_up, job.id, job.tenant, job.owner, job.kind->name,
                                       job.lane, order_key, postgres::Bytes{trace},
                                       postgres::Bytes{job.input}));
        ids.push_back(job.id.uuid);
    }
    if (!ids.empty()) calls.push_back(postgres::call(k_announce, outbox, ids));
    return calls;
}

}  // namespace millrace::domain::jobs
