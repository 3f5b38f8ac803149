-- Tenants, users and their sessions (design §7). One tenant per knowledge customer; a registrant whose domain is taken
-- stays in a PENDING tenant of their own.
CREATE TABLE tenants (
    id         uuid        PRIMARY KEY,
    name       text        NOT NULL,
    domain     text        UNIQUE,                         -- only the tenant that owns it
    wanted     text,                                       -- the domain a pending tenant asked for
    plan       text        NOT NULL DEFAULT 'FREE',
    status     text        NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'PENDING', 'SUSPENDED')),
    settings   jsonb       NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    id            uuid        PRIMARY KEY,
    tenant_id     uuid        NOT NULL REFERENCES tenants,
    email         text        NOT NULL,                    -- as given
    email_key     text        NOT NULL,                    -- lower case
    username      text        NOT NULL,
    password_hash text        NOT NULL,                    -- argon2id, PHC string
    role          text        NOT NULL DEFAULT 'OPERATOR' CHECK (role IN ('OPERATOR', 'ADMIN')),
    is_owner      boolean     NOT NULL DEFAULT false,
    is_active     boolean     NOT NULL DEFAULT true,
    is_verified   boolean     NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_email UNIQUE (email_key)
);
CREATE INDEX users_tenant ON users (tenant_id, id);

CREATE TABLE sessions (
    id         uuid        PRIMARY KEY,
    tenant_id  uuid        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    user_id    uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    audience   text        NOT NULL,
    token_hash bytea       NOT NULL,                       -- SHA-256 of the refresh token's jti
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX sessions_user ON sessions (tenant_id, user_id);

-- Registers a user. The first registrant of a domain owns its tenant; later ones get a pending tenant.
-- NULL when the address is taken. SECURITY DEFINER: no tenant is known yet.
CREATE FUNCTION register_user(user_id uuid, new_tenant uuid, address text, login text, hash text, company text, wanted_domain text)
    RETURNS TABLE (tenant uuid, owner boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM users WHERE email_key = lower(address)) THEN RETURN; END IF;
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

-- What login needs before a tenant is known.
CREATE FUNCTION find_login(address text)
    RETURNS TABLE (user_id uuid, tenant uuid, hash text, role text, is_owner boolean, is_active boolean)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT u.id, u.tenant_id, u.password_hash, u.role, u.is_owner, u.is_active AND t.status <> 'SUSPENDED'
          FROM users u JOIN tenants t ON t.id = u.tenant_id WHERE u.email_key = lower(address);
    END;
REVOKE EXECUTE ON FUNCTION register_user(uuid, uuid, text, text, text, text, text), find_login(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION register_user(uuid, uuid, text, text, text, text, text), find_login(text) TO millrace_app;

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
