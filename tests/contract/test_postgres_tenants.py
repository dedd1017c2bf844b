"""Tenants on Postgres: row-level security holds for roles that own nothing, and its absence is told."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.postgres import fresh_database

from turnout.errors import StoreUnavailable
from turnout.stores.postgres import PostgresStore
from turnout.testing.contract import change, full

ROLE = "turnout_test_app"


@pytest.fixture
def database() -> Iterator[str]:
    with fresh_database(schema=True) as url, psycopg.connect(url, autocommit=True) as owner:
        owner.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(ROLE)))
        owner.execute(f"CREATE ROLE {ROLE} LOGIN")
        owner.execute(f"GRANT USAGE ON SCHEMA turnout TO {ROLE}")
        owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA turnout TO {ROLE}")
        owner.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA turnout TO {ROLE}")
        try:
            yield url
        finally:
            owner.execute(f"REVOKE turnout_tenant FROM {ROLE} CASCADE")
            owner.execute(f"DROP OWNED BY {ROLE}")
            owner.execute(f"DROP ROLE {ROLE}")


async def test_a_role_that_owns_nothing_works_on_all_rows_and_a_tenants_handle_on_its_own(
    database: str,
) -> None:
    store = PostgresStore(make_conninfo(database, user=ROLE))
    try:
        await store.append(full("a", 0, mark="x"))
        await store.append(change("b", 0, tenant="acme"))
        assert [row.thread for row in await store.threads()] == ["a", "b"]
        assert len(await store.read("a")) == 2
        assert [lease.thread for lease in await store.claim("w", 10**18, 2 * 10**18, 9)] == ["a"]
        acme = store.within("acme")
        with pytest.raises(StoreUnavailable, match=r"turnout\.admit_tenants"):
            await acme.threads()
        with psycopg.connect(database, autocommit=True) as owner:
            owner.execute("SELECT turnout.admit_tenants(%s)", (ROLE,))
        assert [row.thread for row in await acme.threads()] == ["b"]
        assert await acme.read("a") == []
        assert [row.thread for row in await store.threads()] == ["a", "b"]
    finally:
        await store.close()


def made_it(owner: psycopg.Connection) -> None:
    """What Postgres grants a role with CREATEROLE that has made `turnout_tenant`: since 16 it can't take it on."""
    if owner.info.server_version < 160000:
        pytest.skip("before Postgres 16 every member can take its role on")
    owner.execute(f"GRANT turnout_tenant TO {ROLE} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")


async def test_who_has_made_the_tenants_role_without_being_a_superuser_may_take_it_on(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as owner, fresh_database() as empty:
        made_it(owner)
        owner.execute(f"ALTER ROLE {ROLE} CREATEROLE")
        owner.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                sql.Identifier(conninfo_to_dict(empty)["dbname"]), sql.Identifier(ROLE)
            )
        )
        store = PostgresStore(make_conninfo(empty, user=ROLE))
        try:
            await store.append(change("a", 0, tenant="acme"))
            await store.append(change("b", 0, tenant="bolt"))
            assert [row.thread for row in await store.within("acme").threads()] == ["a"]
        finally:
            await store.close()


async def test_what_the_error_advises_helps_a_member_that_may_not_set(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as owner:
        made_it(owner)
        store = PostgresStore(make_conninfo(database, user=ROLE))
        try:
            await store.append(change("a", 0, tenant="acme"))
            with pytest.raises(StoreUnavailable, match=r"turnout\.admit_tenants"):
                await store.within("acme").threads()
            owner.execute("SELECT turnout.admit_tenants(%s)", (ROLE,))
            assert [row.thread for row in await store.within("acme").threads()] == ["a"]
        finally:
            await store.close()


def test_every_table_is_closed_to_a_tenant_or_shows_its_rows_alone(database: str) -> None:
    """A table that comes later has to say which of its rows are whose before a tenant's handle may read it."""
    with psycopg.connect(database, autocommit=True) as owner:
        rows = owner.execute(
            "SELECT c.relname, c.relrowsecurity, has_table_privilege('turnout_tenant', c.oid, 'SELECT'), "
            "has_table_privilege('turnout_tenant', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'turnout' AND c.relkind IN ('r', 'v', 'p', 'm')"
        ).fetchall()
    assert len(rows) > 10
    readable = {name for name, _, may_read, _ in rows if may_read}
    assert {name for name, secured, *_ in rows if secured} >= readable - {"stored_values"}
    assert [name for name, _, _, may_write in rows if may_write] == []


async def test_the_tenant_of_one_transaction_is_not_that_of_the_next_on_its_connection(database: str) -> None:
    store = PostgresStore(database, pool=1)
    try:
        await store.append(change("a", 0, tenant="acme"))
        await store.append(change("b", 0, tenant="bolt"))
        for _ in range(3):
            assert [row.thread for row in await store.within("acme").threads()] == ["a"]
            assert [row.thread for row in await store.threads()] == ["a", "b"]
            assert [row.thread for row in await store.within("bolt").threads()] == ["b"]
            with pytest.raises(StoreUnavailable):
                await store.within("bolt")._fetch("forget_wakes")  # type: ignore[attr-defined]
    finally:
        await store.close()
