-- Accounts of the diary product: authenticator apps as a second factor.

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
