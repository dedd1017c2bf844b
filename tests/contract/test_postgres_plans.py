"""No statement of the Postgres store goes through the threads that wait: its plans say so, with 100,000 of them."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tests.postgres import fresh_database

from turnout.stores.postgres import PostgresStore
from turnout.stores.postgres_statements import SQL
from turnout.testing.contract.rows import T0

PAUSED = 100_000
NAMES = ["paused-7", "paused-8"]

FILL = """
INSERT INTO turnout.threads (thread, graph, fingerprint, status, run, head, digest, epoch, wake_at, created_at, updated_at,
                             tenant, priority, owner, lease_until)
SELECT kind || '-' || n, 'desk', 'f', CASE kind WHEN 'paused' THEN 'waiting' ELSE 'running' END, 1, 1, '\\x00', 0,
       CASE kind WHEN 'paused' THEN NULL WHEN 'timer' THEN %(now)s + 900000000 ELSE %(now)s - n END, 0, 0,
       'tenant-' || n %% 5, n %% 3, CASE kind WHEN 'held' THEN 'w' ELSE '' END,
       CASE kind WHEN 'held' THEN %(now)s + 900 ELSE 0 END
FROM unnest(ARRAY['paused', 'timer', 'due', 'held'], ARRAY[%(paused)s, 2000, 200, 50]) AS k (kind, size),
     generate_series(1, k.size) AS n
"""


@pytest.fixture(scope="module")
def crowded() -> Iterator[psycopg.Connection[Any]]:
    import asyncio

    async def make(url: str) -> None:
        store = PostgresStore(url)
        await store.open()
        await store.close()

    with fresh_database() as url:
        asyncio.run(make(url))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FILL, {"now": T0, "paused": PAUSED})
            connection.execute(
                "INSERT INTO turnout.reviews SELECT 'rev-' || thread, thread, 1, "
                "CASE WHEN thread LIKE '%7' THEN 'open' ELSE 'approve' END, '', 5, 6, NULL, '{}' FROM turnout.threads"
            )
            connection.execute("ANALYZE turnout.threads, turnout.reviews")
            yield connection


STATEMENTS: dict[str, list[Any]] = {
    "due": [T0, ["desk"], 64],
    "due_by_tenant": [T0, ["desk"], 64, [], ["tenant-1"]],
    "run_out": [T0, ["desk"], 64],
    "suspect": [T0, ["desk"], 1],
    "due_one": ["paused-7", T0, ["desk"]],
    "take": [NAMES, "w", T0, [0, 0], [0, 0], T0],
    "count_due": [T0, ["desk"], 1, False],
    "held": [T0],
    "renew": ["w", T0 + 1, NAMES, [0, 0]],
    "release": ["held-7", 0, 1, None],
    "wake": [NAMES, [T0, T0]],
    "thread": ["paused-7"],
    "step_of_1": ["paused-7", 1, 2, b"d", T0, 0, True, 2, "k", 1, "s", T0, b"{}", b"d"],
    "reviews": ["", "paused-7", "", 100, ""],
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_of_a_worker_scans_the_threads(crowded: psycopg.Connection[Any], name: str) -> None:
    plan = explain(crowded, name, STATEMENTS[name])
    scans = [node for node in nodes(plan) if node["Node Type"] == "Seq Scan" and "Relation Name" in node]
    assert scans == []
    touched = sum(
        node["Actual Rows"] * node["Actual Loops"]
        + node.get("Rows Removed by Filter", 0) * node["Actual Loops"]
        for node in nodes(plan)
        if node.get("Relation Name") == "threads"
    )
    assert touched < 1500, f"{name} looked at {touched:.0f} rows"


@pytest.mark.parametrize(
    "name", sorted(STATEMENTS.keys() - {"reviews"})
)  # lists are planned for their values
def test_a_plan_made_for_any_values_scans_nothing_either(crowded: psycopg.Connection[Any], name: str) -> None:
    """A prepared statement that is used often is planned once, without its values."""
    row = psycopg.ClientCursor(crowded).execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {SQL[name]}").fetchone()
    assert row is not None
    assert not [n for n in nodes(row[0][0]["Plan"]) if n["Node Type"] == "Seq Scan" and "Relation Name" in n]


@pytest.mark.parametrize(
    "values",
    [
        ["", "desk", "", "", "", "", False, 100, 0],
        ["", "", "waiting", "", "", "", False, 100, 0],
        ["", "", "", "w", "", "", False, 100, 0],
        ["", "", "", "", "", "tenant-3", False, 100, 0],
        ["", "", "", "", "", "", True, 100, 0],
        ["paused-5", "", "", "", "", "", False, 100, 0],
        ["", "", "", "", "PAUSED-5", "", False, 100, 0],
    ],
    ids=["graph", "status", "owner", "tenant", "aside", "page", "search"],
)
def test_a_page_of_a_list_is_found_through_an_index(
    crowded: psycopg.Connection[Any], values: list[Any]
) -> None:
    plan = explain(crowded, "threads", values)
    assert not [node for node in nodes(plan) if node["Node Type"] == "Seq Scan"]


def test_open_reviews_are_found_through_an_index(crowded: psycopg.Connection[Any]) -> None:
    plan = explain(crowded, "reviews", ["open", "", "", 20, ""])
    assert not [node for node in nodes(plan) if node["Node Type"] == "Seq Scan"]


def explain(connection: psycopg.Connection[Any], name: str, values: list[Any]) -> dict[str, Any]:
    """The plan of a statement, as it was run; what it did is undone."""
    with connection.transaction(force_rollback=True):
        cursor = psycopg.RawCursor(connection)
        row = cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {SQL[name]}", values).fetchone()
    assert row is not None
    found = row[0] if isinstance(row[0], list) else json.loads(row[0])
    return found[0]["Plan"]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)
