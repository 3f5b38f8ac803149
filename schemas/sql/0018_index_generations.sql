-- A tenant's index made anew. Every document is embedded once more beside what is searched; when all of them are there, and a stored
-- set of questions is answered no worse, one transaction makes the new chunks live. What they replaced is kept for a week, or until the next time.
CREATE TABLE index_generations (
    id           uuid        PRIMARY KEY,
    tenant_id    uuid        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    job_id       uuid,                                     -- knowledge.reindex, which waits for the documents; NULL: what was there before the first
    status       text        NOT NULL CHECK (status IN ('building', 'live', 'retired', 'rejected', 'failed')),
    kept         boolean     NOT NULL DEFAULT true,        -- its chunks are still there
    reason       text,                                     -- why it was rejected or failed
    score_before real,                                     -- recall@5 over the tenant's questions: of what was live,
    score_after  real,                                     -- and of this one
    files_total  integer     NOT NULL DEFAULT 0,
    files_done   integer     NOT NULL DEFAULT 0,           -- this and the next are counted when it is no longer building
    files_failed integer     NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now(),
    live_at      timestamptz
);
CREATE INDEX index_generations_tenant ON index_generations (tenant_id, created_at DESC);
CREATE UNIQUE INDEX index_generations_building ON index_generations (tenant_id) WHERE status = 'building';
CREATE UNIQUE INDEX index_generations_live ON index_generations (tenant_id) WHERE status = 'live';

-- Which chunks of a document belong to an index generation. While it is building: without a job, not begun; without chunks and
-- reason, in work. Of what was live before: only the documents whose chunks were replaced.
CREATE TABLE generation_files (
    index_generation uuid    NOT NULL REFERENCES index_generations ON DELETE CASCADE,
    file_id          uuid    NOT NULL REFERENCES files ON DELETE CASCADE,
    tenant_id        uuid    NOT NULL,
    job_id           uuid,
    chunk_generation bigint,
    chunk_count      integer,
    reason           text,                                 -- why it could not be embedded
    PRIMARY KEY (index_generation, file_id)
);
CREATE INDEX generation_files_file ON generation_files (file_id, chunk_generation);
CREATE INDEX generation_files_open ON generation_files (index_generation, job_id) WHERE chunk_generation IS NULL AND reason IS NULL;

