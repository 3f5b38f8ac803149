#include "workers/ops/verify_sql.hpp"

namespace millrace::workers::ops {

const postgres::Statement k_verify_counts{
    "verify_counts", "SELECT status::text, count(*) FROM jobs WHERE id >= $1 GROUP BY status"};

// One pass over jobs keeps what is unfinished, dead, ordered or wrong in itself; everything else is
// joins of that. Only the lowest parked job of a key can be parked for nothing. A job that an
// operator sent round again ends later than its successors by right; so may one whose accept
// committed after theirs, and of jobs accepted within a few seconds the rows cannot tell.
const postgres::Statement k_verify_rows{"verify_rows", R"sql(
WITH kinds AS (
    SELECT * FROM unnest($2::text[], $3::boolean[], $4::boolean[]) AS k (kind, ordered, dead_blocks)
), looked AS MATERIALIZED (
    SELECT id, seq, kind, status, worker, order_key, created_at, finished_at, result IS NULL AS resultless, status >= 'succeeded' AS ended FROM jobs
     WHERE id >= $1 AND (status NOT IN ('succeeded', 'failed', 'cancelled') OR finished_at IS NULL
                         OR (status = 'succeeded' AND result IS NULL) OR order_key IS NOT NULL)
), announced AS (
    SELECT DISTINCT unnest(jobs) AS id FROM outbox
), listed AS (
    SELECT w.epoch, unnest(w.in_flight) AS id FROM workers w WHERE w.lease_until > now()
), lowest_parked AS (
    SELECT DISTINCT ON (order_key) id, seq, kind, order_key FROM looked WHERE status = 'parked' ORDER BY order_key, seq
), in_order AS (
    SELECT id, finished_at, max(finished_at) OVER (PARTITION BY order_key ORDER BY created_at
                                                     RANGE BETWEEN UNBOUNDED PRECEDING AND interval '10 seconds' PRECEDING) AS before
      FROM looked JOIN kinds USING (kind)
     WHERE kinds.ordered AND order_key IS NOT NULL AND status IN ('succeeded', 'failed')
       AND NOT EXISTS (SELECT FROM job_attempts a WHERE a.job_id = looked.id AND a.outcome = 'redriven')
), wrong (name, key) AS (
    SELECT 'outbox_stale', id FROM outbox WHERE created_at < now() - make_interval(secs => $5)
    UNION ALL
    SELECT 'outbox_without_job', a.id FROM announced a WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.id = a.id)
    UNION ALL
    SELECT 'due_without_waiting', d.job_id FROM due d
     WHERE d.job_id >= $1 AND NOT EXISTS (SELECT FROM looked s WHERE s.id = d.job_id AND s.status = 'waiting')
    UNION ALL
    SELECT 'waiting_without_due', s.id FROM looked s WHERE s.status = 'waiting' AND NOT EXISTS (SELECT FROM due d WHERE d.job_id = s.id)
    UNION ALL
    SELECT 'running_without_worker', s.id FROM looked s
     WHERE s.status = 'running' AND NOT EXISTS (SELECT FROM listed l WHERE l.id = s.id AND l.epoch = s.worker)
    UNION ALL
    SELECT 'parked_unblocked', p.id FROM lowest_parked p LEFT JOIN kinds k ON k.kind = p.kind
     WHERE NOT EXISTS (SELECT FROM jobs b WHERE b.order_key = p.order_key AND b.seq < p.seq
                          AND (b.status IN ('queued', 'waiting', 'parked', 'running') OR (k.dead_blocks AND b.status = 'dead')))
       AND NOT EXISTS (SELECT FROM jobs b WHERE b.order_key = p.order_key AND b.seq > p.seq AND b.status = 'running')
    UNION ALL
    SELECT 'kind_unknown', s.id FROM looked s WHERE NOT s.ended AND NOT EXISTS (SELECT FROM kinds k WHERE k.kind = s.kind)
    UNION ALL
    SELECT 'ended_without_time', s.id FROM looked s WHERE s.ended AND s.finished_at IS NULL
    UNION ALL
    SELECT 'unended_with_time', s.id FROM looked s WHERE NOT s.ended AND s.finished_at IS NOT NULL
    UNION ALL
    SELECT 'succeeded_without_result', s.id FROM looked s WHERE s.status = 'succeeded' AND s.resultless
    UNION ALL
    SELECT 'dead_without_letter', s.id FROM looked s
     WHERE s.status = 'dead' AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.job_id = s.id AND d.redriven_at IS NULL)
    UNION ALL
    SELECT 'key_without_job', i.job_id FROM idempotency i
     WHERE i.job_id >= $1 AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = i.job_id)
    UNION ALL
    SELECT 'order_broken', id FROM in_order WHERE finished_at < before
    UNION ALL
    SELECT wrong, id FROM verify_effects($1)
)
SELECT name, count(*), (array_agg(key))[1:1000] FROM wrong GROUP BY name)sql"};

const postgres::Statement k_verify_unannounced{"verify_unannounced", R"sql(
SELECT j.id, j.attempt, coalesce(j.requeued_at, j.created_at)
  FROM jobs j LEFT JOIN (SELECT DISTINCT unnest(jobs) AS id FROM outbox) o ON o.id = j.id
 WHERE j.id >= $1 AND j.status = 'queued' AND o.id IS NULL)sql"};
const postgres::Statement k_verify_still_unannounced{"verify_still_unannounced", R"sql(
SELECT j.id FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[]) AS w (id, attempt, since)
  JOIN jobs j ON j.id = w.id AND j.status = 'queued' AND j.attempt = w.attempt AND coalesce(j.requeued_at, j.created_at) = w.since
  LEFT JOIN (SELECT DISTINCT unnest(jobs) AS id FROM outbox) o ON o.id = j.id
 WHERE o.id IS NULL)sql"};

}  // namespace millrace::workers::ops
