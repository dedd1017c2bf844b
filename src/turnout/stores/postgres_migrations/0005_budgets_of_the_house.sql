-- Budgets are the house's; so are their accounts, most of which count the calls of several tenants. A caller who belongs to a
-- tenant (see 0003) finds none, instead of an error.

ALTER TABLE turnout.budgets ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.budgets USING (current_user <> 'turnout_tenant');

ALTER TABLE turnout.accounts ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.accounts USING (current_user <> 'turnout_tenant');

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'turnout_tenant') THEN
        GRANT SELECT ON turnout.budgets, turnout.accounts TO turnout_tenant;
    END IF;
END
$$;