-- What a tenant's index must be able to find.
CREATE TABLE question_sets (
    tenant_id  uuid        PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
    questions  jsonb       NOT NULL,                       -- [{"question", "file_ids": [uuid]}]
    updated_at timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT, INSERT, UPDATE, DELETE ON index_generations, generation_files, question_sets TO millrace_app;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['index_generations', 'generation_files', 'question_sets'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO millrace_app USING (tenant_id = (SELECT current_tenant())) '
                       'WITH CHECK (tenant_id = (SELECT current_tenant()))', name);
        EXECUTE format('CREATE POLICY owner ON %I TO CURRENT_USER USING (true) WITH CHECK (true)', name);
    END LOOP;
END
$$;

-- Its documents' rows go when its chunks do: the numbers stay.
CREATE FUNCTION count_index_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT count(chunk_generation), count(reason) INTO NEW.files_done, NEW.files_failed FROM generation_files WHERE index_generation = NEW.id;
    RETURN NEW;
END
$$;
CREATE TRIGGER counted BEFORE UPDATE ON index_generations FOR EACH ROW
    WHEN (OLD.status = 'building' AND NEW.status <> 'building') EXECUTE FUNCTION count_index_generation();

-- Chunks that are not live, and are waited for or may be wanted back.
CREATE VIEW kept_chunks WITH (security_invoker = true) AS
    SELECT g.file_id, g.chunk_generation FROM generation_files g JOIN index_generations i ON i.id = g.index_generation
     WHERE i.kept AND i.status <> 'live' AND g.chunk_generation IS NOT NULL;
GRANT SELECT ON kept_chunks TO millrace_app;

-- Searched to judge a generation that is building: what would be live with it.
CREATE OR REPLACE FUNCTION documents_of_generation(wanted uuid) RETURNS TABLE (file_id uuid, generation bigint, chunks integer)
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    SELECT f.id, greatest(f.generation, g.chunk_generation), CASE WHEN g.chunk_generation > f.generation THEN g.chunk_count ELSE f.chunk_count END
      FROM files f LEFT JOIN generation_files g ON g.index_generation = wanted AND g.file_id = f.id
     WHERE f.tenant_id = current_tenant() AND greatest(f.generation, g.chunk_generation) > 0
       AND EXISTS (SELECT FROM index_generations i WHERE i.id = wanted);
END
$$;

CREATE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE
    RETURN (substr(uuid_floor(clock_timestamp())::text, 1, 14) || '7' || substr(gen_random_uuid()::text, 16))::uuid;

-- What the embedding job of a document is asked to do (millrace.document.uploaded.v1).
CREATE FUNCTION document_event(document files, index_generation uuid) RETURNS text LANGUAGE sql STABLE
    RETURN json_build_object('file_id', document.id, 'file_name', document.file_name, 'file_type', document.file_type, 'title', document.title,
                             'object', json_build_object('key', document.object_key, 'size', document.file_size, 'sha256', document.sha256),
                             'index_generation', index_generation)::text;

-- Takes a building generation as far as it can go: notes the documents whose jobs ended without chunks, releases the next ones into the
-- window, and at the end wakes the job that waits for them. Called whenever one of its jobs ends, and by the scheduler for those that
-- ended without a word. Returns the outbox row to be announced, often none. It sees all tenants, for `due` and `jobs` are not the
-- tenant's to write; it can only do what its own state allows.
CREATE FUNCTION advance_index_generation(wanted uuid, in_work_max integer DEFAULT 4) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    it        record;
    in_work   integer;
    ids       uuid[];
    announced uuid;
BEGIN
    SELECT g.tenant_id, g.job_id, j.owner_id, j.trace, j.id IS NOT NULL AND j.finished_at IS NULL AS goes_on INTO it
      FROM index_generations g LEFT JOIN jobs j ON j.id = g.job_id WHERE g.id = wanted AND g.status = 'building' FOR UPDATE OF g;
    IF NOT FOUND THEN RETURN NULL; END IF;
    IF NOT it.goes_on THEN
        UPDATE index_generations SET status = 'failed', reason = 'its job was cancelled or given up' WHERE id = wanted;
        RETURN NULL;
    END IF;
    UPDATE generation_files f
       SET reason = coalesce((SELECT convert_from(j.result, 'UTF8')::json -> 'error' ->> 'message' FROM jobs j
                               WHERE j.id = f.job_id AND strpos(convert_from(j.result, 'UTF8'), '\u0000') = 0), 'its job ended without a result')
     WHERE f.index_generation = wanted AND f.job_id IS NOT NULL AND f.chunk_generation IS NULL AND f.reason IS NULL
       AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = f.job_id AND j.finished_at IS NULL);
    SELECT count(*) INTO in_work FROM generation_files
     WHERE index_generation = wanted AND job_id IS NOT NULL AND chunk_generation IS NULL AND reason IS NULL;
    WITH next AS (
        SELECT file_id, uuid_v7() AS job FROM generation_files
         WHERE index_generation = wanted AND job_id IS NULL AND chunk_generation IS NULL AND reason IS NULL
         LIMIT greatest(in_work_max - in_work, 0)
    ), released AS (
        UPDATE generation_files f SET job_id = n.job FROM next n WHERE f.index_generation = wanted AND f.file_id = n.file_id
        RETURNING f.file_id, f.job_id
    ), accepted AS (
        INSERT INTO jobs (id, tenant_id, owner_id, kind, lane, trace, input)
        SELECT r.job_id, it.tenant_id, it.owner_id, 'knowledge.embed', 'bulk', it.trace,
               convert_to(document_event(d, wanted), 'UTF8')
          FROM released r JOIN files d ON d.id = r.file_id
        RETURNING id
    ) SELECT array_agg(id ORDER BY id) INTO ids FROM accepted;
    -- Once: when it waits again, then for the time of its retry.
    IF ids IS NULL AND in_work = 0 THEN
        PERFORM FROM jobs WHERE id = it.job_id AND status = 'waiting' FOR UPDATE;
        DELETE FROM due WHERE job_id = it.job_id AND at = 'infinity';
        IF FOUND THEN
            UPDATE jobs SET status = 'queued', requeued_at = now() WHERE id = it.job_id RETURNING ARRAY[id] INTO ids;
        END IF;
    END IF;
    IF ids IS NOT NULL THEN
        INSERT INTO outbox (id, jobs) VALUES (gen_random_uuid(), ids) RETURNING id INTO announced;
    END IF;
    RETURN announced;
