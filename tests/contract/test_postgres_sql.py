"""What people may ask the Postgres store in SQL: the queries of the how-to, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from tests.postgres import fresh_database

from turnout import END, Context, Graph, Paused, field, open_app, rule
from turnout.stores.postgres import PostgresStore
from turnout.testing.contract.rows import T0, change, review

PAGE = Path(__file__).parents[2] / "docs/how-to/18-postgres.md"


class Refund(BaseModel):
    order: str
    amount: int = 7_000


refunds = Graph("refunds", state=Refund)


@refunds.node
async def look(state: Refund, ctx: Context) -> dict[str, Any]:
    return {}


@refunds.node
async def ask(state: Refund, ctx: Context) -> dict[str, Any]:
    await ctx.review("Refund this order?", payload={"order": state.order})
    return {}


refunds.start(look)
refunds.route(look, [rule("small", field("amount") < 5_000, to=END)], default=ask)
refunds.edge(ask, END)


@pytest.fixture
def database() -> Iterator[str]:
    with fresh_database(schema=True) as url:
        yield url


def queries() -> list[str]:
    """The statements of the page's SQL block."""
    block = PAGE.read_text().split("## Asking in SQL")[1]
    lines = [line.strip() for line in re.findall(r"^    (.*)$", block, re.M)]
    return [q for q in " ".join(line for line in lines if not line.startswith("--")).split(";") if q.strip()]


async def test_the_queries_of_the_page_give_decisions_by_rule_and_reviews_by_what_they_ask(
    database: str,
) -> None:
    async with open_app(database, graphs=[refunds]) as app:
        for order in ("A-17", "A-18"):
            assert isinstance(await app.run("refunds", {"order": order}, thread=f"case-{order}"), Paused)
    with psycopg.connect(database, autocommit=True) as connection:
        decisions, asked = [connection.execute(query).fetchall() for query in queries()]  # type: ignore[call-overload]
        assert dict(decisions)["default"] == 2
        assert [(thread, status) for _, thread, status in asked] == [("case-A-17", "open")]


async def test_what_is_no_json_shows_as_null_and_stays_as_it_is(database: str) -> None:
    store = PostgresStore(database)
    odd = review("rev-odd", "a")
    odd = odd.__class__(
        **{**{name: getattr(odd, name) for name in odd.__slots__}, "about": b'{"a":"\\u0000"}'}
    )
    sealed = change("a", 0, wake=T0)
    sealed.rows = [sealed.rows[0]._replace(stored=b"\x00\xff sealed")]
    sealed.reviews = [odd]
    await store.append(sealed)
    assert [row.stored for row in await store.read("a")] == [b"\x00\xff sealed"]
    assert [row.about for row in await store.reviews()] == [odd.about]
    await store.close()
    with psycopg.connect(database, autocommit=True) as connection:
        assert connection.execute("SELECT body FROM turnout.journal").fetchall() == [(None,)]
        assert connection.execute("SELECT asked FROM turnout.reviews").fetchall() == [(None,)]
