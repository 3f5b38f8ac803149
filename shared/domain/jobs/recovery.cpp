#include "shared/domain/jobs/recovery.hpp"

namespace millrace::domain::jobs {

namespace {

using postgres::Statement;

const Statement k_unpublished{"outbox_unpublished", R"sql(
SELECT o.id, j.id, j.tenant_id, j.owner_id, j.kind, j.lane, j.order_key, j.trace, j.input
  FROM (SELECT id, jobs FROM outbox WHERE created_at <= now() - make_interval(secs => $1) ORDER BY id LIMIT $2) o
  LEFT JOIN LATERAL (SELECT * FROM jobs WHERE jobs.id = ANY (o.jobs) AND jobs.status = 'queued' ORDER BY jobs.seq) j ON true
 ORDER BY o.id)sql"};
const Statement k_release_due{"due_release", "SELECT release_due($1)"};

// A worker's session lock is free within a second of its death. Right after a restart of the server
// nobody has retaken theirs yet, so only the lease counts then.
const Statement k_gone{"workers_gone", R"sql(
SELECT w.epoch, w.name, held.is_held
  FROM workers w
  CROSS JOIN LATERAL (SELECT EXISTS (
      SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1
         AND (l.classid::bigint << 32 | l.objid::bigint) = ($1::bigint | w.epoch)
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS is_held) held
 WHERE w.lease_until < now()
    OR (NOT held.is_held AND w.started_at < now() - interval '1 second'
        AND pg_postmaster_start_time() < now() - interval '10 seconds'))sql"};
const Statement k_requeue{"workers_requeue",
                          "SELECT announced, cardinality(requeued), buried FROM "
                          "requeue_worker($1, $2, $3)"};
const Statement k_by_ids{"jobs_by_ids", R"sql(
SELECT $1::uuid, id, tenant_id, owner_id, kind, lane, order_key, trace, input FROM jobs WHERE id = ANY ($2) ORDER BY seq)sql"};

const Statement k_wake_parked{"jobs_wake_parked", R"sql(
WITH keys AS (
    SELECT p.order_key FROM jobs p
     WHERE p.order_key IS NOT NULL AND p.status = 'parked' AND p.kind = $1
       AND NOT EXISTS (SELECT FROM jobs b WHERE b.order_key = p.order_key AND b.seq < p.seq
                          AND (b.status IN ('queued', 'waiting', 'parked', 'running') OR ($2 AND b.status = 'dead')))
     LIMIT 256
)
SELECT coalesce(array_agg(announced) FILTER (WHERE announced IS NOT NULL), '{}')
  FROM (SELECT wake_parked(order_key, $2) AS announced FROM (SELECT order_key, lock_order_key(order_key) FROM keys ORDER BY order_key) locked) woken)sql"};

// The first job that has not ended: nothing before it needs to be looked at.
const Statement k_first_unfinished{"jobs_first_unfinished", R"sql(
SELECT coalesce((SELECT id FROM jobs WHERE id >= $1 AND finished_at IS NULL ORDER BY id LIMIT 1),
                uuid_floor(now() - interval '10 minutes')))sql"};

// $1 topics, $2 their workers, $3 their lanes, $4 their partition counts, $7 the first job of
// interest. A topic counts only when the live workers together hold all its partitions; a job, when
// it was (re)queued well before what they have claimed.
const Statement k_orphans{"jobs_announce_orphans", R"sql(
WITH topic AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[]) AS t (name, worker, lane, partitions)
), consumed AS (
    SELECT topic.worker, topic.lane, min(c.before) AS before
      FROM topic
      JOIN workers w ON w.role = topic.worker AND w.lease_until > now()
      CROSS JOIN LATERAL unnest(w.topics, w.partitions, w.consumed) AS c (name, partitions, before)
     WHERE c.name = topic.name AND c.partitions > 0
     GROUP BY topic.name, topic.worker, topic.lane, topic.partitions
    HAVING sum(c.partitions) >= topic.partitions  -- an operator may have added some
), lost AS (
    SELECT j.id FROM jobs j
      JOIN unnest($5::text[], $6::text[]) AS k (kind, worker) ON k.kind = j.kind
      JOIN consumed c ON c.worker = k.worker AND c.lane = j.lane
     WHERE j.id >= $7 AND j.status = 'queued' AND greatest(j.created_at, j.requeued_at) < c.before - interval '10 seconds'
       AND NOT EXISTS (SELECT FROM outbox o WHERE j.id = ANY (o.jobs))
     LIMIT 1000
), touched AS (
    UPDATE jobs SET requeued_at = now() FROM lost WHERE jobs.id = lost.id AND jobs.status = 'queued' RETURNING jobs.id
), announced AS (
    INSERT INTO outbox (id, jobs) SELECT gen_random_uuid(), array_agg(id) FROM touched HAVING count(*) > 0
    RETURNING id
)
SELECT (SELECT count(*) FROM touched), coalesce((SELECT array_agg(id) FROM announced), '{}'))sql"};

const Statement k_partitions{"jobs_partitions", "SELECT ensure_job_partitions($1)::bigint"};
const Statement k_retention{"jobs_retention",
                            "SELECT drop_job_partitions(make_interval(days => $1))::bigint"};
const Statement k_purge{"idempotency_purge", R"sql(
WITH old AS (DELETE FROM idempotency WHERE created_at < now() - make_interval(hours => $1) RETURNING 1) SELECT count(*) FROM old)sql"};

}  // namespace

