-- The conditional writes that need more than one statement to be one step. Each is called by name from shared/domain/jobs.
-- `announced` is what the caller publishes as soon as it has committed, for the relay comes seconds later: outbox rows, often none.

-- The lock that serialises everything about one order key.
CREATE FUNCTION lock_order_key(key text) RETURNS void LANGUAGE sql VOLATILE
    BEGIN ATOMIC SELECT pg_advisory_xact_lock(hashtextextended(key, 0)); END;

-- Wakes the lowest parked job of a key if nothing unfinished stands before it. Returns the outbox row that announces it, or NULL.
-- Call under lock_order_key.
CREATE FUNCTION wake_parked(key text, dead_blocks boolean) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    next      record;
    announced uuid;
BEGIN
    SELECT id, seq INTO next FROM jobs WHERE order_key = key AND status = 'parked' ORDER BY seq LIMIT 1;
    IF NOT FOUND OR EXISTS (
        SELECT FROM jobs WHERE order_key = key AND seq < next.seq
           AND (status IN ('queued', 'waiting', 'running') OR (dead_blocks AND status = 'dead'))) THEN
        RETURN NULL;
    END IF;
    UPDATE jobs SET status = 'queued', requeued_at = now() WHERE id = next.id;
    announced := gen_random_uuid();  -- no RETURNING: millrace_app may only insert
    INSERT INTO outbox (id, jobs) VALUES (announced, ARRAY[next.id]);
    RETURN announced;
END
$$;

-- Claims one job of an ordered kind: its attempt, or NULL when it is parked or not claimable. A job that runs under the claimer's
-- own epoch, although the claimer asks for it, is a claim whose answer was lost. A later job of its key may run already: of two that
-- are accepted at once, the one with the higher seq may be seen first.
CREATE FUNCTION claim_ordered(job uuid, claimer bigint, dead_blocks boolean) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    mine   record;
    number integer;
BEGIN
    SELECT order_key, seq INTO mine FROM jobs WHERE id = job;
    IF NOT FOUND THEN RETURN NULL; END IF;
    PERFORM lock_order_key(mine.order_key);
    IF EXISTS (
        SELECT FROM jobs WHERE order_key = mine.order_key AND seq < mine.seq
           AND (status IN ('queued', 'waiting', 'parked', 'running') OR (dead_blocks AND status = 'dead')))
       OR EXISTS (SELECT FROM jobs WHERE order_key = mine.order_key AND seq > mine.seq AND status = 'running') THEN
        UPDATE jobs SET status = 'parked' WHERE id = job AND status = 'queued';
        RETURN NULL;
    END IF;
    UPDATE jobs SET status = 'running', attempt = attempt + 1, worker = claimer
     WHERE id = job AND (status = 'queued' OR (status = 'running' AND worker = claimer))
       AND EXISTS (SELECT FROM workers WHERE epoch = claimer)  -- one that was written off takes nothing more
    RETURNING attempt INTO number;
    RETURN number;
END
$$;

-- The fence: ends attempt `number` of a job, or raises MR001 so that the whole transaction rolls back. Wakes the key's next job
-- and returns its announcement.
CREATE FUNCTION finish_job(job uuid, number integer, outcome job_status, output bytea, dead_blocks boolean) RETURNS uuid
    LANGUAGE plpgsql AS $$
DECLARE
    key text;
BEGIN
    SELECT order_key INTO key FROM jobs WHERE id = job;
    IF key IS NOT NULL THEN PERFORM lock_order_key(key); END IF;
    UPDATE jobs SET status = outcome, result = output, finished_at = now()
     WHERE id = job AND status = 'running' AND attempt = number;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'attempt % of job % does not own it any more', number, job USING ERRCODE = 'MR001';
    END IF;
    RETURN CASE WHEN key IS NOT NULL THEN wake_parked(key, dead_blocks) END;
END
$$;

-- Gives up: status dead, a dead letter, the attempt's cause, the key's next job. No effect (`became` NULL) when somebody else ended
-- it first.
CREATE FUNCTION bury_job(job uuid, number integer, cause_class text, cause_text text, worker_name text, dead_blocks boolean,
                         origin_topic text, origin_partition integer, origin_offset bigint,
                         OUT became job_status, OUT announced uuid) LANGUAGE plpgsql AS $$
DECLARE
    buried record;
BEGIN
    SELECT order_key INTO buried FROM jobs WHERE id = job;
    IF buried.order_key IS NOT NULL THEN PERFORM lock_order_key(buried.order_key); END IF;
    UPDATE jobs SET status = 'dead', finished_at = now(),
           result = convert_to(json_build_object('error', json_build_object('code', 'dead', 'cause', cause_class, 'message', cause_text))::text, 'UTF8')
     WHERE id = job AND status = 'running' AND attempt = number
    RETURNING tenant_id, kind, order_key INTO buried;
    IF NOT FOUND THEN RETURN; END IF;
    became := 'dead';
    INSERT INTO job_attempts (job_id, attempt, worker, outcome, cause) VALUES (job, number, worker_name, 'dead', cause_text)
        ON CONFLICT DO NOTHING;
    INSERT INTO dead_letters (id, job_id, tenant_id, kind, cause, detail, attempts, topic, partition, "offset")
        VALUES (gen_random_uuid(), job, buried.tenant_id, buried.kind, cause_class, cause_text, number,
                origin_topic, origin_partition, origin_offset);
    IF buried.order_key IS NOT NULL THEN announced := wake_parked(buried.order_key, dead_blocks); END IF;
