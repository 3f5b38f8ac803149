-- Accounts of the diary product: authenticator apps as a second factor, and the erasure of a person.

-- One authenticator app (TOTP) per person. Until a code of it has been shown it proves nothing.
CREATE TABLE totp_devices (
    id           uuid        PRIMARY KEY,
    tenant_id    uuid        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    user_id      uuid        NOT NULL UNIQUE REFERENCES users ON DELETE CASCADE,
    secret       bytea       NOT NULL,                     -- 160 bits, sealed for this user and row
    last_step    bigint      NOT NULL DEFAULT 0,           -- the newest that was accepted: neither it nor an older one is again
    confirmed_at timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON totp_devices TO millrace_app;
ALTER TABLE totp_devices ENABLE ROW LEVEL SECURITY;
ALTER TABLE totp_devices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON totp_devices TO millrace_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK (tenant_id = (SELECT current_tenant()));
CREATE POLICY owner ON totp_devices TO CURRENT_USER USING (true) WITH CHECK (true);

-- Erasure looks for a person's challenges by both.
CREATE INDEX challenges_subject ON challenges (subject);
CREATE INDEX challenges_user ON challenges (user_id);  -- all rows: those of nobody cost the same work

-- Erases a person of this transaction's tenant: the account with all that hangs on it (sessions, devices), one-time secrets, finished
-- jobs (mails name the address), and the tenant when nobody is left in it. False: there is no such person.
CREATE FUNCTION erase_person(whom uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    gone record;
BEGIN
    DELETE FROM users u WHERE u.id = whom AND u.tenant_id = current_tenant() RETURNING u.tenant_id, u.realm, u.email_key INTO gone;
    IF NOT FOUND THEN RETURN false; END IF;
    DELETE FROM challenges c WHERE c.subject = whom::text OR (c.subject = gone.email_key AND c.realm = gone.realm);
    DELETE FROM jobs j WHERE j.owner_id = whom AND j.status IN ('succeeded', 'failed', 'dead', 'cancelled');
    DELETE FROM tenants t WHERE t.id = gone.tenant_id AND NOT EXISTS (SELECT FROM users u WHERE u.tenant_id = t.id);
    RETURN true;
END
$$;
REVOKE EXECUTE ON FUNCTION erase_person(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_person(uuid) TO millrace_app;
