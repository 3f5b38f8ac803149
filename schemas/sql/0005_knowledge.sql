-- Documents, their searchable chunks, conversations, and what model calls cost.
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE files (
    id          uuid        PRIMARY KEY,
    tenant_id   uuid        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    uploaded_by uuid        NOT NULL,
    file_name   text        NOT NULL,
    file_type   text        NOT NULL CHECK (file_type IN ('pdf', 'txt', 'docx')),
    title       text        NOT NULL,
    description text,
    tags        text[]      NOT NULL DEFAULT '{}',
    file_size   bigint      NOT NULL,
    object_key  text        NOT NULL,
    sha256      text        NOT NULL,
    job_id      uuid        NOT NULL,                      -- the embedding job that speaks for it
    status      text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'completed', 'failed')),
    reason      text,                                      -- why it failed, in the product's words
    generation  bigint      NOT NULL DEFAULT 0,            -- of the chunks that are visible; 0 = none
    chunk_count integer     NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX files_tenant ON files (tenant_id, created_at DESC, id DESC);

-- Every embedding attempt writes a generation of its own; the completion makes one visible and removes the others.
CREATE SEQUENCE chunk_generation;
CREATE TABLE chunks (
    file_id     uuid        NOT NULL REFERENCES files ON DELETE CASCADE,
    generation  bigint      NOT NULL,
    chunk_index integer     NOT NULL,
    tenant_id   uuid        NOT NULL,
    page_first  integer     NOT NULL,
    page_last   integer     NOT NULL,
    text        text        NOT NULL,
    terms       bytea       NOT NULL,                      -- hashed terms with frequencies, as the index loads them
    embedding   vector,                                    -- only where an embeddings provider is configured
    PRIMARY KEY (file_id, generation, chunk_index)
);
CREATE INDEX chunks_tenant ON chunks (tenant_id);

-- Raised by whatever changes what a tenant's search may find: workers compare it before each question.
CREATE TABLE index_versions (
    tenant_id uuid   PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
    version   bigint NOT NULL
);

CREATE TABLE conversations (
    tenant_id  uuid        NOT NULL REFERENCES tenants ON DELETE CASCADE,
    user_id    uuid        NOT NULL,
    id         uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, id)
);
CREATE TABLE messages (
    tenant_id       uuid        NOT NULL,
    user_id         uuid        NOT NULL,
    conversation_id uuid        NOT NULL,
    job_id          uuid        NOT NULL,
    role            text        NOT NULL CHECK (role IN ('user', 'assistant')),
    content         text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, conversation_id, job_id, role),
    FOREIGN KEY (tenant_id, user_id, conversation_id) REFERENCES conversations ON DELETE CASCADE
);

-- Money spent: commits on its own, once per (job, attempt, call), whatever becomes of the attempt.
CREATE TABLE usage (
    job_id     uuid        NOT NULL,
    attempt    integer     NOT NULL,
    call       integer     NOT NULL,
    tenant_id  uuid        NOT NULL,
    purpose    text        NOT NULL,                       -- answer | embedding
    provider   text        NOT NULL,
    model      text        NOT NULL,
    tokens_in  bigint      NOT NULL,
    tokens_out bigint      NOT NULL,
    cost_usd   numeric(14, 8) NOT NULL DEFAULT 0,
    latency_ms integer     NOT NULL,
    outcome    text        NOT NULL,                       -- ok | the error's code
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, attempt, call)
);
CREATE INDEX usage_tenant ON usage (tenant_id, created_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON files, chunks, index_versions, conversations, messages TO millrace_app;
GRANT SELECT, INSERT ON usage TO millrace_app;
GRANT USAGE ON SEQUENCE chunk_generation TO millrace_app;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['files', 'chunks', 'index_versions', 'conversations', 'messages', 'usage'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO millrace_app USING (tenant_id = (SELECT current_tenant())) '
                       'WITH CHECK (tenant_id = (SELECT current_tenant()))', name);
        EXECUTE format('CREATE POLICY owner ON %I TO CURRENT_USER USING (true) WITH CHECK (true)', name);
    END LOOP;
END
$$;
