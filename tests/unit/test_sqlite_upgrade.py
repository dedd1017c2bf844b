"""A store of schema 1, as an earlier Turnout left it, is brought up to date when it is opened."""

import sqlite3
import threading
from pathlib import Path

import pytest
from tests.unit.runs import Work, chain, proven

from turnout import Context, Finished, Paused, approve
from turnout.errors import StoreNewer
from turnout.stores.sqlite import SqliteStore
from turnout.stores.sqlite_opening import APPLICATION, SCHEMA, Opening
from turnout.testing import open_test_app

SCHEMA_1 = """
CREATE TABLE threads (
    number      INTEGER PRIMARY KEY,
    thread      TEXT NOT NULL UNIQUE,
    graph       TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status      TEXT NOT NULL,
    run         INTEGER NOT NULL,
    head        INTEGER NOT NULL,
    digest      BLOB NOT NULL,
    epoch       INTEGER NOT NULL,
    owner       TEXT NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,
    wake_at     INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    base_thread TEXT,
    base_seq    INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A worker looks for what is due; threads that wait for a person aren't in this index at all.
CREATE INDEX threads_due ON threads (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX threads_by_status ON threads (status, thread);
CREATE INDEX threads_by_owner ON threads (owner) WHERE owner <> '';

CREATE TABLE entries (
    number INTEGER NOT NULL REFERENCES threads (number),
    seq    INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    run    INTEGER NOT NULL,
    step   TEXT NOT NULL,
    at     INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    body   BLOB NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (number, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE stored_values (
    address TEXT PRIMARY KEY,
    body    BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshots (
    number INTEGER PRIMARY KEY REFERENCES threads (number),
    seq    INTEGER NOT NULL,
    body   BLOB NOT NULL
) STRICT;

CREATE TABLE runs (
    thread     TEXT NOT NULL,
    run        INTEGER NOT NULL,
    graph      TEXT NOT NULL,
    status     TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    end_seq    INTEGER,
    error      TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (thread, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE reviews (
    review    TEXT PRIMARY KEY,
    thread    TEXT NOT NULL,
    run       INTEGER NOT NULL,
    status    TEXT NOT NULL,
    roles     TEXT NOT NULL,
    due_at    INTEGER,
    asked_at  INTEGER NOT NULL,
    closed_at INTEGER,
    about     BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX reviews_open ON reviews (due_at, asked_at) WHERE status = 'open';
CREATE INDEX reviews_by_thread ON reviews (thread);

CREATE TABLE used_keys (
    key    TEXT PRIMARY KEY,
    thread TEXT NOT NULL,
    run    INTEGER NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE heads (
    thread    TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    digest    BLOB NOT NULL,
    at        INTEGER NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (thread, seq)
) STRICT, WITHOUT ROWID;
"""


async def asks(state: Work, ctx: Context) -> dict[str, object]:
    return {"log": [(await ctx.review("Go on?")).decision]}


GRAPH = chain(asks)


def columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA main.table_info({table})")]


async def old_store(folder: Path) -> str:
    """A file of schema 1 with a thread that has finished and one that waits for a review."""
    new, old = folder / "new.db", folder / "old.db"
    async with open_test_app(f"sqlite:///{new}", graphs=[GRAPH]) as app:
        for thread in ("done", "paused"):
            assert isinstance(await app.run("g", {}, thread=thread), Paused)
        [review] = await app.reviews(thread="done")
        await app.resolve(review, approve(by="dana"))
        assert isinstance(await app.wait("done/1"), Finished)
    Path(f"{new}.key").rename(f"{old}.key")
    db = sqlite3.connect(old)
    db.executescript(SCHEMA_1)
    db.execute("ATTACH ? AS new", (str(new),))
    for table in (
        row[0] for row in db.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall()
    ):
        names = ", ".join(columns(db, table))
        db.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM new.{table}")
    db.execute(f"PRAGMA main.application_id = {APPLICATION}")
    db.execute("PRAGMA main.user_version = 1")
    db.commit()
    db.close()
    return str(old)


def schema(path: str) -> dict[str, str]:
    """What is in the file, by name, without the blanks."""
    db = sqlite3.connect(path)
    try:
        found = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: " ".join(sql.replace("(", " ( ").replace(")", " ) ").split()) for name, sql in found}
    finally:
        db.close()


async def test_a_store_of_schema_1_is_opened_and_its_threads_go_on(tmp_path: Path) -> None:
    path = await old_store(tmp_path)
    async with open_test_app(f"sqlite:///{path}", graphs=[GRAPH]) as app:
        rows = {row.thread: row for row in await app.threads()}
        assert sorted(rows) == ["done", "paused"]
        assert {(row.tenant, row.priority, row.tries, row.aside) for row in rows.values()} == {("", 0, 0, "")}
        [review] = await app.reviews()
        await app.resolve(review, approve(by="dana"))
        assert isinstance(await app.wait("paused/1", timeout=10), Finished)
        assert isinstance(await app.run("g", {}, thread="new", priority=5, tenant="acme"), Paused)
        for thread in ("done", "paused", "new"):
            await proven(app, thread)


async def test_an_upgraded_store_has_the_schema_of_a_new_one(tmp_path: Path) -> None:
    path = await old_store(tmp_path)
    await SqliteStore(path).close()
    await SqliteStore(path).close()
    upgraded, made = schema(path), schema(str(tmp_path / "new.db"))
    assert upgraded.keys() == made.keys()
    assert {name for name in made if upgraded[name] != made[name]} == {"threads"}, (
        "only added columns are put last"
    )
    with sqlite3.connect(path) as old, sqlite3.connect(tmp_path / "new.db") as new:
        query = "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('threads')"
        assert old.execute(query).fetchall() == new.execute(query).fetchall()
        assert old.execute("PRAGMA user_version").fetchone() == new.execute("PRAGMA user_version").fetchone()
    old.close()
    new.close()


async def test_many_who_open_a_store_of_schema_1_at_once_upgrade_it_once(tmp_path: Path) -> None:
    path = await old_store(tmp_path)
    together, stores, errors = threading.Barrier(6), [], []

    def open_it() -> None:
        together.wait()
        try:
            stores.append(SqliteStore(path))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for store in stores:
        assert len(await store.threads()) == 2
        await store.close()


async def test_an_upgrade_that_breaks_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await old_store(tmp_path)
    before = schema(path)
    run = Opening._run

    def breaks(self: Opening, file: str) -> None:
        run(self, file)
        self._writer.execute("INSERT INTO nowhere VALUES (1)")

    with monkeypatch.context() as patched:
        patched.setattr(Opening, "_run", breaks)
        with pytest.raises(Exception, match="nowhere"):
            SqliteStore(path)
    assert schema(path) == before
    store = SqliteStore(path)
    assert len(await store.threads()) == 2
    await store.close()


async def test_a_store_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "t.db")
    await SqliteStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    db.close()
    with pytest.raises(StoreNewer):
        SqliteStore(path)
