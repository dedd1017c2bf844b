"""The command line on Postgres when something is wrong: one line that says what to do, a non-zero exit, no password
anywhere, and nothing half-made in the database."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.e2e.cli_desk import Folder
from tests.e2e.test_cli_errors import refused
from tests.postgres import Cluster

from turnout.cli.main import main  # noqa: F401 - a module that the desk needs is loaded before the clock runs
from turnout.stores import postgres_schema

pytestmark = pytest.mark.e2e
SECRET = "geheim-Xq7"
RUN = ["run", "desk:refunds", "--input", '{"order": "A-1"}', "--thread", "case-1"]
COMMANDS = [
    ["threads"],
    ["threads", "--json"],
    RUN,
    [*RUN, "--json"],
    ["worker", "desk:refunds"],
    ["migrate"],
]
IDS = [" ".join(words[:1] + words[-1:]) for words in COMMANDS]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server that wants a password from everybody who comes over the network."""
    found = Cluster()
    try:
        found.trust("local all all trust", "host all all 127.0.0.1/32 scram-sha-256")
        with psycopg.connect(found.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE ROLE desk LOGIN PASSWORD {}").format(SECRET))
            connection.execute(sql.SQL("CREATE ROLE nobody LOGIN PASSWORD {}").format(SECRET))
            connection.execute(sql.SQL("CREATE ROLE reader LOGIN PASSWORD {}").format(SECRET))
        yield found
    finally:
        found.close()


@pytest.fixture
def database(cluster: Cluster) -> str:
    """An empty database, by its name; `desk` owns it. It goes with its server."""
    name = f"t{time.time_ns()}"
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER desk").format(sql.Identifier(name)))
    return name


@pytest.fixture
def filled(cluster: Cluster, folder: Folder, database: str) -> str:
    """A database with a thread in it that waits for a person."""
    store = cluster.tcp("desk", SECRET, database)
    words = ["run", "desk:refunds", "--input", '{"order": "A-17"}', "--thread", "case-17", "--store", store]
    said = folder.run(*words).output
    assert f"--store {store.replace(f':{SECRET}', '')}" in said  # what it suggests next
    assert SECRET not in said
    with psycopg.connect(cluster.url(database=database), autocommit=True) as connection:
        connection.execute("GRANT USAGE ON SCHEMA turnout TO reader")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA turnout TO reader")
    return database


def contents(cluster: Cluster, database: str) -> dict[str, str]:
    """Every relation of the database, and a digest of the rows of Turnout's tables."""
    with psycopg.connect(cluster.url(database=database), autocommit=True) as connection:
        found = connection.execute(
            "SELECT n.nspname || '.' || c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
        ).fetchall()
        says = dict(found)
        for name, kind in found:
            if kind == "r" and name.startswith("turnout."):
                rows = sql.SQL(
                    "SELECT md5(coalesce(string_agg(x::text, ',' ORDER BY x::text), '')) FROM {} x"
                )
                says[name] = connection.execute(rows.format(sql.Identifier(*name.split(".")))).fetchone()[0]
    return says


def no(cluster: Cluster, folder: Folder, words: list[str], store: str) -> str:
    """The one line that a command is refused with. The password is in none of what it says."""
    found = refused(folder, *words, "--store", store)
    assert SECRET not in found
    return found


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("words", COMMANDS, ids=IDS)
def test_an_address_that_leads_nowhere_is_one_clear_line(
    cluster: Cluster, folder: Folder, database: str, words: list[str]
) -> None:
    before = contents(cluster, database)
    port = cluster.port
    places = {
        cluster.tcp("desk", f"{SECRET}-wrong", database): "refused the sign-in",
        cluster.tcp("stranger", SECRET, database): "refused the sign-in",
        f"postgresql://desk@127.0.0.1:{port}/{database}": "no password supplied",
        f"postgresql://127.0.0.1:{port}/{database}?user=desk&password={SECRET}-wrong": "refused the sign-in",
        cluster.tcp("desk", SECRET, "nowhere"): "make it with `createdb`",
        f"postgresql://desk:{SECRET}@127.0.0.1:{closed_port()}/x": "Connection refused; check address and server",
        f"postgresql://desk:{SECRET}@no-such-host.invalid/x": "no-such-host.invalid",
        f"postgresql://desk:{SECRET}%zz@127.0.0.1/x": "%25 for %",
        f"postgresql://desk:1@{SECRET}@127.0.0.1/x": "%40 stands for @",
        f"postgresql://desk:{SECRET}@127.0.0.1/x?sslmod=require": 'invalid URI query parameter: "sslmod"',
    }
    for store, says in list(places.items())[:: 1 if words == ["threads"] else 4]:
        assert says in no(cluster, folder, words, store), store
    assert contents(cluster, database) == before
    assert not folder.ledger()


def test_a_database_without_the_schema_is_left_as_it_is_by_who_only_looks(
    cluster: Cluster, folder: Folder, database: str
) -> None:
    store = cluster.tcp("desk", SECRET, database)
    for words in (["threads"], ["verify"], ["worker", "desk:refunds"], ["signal", "case-1", "go"]):
        assert "has no Turnout schema yet; run `turnout migrate" in no(cluster, folder, words, store)
        assert contents(cluster, database) == {}
    assert "made: 0001" in folder.run("migrate", "--store", store).stdout
    assert "the schema is up to date" in folder.run("migrate", "--store", store).stdout
    assert folder.run("threads", "--store", store).exit_code == 0


def test_a_role_that_may_not_make_the_schema_makes_no_part_of_it(
    cluster: Cluster, folder: Folder, database: str
) -> None:
    store = cluster.tcp("nobody", SECRET, database)
    for words in (["migrate"], RUN):
        assert "let the schema's owner run `turnout migrate`" in no(cluster, folder, words, store)
        assert contents(cluster, database) == {}


def test_a_newer_schema_is_left_alone(cluster: Cluster, folder: Folder, filled: str) -> None:
    with psycopg.connect(cluster.url(database=filled), autocommit=True) as connection:
        connection.execute("INSERT INTO turnout.migrations (version, name) VALUES (99, 'later')")
    before = contents(cluster, filled)
    for words in COMMANDS:
        said = no(cluster, folder, words, cluster.tcp("desk", SECRET, filled))
        assert "has schema 99, this Turnout knows" in said
        assert "upgrade" in said
    assert contents(cluster, filled) == before


def test_an_older_schema_waits_for_migrate_which_is_made_whole_or_not_at_all(
    cluster: Cluster, folder: Folder, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, known = cluster.tcp("desk", SECRET, filled), postgres_schema.migrations()
    number = known[-1][0] + 1
    before = contents(cluster, filled)
    more = "CREATE TABLE turnout.more (x text);"
    monkeypatch.setattr(
        postgres_schema, "migrations", lambda: [*known, (number, "more", f"{more} SELECT 1/0")]
    )
    for words in (["threads"], ["worker", "desk:refunds"]):
        assert f"has schema {number - 1}, this Turnout needs {number}; run `turnout migrate" in no(
            cluster, folder, words, store
        )
    assert "division by zero" in no(cluster, folder, ["migrate"], store)
    assert contents(cluster, filled) == before
    monkeypatch.setattr(postgres_schema, "migrations", lambda: [*known, (number, "more", more)])
    assert folder.run("migrate", "--json", "--store", store).stdout.strip() == json.dumps(
        {"migrations": [f"{number:04} more"]}, indent=2
    )
    assert "turnout.more" in contents(cluster, filled)
    assert [row["thread"] for row in folder.json("threads", "--store", store)] == ["case-17"]


def test_a_role_without_rights_sees_nothing_and_does_nothing(
    cluster: Cluster, folder: Folder, filled: str
) -> None:
    before = contents(cluster, filled)
    for words in COMMANDS:
        said = no(cluster, folder, words, cluster.tcp("nobody", SECRET, filled))
        assert "permission denied" in said
        assert "GRANT" in said
    assert contents(cluster, filled) == before


def test_a_role_that_may_only_read_lists_and_explains_and_is_refused_all_else(
    cluster: Cluster, folder: Folder, filled: str
) -> None:
    store = cluster.tcp("reader", SECRET, filled)
    before = contents(cluster, filled)
    assert [row["thread"] for row in folder.json("threads", "--store", store)] == ["case-17"]
    assert "Refund this order?" in folder.run("explain", "case-17", "--store", store).stdout
    for words in (RUN, ["signal", "case-17", "go"], ["cancel", "case-17"], ["worker", "desk:refunds"]):
        said = no(cluster, folder, words, store)
        assert "GRANT" in said, said
    assert contents(cluster, filled) == before


def test_a_worker_waits_out_a_server_that_goes_away_and_says_so_once(
    cluster: Cluster, folder: Folder, database: str
) -> None:
    store = cluster.tcp("desk", SECRET, database)
    folder.run("migrate", "--store", store)
    program = str(Path(sys.executable).parent / "turnout")
    said = folder.path / "said"
    with said.open("w") as err:
        process = subprocess.Popen([program, "worker", "desk:refunds", "--store", store], cwd=folder.path,
                                   stderr=err, stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        wait_for(said, "working on refunds")
        cluster.crash()
        wait_for(said, "can't claim threads now, and go on trying")
        cluster.start()
        wait_for(said, "can claim threads again")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == 0
    assert "stopped" in out
    lines = said.read_text().splitlines()
    assert SECRET not in out + said.read_text()
    assert len(lines) == len(set(lines)) <= 8, lines


def wait_for(file: Path, words: str) -> None:
    end = time.monotonic() + 60
    while words not in file.read_text():
        assert time.monotonic() < end, file.read_text()
        time.sleep(0.05)
