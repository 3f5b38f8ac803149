-- Tenants, users, their sessions and what proves who they are (design §7).

-- One tenant per knowledge customer; elsewhere each person is a tenant of one. A knowledge registrant whose domain is taken stays in a
-- PENDING tenant of their own.
CREATE TABLE tenants (
    id         uuid        PRIMARY KEY,
    realm      text        NOT NULL DEFAULT 'knowledge',
    name       text        NOT NULL,
    domain     text        UNIQUE,                         -- only the tenant that owns it
    wanted     text,                                       -- the domain a pending tenant asked for
    plan       text        NOT NULL DEFAULT 'FREE',
    status     text        NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'PENDING', 'SUSPENDED')),
    settings   jsonb       NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A realm is a product's set of accounts: knowledge, diary, karte, planner (whose accounts habits uses too). One address may have an
-- account in each.
CREATE TABLE users (
    id            uuid        PRIMARY KEY,
    tenant_id     uuid        NOT NULL REFERENCES tenants,
    realm         text        NOT NULL DEFAULT 'knowledge',
    email         text        NOT NULL,                    -- as given
    email_key     text        NOT NULL,                    -- lower case
    username      text        NOT NULL DEFAULT '',
    password_hash text,                                    -- argon2id, PHC string; NULL: signs in by mail only
    role          text        NOT NULL DEFAULT 'OPERATOR' CHECK (role IN ('OPERATOR', 'USER', 'ADMIN', 'SUPER_ADMIN')),
    is_owner      boolean     NOT NULL DEFAULT false,
    is_active     boolean     NOT NULL DEFAULT true,
    is_verified   boolean     NOT NULL DEFAULT false,
    locale        text        NOT NULL DEFAULT 'ja',       -- of the mails: ja | en
    profile       jsonb       NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_email UNIQUE (realm, email_key)
);
CREATE INDEX users_tenant ON users (tenant_id, id);

-- What a person is signed in with. Roles and states are read with it each time, so that a change of them acts at once.
CREATE TABLE sessions (
    id            uuid        PRIMARY KEY,                 -- names it to its owner and in JWTs; opens nothing by itself
    tenant_id     uuid        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    user_id       uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    audience      text        NOT NULL,                    -- the surfaces it opens, separated by spaces
    token_hash    bytea       UNIQUE,                      -- SHA-256 of an opaque token; NULL where JWTs name the session
    second_factor boolean     NOT NULL DEFAULT true,       -- false: the password was right, the second factor is still to come
    client        text        NOT NULL DEFAULT '',         -- address and user agent at sign-in, for its owner to recognise
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz
);
CREATE INDEX sessions_user ON sessions (tenant_id, user_id);

-- One-time secrets: codes and links that were mailed. The newest of its (realm, purpose, subject) supersedes the others.
CREATE TABLE challenges (
    id         uuid        PRIMARY KEY,
    realm      text        NOT NULL,
    purpose    text        NOT NULL,                       -- login | email_verify | password_reset | magic_link | …
    subject    text        NOT NULL,                       -- whom it was made for: a lower-case address or a user id
    user_id    uuid        REFERENCES users ON DELETE CASCADE,  -- NULL: nobody has this address (yet)
    mac        bytea       NOT NULL,                       -- HMAC of the secret under the server's key
    tries_left integer     NOT NULL,
    data       jsonb       NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE UNIQUE INDEX challenges_open ON challenges (realm, purpose, subject) WHERE used_at IS NULL;
CREATE INDEX challenges_mac ON challenges (mac);
CREATE INDEX challenges_age ON challenges USING brin (created_at);

-- The sessions behind these tokens (by hash) and JWTs (by id) that are still good. SECURITY DEFINER: no tenant is known yet.
CREATE FUNCTION live_sessions(hashes bytea[], ids uuid[])
    RETURNS TABLE (id uuid, token_hash bytea, tenant uuid, user_id uuid, role text, is_owner boolean, audience text,
                   second_factor boolean)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT s.id, s.token_hash, s.tenant_id, s.user_id, u.role, u.is_owner, s.audience, s.second_factor
          FROM sessions s JOIN users u ON u.id = s.user_id JOIN tenants t ON t.id = s.tenant_id
         WHERE (s.token_hash = ANY (hashes) OR s.id = ANY (ids))
           AND s.revoked_at IS NULL AND s.expires_at > now() AND u.is_active AND t.status <> 'SUSPENDED';
    END;

-- Makes a one-time secret for the account of `address` in the realm, or for nobody: an unknown address costs the same work.
-- `whom`: the account, where it is known already.
CREATE FUNCTION open_challenge(new_id uuid, in_realm text, for_purpose text, for_subject text, whom uuid, secret_mac bytea, tries integer,
                               lifetime double precision, more jsonb) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    account uuid := whom;
BEGIN
    IF account IS NULL THEN
        SELECT u.id INTO account FROM users u WHERE u.realm = in_realm AND u.email_key = for_subject AND u.is_active;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('challenge ' || in_realm || ' ' || for_purpose || ' ' || for_subject, 0));
    UPDATE challenges SET used_at = now(), data = '{}'
     WHERE realm = in_realm AND purpose = for_purpose AND subject = for_subject AND used_at IS NULL;
    INSERT INTO challenges (id, realm, purpose, subject, user_id, mac, tries_left, data, expires_at)
        VALUES (new_id, in_realm, for_purpose, for_subject, account, secret_mac, tries, more, now() + make_interval(secs => lifetime));
    RETURN account;