END
$$;

-- A transient failure: the attempt ends, and the job waits until `again`, or is cancelled if that was asked for meanwhile. `became`
-- is NULL when somebody else ended it first.
CREATE FUNCTION retry_job(job uuid, number integer, again timestamptz, cause_text text, worker_name text,
                          OUT became job_status, OUT announced uuid) LANGUAGE plpgsql AS $$
DECLARE
    key text;
BEGIN
    SELECT order_key INTO key FROM jobs WHERE id = job;
    IF key IS NOT NULL THEN PERFORM lock_order_key(key); END IF;
    UPDATE jobs SET status = CASE WHEN cancel THEN 'cancelled' ELSE 'waiting' END::job_status,
                    finished_at = CASE WHEN cancel THEN now() END
     WHERE id = job AND status = 'running' AND attempt = number
    RETURNING status INTO became;
    IF became = 'waiting' THEN
        INSERT INTO due (job_id, at, why) VALUES (job, again, cause_text)
            ON CONFLICT (job_id) DO UPDATE SET at = excluded.at, why = excluded.why;
        INSERT INTO job_attempts (job_id, attempt, worker, outcome, cause) VALUES (job, number, worker_name, 'retried', cause_text)
            ON CONFLICT DO NOTHING;
    END IF;
    IF became IS NOT NULL AND key IS NOT NULL THEN announced := wake_parked(key, false); END IF;
END
$$;

-- Cancels what has not started, asks what runs to stop. `was`: the status before, or NULL when there is no such job.
CREATE FUNCTION cancel_job(job uuid, OUT was job_status, OUT announced uuid) LANGUAGE plpgsql AS $$
DECLARE
    seen record;
BEGIN
    SELECT status, order_key INTO seen FROM jobs WHERE id = job;
    IF NOT FOUND THEN RETURN; END IF;
    IF seen.order_key IS NOT NULL THEN PERFORM lock_order_key(seen.order_key); END IF;
    SELECT status, order_key INTO seen FROM jobs WHERE id = job FOR UPDATE;
    IF seen.status IN ('queued', 'waiting', 'parked') THEN
        UPDATE jobs SET status = 'cancelled', finished_at = now() WHERE id = job;
        DELETE FROM due WHERE job_id = job;
        IF seen.order_key IS NOT NULL THEN announced := wake_parked(seen.order_key, false); END IF;
    ELSIF seen.status = 'running' THEN
        UPDATE jobs SET cancel = true WHERE id = job;
    END IF;
    was := seen.status;
END
$$;

-- Twice its process died under it, though perhaps by another job's fault: from now on it runs alone, so that the third time counts
-- against the one that did it and nobody else.
CREATE FUNCTION is_suspect(job uuid) RETURNS boolean LANGUAGE sql STABLE
    RETURN (SELECT count(*) >= 2 FROM job_attempts WHERE job_id = job AND outcome IN ('crashed', 'hung'));

-- A worker that is gone: its running jobs are queued again (or buried after crashes_max crashes), its row is removed.
-- Conditional on the epoch, so a false alarm only costs the work done so far. A suspect that was claimed but not run is not counted.
CREATE FUNCTION requeue_worker(gone bigint, why text, crashes_max integer, OUT announced uuid[], OUT buried uuid[], OUT requeued uuid[])
    LANGUAGE plpgsql AS $$
DECLARE
    who     record;
    job     record;
    crashes integer;
    row_id  uuid;
BEGIN
    announced := '{}';
    buried := '{}';
    requeued := '{}';
    DELETE FROM workers WHERE epoch = gone RETURNING name, in_flight, alone INTO who;
    IF NOT FOUND THEN RETURN; END IF;
    -- As everywhere: an order key is locked before the rows of its jobs.
    PERFORM lock_order_key(order_key) FROM (
        SELECT DISTINCT order_key FROM jobs WHERE id = ANY (who.in_flight) AND status = 'running' AND worker = gone
                                              AND order_key IS NOT NULL ORDER BY 1) keys;
    FOR job IN SELECT id, attempt, cancel FROM jobs
                WHERE id = ANY (who.in_flight) AND status = 'running' AND worker = gone ORDER BY id FOR UPDATE LOOP
        INSERT INTO job_attempts (job_id, attempt, worker, outcome, cause)
            VALUES (job.id, job.attempt, who.name,
                    CASE WHEN is_suspect(job.id) AND job.id IS DISTINCT FROM who.alone THEN 'returned' ELSE why END, 'the worker process ' || who.name || ' ' || why || ' while it ran')
            ON CONFLICT DO NOTHING;
        SELECT count(*) INTO crashes FROM job_attempts a WHERE a.job_id = job.id AND a.outcome IN ('crashed', 'hung');
        IF job.cancel THEN
            announced := announced || finish_job(job.id, job.attempt, 'cancelled', NULL, false);
        ELSIF crashes >= crashes_max THEN
            announced := announced || (SELECT b.announced FROM bury_job(
                job.id, job.attempt, why, 'the worker ' || why || ' ' || crashes || ' times while it ran this job',
                who.name, false, NULL, NULL, NULL) b);
            buried := buried || job.id;
        ELSE
            UPDATE jobs SET status = 'queued', requeued_at = now() WHERE id = job.id;
            requeued := requeued || job.id;
        END IF;
    END LOOP;
    IF cardinality(requeued) > 0 THEN
        INSERT INTO outbox (id, jobs) VALUES (gen_random_uuid(), requeued) RETURNING id INTO row_id;
        announced := announced || row_id;
    END IF;
    announced := array_remove(announced, NULL);
