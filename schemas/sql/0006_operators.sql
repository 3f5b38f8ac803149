-- What operators do to jobs, and the account of it (design §3, "Replay").

-- A dead letter that was sent round again is history; the open ones are those without a time here.
ALTER TABLE dead_letters ADD COLUMN redriven_at timestamptz;
CREATE INDEX dead_letters_job ON dead_letters (job_id) WHERE job_id IS NOT NULL;

-- Money that a comparison cost: spent all the same, but not on the tenant's behalf.
ALTER TABLE usage ADD COLUMN shadow boolean NOT NULL DEFAULT false;

-- Jobs that a replay made: jobs.replay_of says which job each repeats.
CREATE TABLE replay_jobs (
    job_id uuid    PRIMARY KEY,
    run    uuid    NOT NULL,
    origin uuid    NOT NULL,                               -- whose external keys it uses; its own id with --repeat-effects
    shadow boolean NOT NULL                                -- its effects are not applied
);
CREATE INDEX replay_jobs_run ON replay_jobs (run, job_id);

-- What shadow runs came to, beside the old job's own result.
CREATE TABLE replay_results (
    run        uuid        NOT NULL,
    job_id     uuid        NOT NULL,                       -- the old job
    tenant_id  uuid        NOT NULL,
    outcome    job_status  NOT NULL,
    result     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run, job_id)
);

GRANT SELECT, INSERT ON replay_jobs TO millrace_pipeline;
GRANT SELECT ON replay_results TO millrace_pipeline;
GRANT INSERT ON replay_results TO millrace_app;
ALTER TABLE replay_results ENABLE ROW LEVEL SECURITY;
ALTER TABLE replay_results FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON replay_results TO millrace_app WITH CHECK (tenant_id = (SELECT current_tenant()));
CREATE POLICY pipeline ON replay_results FOR SELECT TO millrace_pipeline USING (true);
CREATE POLICY owner ON replay_results TO CURRENT_USER USING (true) WITH CHECK (true);

-- Sends ended jobs round again, each with a new attempt, and announces them together in the outbox row `announcement`. `to_lane` moves them
-- into that lane. Per job: queued; busy (a later job of its key runs: send it again in a moment, one key never runs two); unchanged (it has not
-- ended, or it has succeeded); unknown.
CREATE FUNCTION redrive_jobs(wanted uuid[], to_lane text, actor text, announcement uuid)
    RETURNS TABLE (job uuid, outcome text) LANGUAGE plpgsql AS $$
DECLARE
    seen   record;
    number integer;
    queued uuid[] := '{}';
BEGIN
    -- By key, so that two of these take the locks of several keys in one order.
    FOR seen IN SELECT w.id, j.order_key, j.seq FROM unnest(wanted) AS w (id) LEFT JOIN jobs j ON j.id = w.id ORDER BY j.order_key, j.seq LOOP
        job := seen.id;
        IF seen.order_key IS NOT NULL THEN PERFORM lock_order_key(seen.order_key); END IF;
        IF seen.seq IS NULL THEN
            outcome := 'unknown';
        ELSIF seen.order_key IS NOT NULL AND EXISTS (
            SELECT FROM jobs l WHERE l.order_key = seen.order_key AND l.seq > seen.seq AND l.status = 'running') THEN
            outcome := 'busy';
        ELSE
            UPDATE jobs SET status = 'queued', finished_at = NULL, result = NULL, cancel = false, requeued_at = now(), lane = coalesce(to_lane, lane)
             WHERE id = seen.id AND status IN ('failed', 'dead', 'cancelled') RETURNING attempt INTO number;
            outcome := CASE WHEN FOUND THEN 'queued' ELSE 'unchanged' END;
        END IF;
        IF outcome = 'queued' THEN
            queued := queued || seen.id;
            DELETE FROM job_attempts a WHERE a.job_id = seen.id AND a.outcome IN ('crashed', 'hung');
            INSERT INTO job_attempts (job_id, attempt, outcome, cause) VALUES (seen.id, number, 'redriven', 'sent round again by ' || actor)
                ON CONFLICT DO NOTHING;
            UPDATE dead_letters d SET redriven_at = now() WHERE d.job_id = seen.id AND d.redriven_at IS NULL;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF cardinality(queued) > 0 THEN
        INSERT INTO outbox (id, jobs) VALUES (announcement, queued);
    END IF;
END
$$;
CREATE OR REPLACE FUNCTION redrive_job(job uuid) RETURNS boolean LANGUAGE sql VOLATILE
    BEGIN ATOMIC
        SELECT bool_or(r.outcome = 'queued') FROM redrive_jobs(ARRAY[$1], NULL, 'redrive_job', gen_random_uuid()) r;
    END;

-- What jobs of these kinds have cost lately, for estimates. SECURITY DEFINER: usage belongs to the tenants; this shows sums only.
CREATE FUNCTION usage_by_kind(kinds text[], days integer)
    RETURNS TABLE (kind text, jobs bigint, cost_usd double precision, tokens bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT j.kind, count(DISTINCT u.job_id), sum(u.cost_usd)::double precision, sum(u.tokens_in + u.tokens_out)::bigint
          FROM usage u JOIN jobs j ON j.id = u.job_id
         WHERE u.created_at > now() - make_interval(days => days) AND j.kind = ANY (kinds)
         GROUP BY j.kind;
    END;

-- Effects that can be counted, for `millrace-ops verify jobs`: ids of what is wrong, nothing else.
CREATE FUNCTION verify_effects(since uuid) RETURNS TABLE (wrong text, id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT 'usage_twice', u.job_id FROM usage u WHERE u.job_id >= since GROUP BY u.job_id, u.attempt, u.call HAVING count(*) > 1
        UNION ALL
        SELECT 'usage_without_attempt', u.job_id FROM usage u JOIN jobs j ON j.id = u.job_id
         WHERE u.job_id >= since AND u.attempt NOT BETWEEN 1 AND j.attempt
        UNION ALL
        SELECT 'document_generation', f.id
          FROM files f
          LEFT JOIN (SELECT c.file_id, c.generation, count(*) AS chunks FROM chunks c GROUP BY c.file_id, c.generation) live
            ON live.file_id = f.id AND live.generation = f.generation
          LEFT JOIN jobs j ON j.id = f.job_id AND j.status = 'succeeded'
         WHERE f.status = 'completed' AND f.job_id >= since
           AND (coalesce(live.chunks, 0) <> f.chunk_count
                OR CASE WHEN j.id IS NOT NULL
                        THEN (convert_from(j.result, 'UTF8')::json ->> 'chunks')::integer IS DISTINCT FROM f.chunk_count END);
    END;
REVOKE EXECUTE ON FUNCTION usage_by_kind(text[], integer), verify_effects(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION usage_by_kind(text[], integer), verify_effects(uuid) TO millrace_pipeline;