END
$$;

-- One try at a code: right, wrong (tries_left says how many more), or gone (none open, expired, tries spent). The row's lock puts
-- parallel guesses in a line; the try is counted before it is compared.
CREATE FUNCTION try_challenge(in_realm text, for_purpose text, for_subject text, secret_mac bytea)
    RETURNS TABLE (outcome text, left_over integer, account uuid, more text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    seen record;
BEGIN
    UPDATE challenges c SET tries_left = c.tries_left - 1
     WHERE c.realm = in_realm AND c.purpose = for_purpose AND c.subject = for_subject AND c.used_at IS NULL
       AND c.expires_at > now() AND c.tries_left > 0
    RETURNING c.id, c.tries_left, c.user_id, c.data, c.mac = secret_mac AS is_right INTO seen;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'gone', 0, NULL::uuid, '{}';
    ELSIF seen.is_right THEN
        UPDATE challenges SET used_at = now(), data = '{}' WHERE id = seen.id;  -- it may be a registration: kept no longer than needed
        RETURN QUERY SELECT 'right', seen.tries_left, seen.user_id, seen.data::text;
    ELSE
        RETURN QUERY SELECT 'wrong', seen.tries_left, NULL::uuid, '{}';
    END IF;
END
$$;

-- Uses up a link's token: its row once, nothing afterwards. `consume` false only looks.
CREATE FUNCTION use_challenge(for_purpose text, secret_mac bytea, consume boolean)
    RETURNS TABLE (id uuid, realm text, subject text, account uuid, more text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF consume THEN
        RETURN QUERY UPDATE challenges c SET used_at = now()
                      WHERE c.mac = secret_mac AND c.purpose = for_purpose AND c.used_at IS NULL AND c.expires_at > now()
                     RETURNING c.id, c.realm, c.subject, c.user_id, c.data::text;
    ELSE
        RETURN QUERY SELECT c.id, c.realm, c.subject, c.user_id, c.data::text FROM challenges c
                      WHERE c.mac = secret_mac AND c.purpose = for_purpose AND c.used_at IS NULL AND c.expires_at > now();
    END IF;
END
$$;

-- Whether a mail about this secret is still worth sending: it is open, and belongs to an account where one is asked for.
CREATE FUNCTION challenge_open(wanted uuid, needs_account boolean) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    RETURN EXISTS (SELECT FROM challenges c WHERE c.id = wanted AND c.used_at IS NULL AND c.expires_at > now()
                                              AND (c.user_id IS NOT NULL OR NOT needs_account));

-- Registers a knowledge user. The first registrant of a domain owns its tenant; later ones get a pending tenant.
-- users_email is violated when the address is taken.
CREATE FUNCTION register_user(user_id uuid, new_tenant uuid, address text, login text, hash text, company text, wanted_domain text)
    RETURNS TABLE (tenant uuid, owner boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO tenants (id, name, domain) VALUES (new_tenant, company, wanted_domain) ON CONFLICT (domain) DO NOTHING;
    owner := FOUND;
    IF NOT owner THEN
        INSERT INTO tenants (id, name, wanted, status) VALUES (new_tenant, company, wanted_domain, 'PENDING');
    END IF;
    tenant := new_tenant;
    INSERT INTO users (id, tenant_id, email, email_key, username, password_hash, is_owner)
        VALUES (user_id, new_tenant, address, lower(address), login, hash, owner);
    RETURN NEXT;
END
$$;

-- The account of an address in a realm of persons, made when there is none: a tenant of one. `made` says which.
CREATE FUNCTION ensure_person(in_realm text, address text, new_user uuid, new_tenant uuid, in_locale text, verified boolean)
    RETURNS TABLE (user_id uuid, tenant uuid, made boolean, is_active boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('person ' || in_realm || ' ' || lower(address), 0));
    SELECT u.id, u.tenant_id, false, u.is_active INTO user_id, tenant, made, is_active
      FROM users u WHERE u.realm = in_realm AND u.email_key = lower(address);
    IF FOUND THEN
        IF verified THEN UPDATE users u SET is_verified = true WHERE u.id = user_id AND NOT u.is_verified; END IF;
    ELSE
        INSERT INTO tenants (id, realm, name) VALUES (new_tenant, in_realm, lower(address));
        INSERT INTO users (id, tenant_id, realm, email, email_key, role, is_owner, is_verified, locale)
            VALUES (new_user, new_tenant, in_realm, address, lower(address), 'USER', true, verified, in_locale);
        user_id := new_user; tenant := new_tenant; made := true; is_active := true;
    END IF;
    RETURN NEXT;
END
$$;

-- What a sign-in by password needs before a tenant is known.
CREATE FUNCTION find_login(in_realm text, address text)
    RETURNS TABLE (user_id uuid, tenant uuid, hash text, role text, is_owner boolean, is_active boolean, email text, locale text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT u.id, u.tenant_id, u.password_hash, u.role, u.is_owner, u.is_active AND t.status <> 'SUSPENDED', u.email, u.locale
          FROM users u JOIN tenants t ON t.id = u.tenant_id WHERE u.realm = in_realm AND u.email_key = lower(address);
    END;

-- The tenant of an account that a one-time secret has named.
CREATE FUNCTION tenant_of_user(wanted uuid) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    RETURN (SELECT u.tenant_id FROM users u WHERE u.id = wanted AND u.is_active);

REVOKE EXECUTE ON FUNCTION live_sessions(bytea[], uuid[]),
    open_challenge(uuid, text, text, text, uuid, bytea, integer, double precision, jsonb), try_challenge(text, text, text, bytea),
    use_challenge(text, bytea, boolean), challenge_open(uuid, boolean), register_user(uuid, uuid, text, text, text, text, text),
    ensure_person(text, text, uuid, uuid, text, boolean), find_login(text, text), tenant_of_user(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION live_sessions(bytea[], uuid[]),
    open_challenge(uuid, text, text, text, uuid, bytea, integer, double precision, jsonb), try_challenge(text, text, text, bytea),
    use_challenge(text, bytea, boolean), challenge_open(uuid, boolean), register_user(uuid, uuid, text, text, text, text, text),
    ensure_person(text, text, uuid, uuid, text, boolean), find_login(text, text), tenant_of_user(uuid) TO millrace_app;

GRANT SELECT, UPDATE ON tenants TO millrace_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON users, sessions TO millrace_app;

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tenants TO millrace_app USING (id = (SELECT current_tenant())) WITH CHECK (id = (SELECT current_tenant()));
CREATE POLICY owner ON tenants TO CURRENT_USER USING (true) WITH CHECK (true);
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON users TO millrace_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK (tenant_id = (SELECT current_tenant()));
CREATE POLICY owner ON users TO CURRENT_USER USING (true) WITH CHECK (true);
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sessions TO millrace_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK (tenant_id = (SELECT current_tenant()));
CREATE POLICY owner ON sessions TO CURRENT_USER USING (true) WITH CHECK (true);
-- Reached through its functions only: nobody has a tenant yet.
ALTER TABLE challenges ENABLE ROW LEVEL SECURITY;
ALTER TABLE challenges FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON challenges TO CURRENT_USER USING (true) WITH CHECK (true);
