-- The outbox: what people and other systems are to be told of an entry. Its rows are written with that entry, sent by
-- any worker, and forgotten some time after that.

CREATE TABLE turnout.outbox (
    id         text COLLATE "C" NOT NULL,
    channel    text COLLATE "C" NOT NULL,
    event      text NOT NULL,
    thread     text COLLATE "C" NOT NULL,
    run        bigint NOT NULL,
    review     text COLLATE "C" NOT NULL,
    tenant     text COLLATE "C" NOT NULL,
    facts      bytea NOT NULL,
    first_due  bigint NOT NULL,
    created_at bigint NOT NULL,
    due_at     bigint NOT NULL,
    status     text NOT NULL DEFAULT 'waiting',
    attempts   bigint NOT NULL DEFAULT 0,
    owner      text NOT NULL DEFAULT '',
    held_until bigint NOT NULL DEFAULT 0,
    settled_at bigint,
    error      text NOT NULL DEFAULT '',
    PRIMARY KEY (thread, id)
);

CREATE INDEX outbox_by_id ON turnout.outbox (id);
CREATE INDEX outbox_due ON turnout.outbox (channel, due_at) WHERE status = 'waiting';
CREATE INDEX outbox_of_review ON turnout.outbox (review) WHERE status = 'waiting' AND review <> '';
CREATE INDEX outbox_by_age ON turnout.outbox (created_at DESC, id);
CREATE INDEX outbox_dead ON turnout.outbox (created_at, id) WHERE status = 'dead';
CREATE INDEX outbox_settled ON turnout.outbox (settled_at) WHERE settled_at IS NOT NULL;

-- A caller who belongs to a tenant sees the tenant's (see 0003). Where the role for that is there already it may read the
-- new table; when it is made later (`admit_tenants`), it may read every table that says which of its rows are whose.
ALTER TABLE turnout.outbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY callers ON turnout.outbox USING (turnout.is_callers(tenant));

CREATE OR REPLACE FUNCTION turnout.admit_tenants(member name DEFAULT current_user) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    readable name;
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
    GRANT SELECT ON turnout.stored_values TO turnout_tenant;
    FOR readable IN SELECT tablename FROM pg_policies WHERE schemaname = 'turnout' AND policyname = 'callers' LOOP
        EXECUTE format('GRANT SELECT ON turnout.%I TO turnout_tenant', readable);
    END LOOP;
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'turnout_tenant') THEN
        GRANT SELECT ON turnout.outbox TO turnout_tenant;
    END IF;
END
$$;
