-- Dense vectors beside their chunks: narrow rows that one page holds several of (a chunk's text is read for the few that are found),
-- gone with their chunks. Only where an embeddings provider is configured.
CREATE TABLE chunk_vectors (
    file_id     uuid    NOT NULL,
    generation  bigint  NOT NULL,
    chunk_index integer NOT NULL,
    tenant_id   uuid    NOT NULL,
    embedding   halfvec NOT NULL,                          -- of length 1: the inner product is the cosine
    PRIMARY KEY (file_id, generation, chunk_index),
    FOREIGN KEY (file_id, generation, chunk_index) REFERENCES chunks ON DELETE CASCADE
);
ALTER TABLE chunk_vectors ALTER embedding SET STORAGE MAIN;  -- in the row itself while it fits a page
CREATE INDEX chunk_vectors_tenant ON chunk_vectors (tenant_id);
INSERT INTO chunk_vectors (file_id, generation, chunk_index, tenant_id, embedding)
SELECT file_id, generation, chunk_index, tenant_id, l2_normalize(embedding)::halfvec FROM chunks WHERE embedding IS NOT NULL;
ALTER TABLE chunks DROP COLUMN embedding;

-- What a vector store outside of this database was given. No reference to files or chunks: the row must outlive them, so that what has
-- no chunks any more is removed there too.
CREATE TABLE external_vectors (
    file_id    uuid        NOT NULL,
    generation bigint      NOT NULL,
    tenant_id  uuid        NOT NULL,
    chunks     integer     NOT NULL,                       -- their indexes are below this
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (file_id, generation)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON chunk_vectors, external_vectors TO millrace_app;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['chunk_vectors', 'external_vectors'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO millrace_app USING (tenant_id = (SELECT current_tenant())) '
                       'WITH CHECK (tenant_id = (SELECT current_tenant()))', name);
        EXECUTE format('CREATE POLICY owner ON %I TO CURRENT_USER USING (true) WITH CHECK (true)', name);
    END LOOP;
END
$$;

-- Of all tenants: what an external store still holds although its chunks are gone.
CREATE FUNCTION stale_external_vectors(wanted integer) RETURNS TABLE (tenant_id uuid, file_id uuid, generation bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT v.tenant_id, v.file_id, v.generation FROM external_vectors v
     WHERE NOT EXISTS (SELECT FROM chunks c WHERE c.file_id = v.file_id AND c.generation = v.generation)
     ORDER BY v.written_at LIMIT wanted
$$;
REVOKE ALL ON FUNCTION stale_external_vectors FROM PUBLIC;
GRANT EXECUTE ON FUNCTION stale_external_vectors TO millrace_app;

-- A large tenant has an index of its own, so that no tenant's neighbours cost another's recall or time.
CREATE FUNCTION vector_index_name(tenant uuid, dimensions integer) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN format('chunk_vectors_%s_%s', replace(tenant::text, '-', ''), dimensions);
CREATE FUNCTION vector_index_ddl(tenant uuid, dimensions integer) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN format('CREATE INDEX CONCURRENTLY %I ON chunk_vectors USING hnsw ((embedding::halfvec(%s)) halfvec_ip_ops) WITH (m = 16, ef_construction = 100) '
                  'WHERE tenant_id = %L AND vector_dims(embedding) = %s', vector_index_name(tenant, dimensions), dimensions, tenant, dimensions);

-- Through that index: the nearest live chunks of the current tenant, of these files where some are named. Planned with the tenant as a
-- constant, without which a partial index is not considered; live is asked row by row, while the index goes on until enough are.
CREATE FUNCTION nearest_chunks(query halfvec, wanted integer, files uuid[])
    RETURNS TABLE (file_id uuid, generation bigint, chunk_index integer, similarity real) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', '100', true);
    RETURN QUERY EXECUTE format(
        'SELECT v.file_id, v.generation, v.chunk_index, -(v.embedding::halfvec(%1$s) <#> $1)::real FROM chunk_vectors v '
        'WHERE v.tenant_id = %2$L AND vector_dims(v.embedding) = %1$s AND (cardinality($3) = 0 OR v.file_id = ANY ($3)) '
        'AND (SELECT f.generation FROM files f WHERE f.id = v.file_id) = v.generation '
        'ORDER BY v.embedding::halfvec(%1$s) <#> $1 LIMIT $2', vector_dims(query), current_tenant()) USING query, wanted, files;
END
$$;

-- What `millrace-ops vectors index` runs, as the owner and one by one: an index for each tenant above a size, and none that is broken, of
-- other dimensions, or of a tenant that shrank to half that size.
CREATE FUNCTION vector_index_plan(above bigint) RETURNS TABLE (statement text) LANGUAGE sql STABLE AS $$
    WITH large AS (
        SELECT f.tenant_id, sum(f.chunk_count) AS chunks FROM files f WHERE f.generation > 0 GROUP BY 1 HAVING sum(f.chunk_count) > above / 2
    ), sized AS (
        SELECT l.*, v.dimensions, vector_index_name(l.tenant_id, v.dimensions) AS name
          FROM large l CROSS JOIN LATERAL (SELECT vector_dims(c.embedding) AS dimensions FROM chunk_vectors c
                                            WHERE c.tenant_id = l.tenant_id ORDER BY c.generation DESC LIMIT 1) v
         WHERE v.dimensions <= 4000                        -- as many as an index of halfvec takes
    ), made AS (
        SELECT c.relname::text AS name, i.indisvalid AS valid
          FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
         WHERE i.indrelid = 'chunk_vectors'::regclass AND a.amname = 'hnsw'
    )
    SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %I', m.name) FROM made m
     WHERE NOT m.valid OR NOT EXISTS (SELECT FROM sized s WHERE s.name = m.name)
    UNION ALL
    SELECT vector_index_ddl(s.tenant_id, s.dimensions) FROM sized s
     WHERE s.chunks > above AND NOT EXISTS (SELECT FROM made m WHERE m.name = s.name AND m.valid)
$$;

-- What a building index generation would make live. (Looked up when it is called: generation_files is of migration 0013.)
CREATE FUNCTION documents_of_generation(wanted uuid) RETURNS TABLE (file_id uuid, generation bigint, chunks integer)
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT g.file_id, g.chunk_generation, g.chunk_count FROM generation_files g WHERE g.index_generation = wanted;
END
$$;
