"""A workload of transactional tools: what they write is in the store's own database, and is compared with the journals.

Like `tests.crash.desk`, `main` may be killed anywhere and run again from the top.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import json
import logging
import sqlite3
from typing import Annotated, Any

import psycopg
from pydantic import BaseModel
from tests.crash.desk import LEASE, patiently, report
from tests.crash.failpoint import FailpointStore
from tests.crash.stores import clock_for
from tests.crash.world import Oracle

from turnout import (
    END,
    App,
    Context,
    Finished,
    Graph,
    Paused,
    Retry,
    Settings,
    append,
    approve,
    fan_out,
    open_app,
    parallel,
    tool,
)
from turnout.core import entries as e
from turnout.wiring import is_postgres, open_store

SETTINGS = Settings(lease=LEASE, poll=0.005, sweep=0.05, grace=2.0, signing_key="11" * 32)
world = Oracle("unset")


class Book(BaseModel):
    case: str
    done: Annotated[list[str], append] = []


async def insert(transaction: Any, what: str, key: str) -> None:
    """On either engine."""
    mark = "?" if isinstance(transaction, sqlite3.Connection) else "%s"
    done = transaction.execute(f"INSERT INTO booked (what, key) VALUES ({mark}, {mark})", (what, key))
    if inspect.isawaitable(done):
        await done


@tool(effect="write", transactional=True)
async def book(what: str, transaction: Any, idempotency_key: str) -> str:
    await insert(transaction, what, idempotency_key)
    await asyncio.sleep(0)
    return f"booked {what}"


@tool(effect="write", transactional=True, name="book_elsewhere")
def on_a_thread(what: str, transaction: Any, idempotency_key: str) -> str:
    """SQLite's transaction can be used from a plain function."""
    transaction.execute("INSERT INTO booked (what, key) VALUES (?, ?)", (what, idempotency_key))
    return f"booked {what}"


@tool(effect="write", transactional=True, name="book_elsewhere")
async def on_the_loop(what: str, transaction: Any, idempotency_key: str) -> str:
    """That of Postgres has to be awaited."""
    await insert(transaction, what, idempotency_key)
    return f"booked {what}"


@tool(effect="write", transactional=True)
async def spill(what: str, transaction: Any, idempotency_key: str) -> str:
    await insert(transaction, what, idempotency_key)
    raise ValueError("spilled")


@tool(effect="write")
async def mail(text: str, idempotency_key: str) -> str:
    """Its receiver knows keys."""
    world.note("write", f"mail {text}", idempotency_key, once=True)
    return f"mailed {text}"


def graphs(book_elsewhere: Any) -> list[Graph]:
    """The graphs, with the tool of one engine."""
    errands = Graph("errands", state=Book, tools=[book])

    @errands.node
    async def walk(state: Book, ctx: Context) -> dict[str, Any]:
        return {"done": [await ctx.call(book, what=f"{state.case} errand")]}

    errands.start(walk)
    errands.edge(walk, END)

    books = Graph("books", state=Book, tools=[book, book_elsewhere, spill, mail])

    @books.node
    async def first(state: Book, ctx: Context) -> dict[str, Any]:
        await (
            ctx.now()
        )  # it rides along, here and below: unless somebody has poked the driver, which then commits it
        done = await ctx.call(book, what=f"{state.case} first")
        await ctx.now()
        return {"done": [done, await ctx.call(book_elsewhere, what=f"{state.case} second")]}

    @books.node(retry=Retry(attempts=3, wait=0.01))
    async def stumble(state: Book, ctx: Context) -> dict[str, Any]:
        if ctx.attempt == 1:
            await ctx.call(spill, what=f"{state.case} spilled")
        return {"done": [await ctx.call(book, what=f"{state.case} stumbled")]}

    @books.node
    async def together(state: Book, ctx: Context) -> dict[str, Any]:
        done = await asyncio.gather(
            ctx.call(book, what=f"{state.case} gathered 1"),
            ctx.call(mail, text=f"{state.case} gathered 2"),
            ctx.call(book_elsewhere, what=f"{state.case} gathered 3"),
        )
        return {"done": list(done)}

    @books.node
    async def spread(state: Book, ctx: Context) -> fan_out:
        return fan_out(part, [1, 2, 3])

    @books.node
    async def part(state: Book, ctx: Context) -> dict[str, Any]:
        await ctx.now()
        return {"done": [await ctx.call(book, what=f"{state.case} part {ctx.item}")]}

    @books.node
    async def left(state: Book, ctx: Context) -> dict[str, Any]:
        await ctx.now()
        return {"done": [await ctx.call(book_elsewhere, what=f"{state.case} left")]}

    @books.node
    async def right(state: Book, ctx: Context) -> dict[str, Any]:
        return {"done": [await ctx.call(mail, text=f"{state.case} right")]}

    @books.node
    async def ask(state: Book, ctx: Context) -> dict[str, Any]:
        await ctx.now()
        before = await ctx.call(book, what=f"{state.case} before the review")
        said = await ctx.review("Go on?")
        return {"done": [before, await ctx.call(book, what=f"{state.case} {said.decision}")]}

    @books.node
    async def delegate(state: Book, ctx: Context) -> dict[str, Any]:
        return {"done": (await ctx.run(errands, {"case": state.case}))["done"]}

    books.start(first)
    books.edge(first, stumble)
    books.edge(stumble, together)
    books.edge(together, spread)
    books.edge(spread, part)
    books.edge(part, parallel(left, right, join=ask))
    books.edge(left, ask)
    books.edge(right, ask)
    books.edge(ask, delegate)
    books.edge(delegate, END)
    return [books, errands]


