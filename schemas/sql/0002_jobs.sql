-- The job machinery (design §1). PostgreSQL is the truth of every job; Kafka only announces them.
CREATE TYPE job_status AS ENUM ('queued', 'waiting', 'parked', 'running', 'succeeded', 'failed', 'dead', 'cancelled');

-- Indexed columns never change, and pages keep room for three versions of their rows, so that claims and completions stay HOT.
CREATE TABLE jobs (
    id          uuid        NOT NULL,                      -- version 7: its time is the accept's time
    seq         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    tenant_id   uuid        NOT NULL,
    owner_id    uuid        NOT NULL,                      -- the principal that may see it
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    requeued_at timestamptz,                               -- last time it was announced again; NULL = only once, at created_at
    worker      bigint,                                    -- epoch of the worker that claimed it last
    attempt     integer     NOT NULL DEFAULT 0,            -- the fencing token
    status      job_status  NOT NULL DEFAULT 'queued',
    cancel      boolean     NOT NULL DEFAULT false,        -- requested while running
    kind        text        NOT NULL,
    lane        text        NOT NULL,
    order_key   text,
    replay_of   uuid,
    trace       bytea,                                     -- 16 bytes trace id, 8 bytes span id
    input       bytea       NOT NULL,                      -- JSON; bytea because jsonb refuses \u0000
    result      bytea,                                     -- JSON: the result, or {"error":{…}}
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

CREATE INDEX jobs_owner ON jobs (owner_id, id DESC);
CREATE INDEX jobs_order ON jobs (order_key, seq) WHERE order_key IS NOT NULL;

-- The smallest UUIDv7 of a moment.
CREATE FUNCTION uuid_floor(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid;

-- One partition per UTC day, from yesterday (clocks differ) to `ahead` days from now. Called by migrate and hourly by the scheduler.
CREATE FUNCTION ensure_job_partitions(ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    day  date;
    made integer := 0;
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ensure_job_partitions'));
    FOR day IN SELECT generate_series((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + ahead, '1 day')::date LOOP
        name := 'jobs_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF jobs FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05)',
            name, uuid_floor(day::timestamp AT TIME ZONE 'UTC'), uuid_floor((day + 1)::timestamp AT TIME ZONE 'UTC'));
        -- Reached through jobs only: without a policy of their own, partitions show nothing when named directly.
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- Retention: drops whole days, and only days in which every job has ended.
CREATE FUNCTION drop_job_partitions(older_than interval) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    part    record;
    dropped integer := 0;
BEGIN
    FOR part IN
        SELECT c.oid::regclass AS name, to_date(substr(c.relname, 6), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC' AS starts
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'jobs'::regclass AND c.relname ~ '^jobs_\d{8}$'
    LOOP
        CONTINUE WHEN part.starts + interval '1 day' > now() - older_than;
        CONTINUE WHEN EXISTS (SELECT FROM jobs WHERE id >= uuid_floor(part.starts) AND id < uuid_floor(part.starts + interval '1 day')
                                                 AND finished_at IS NULL);
        EXECUTE format('DROP TABLE %s', part.name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
REVOKE EXECUTE ON FUNCTION ensure_job_partitions(integer), drop_job_partitions(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_job_partitions(integer), drop_job_partitions(interval) TO millrace_pipeline;

-- One row announces the jobs of one batch; deleted when Kafka has confirmed their records.
CREATE TABLE outbox (
    id         uuid        PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    jobs       uuid[]      NOT NULL
) WITH (fillfactor = 70, toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Ids do not compress: trying cost a sixth of the server's time.
ALTER TABLE outbox ALTER jobs SET STORAGE EXTERNAL;

-- Only jobs that wait for a time.
CREATE TABLE due (
    job_id uuid        PRIMARY KEY,
    at     timestamptz NOT NULL,
    why    text        NOT NULL
);
CREATE INDEX due_at ON due (at);

-- One row per worker process, held by a session advisory lock on its epoch.
CREATE SEQUENCE worker_epoch;
CREATE TABLE workers (
    epoch       bigint      PRIMARY KEY,
    name        text        NOT NULL,                      -- "rag-1"
    role        text        NOT NULL,                      -- "rag"
    started_at  timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL,
    in_flight   uuid[]      NOT NULL DEFAULT '{}',         -- a superset of what it runs
    alone       uuid,                                      -- the suspect that it runs with nothing beside it
    topics      text[]      NOT NULL DEFAULT '{}',         -- what it has consumed: per topic the number of
    partitions  integer[]   NOT NULL DEFAULT '{}',         -- partitions assigned to it, and the publication time
    consumed    timestamptz[] NOT NULL DEFAULT '{}'        -- before which all their records are claimed
) WITH (fillfactor = 50, toast_tuple_target = 8160);
ALTER TABLE workers ALTER in_flight SET STORAGE EXTERNAL;

-- Attempts that did not succeed; the last one of a finished job is the job row itself.
CREATE TABLE job_attempts (
    job_id     uuid        NOT NULL,
    attempt    integer     NOT NULL,
    worker     text,
    outcome    text        NOT NULL,                       -- retried | failed | dead | crashed | hung | returned
    cause      text        NOT NULL,
    ended_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, attempt, outcome)
);

-- Idempotency-Key: which job, or which stored answer, a key stands for. Kept 24 h.
CREATE TABLE idempotency (
    scope_hash bytea       PRIMARY KEY,                    -- SHA-256 of principal, method, route, key
    body_hash  bytea       NOT NULL,
    job_id     uuid,
    status     integer,                                    -- NULL with job_id NULL: the first request still runs
    body       bytea,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_age ON idempotency USING brin (created_at);

-- Dead letters as rows beside the topic of the same name, so that operators can query them.
CREATE TABLE dead_letters (
    id         uuid        PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    job_id     uuid,
    tenant_id  uuid,
    kind       text,
    cause      text        NOT NULL,                       -- undecodable | orphan | attempts | crashed | …
    detail     text        NOT NULL,
    attempts   integer     NOT NULL DEFAULT 0,
    topic      text,
    partition  integer,
    "offset"   bigint
);

GRANT SELECT, INSERT, UPDATE ON jobs TO millrace_pipeline;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox, due, workers, idempotency, job_attempts, dead_letters TO millrace_pipeline;
GRANT USAGE ON SEQUENCE worker_epoch TO millrace_pipeline;
GRANT SELECT, INSERT, UPDATE ON jobs TO millrace_app;
GRANT INSERT ON outbox TO millrace_app;

ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobs FORCE ROW LEVEL SECURITY;
CREATE POLICY pipeline ON jobs TO millrace_pipeline USING (true) WITH CHECK (true);
CREATE POLICY tenant ON jobs TO millrace_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK (tenant_id = (SELECT current_tenant()));
-- The owner runs the partition functions and the migrations, nothing else; superusers pass anyway.
CREATE POLICY owner ON jobs TO CURRENT_USER USING (true) WITH CHECK (true);

ALTER TABLE dead_letters ENABLE ROW LEVEL SECURITY;
ALTER TABLE dead_letters FORCE ROW LEVEL SECURITY;
CREATE POLICY pipeline ON dead_letters TO millrace_pipeline USING (true) WITH CHECK (true);

SELECT ensure_job_partitions(7);
