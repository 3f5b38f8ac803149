-- The knowledge product's accounts: refresh tokens, wrong passwords, invitations, joining a company, widget keys.
-- Own SQLSTATEs: MR002 the session has ended already, MR003 the address belongs to this tenant already,
-- MR004 the invitation or link is not good any more, MR005 the account is not waiting to join anybody.

-- A refresh token is a JWT whose random jti is kept hashed. Spent, it leads to its only successor.
CREATE TABLE refresh_tokens (
    hash       bytea       PRIMARY KEY,                    -- SHA-256 of the jti
    session_id uuid        NOT NULL REFERENCES sessions ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    spent_at   timestamptz,
    successor  bytea                                       -- the pair that was given for it, sealed
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

-- Passwords tried in a row, right or wrong; a sign-in clears them. Unknown addresses are counted like known ones.
CREATE TABLE login_tries (
    realm        text        NOT NULL,
    address_hash bytea       NOT NULL,
    tries        integer     NOT NULL,
    next_at      timestamptz NOT NULL,                     -- no earlier than this
    PRIMARY KEY (realm, address_hash)
);
CREATE INDEX login_tries_age ON login_tries (next_at);

CREATE TABLE invitations (
    id          uuid        PRIMARY KEY,
    tenant_id   uuid        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    email       text        NOT NULL,
    email_key   text        NOT NULL,
    role        text        NOT NULL CHECK (role IN ('OPERATOR', 'ADMIN')),
    invited_by  uuid        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    accepted_at timestamptz,
    revoked_at  timestamptz
);
CREATE UNIQUE INDEX invitations_open ON invitations (tenant_id, email_key) WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE INDEX invitations_tenant ON invitations (tenant_id, id);

ALTER TABLE tenants
    ADD COLUMN key_version    integer NOT NULL DEFAULT 1,  -- of the widget key
    ADD COLUMN key_rotated_at timestamptz;

CREATE FUNCTION start_refresh(of_session uuid, token_hash bytea, lifetime double precision) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        INSERT INTO refresh_tokens (hash, session_id, expires_at)
            VALUES (token_hash, of_session, now() + make_interval(secs => lifetime));
    END;

-- One use of a refresh token: fresh (`sealed` is now its successor), repeated (within `grace` seconds: the same successor again),
-- reused (later: whoever comes second, a thief is among the two), or gone. The session's row puts parallel uses in a line.
CREATE FUNCTION rotate_refresh(old_hash bytea, of_session uuid, new_hash bytea, sealed bytea, lifetime double precision,
                               grace double precision)
    RETURNS TABLE (outcome text, pair bytea, tenant uuid, account uuid, address text, lang text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    seen refresh_tokens%ROWTYPE;
BEGIN
    outcome := 'gone';
    SELECT u.tenant_id, u.id, u.email, u.locale INTO tenant, account, address, lang
      FROM sessions s JOIN users u ON u.id = s.user_id JOIN tenants t ON t.id = s.tenant_id
     WHERE s.id = of_session AND s.revoked_at IS NULL AND s.expires_at > now() AND u.is_active AND t.status <> 'SUSPENDED'
       FOR UPDATE OF s;
    IF FOUND THEN
        SELECT * INTO seen FROM refresh_tokens r WHERE r.hash = old_hash AND r.session_id = of_session AND r.expires_at > now();
        IF NOT FOUND THEN
            outcome := 'gone';
        ELSIF seen.spent_at IS NULL THEN
            DELETE FROM refresh_tokens r WHERE r.session_id = of_session AND r.expires_at <= now();
            UPDATE refresh_tokens r SET spent_at = clock_timestamp(), successor = sealed WHERE r.hash = old_hash;
            INSERT INTO refresh_tokens (hash, session_id, expires_at)
                VALUES (new_hash, of_session, now() + make_interval(secs => lifetime));
            UPDATE sessions s SET expires_at = now() + make_interval(secs => lifetime) WHERE s.id = of_session;
            outcome := 'fresh';
        ELSIF seen.spent_at > clock_timestamp() - make_interval(secs => grace) THEN
            outcome := 'repeated';
            pair := seen.successor;
        ELSE
            outcome := 'reused';
        END IF;
    END IF;
    RETURN NEXT;
END
$$;

-- Ends a session whose refresh token came back, once: the notice that is mailed with it must not be repeated.
CREATE FUNCTION end_session_once(of_session uuid) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE sessions SET revoked_at = now() WHERE id = of_session AND revoked_at IS NULL;
    IF NOT FOUND THEN RAISE EXCEPTION 'session % has ended already', of_session USING ERRCODE = 'MR002'; END IF;
END
$$;

-- Counts one try before the password is looked at. Seconds to wait: 0 lets it pass. From the fifth in a row on each must wait twice
-- as long as the one before it, at most 15 minutes; that long after the last they are forgotten.
CREATE FUNCTION count_login_try(in_realm text, address text) RETURNS double precision
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    hashed bytea := sha256(convert_to(lower(address), 'UTF8'));
    before login_tries%ROWTYPE;
    number integer;
BEGIN
    INSERT INTO login_tries VALUES (in_realm, hashed, 0, now()) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        DELETE FROM login_tries WHERE ctid = ANY (ARRAY(
            SELECT t.ctid FROM login_tries t WHERE t.next_at < now() - interval '15 minutes' LIMIT 4 FOR UPDATE SKIP LOCKED));
    END IF;
    SELECT * INTO before FROM login_tries t WHERE t.realm = in_realm AND t.address_hash = hashed FOR UPDATE;
    IF before.next_at > clock_timestamp() THEN RETURN extract(epoch FROM before.next_at - clock_timestamp()); END IF;
    number := CASE WHEN before.next_at < now() - interval '15 minutes' THEN 1 ELSE coalesce(before.tries, 0) + 1 END;
    UPDATE login_tries t
       SET tries = number,
           next_at = clock_timestamp() + CASE WHEN number < 5 THEN interval '0'
                                              ELSE least(interval '30 seconds' * 2 ^ least(number - 5, 10), interval '15 minutes') END
     WHERE t.realm = in_realm AND t.address_hash = hashed;
    RETURN 0;
END
$$;

CREATE FUNCTION forget_login_tries(in_realm text, address text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        DELETE FROM login_tries WHERE realm = in_realm AND address_hash = sha256(convert_to(lower(address), 'UTF8'));
    END;

-- One's own account, wherever it is now.
CREATE FUNCTION find_account(wanted uuid)
    RETURNS TABLE (id uuid, tenant_id uuid, email text, username text, role text, is_owner boolean, is_active boolean,
                   is_verified boolean, created_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT u.id, u.tenant_id, u.email, u.username, u.role, u.is_owner, u.is_active, u.is_verified, u.created_at
          FROM users u WHERE u.id = wanted AND u.is_active;
    END;

-- In the tenant's own transaction. A second invitation of one address replaces the first, whose link is dead from then on.
CREATE FUNCTION invite(new_id uuid, into_tenant uuid, address text, as_role text, by_user uuid, lifetime double precision)
    RETURNS timestamptz LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    until timestamptz := now() + make_interval(secs => lifetime);
BEGIN
    IF EXISTS (SELECT FROM users u WHERE u.tenant_id = into_tenant AND u.email_key = lower(address)) THEN
        RAISE EXCEPTION 'already a member' USING ERRCODE = 'MR003';
    END IF;
    INSERT INTO invitations AS i (id, tenant_id, email, email_key, role, invited_by, expires_at)
        VALUES (new_id, into_tenant, address, lower(address), as_role, by_user, until)
    ON CONFLICT (tenant_id, email_key) WHERE accepted_at IS NULL AND revoked_at IS NULL
        DO UPDATE SET id = new_id, email = address, role = as_role, invited_by = by_user, created_at = now(), expires_at = until;
    RETURN until;
END
$$;

-- Puts an account that waits in a tenant of its own into a company's. Its sessions go with it; the tenant that it leaves is closed.
CREATE FUNCTION move_pending_user(whom uuid, into_tenant uuid, as_role text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    old uuid;
BEGIN
    SELECT u.tenant_id INTO old FROM users u JOIN tenants t ON t.id = u.tenant_id
     WHERE u.id = whom AND u.is_active AND t.status = 'PENDING' FOR UPDATE OF u, t;
    IF NOT FOUND THEN RAISE EXCEPTION 'not pending' USING ERRCODE = 'MR005'; END IF;
    UPDATE users SET tenant_id = into_tenant, role = as_role, is_owner = false, is_verified = true WHERE id = whom;
    UPDATE sessions SET tenant_id = into_tenant WHERE user_id = whom;
    UPDATE tenants SET status = 'SUSPENDED' WHERE id = old;
END
$$;

-- Uses an invitation up: makes a new account (`existing` NULL), or moves the pending account of the invited address. The link has
-- proved the address.
CREATE FUNCTION accept_invitation(invitation uuid, existing uuid, new_user uuid, login text, hash text)
    RETURNS TABLE (account uuid, tenant uuid, tenant_name text, address text, name text, role text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    seen invitations%ROWTYPE;
BEGIN
    UPDATE invitations i SET accepted_at = now()
     WHERE i.id = invitation AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now() RETURNING * INTO seen;
    IF NOT FOUND THEN RAISE EXCEPTION 'not open' USING ERRCODE = 'MR004'; END IF;
    SELECT t.id, t.name INTO tenant, tenant_name FROM tenants t WHERE t.id = seen.tenant_id AND t.status = 'ACTIVE';
    IF NOT FOUND THEN RAISE EXCEPTION 'no such tenant any more' USING ERRCODE = 'MR004'; END IF;
    IF existing IS NULL THEN
        account := new_user;
        INSERT INTO users (id, tenant_id, email, email_key, username, password_hash, role, is_verified)
            VALUES (new_user, tenant, seen.email, seen.email_key, login, hash, seen.role, true);
    ELSE
        PERFORM FROM users u WHERE u.id = existing AND u.realm = 'knowledge' AND u.email_key = seen.email_key;
        IF NOT FOUND THEN RAISE EXCEPTION 'somebody else was invited' USING ERRCODE = 'MR004'; END IF;
        account := existing;
        PERFORM move_pending_user(existing, tenant, seen.role);
    END IF;
    SELECT u.email, u.username, u.role INTO address, name, role FROM users u WHERE u.id = account;
    RETURN NEXT;
END
$$;

-- The company that a verified account may join by itself: the one that owns the domain of its address, while it waits.
CREATE FUNCTION joinable(whom uuid) RETURNS TABLE (tenant uuid, tenant_name text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT t.id, t.name FROM users u JOIN tenants own ON own.id = u.tenant_id AND own.status = 'PENDING'
          JOIN tenants t ON t.domain = split_part(u.email_key, '@', 2) AND t.status = 'ACTIVE' AND t.realm = u.realm
         WHERE u.id = whom AND u.is_active AND u.is_verified;
    END;

-- Uses up the mailed link: the address is its reader's. No row: not good any more.
CREATE FUNCTION confirm_address(challenge uuid) RETURNS TABLE (account uuid, address text, tenant_name text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE challenges c SET used_at = now()
     WHERE c.id = challenge AND c.purpose = 'email_verify' AND c.used_at IS NULL AND c.expires_at > now() RETURNING c.user_id INTO account;
    IF NOT FOUND THEN RETURN; END IF;
    UPDATE users u SET is_verified = true WHERE u.id = account AND u.is_active RETURNING u.email INTO address;
    IF NOT FOUND THEN RETURN; END IF;
    SELECT j.tenant_name INTO tenant_name FROM joinable(account) j;
    RETURN NEXT;
END
$$;

CREATE FUNCTION join_by_address(challenge uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whom uuid;
    target record;
BEGIN
    UPDATE challenges c SET used_at = now()
     WHERE c.id = challenge AND c.purpose = 'join_tenant' AND c.used_at IS NULL AND c.expires_at > now() RETURNING c.user_id INTO whom;
    IF NOT FOUND THEN RAISE EXCEPTION 'not open' USING ERRCODE = 'MR004'; END IF;
    SELECT * INTO target FROM joinable(whom);
    IF NOT FOUND THEN RAISE EXCEPTION 'nothing to join' USING ERRCODE = 'MR005'; END IF;
    PERFORM move_pending_user(whom, target.tenant, 'OPERATOR');
    RETURN target.tenant_name;
END
$$;

-- Uses up the mailed link; whoever was signed in is not any more. False: not good any more.
CREATE FUNCTION reset_password(challenge uuid, hash text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whom record;
BEGIN
    UPDATE challenges c SET used_at = now()
     WHERE c.id = challenge AND c.purpose = 'password_reset' AND c.used_at IS NULL AND c.expires_at > now() RETURNING c.user_id INTO whom;
    IF NOT FOUND THEN RETURN false; END IF;
    UPDATE users u SET password_hash = hash, is_verified = true WHERE u.id = whom.user_id AND u.is_active RETURNING u.id, u.realm, u.email INTO whom;
    IF NOT FOUND THEN RETURN false; END IF;
    UPDATE sessions s SET revoked_at = now() WHERE s.user_id = whom.id AND s.revoked_at IS NULL;
    PERFORM forget_login_tries(whom.realm, whom.email);
    RETURN true;
END
$$;

-- What a widget key opens, before a tenant is known.
CREATE FUNCTION widget_tenant(of_tenant uuid)
    RETURNS TABLE (version integer, older_until timestamptz, origins text[])
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT t.key_version, t.key_rotated_at + interval '24 hours',
               CASE WHEN jsonb_typeof(t.settings -> 'allowed_origins') = 'array'
                    THEN ARRAY(SELECT jsonb_array_elements_text(t.settings -> 'allowed_origins'))
                    ELSE ARRAY['https://' || t.domain, 'https://www.' || t.domain] END
          FROM tenants t WHERE t.id = of_tenant AND t.realm = 'knowledge' AND t.status = 'ACTIVE' AND t.domain IS NOT NULL;
    END;

REVOKE EXECUTE ON FUNCTION start_refresh(uuid, bytea, double precision),
    rotate_refresh(bytea, uuid, bytea, bytea, double precision, double precision), count_login_try(text, text),
    forget_login_tries(text, text), find_account(uuid), move_pending_user(uuid, uuid, text), accept_invitation(uuid, uuid, uuid, text, text), joinable(uuid),
    confirm_address(uuid), join_by_address(uuid), reset_password(uuid, text), widget_tenant(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION start_refresh(uuid, bytea, double precision),
    rotate_refresh(bytea, uuid, bytea, bytea, double precision, double precision), count_login_try(text, text),
    forget_login_tries(text, text), find_account(uuid), accept_invitation(uuid, uuid, uuid, text, text),
    confirm_address(uuid), join_by_address(uuid), reset_password(uuid, text), widget_tenant(uuid) TO millrace_app;

GRANT SELECT, INSERT, UPDATE ON invitations TO millrace_app;

ALTER TABLE invitations ENABLE ROW LEVEL SECURITY;
ALTER TABLE invitations FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON invitations TO millrace_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK (tenant_id = (SELECT current_tenant()));
CREATE POLICY owner ON invitations TO CURRENT_USER USING (true) WITH CHECK (true);
-- Reached through their functions only: no tenant is known yet.
ALTER TABLE refresh_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE refresh_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON refresh_tokens TO CURRENT_USER USING (true) WITH CHECK (true);
ALTER TABLE login_tries ENABLE ROW LEVEL SECURITY;
ALTER TABLE login_tries FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON login_tries TO CURRENT_USER USING (true) WITH CHECK (true);