def connect(store: str) -> Any:
    """A connection of the user's own to the store's database."""
    if is_postgres(store):
        return psycopg.connect(store, autocommit=True)
    return sqlite3.connect(store.removeprefix("sqlite:///"), timeout=10, isolation_level=None)


def make_table(store: str) -> None:
    """Beforehand, by the user, on a connection of their own."""
    with contextlib.closing(connect(store)) as db:
        db.execute("CREATE TABLE IF NOT EXISTS booked (what TEXT NOT NULL, key TEXT NOT NULL)")


def rows(store: str) -> list[list[str]]:
    with contextlib.closing(connect(store)) as db:
        return sorted([what, key] for what, key in db.execute("SELECT what, key FROM booked"))


async def landed(app: App) -> list[list[str]]:
    """What the journals say: the transactional writes that landed, as the table has them."""
    found = []
    for row in await app.threads():
        intended: dict[tuple[str, str, int], e.EffectIntended] = {}
        for entry in await app.entries(row.thread):
            body = entry.body
            if isinstance(body, e.EffectIntended):
                intended[(entry.step, body.key, body.n)] = body
            elif isinstance(body, e.EffectSettled) and (body.how, body.outcome) == ("transaction", "landed"):
                write = intended[(entry.step, body.key, body.n)]
                found.append([write.args["what"], write.idempotency_key])
    return sorted(found)


async def case(app: App, name: str) -> Any:
    run = await patiently(app.start, "books", {"case": name}, thread=name, idempotency_key=name)
    while isinstance(outcome := await app.wait(run, timeout=15), Paused):
        for review in outcome.reviews:
            await patiently(app.resolve, review.id, approve(by="dana"))
    return outcome


async def work(args: argparse.Namespace) -> dict[str, Any]:
    clock = clock_for(args.store)
    store = FailpointStore(open_store(args.store, clock=clock), args.at, args.when)
    make_table(args.store)
    desk = graphs(on_the_loop if is_postgres(args.store) else on_a_thread)
    async with open_app(store, graphs=desk, settings=SETTINGS, clock=clock) as app:
        outcomes = await asyncio.gather(*(case(app, f"case-{n}") for n in range(1, args.cases + 1)))
        assert all(isinstance(outcome, Finished) for outcome in outcomes), outcomes
        return {
            "writes": store.writes,
            "threads": await report(app, "case-"),
            "rows": rows(args.store),
            "landed": await landed(app),
        }


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("oracle")
    parser.add_argument("--at", type=int, default=0, help="die at this store write")
    parser.add_argument("--when", choices=["before", "after", "refuse", "doubt"], default="before")
    parser.add_argument("--cases", type=int, default=1)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    global world
    world = Oracle(args.oracle)
    print(json.dumps(asyncio.run(work(args))), flush=True)
