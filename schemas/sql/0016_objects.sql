-- Objects stand outside of this database; `files` says which are needed. What it does not name was left by an upload that ended between
-- object and row, or by a removal that the store did not take, and is removed once it is old enough (shared/domain/objects).
CREATE INDEX files_object ON files (object_key);

-- One row: objects from before it are of another database, which may only be waiting for its restoration, and are left alone.
CREATE TABLE object_account (begun_at timestamptz NOT NULL);
INSERT INTO object_account SELECT least(now(), min(created_at)) FROM tenants;

-- Which of these objects no document of any tenant names.
CREATE FUNCTION unreferenced_objects(keys text[], modified timestamptz[]) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT o.key FROM unnest(keys, modified) AS o (key, modified)
         WHERE o.modified >= (SELECT a.begun_at FROM object_account a)
           AND NOT EXISTS (SELECT FROM files f WHERE f.object_key = o.key);
    END;
REVOKE EXECUTE ON FUNCTION unreferenced_objects(text[], timestamptz[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION unreferenced_objects(text[], timestamptz[]) TO millrace_pipeline;