END
$$;

CREATE FUNCTION advance_index_generations() RETURNS SETOF uuid LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT announced FROM index_generations g CROSS JOIN LATERAL advance_index_generation(g.id) AS announced
     WHERE g.status = 'building' AND announced IS NOT NULL
$$;

-- A new generation of the current tenant, or the one that is building already. Its job waits for the documents, and for no time.
CREATE FUNCTION start_index_generation(wanted uuid, wanted_job uuid, owner uuid, origin bytea,
                                       OUT started uuid, OUT job uuid, OUT announced uuid)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    tenant uuid := current_tenant();
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('index generation ' || tenant, 0));
    SELECT advance_index_generation(id) INTO announced FROM index_generations WHERE tenant_id = tenant AND status = 'building';
    SELECT id, job_id INTO started, job FROM index_generations WHERE tenant_id = tenant AND status = 'building';
    IF FOUND THEN RETURN; END IF;
    UPDATE index_generations SET kept = false WHERE tenant_id = tenant AND status IN ('rejected', 'failed') AND kept;
    INSERT INTO index_generations (id, tenant_id, status, created_at, live_at)
    SELECT gen_random_uuid(), tenant, 'live', began.at, began.at
      FROM (SELECT coalesce(min(created_at), now()) AS at FROM files WHERE tenant_id = tenant) began
     WHERE NOT EXISTS (SELECT FROM index_generations WHERE tenant_id = tenant AND status = 'live');
    INSERT INTO index_generations (id, tenant_id, job_id, status) VALUES (wanted, tenant, wanted_job, 'building');
    -- A document that nobody has embedded yet is left to the job that is about to.
    WITH listed AS (
        INSERT INTO generation_files (index_generation, file_id, tenant_id)
        SELECT wanted, f.id, tenant FROM files f
         WHERE f.tenant_id = tenant AND (f.generation > 0 OR NOT EXISTS (SELECT FROM jobs j WHERE j.id = f.job_id AND j.finished_at IS NULL))
        RETURNING 1
    ) UPDATE index_generations SET files_total = (SELECT count(*) FROM listed) WHERE id = wanted;
    INSERT INTO jobs (id, tenant_id, owner_id, kind, lane, status, trace, input)
    VALUES (wanted_job, tenant, owner, 'knowledge.reindex', 'bulk', 'waiting', origin,
            convert_to(json_build_object('index_generation', wanted)::text, 'UTF8'));
    INSERT INTO due (job_id, at, why) VALUES (wanted_job, 'infinity', 'its documents are being embedded');
    started := wanted;
    job := wanted_job;
    announced := advance_index_generation(wanted);
END
$$;

-- Makes a generation live if its status is one of these: how many documents' chunks changed, or NULL when there is no such generation.
-- A document that was embedded on its own since then keeps what it has.
CREATE FUNCTION activate_index_generation(wanted uuid, statuses text[]) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    tenant   uuid := current_tenant();
    outgoing uuid;
    changed  integer;