END
$$;

-- What is due is announced again, at most `batch` at a time: the outbox row, or NULL when nothing was due.
CREATE FUNCTION release_due(batch integer) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    ids       uuid[];
    announced uuid;
BEGIN
    WITH taken AS (
        DELETE FROM due WHERE job_id IN (
            SELECT job_id FROM due WHERE at <= now() ORDER BY at LIMIT batch FOR UPDATE SKIP LOCKED)
        RETURNING job_id
    ), woken AS (
        UPDATE jobs SET status = 'queued', requeued_at = now() FROM taken
         WHERE jobs.id = taken.job_id AND jobs.status = 'waiting' RETURNING jobs.id
    ) SELECT array_agg(id ORDER BY id) INTO ids FROM woken;
    IF ids IS NOT NULL THEN
        INSERT INTO outbox (id, jobs) VALUES (gen_random_uuid(), ids) RETURNING id INTO announced;
    END IF;
    RETURN announced;
END
$$;

-- An operator sends a failed, dead or cancelled job round again: a new attempt, counted from where it stood.
CREATE FUNCTION redrive_job(job uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs SET status = 'queued', finished_at = NULL, result = NULL, cancel = false, requeued_at = now()
     WHERE id = job AND status IN ('failed', 'dead', 'cancelled');
    IF NOT FOUND THEN RETURN false; END IF;
    DELETE FROM job_attempts WHERE job_id = job AND outcome IN ('crashed', 'hung');
    INSERT INTO outbox (id, jobs) VALUES (gen_random_uuid(), ARRAY[job]);
    RETURN true;
END
$$;

-- At a stop: what a worker has claimed and not finished is queued again, or ends where that was asked for. The attempt number stays
-- (it is the fence and names the live stream); the 'returned' row says that it does not count.
CREATE FUNCTION return_jobs(returner bigint, ids uuid[], OUT announced uuid[]) LANGUAGE plpgsql AS $$
DECLARE
    returned uuid[];
    row_id   uuid;
BEGIN
    PERFORM lock_order_key(order_key) FROM (
        SELECT DISTINCT order_key FROM jobs WHERE id = ANY (ids) AND status = 'running' AND worker = returner
                                              AND order_key IS NOT NULL ORDER BY 1) keys;
    WITH mine AS (
        SELECT id, attempt, cancel FROM jobs WHERE id = ANY (ids) AND status = 'running' AND worker = returner ORDER BY id FOR UPDATE
    ), noted AS (
        INSERT INTO job_attempts (job_id, attempt, worker, outcome, cause)
        SELECT id, attempt, (SELECT name FROM workers WHERE epoch = returner), 'returned', 'the worker was asked to stop' FROM mine
        ON CONFLICT DO NOTHING
    ), moved AS (
        UPDATE jobs SET status = 'queued', requeued_at = now() FROM mine WHERE jobs.id = mine.id AND NOT mine.cancel RETURNING jobs.id
    ) SELECT array_agg(id ORDER BY id) INTO returned FROM moved;
    SELECT coalesce(array_agg(finish_job(id, attempt, 'cancelled', NULL, false)), '{}') INTO announced
      FROM jobs WHERE id = ANY (ids) AND status = 'running' AND worker = returner AND cancel;
    IF returned IS NOT NULL THEN
        INSERT INTO outbox (id, jobs) VALUES (gen_random_uuid(), returned) RETURNING id INTO row_id;
    END IF;
    announced := array_remove(announced || row_id, NULL);
END
$$;

-- A worker signs off: whatever the database still holds against its name is returned, a claim that commits at this moment included:
-- claims change the worker's row first.
CREATE FUNCTION leave_worker(leaver bigint, OUT announced uuid[]) LANGUAGE plpgsql AS $$
DECLARE
    held uuid[];
BEGIN
    SELECT in_flight INTO held FROM workers WHERE epoch = leaver FOR UPDATE;
    announced := return_jobs(leaver, held);
    DELETE FROM workers WHERE epoch = leaver;
END
$$;
