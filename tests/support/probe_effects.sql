-- What the kinds probe.effect and probe.effect_ordered write through the fence. Nothing here is unique, so that an effect that
-- happened twice shows. Made on systems that tests start, as the owner.
CREATE TABLE IF NOT EXISTS probe_effects (
    n         bigint      GENERATED ALWAYS AS IDENTITY,  -- per order key the order of the effects: written under the key's lock
    job_id    uuid        NOT NULL,
    attempt   integer     NOT NULL,
    order_key text        NOT NULL,
    op        text        NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT INSERT ON probe_effects TO millrace_app;
