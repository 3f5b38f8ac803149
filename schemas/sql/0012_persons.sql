-- A person's data: to hand over, and to erase (GDPR articles 15, 17, 20).

-- Everything that stands under this account, one line per row. Secrets and their hashes stay out. Tables are found by their columns, so
-- that a new product's rows are handed over without a change here: a column user_id, owner_id or uploaded_by names the person, and in a
-- tenant of one the tenant does.
CREATE FUNCTION export_person(person uuid) RETURNS TABLE (source text, line jsonb)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    who    record;
    mine   record;
BEGIN
    SELECT u.tenant_id, u.email_key, u.realm <> 'knowledge' AS alone INTO who FROM users u WHERE u.id = person;
    IF NOT FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT 'account', to_jsonb(u) - 'password_hash' FROM users u WHERE u.id = person;
    RETURN QUERY SELECT 'tenants', to_jsonb(t) FROM tenants t WHERE t.id = who.tenant_id AND who.alone;
    RETURN QUERY SELECT 'jobs', jsonb_build_object('id', j.id, 'kind', j.kind, 'status', j.status, 'created_at', j.created_at,
                                                   'finished_at', j.finished_at, 'input', convert_from(j.input, 'UTF8'),
                                                   'result', convert_from(j.result, 'UTF8'))
                   FROM jobs j WHERE j.owner_id = person;
    RETURN QUERY SELECT 'audit', to_jsonb(a) FROM audit_logs a WHERE a.actor = 'user:' || person;
    FOR mine IN
        SELECT c.relname AS name, a.attname AS by_column
          FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND c.relname NOT IN ('users', 'tenants', 'jobs', 'audit_logs')
           AND (a.attname IN ('user_id', 'owner_id', 'uploaded_by')
                OR (a.attname = 'tenant_id' AND who.alone
                    AND NOT EXISTS (SELECT FROM pg_attribute o WHERE o.attrelid = c.oid AND o.attname IN ('user_id', 'owner_id', 'uploaded_by'))))
         ORDER BY c.relname
    LOOP
        RETURN QUERY EXECUTE format(
            'SELECT %L::text, (SELECT coalesce(jsonb_object_agg(m.key, m.value), ''{}'') FROM jsonb_each(to_jsonb(r)) m
                                WHERE m.key !~ ''(hash|secret|mac|sealed|terms|embedding|successor)'') FROM %I r WHERE r.%I = $1',
            mine.name, mine.name, mine.by_column) USING CASE mine.by_column WHEN 'tenant_id' THEN who.tenant_id ELSE person END;
    END LOOP;
END
$$;

-- Erases a person: the account and all rows under it, and what their jobs were given and said. A tenant of one goes too; so does a
-- company's tenant with its last member, while a company's documents and the sums in its ledger stay without the person.
-- `keys`: objects to remove from the store. `done` false: nobody, or (`why`) the owner of a company that has other members.
CREATE FUNCTION erase_person(person uuid, OUT done boolean, OUT why text, OUT keys text[], OUT erased_jobs uuid[])
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    who  record;
    last boolean;
BEGIN
    done := false; keys := '{}'; erased_jobs := '{}';
    SELECT u.id, u.tenant_id, u.email_key, u.realm, u.is_owner INTO who FROM users u WHERE u.id = person FOR UPDATE;
    IF NOT FOUND THEN why := 'there is no such account'; RETURN; END IF;
    PERFORM FROM tenants t WHERE t.id = who.tenant_id FOR UPDATE;
    last := NOT EXISTS (SELECT FROM users u WHERE u.tenant_id = who.tenant_id AND u.id <> person);
    IF who.is_owner AND NOT last THEN
        why := 'the account owns a tenant that has other members: hand it over first'; RETURN;
    END IF;
    -- What has not ended never will: a worker that runs it finds its fence.
    WITH mine AS (
        SELECT j.id FROM jobs j
         WHERE j.owner_id = person OR (last AND j.tenant_id = who.tenant_id)
            OR (j.kind = 'mail.send' AND j.input <> '{}' AND lower(convert_from(j.input, 'UTF8')::jsonb ->> 'to') = who.email_key)
    ), scrubbed AS (
        UPDATE jobs j SET input = '{}', result = NULL, order_key = j.order_key,
               status = CASE WHEN j.finished_at IS NULL THEN 'cancelled' ELSE j.status END, finished_at = coalesce(j.finished_at, now())
          FROM mine WHERE j.id = mine.id RETURNING j.id
    ) SELECT coalesce(array_agg(id), '{}') INTO erased_jobs FROM scrubbed;
    DELETE FROM due WHERE job_id = ANY (erased_jobs);
    UPDATE dead_letters SET detail = 'erased' WHERE job_id = ANY (erased_jobs);
    DELETE FROM replay_results WHERE job_id = ANY (erased_jobs);
    DELETE FROM idempotency WHERE job_id = ANY (erased_jobs);
    DELETE FROM mail_deliveries WHERE origin_id = ANY (erased_jobs);
    DELETE FROM challenges WHERE user_id = person OR (realm = who.realm AND subject IN (who.email_key, person::text));
    DELETE FROM conversations WHERE user_id = person;
    IF last THEN
        SELECT coalesce(array_agg(f.object_key), '{}') INTO keys FROM files f WHERE f.tenant_id = who.tenant_id;
    ELSE
        UPDATE files SET uploaded_by = '00000000-0000-0000-0000-000000000000' WHERE uploaded_by = person;
    END IF;
    DELETE FROM users WHERE id = person;
    IF last THEN
        DELETE FROM chunks WHERE tenant_id = who.tenant_id;
        DELETE FROM tenants WHERE id = who.tenant_id;
    END IF;
    done := true;
END
$$;
-- The same for the person who is signed in: of this transaction's tenant only.
CREATE FUNCTION erase_own_person(person uuid, OUT done boolean, OUT why text, OUT keys text[], OUT erased_jobs uuid[])
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM users u WHERE u.id = person AND u.tenant_id = current_tenant()) THEN
        done := false; why := 'there is no such account'; keys := '{}'; erased_jobs := '{}';
        RETURN;
    END IF;
    SELECT * INTO done, why, keys, erased_jobs FROM erase_person(person);
END
$$;
REVOKE EXECUTE ON FUNCTION export_person(uuid), erase_person(uuid), erase_own_person(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_own_person(uuid) TO millrace_app;

-- What nobody can use any more. How many rows went.
CREATE FUNCTION purge_credentials() RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        WITH links AS (DELETE FROM challenges WHERE expires_at < now() - interval '1 day' RETURNING 1),
             ended AS (DELETE FROM sessions WHERE expires_at < now() - interval '7 days' OR revoked_at < now() - interval '30 days' RETURNING 1),
             mails AS (DELETE FROM mail_deliveries WHERE created_at < now() - interval '30 days' RETURNING 1)
        SELECT (SELECT count(*) FROM links) + (SELECT count(*) FROM ended) + (SELECT count(*) FROM mails);
    END;
REVOKE EXECUTE ON FUNCTION purge_credentials() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION purge_credentials() TO millrace_pipeline;
