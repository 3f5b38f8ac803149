-- Two application roles. The services log in as a member of both and switch with SET ROLE:
--   millrace_pipeline  all tenants, but only the job machinery: one batch may hold many tenants
--   millrace_app       product tables and the jobs of one tenant per transaction (setting app.tenant)
-- Roles belong to the cluster, not to this database: another database may have made them already.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'millrace_pipeline') THEN
        CREATE ROLE millrace_pipeline NOLOGIN NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'millrace_app') THEN
        CREATE ROLE millrace_app NOLOGIN NOBYPASSRLS;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'millrace') THEN
        GRANT millrace_pipeline, millrace_app TO millrace;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- two databases migrated at once
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO millrace_pipeline, millrace_app;

-- The tenant of this transaction. Fails when unset: '' is not a uuid, and a missing setting is an error.
CREATE FUNCTION current_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN current_setting('app.tenant')::uuid;
