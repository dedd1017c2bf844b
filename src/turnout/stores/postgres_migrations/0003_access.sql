-- Who may come in: API tokens, and the sessions that they were exchanged for. Of a secret only its digest is here.

CREATE TABLE turnout.tokens (
    token        text COLLATE "C" PRIMARY KEY,
    kind         text NOT NULL,
    digest       bytea NOT NULL,
    who          text NOT NULL,
    roles        text NOT NULL,
    review_roles text NOT NULL,
    tenant       text COLLATE "C",
    how          text NOT NULL,
    created_at   bigint NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    parent       text NOT NULL,
    by           text NOT NULL
);

CREATE INDEX tokens_by_age ON turnout.tokens (kind, created_at);

-- A caller who belongs to a tenant reads in the role `turnout_tenant`, with the tenant's name in `turnout.tenant`: then
-- row-level security shows the tenant's rows alone. To other roles that may read these tables all rows are shown as
-- before, and their owner is not asked at all: workers pay nothing for it. What `turnout_tenant` isn't granted it can't
-- read: a table that comes later is closed to it until somebody says which of its rows are whose.

CREATE FUNCTION turnout.is_callers(tenant text) RETURNS boolean LANGUAGE sql STABLE
RETURN current_user <> 'turnout_tenant' OR tenant = current_setting('turnout.tenant', true);

ALTER TABLE turnout.threads ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.threads USING (turnout.is_callers(tenant));

ALTER TABLE turnout.entries ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.entries
    USING (current_user <> 'turnout_tenant' OR EXISTS (SELECT FROM turnout.threads t WHERE t.thread = entries.thread));

ALTER TABLE turnout.snapshots ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.snapshots
    USING (current_user <> 'turnout_tenant' OR EXISTS (SELECT FROM turnout.threads t WHERE t.thread = snapshots.thread));

ALTER TABLE turnout.runs ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.runs
    USING (current_user <> 'turnout_tenant' OR EXISTS (SELECT FROM turnout.threads t WHERE t.thread = runs.thread));

ALTER TABLE turnout.reviews ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.reviews
    USING (current_user <> 'turnout_tenant' OR EXISTS (SELECT FROM turnout.threads t WHERE t.thread = reviews.thread));

ALTER TABLE turnout.used_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.used_keys
    USING (current_user <> 'turnout_tenant' OR EXISTS (SELECT FROM turnout.threads t WHERE t.thread = used_keys.thread));

ALTER TABLE turnout.heads ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.heads
    USING (current_user <> 'turnout_tenant' OR EXISTS (SELECT FROM turnout.threads t WHERE t.thread = heads.thread));

-- Graphs are everybody's.
ALTER TABLE turnout.limits ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.limits USING (kind = 'graph' OR turnout.is_callers(name));

ALTER TABLE turnout.schedules ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.schedules USING (turnout.is_callers(tenant));

ALTER TABLE turnout.tokens ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.tokens USING (turnout.is_callers(tenant));

ALTER TABLE turnout.charges ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.charges USING (turnout.is_callers(tenant));

-- Make the role, and let `member` (who Turnout connects as) take it on. A role is made for the whole server, so another
-- database may have it already.
CREATE FUNCTION turnout.admit_tenants(member name DEFAULT current_user) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'turnout_tenant') THEN
        BEGIN
            CREATE ROLE turnout_tenant NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    IF NOT pg_has_role(member, 'turnout_tenant', 'MEMBER') THEN
        EXECUTE format('GRANT turnout_tenant TO %I', member);
    END IF;
    GRANT USAGE ON SCHEMA turnout TO turnout_tenant;
    -- The address of a stored value is the digest of its content: who can name it has it.
    GRANT SELECT ON turnout.threads, turnout.entries, turnout.stored_values, turnout.snapshots, turnout.runs,
        turnout.reviews, turnout.used_keys, turnout.heads, turnout.limits, turnout.schedules, turnout.tokens,
        turnout.charges TO turnout_tenant;
END
$$;

DO $$
BEGIN
    PERFORM turnout.admit_tenants();
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'this role may not make roles; have a superuser run SELECT turnout.admit_tenants(%)', quote_literal(current_user);
END
$$;
