"""Tenants on SQLite: each table has a view for them, and one that hasn't is empty there."""

import sqlite3

import pytest

from turnout.errors import StoreUnavailable
from turnout.stores.sqlite import SqliteStore
from turnout.stores.sqlite_tenants import VIEWS
from turnout.testing.contract import change, full


def test_every_table_has_its_view() -> None:
    """A table that comes later has to say which of its rows are whose; until then a tenant's handle finds none."""
    store = SqliteStore(":memory:")
    found = store.read_within(
        "acme", lambda db: db.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")
    )
    assert {name for (name,) in found} == VIEWS.keys()


async def test_a_table_that_nobody_thought_of_is_empty_for_a_tenant(tmp_path) -> None:
    path = str(tmp_path / "t.db")
    store = SqliteStore(path)
    await store.append(full("a", 0))
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE later (thread TEXT)")
        other.execute("INSERT INTO later VALUES ('a')")
    other.close()
    assert store.read_within("acme", lambda db: db.execute("SELECT * FROM later").fetchall()) == []
    await store.close()


async def test_a_table_that_comes_while_tenants_read_is_empty_for_them_too(tmp_path) -> None:
    """A transactional tool may make one in the same file at any time."""
    path = str(tmp_path / "t.db")
    store = SqliteStore(path)
    await store.append(change("a", 0, tenant="acme"))
    acme = store.within("acme")
    assert [row.thread for row in await acme.threads()] == ["a"]
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE later (thread TEXT)")
        other.execute("INSERT INTO later VALUES ('a')")
    other.close()
    assert store.read_within("acme", lambda db: db.execute("SELECT * FROM later").fetchall()) == []
    assert [row.thread for row in await acme.threads()] == ["a"]
    await store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "ANALYZE",
        "CREATE TABLE theirs (number INTEGER PRIMARY KEY AUTOINCREMENT)",  # makes sqlite_sequence
        'CREATE TABLE "their ""own""" (number INTEGER)',
    ],
)
async def test_a_tenant_reads_whatever_other_tables_the_file_has(tmp_path, statement: str) -> None:
    path = str(tmp_path / "t.db")
    store = SqliteStore(path)
    await store.append(change("a", 0, tenant="acme"))
    await store.append(change("b", 0, tenant="bolt"))
    with sqlite3.connect(path) as other:
        other.execute(statement)
    other.close()
    assert [row.thread for row in await store.within("acme").threads()] == ["a"]
    await store.close()


async def test_a_tenants_connection_that_could_not_be_made_ready_is_closed(tmp_path, monkeypatch) -> None:
    store = SqliteStore(str(tmp_path / "t.db"))
    made = []
    connect = store._connect
    monkeypatch.setattr(store, "_connect", lambda *given: made.append(connect(*given)) or made[-1])
    monkeypatch.setitem(VIEWS, "threads", "no SQL")
    with pytest.raises(StoreUnavailable):
        await store.within("acme").threads()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")
    monkeypatch.undo()
    assert await store.within("acme").threads() == []
    await store.close()


async def test_a_tenants_list_is_found_by_the_tenant(tmp_path) -> None:
    store = SqliteStore(str(tmp_path / "t.db"))
    await store.append(change("a", 0, tenant="acme"))
    plan = store.read_within(
        "acme",
        lambda db: db.execute(
            "EXPLAIN QUERY PLAN SELECT thread FROM threads WHERE thread > 'a' ORDER BY thread"
        ).fetchall(),
    )
    assert any("threads_by_tenant (tenant=? AND thread>?)" in row[3] for row in plan), plan
    await store.close()
