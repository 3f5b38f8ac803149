-- Habits: how many THLI-24 assessments a person may still complete this month.

-- A month is UTC's. Its row is made when it is first asked for, with the limit of the month before.
CREATE TABLE assessment_quotas (
    tenant_id    uuid    NOT NULL REFERENCES tenants ON DELETE CASCADE,
    user_id      uuid    NOT NULL REFERENCES users ON DELETE CASCADE,
    period_start date    NOT NULL,
    used         integer NOT NULL DEFAULT 0,
    quota_limit  integer NOT NULL,                         -- -1: no limit (premium)
    PRIMARY KEY (tenant_id, user_id, period_start)
);

GRANT SELECT, INSERT, UPDATE ON assessment_quotas TO millrace_app;

ALTER TABLE assessment_quotas ENABLE ROW LEVEL SECURITY;
ALTER TABLE assessment_quotas FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON assessment_quotas TO millrace_app
    USING (tenant_id = (SELECT current_tenant())) WITH CHECK (tenant_id = (SELECT current_tenant()));
CREATE POLICY owner ON assessment_quotas TO CURRENT_USER USING (true) WITH CHECK (true);
