"""Transactional tools on Postgres, through the whole runtime: rows of one's own and entries are there together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from tests.postgres import fresh_database

from turnout import END, Context, Failed, Finished, Graph, Settings, open_app, tool

SETTINGS = Settings(signing_key="5a" * 32, poll=0.005, sweep=0.05)


class Count(BaseModel):
    n: int = 0


@pytest.fixture
def database() -> Iterator[str]:
    with fresh_database(schema=True) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE booked (n int)")
        yield url


def rows(url: str) -> list[int]:
    with psycopg.connect(url, autocommit=True) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM booked ORDER BY n")]


@tool(effect="write", transactional=True)
async def book(n: int, transaction: psycopg.AsyncConnection[Any]) -> int:
    await transaction.execute("INSERT INTO booked VALUES (%s)", (n,))
    return n


@tool(effect="write", transactional=True)
async def stumble(transaction: psycopg.AsyncConnection[Any]) -> None:
    await transaction.execute("INSERT INTO booked VALUES (-1)")
    raise ValueError("half-way")


@tool(effect="write", transactional=True)
def plain(transaction: Any) -> None:
    transaction.execute("INSERT INTO booked VALUES (-2)")


@tool(effect="write", transactional=True)
async def leave(transaction: psycopg.AsyncConnection[Any]) -> None:
    await transaction.execute("INSERT INTO booked VALUES (-3)")
    await transaction.commit()


def graph(node: Any, *tools: Any) -> Graph:
    made = Graph("g", state=Count, tools=tools)
    made.node(node, name="one")
    made.start("one")
    made.edge("one", END)
    return made


async def test_what_a_tool_wrote_and_its_entries_are_there_together(database: str) -> None:
    async def one(state: Count, ctx: Context) -> dict[str, Any]:
        done = await asyncio.gather(*(ctx.call(book, n=n) for n in range(5)))
        return {"n": sum(done)}

    async with open_app(database, graphs=[graph(one, book)], settings=SETTINGS) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished)
        assert rows(database) == [0, 1, 2, 3, 4]
        calls = (await app.explain("t")).calls
        assert {(call.outcome, call.settled[-1].how) for call in calls} == {("landed", "transaction")}
        assert (await app.replay("t")).identical
        assert (await app.verify()).ok
    assert rows(database) == [0, 1, 2, 3, 4]


async def test_many_at_once_with_news_from_outside_book_each_once(database: str) -> None:
    """More transactions than the pool has connections, while every journal grows under them."""

    async def one(state: Count, ctx: Context) -> dict[str, Any]:
        first = int(ctx.thread[1:]) * 10
        await asyncio.gather(*(ctx.call(book, n=first + n) for n in range(3)))
        return {"n": 1}

    async with open_app(database, graphs=[graph(one, book)], settings=SETTINGS) as app:
        runs = [await app.start("g", {}, thread=f"t{n}") for n in range(30)]
        for _ in range(3):
            await asyncio.gather(*(app.signal(run.thread, "bell") for run in runs))
        ended = await asyncio.gather(*(app.wait(run, timeout=60) for run in runs))
        assert all(isinstance(outcome, Finished) for outcome in ended)
        assert rows(database) == sorted(n * 10 + k for n in range(30) for k in range(3))
        assert (await app.verify()).ok
        for run in runs[:5]:
            assert (await app.replay(run.thread)).identical


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (stumble, "ValueError: half-way"),
        (plain, "make it `async def`, and `await transaction.execute(...)`"),
        (leave, "commit"),
    ],
    ids=["raises", "is a plain function", "commits by itself"],
)
async def test_a_tool_that_fails_leaves_nothing(database: str, bad: Any, words: str) -> None:
    async def one(state: Count, ctx: Context) -> dict[str, Any]:
        await ctx.call(bad)
        return {}

    async with open_app(database, graphs=[graph(one, bad)], settings=SETTINGS) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Failed)
        assert words in outcome.error.message
        [call] = (await app.explain("t")).calls
        assert call.outcome == "did_not_happen"
        assert (await app.replay("t")).identical
    assert rows(database) == []
