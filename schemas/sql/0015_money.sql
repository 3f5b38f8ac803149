-- What model calls cost: budgets that hold under concurrency, and the customers' own keys for providers.

ALTER TABLE tenants ADD COLUMN budget_usd numeric(14, 2) CHECK (budget_usd >= 0);  -- the operator's cap of a month; the tenant's own is in settings

-- Money spent per month (UTC), kept beside the usage rows that it sums up, so that a reservation need not add them up again.
CREATE TABLE spending (
    tenant_id uuid           NOT NULL REFERENCES tenants ON DELETE CASCADE,
    month     date           NOT NULL,
    spent_usd numeric(14, 8) NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, month)
);
INSERT INTO spending (tenant_id, month, spent_usd)
    SELECT u.tenant_id, date_trunc('month', u.created_at AT TIME ZONE 'UTC')::date, sum(u.cost_usd)
      FROM usage u JOIN tenants t ON t.id = u.tenant_id WHERE u.cost_usd > 0 GROUP BY 1, 2;

-- What calls under way may cost at most. A call's own usage row takes its reservation's place; those of an attempt that died go with
-- the job's next reservation, and after an hour in any case.
CREATE TABLE reservations (
    tenant_id  uuid           NOT NULL REFERENCES tenants ON DELETE CASCADE,
    job_id     uuid           NOT NULL,
    attempt    integer        NOT NULL,
    call       integer        NOT NULL,
    usd        numeric(14, 8) NOT NULL,
    created_at timestamptz    NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, job_id, attempt, call)
);

-- Keys of the tenant's own accounts at providers. Each is sealed with a key of its own, which is sealed with the deployment's.
CREATE TABLE provider_keys (
    id          uuid        PRIMARY KEY,
    tenant_id   uuid        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    provider    text        NOT NULL,
    model       text        NOT NULL,
    sealed_with bytea       NOT NULL,
    sealed      bytea       NOT NULL,
    is_active   boolean     NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX provider_keys_tenant ON provider_keys (tenant_id, id DESC);

GRANT SELECT, INSERT, UPDATE, DELETE ON spending, reservations TO millrace_app;
GRANT SELECT, INSERT, DELETE ON provider_keys TO millrace_app;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['spending', 'reservations', 'provider_keys'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO millrace_app USING (tenant_id = (SELECT current_tenant())) '
                       'WITH CHECK (tenant_id = (SELECT current_tenant()))', name);
        EXECUTE format('CREATE POLICY owner ON %I TO CURRENT_USER USING (true) WITH CHECK (true)', name);
    END LOOP;
END
$$;

CREATE FUNCTION this_month() RETURNS date LANGUAGE sql STABLE
    RETURN date_trunc('month', now() AT TIME ZONE 'UTC')::date;

-- The lower one of the operator's cap and the tenant's own; NULL: none.
CREATE FUNCTION budget_of(tenant uuid) RETURNS numeric LANGUAGE sql STABLE
    BEGIN ATOMIC
        SELECT least(t.budget_usd, CASE WHEN jsonb_typeof(t.settings -> 'monthly_budget_usd') = 'number'
                                        THEN (t.settings ->> 'monthly_budget_usd')::numeric END)
          FROM tenants t WHERE t.id = tenant;
    END;

-- Sets `usd` aside for one call. False: the month's budget does not hold that much any more. The month's row puts parallel calls in a line.
CREATE FUNCTION reserve_spending(tenant uuid, of_job uuid, of_attempt integer, of_call integer, usd numeric) RETURNS boolean
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    cap   numeric := budget_of(tenant);
    spent numeric;
BEGIN
    IF cap IS NULL THEN RETURN true; END IF;
    INSERT INTO spending (tenant_id, month) VALUES (tenant, this_month()) ON CONFLICT DO NOTHING;
    SELECT s.spent_usd INTO spent FROM spending s WHERE s.tenant_id = tenant AND s.month = this_month() FOR UPDATE;
    DELETE FROM reservations r
     WHERE r.tenant_id = tenant AND ((r.job_id = of_job AND r.attempt < of_attempt) OR r.created_at < now() - interval '1 hour');
    IF spent + usd + (SELECT coalesce(sum(r.usd), 0) FROM reservations r WHERE r.tenant_id = tenant) > cap THEN RETURN false; END IF;
    INSERT INTO reservations AS r (tenant_id, job_id, attempt, call, usd) VALUES (tenant, of_job, of_attempt, of_call, usd)
        ON CONFLICT (tenant_id, job_id, attempt, call) DO UPDATE SET usd = excluded.usd;
    RETURN true;
END
$$;

-- Money spent: the usage row, once, and what follows from it. `cost` 0 touches nothing else.
CREATE FUNCTION record_usage(of_job uuid, of_attempt integer, of_call integer, tenant uuid, for_purpose text, by_provider text, by_model text,
                             read_tokens bigint, written_tokens bigint, cost numeric, took_ms integer, ended text, is_shadow boolean,
                             was_reserved boolean) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO usage (job_id, attempt, call, tenant_id, purpose, provider, model, tokens_in, tokens_out, cost_usd, latency_ms, outcome, shadow)
        VALUES (of_job, of_attempt, of_call, tenant, for_purpose, by_provider, by_model, read_tokens, written_tokens, cost, took_ms, ended, is_shadow)
        ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN RETURN; END IF;
    IF cost > 0 THEN
        INSERT INTO spending AS s (tenant_id, month, spent_usd) VALUES (tenant, this_month(), cost)
            ON CONFLICT (tenant_id, month) DO UPDATE SET spent_usd = s.spent_usd + excluded.spent_usd;
    END IF;
    IF was_reserved THEN
        DELETE FROM reservations r WHERE r.tenant_id = tenant AND r.job_id = of_job AND r.attempt = of_attempt AND r.call = of_call;
    END IF;
END
$$;
