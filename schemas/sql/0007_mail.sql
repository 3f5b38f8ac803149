-- Mails that were handed to a mail server, which cannot be asked afterwards whether it took one.

-- State: sending (somebody is talking to the server, or died of it), unsent (not taken; may be sent again), refused (likewise, but not by
-- itself), unknown (all was said, and nobody saw the answer), sent, given_up (unknown twice: a person may ask the recipient).
CREATE TABLE mail_deliveries (
    origin_id  uuid        PRIMARY KEY,                    -- the job whose mail it is; names the Message-ID
    tenant_id  uuid        NOT NULL,
    state      text        NOT NULL CHECK (state IN ('sending', 'unsent', 'refused', 'unknown', 'sent', 'given_up')),
    unknown    integer     NOT NULL DEFAULT 0,             -- how often nobody saw whether the server took it
    cause      text        NOT NULL DEFAULT '',            -- of the last that was not taken
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX mail_deliveries_unknown ON mail_deliveries (changed_at) WHERE unknown > 0;
CREATE INDEX mail_deliveries_age ON mail_deliveries USING brin (created_at);

-- Before a mail is sent: go, wait (another attempt may still be at it, for `patience` seconds after it began), sent (it has been), or
-- given_up. Going on from an unknown outcome is allowed once.
CREATE FUNCTION begin_delivery(origin uuid, tenant uuid, patience double precision) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    seen mail_deliveries;
BEGIN
    INSERT INTO mail_deliveries (origin_id, tenant_id, state) VALUES (origin, tenant, 'sending') ON CONFLICT DO NOTHING;
    IF FOUND THEN RETURN 'go'; END IF;
    SELECT * INTO STRICT seen FROM mail_deliveries WHERE origin_id = origin FOR UPDATE;
    IF seen.state IN ('sent', 'given_up') THEN RETURN seen.state; END IF;
    IF seen.state = 'sending' THEN
        IF seen.changed_at > clock_timestamp() - make_interval(secs => patience) THEN RETURN 'wait'; END IF;
        seen.unknown := seen.unknown + 1;
        seen.cause := 'the worker that sent it ended before it could say what became of it';
    END IF;
    UPDATE mail_deliveries SET state = CASE WHEN seen.unknown > 1 THEN 'given_up' ELSE 'sending' END, unknown = seen.unknown,
                               cause = seen.cause, changed_at = clock_timestamp() WHERE origin_id = origin;
    RETURN CASE WHEN seen.unknown > 1 THEN 'given_up' ELSE 'go' END;
END
$$;
REVOKE EXECUTE ON FUNCTION begin_delivery(uuid, uuid, double precision) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_delivery(uuid, uuid, double precision) TO millrace_app;

GRANT SELECT, INSERT, UPDATE ON mail_deliveries TO millrace_app;
ALTER TABLE mail_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE mail_deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON mail_deliveries TO millrace_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK (tenant_id = (SELECT current_tenant()));
CREATE POLICY owner ON mail_deliveries TO CURRENT_USER USING (true) WITH CHECK (true);
