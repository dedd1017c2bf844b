-- Since Postgres 16 a member of a role may be one that can't take it on: whoever has made it (a role with CREATEROLE), for
-- one. So there the question is whether it can, and the grant says that it can: without that, what a superuser grants leaves
-- such a membership as it is.

CREATE OR REPLACE FUNCTION turnout.admit_tenants(member name DEFAULT current_user) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    readable name;
    sets boolean := current_setting('server_version_num')::int >= 160000;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'turnout_tenant') THEN
        BEGIN
            CREATE ROLE turnout_tenant NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    IF NOT pg_has_role(member, 'turnout_tenant', CASE WHEN sets THEN 'SET' ELSE 'MEMBER' END) THEN
        EXECUTE format('GRANT turnout_tenant TO %I', member) || CASE WHEN sets THEN ' WITH SET TRUE' ELSE '' END;
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
    PERFORM turnout.admit_tenants();
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'this role may not take on turnout_tenant; have a superuser run SELECT turnout.admit_tenants(%)', quote_literal(current_user);
END
$$;
