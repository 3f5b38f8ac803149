-- Who did what, when, from where: security-relevant acts of people and all acts of operators. Rows are only ever added, and the
-- scheduler seals them into a chain of hashes, so that a row that was changed or taken away is noticed.
CREATE TABLE audit_logs (
    id        uuid        PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    tenant_id uuid,                                        -- NULL: no tenant is known, or the act concerns all
    actor     text        NOT NULL,                        -- "user:<id>", "address:<hash>", or an operator's name
    command   text        NOT NULL,                        -- what was done: "login", "redrive", …
    arguments jsonb       NOT NULL,
    outcome   text        NOT NULL CHECK (outcome IN ('begun', 'done', 'failed', 'denied')),
    counts    jsonb       NOT NULL DEFAULT '{}',
    client    text        NOT NULL DEFAULT '',             -- address it came from
    trace_id  text        NOT NULL
);
CREATE INDEX audit_logs_at ON audit_logs (at);
CREATE INDEX audit_logs_tenant ON audit_logs (tenant_id, at) WHERE tenant_id IS NOT NULL;

-- Each seal's hash is of the one before it and of its rows in their order.
CREATE TABLE audit_seals (
    number    bigint      PRIMARY KEY,
    rows      integer     NOT NULL,
    hash      bytea       NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE audit_sealed (
    id    uuid    PRIMARY KEY,                             -- of the row
    seal  bigint  NOT NULL REFERENCES audit_seals,
    place integer NOT NULL
);
CREATE INDEX audit_sealed_seal ON audit_sealed (seal, place);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_logs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seals FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_sealed FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- SECURITY DEFINER: products add rows, also before a tenant is known, and read none.
CREATE FUNCTION record_act(id uuid, tenant uuid, who text, act text, arguments jsonb, outcome text, client text, trace_id text) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        INSERT INTO audit_logs (id, tenant_id, actor, command, arguments, outcome, client, trace_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8);
    END;

CREATE FUNCTION audit_row_hash(line audit_logs) RETURNS bytea LANGUAGE sql STABLE SET timezone = 'UTC'
    RETURN sha256(convert_to(to_jsonb(line)::text, 'UTF8'));

-- Seals what is not sealed yet; how many rows. A row that commits late falls into the next seal.
CREATE FUNCTION seal_audit(rows_max integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    last  record;
    fresh uuid[];
    sum   bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('seal_audit'));
    SELECT number, hash, sealed_at INTO last FROM audit_seals ORDER BY number DESC LIMIT 1;
    SELECT array_agg(id), sha256(coalesce(last.hash, ''::bytea) || string_agg(hashed, ''::bytea)) INTO fresh, sum FROM (
        SELECT a.id, audit_row_hash(a) AS hashed FROM audit_logs a
         WHERE (last.sealed_at IS NULL OR a.at > last.sealed_at - interval '1 day')
           AND NOT EXISTS (SELECT FROM audit_sealed s WHERE s.id = a.id)
         ORDER BY a.at, a.id LIMIT rows_max) open;
    IF fresh IS NULL THEN RETURN 0; END IF;
    INSERT INTO audit_seals (number, rows, hash) VALUES (coalesce(last.number, 0) + 1, cardinality(fresh), sum);
    INSERT INTO audit_sealed (id, seal, place) SELECT f.id, coalesce(last.number, 0) + 1, f.place FROM unnest(fresh) WITH ORDINALITY AS f (id, place);
    RETURN cardinality(fresh);
END
$$;

-- The seals that do not fit what stands in the table, in the order of their numbers.
CREATE FUNCTION broken_seals() RETURNS TABLE (number bigint, problem text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT s.number,
               CASE WHEN s.number <> coalesce(s.before, 0) + 1 THEN 'a seal before it is missing'
                    WHEN r.rows IS DISTINCT FROM s.rows THEN (s.rows - coalesce(r.rows, 0)) || ' of its ' || s.rows || ' rows are missing'
                    ELSE 'a row was changed' END
          FROM (SELECT a.number, a.rows, a.hash, lag(a.number) OVER w AS before, lag(a.hash) OVER w AS hash_before
                  FROM audit_seals a WINDOW w AS (ORDER BY a.number)) s
          LEFT JOIN (SELECT d.seal, count(l.id)::integer AS rows, string_agg(audit_row_hash(l), ''::bytea ORDER BY d.place) AS hashes
                       FROM audit_sealed d LEFT JOIN audit_logs l ON l.id = d.id GROUP BY d.seal) r ON r.seal = s.number
         WHERE s.number <> coalesce(s.before, 0) + 1 OR r.rows IS DISTINCT FROM s.rows
            OR s.hash IS DISTINCT FROM sha256(coalesce(s.hash_before, ''::bytea) || r.hashes)
         ORDER BY s.number;
    END;

REVOKE EXECUTE ON FUNCTION record_act(uuid, uuid, text, text, jsonb, text, text, text), audit_row_hash(audit_logs), seal_audit(integer),
    broken_seals() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION record_act(uuid, uuid, text, text, jsonb, text, text, text) TO millrace_app;
GRANT EXECUTE ON FUNCTION seal_audit(integer), broken_seals() TO millrace_pipeline;
GRANT SELECT, INSERT ON audit_logs TO millrace_pipeline;
GRANT SELECT ON audit_seals, audit_sealed TO millrace_pipeline;
