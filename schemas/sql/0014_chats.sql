-- Conversations that are read, exported, judged and deleted.

ALTER TABLE conversations
    ADD COLUMN title      text,                            -- how its first question begins
    ADD COLUMN deleted_at timestamptz;                     -- what was asked before this is dropped when it is answered
ALTER TABLE messages
    ADD COLUMN sources  jsonb,                             -- of an answer, as it was given
    ADD COLUMN trace_id text;
CREATE INDEX conversations_newest ON conversations (tenant_id, user_id, updated_at DESC) WHERE deleted_at IS NULL;

-- What a reader thought of an answer: the last word counts.
CREATE TABLE feedback (
    tenant_id       uuid        NOT NULL,
    user_id         uuid        NOT NULL,
    conversation_id uuid        NOT NULL,
    message_id      uuid        NOT NULL,                  -- the answer's job
    rating          text        NOT NULL CHECK (rating IN ('up', 'down')),
    reason          text,
    trace_id        text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, message_id),
    FOREIGN KEY (tenant_id, user_id, conversation_id) REFERENCES conversations ON DELETE CASCADE
);
GRANT SELECT, INSERT, UPDATE, DELETE ON feedback TO millrace_app;
ALTER TABLE feedback ENABLE ROW LEVEL SECURITY;
ALTER TABLE feedback FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON feedback TO millrace_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK (tenant_id = (SELECT current_tenant()));
DO $$
BEGIN
    EXECUTE 'CREATE POLICY owner ON feedback TO CURRENT_USER USING (true) WITH CHECK (true)';
END
$$;