Task<Result<std::size_t>> Recovery::count(postgres::Call call, Deadline deadline) {
    CO_TRY(const auto rows, co_await db_.run(std::move(call), deadline));
    co_return static_cast<std::size_t>(rows[0].get<std::int64_t>(0));
}

Task<Result<std::vector<Announcement>>> Recovery::unpublished(std::chrono::seconds age,
                                                              int rows_max, Deadline deadline) {
    CO_TRY(const auto rows,
           co_await db_.run(postgres::call(k_unpublished, static_cast<double>(age.count()),
                                           std::int64_t{rows_max}),
                            deadline));
    co_return announcements_of(rows, catalog_);
}

Task<Result<Announcement>> Recovery::release_due(int batch, Deadline deadline) {
    CO_TRY(const auto rows, co_await db_.run(postgres::call(k_release_due, batch), deadline));
    const auto outbox = rows[0].get<std::optional<base::Uuid>>(0);
    if (!outbox) co_return Announcement{};
    std::vector<base::Uuid> one{*outbox};
    CO_TRY(auto found, co_await find_announcements(db_, catalog_, std::move(one), deadline));
    co_return found.empty() ? Announcement{*outbox, {}} : std::move(found.front());
}

Task<Result<std::vector<Recovery::Gone>>> Recovery::gone_workers(Deadline deadline) {
    CO_TRY(const auto rows, co_await db_.run(postgres::call(k_gone, worker_lock_key(0)), deadline));
    std::vector<Gone> out;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        out.push_back({rows[r].get<std::int64_t>(0), rows[r].get<std::string>(1),
                       rows[r].get<bool>(2) ? "hung" : "crashed"});
    }
    co_return out;
}

Task<Result<Recovery::Requeued>> Recovery::requeue(Gone worker, int crashes_max,
                                                   Deadline deadline) {
    CO_TRY(const auto rows,
           co_await db_.run(postgres::call(k_requeue, worker.epoch, worker.why, crashes_max),
                            deadline));
    if (rows.empty()) co_return Requeued{};
    Requeued done{.announced = rows[0].get<std::vector<base::Uuid>>(0),
                  .jobs = static_cast<std::size_t>(rows[0].get<std::int32_t>(1)),
                  .buried = {}};
    if (const auto buried = rows[0].get<std::vector<base::Uuid>>(2); !buried.empty()) {
        CO_TRY(const auto found,
               co_await db_.run(postgres::call(k_by_ids, base::Uuid{}, buried), deadline));
        auto jobs = announcements_of(found, catalog_);
        if (!jobs.empty()) done.buried = std::move(jobs.front().jobs);
    }
    co_return done;
}

Task<Result<std::vector<base::Uuid>>> Recovery::wake_parked(Deadline deadline) {
    std::vector<base::Uuid> announced;
    for (const auto& [name, kind] : catalog_.kinds()) {
        if (!kind.ordered) continue;
        CO_TRY(const auto rows,
               co_await db_.run(postgres::call(k_wake_parked, name, kind.dead_blocks), deadline));
        const auto woken = rows[0].get<std::vector<base::Uuid>>(0);
        announced.insert(announced.end(), woken.begin(), woken.end());
    }
    co_return announced;
}

Task<Result<Recovery::Orphans>> Recovery::announce_orphans(base::Uuid& from, Deadline deadline) {
    CO_TRY(const auto first, co_await db_.run(postgres::call(k_first_unfinished, from), deadline));
    from = first[0].get<base::Uuid>(0);
    std::vector<std::string> topics, workers, lanes, kinds, kind_workers;
    std::vector<std::int32_t> partitions;
    for (const auto& topic : catalog_.topics()) {
        topics.push_back(topic.name);
        workers.push_back(topic.worker);
        lanes.push_back(topic.lane);
        partitions.push_back(topic.partitions);
    }
    for (const auto& [name, kind] : catalog_.kinds()) {
        kinds.push_back(name);
        kind_workers.push_back(kind.worker);
    }
    CO_TRY(const auto rows, co_await db_.run(postgres::call(k_orphans, topics, workers, lanes,
                                                            partitions, kinds, kind_workers, from),
                                             deadline));
    co_return Orphans{.announced = rows[0].get<std::vector<base::Uuid>>(1),
                      .jobs = static_cast<std::size_t>(rows[0].get<std::int64_t>(0))};
}

Task<Result<std::size_t>> Recovery::ensure_partitions(int days_ahead, Deadline deadline) {
    co_return co_await count(postgres::call(k_partitions, days_ahead), deadline);
}

Task<Result<std::size_t>> Recovery::drop_partitions(std::chrono::days older_than,
                                                    Deadline deadline) {
    co_return co_await count(
        postgres::call(k_retention, static_cast<std::int32_t>(older_than.count())), deadline);
}

Task<Result<std::size_t>> Recovery::purge_idempotency(std::chrono::hours older_than,
                                                      Deadline deadline) {
    co_return co_await count(postgres::call(k_purge, static_cast<std::int32_t>(older_than.count())),
                             deadline);
}

}  // namespace millrace::domain::jobs