BEGIN
    PERFORM FROM index_generations WHERE id = wanted AND tenant_id = tenant AND status = ANY (statuses) AND kept FOR UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    UPDATE index_generations SET status = 'retired' WHERE tenant_id = tenant AND status = 'live' RETURNING id INTO outgoing;
    WITH chosen AS (
        SELECT f.id, f.generation AS old, f.chunk_count AS old_count, g.chunk_generation AS new, g.chunk_count AS new_count
          FROM generation_files g JOIN files f ON f.id = g.file_id
          LEFT JOIN generation_files o ON o.index_generation = outgoing AND o.file_id = f.id
         WHERE g.index_generation = wanted AND g.chunk_generation <> f.generation
           AND (f.generation < g.chunk_generation OR f.generation = o.chunk_generation)
           AND g.chunk_count = (SELECT count(*) FROM chunks c WHERE c.file_id = f.id AND c.generation = g.chunk_generation)
         ORDER BY f.id FOR UPDATE OF f
    ), switched AS (
        UPDATE files f SET generation = c.new, chunk_count = c.new_count, status = 'completed', reason = NULL, updated_at = now()
          FROM chosen c WHERE f.id = c.id RETURNING f.id, c.old, c.old_count
    ), replaced AS (
        INSERT INTO generation_files (index_generation, file_id, tenant_id, chunk_generation, chunk_count)
        SELECT outgoing, id, tenant, old, old_count FROM switched WHERE old > 0
        ON CONFLICT (index_generation, file_id) DO UPDATE SET chunk_generation = excluded.chunk_generation, chunk_count = excluded.chunk_count
    ) SELECT count(*) INTO changed FROM switched;
    UPDATE index_generations SET status = 'live', reason = NULL, live_at = now() WHERE id = wanted;
    UPDATE index_generations SET kept = false
     WHERE tenant_id = tenant AND kept AND status IN ('retired', 'rejected', 'failed') AND id <> outgoing;
    -- What attempts that died have left.
    DELETE FROM chunks c USING generation_files g, files f
     WHERE g.index_generation = wanted AND f.id = g.file_id AND c.file_id = f.id AND c.generation < f.generation
       AND NOT EXISTS (SELECT FROM kept_chunks k WHERE k.file_id = c.file_id AND k.chunk_generation = c.generation);
    INSERT INTO index_versions (tenant_id, version) VALUES (tenant, 1)
        ON CONFLICT (tenant_id) DO UPDATE SET version = index_versions.version + 1;
    RETURN changed;
END
$$;

-- Of all tenants, at most `batch` documents at a time: the chunks of generations that nobody may want back. How many were looked at.
CREATE FUNCTION prune_index_generations(batch integer) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH doomed AS (
        SELECT g.index_generation, g.file_id FROM index_generations i JOIN generation_files g ON g.index_generation = i.id
         WHERE NOT i.kept LIMIT batch
    ), removed AS (
        DELETE FROM generation_files g USING doomed d WHERE g.index_generation = d.index_generation AND g.file_id = d.file_id
        RETURNING g.file_id, g.chunk_generation
    ), gone AS (
        DELETE FROM chunks c USING removed r, files f
         WHERE c.file_id = r.file_id AND c.generation = r.chunk_generation AND f.id = c.file_id AND f.generation <> c.generation
           AND NOT EXISTS (SELECT FROM kept_chunks k WHERE k.file_id = c.file_id AND k.chunk_generation = c.generation)
    ) SELECT count(*) FROM removed
$$;

-- The way back is open for a week: what is kept longer is kept for nobody. How many generations are given up.
CREATE FUNCTION expire_index_generations(after interval DEFAULT '7 days') RETURNS bigint LANGUAGE sql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
    WITH expired AS (
        UPDATE index_generations g SET kept = false
         WHERE g.kept AND g.status IN ('retired', 'rejected', 'failed') AND g.created_at < now() - after
           AND NOT EXISTS (SELECT FROM index_generations l WHERE l.tenant_id = g.tenant_id AND l.status = 'live' AND l.live_at >= now() - after)
        RETURNING 1
    ) SELECT count(*) FROM expired
$$;

REVOKE ALL ON FUNCTION advance_index_generation, advance_index_generations, start_index_generation, prune_index_generations, expire_index_generations FROM PUBLIC;
GRANT EXECUTE ON FUNCTION advance_index_generation, start_index_generation TO millrace_app;
GRANT EXECUTE ON FUNCTION advance_index_generations, prune_index_generations, expire_index_generations TO millrace_pipeline;
