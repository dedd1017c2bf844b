"""`turnout serve` killed with SIGKILL, again and again, while clients start runs, decide reviews, send signals, fork, and
listen to events. The oracles are outside: a file to which the desk's write tool adds a line, and what the clients were
answered.

TURNOUT_KILLS says how often (12).
"""

import asyncio
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from tests.e2e.serving import Server
from tests.postgres import fresh_database

from turnout import Finished, Paused, approve, connect, edit
from turnout.client.remote import Remote
from turnout.core.entries import Entry
from turnout.errors import ReviewClosed

pytestmark = [pytest.mark.e2e, pytest.mark.crash]
T = TypeVar("T")
KILLS = int(os.environ.get("TURNOUT_KILLS", "12"))
CLIENTS = 6
DESK = """
import os
from typing import Annotated
from pydantic import BaseModel
from turnout import END, Context, Graph, append, tool


class Order(BaseModel):
    order: str
    amount: int = 0
    heard: Annotated[list[int], append] = []
    receipt: str = ""


@tool(effect="write")
async def pay(order: str, amount: int, idempotency_key: str) -> str:
    world = os.open("world.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(world, f"{idempotency_key} {order} {amount}\\n".encode())
    os.close(world)
    return "R-" + order


orders = Graph("orders", state=Order, tools=[pay])


@orders.node
async def weigh(state: Order, ctx: Context) -> dict:
    return {"amount": 100}


@orders.node
async def ask(state: Order, ctx: Context) -> dict:
    decision = await ctx.review("Pay?", payload={"amount": state.amount}, allowed=["approve", "edit"])
    return {"amount": decision.payload["amount"]}


@orders.node
async def listen(state: Order, ctx: Context) -> dict:
    return {"heard": [await ctx.signal("goods"), await ctx.signal("goods")]}


@orders.node
async def settle(state: Order, ctx: Context) -> dict:
    return {"receipt": await ctx.call(pay, order=state.order, amount=state.amount)}


orders.start(weigh)
orders.edge(weigh, ask)
orders.edge(ask, listen)
orders.edge(listen, settle)
orders.edge(settle, END)
"""


class World:
    """The clients, what they were answered, and who kills the server meanwhile."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self.server = server
        self.chance = chance
        self.answers = 0
        self.killing = True
        self.kills = 0
        self.amounts: dict[str, int] = {}
        """What every thread has to have paid, once."""
        self.decided: dict[str, tuple[str, str]] = {}
        """By the thread: the review, and who has decided it, as the client was told."""
        self.forks: dict[str, str] = {}
        """The parent of every fork."""
        self.heard: dict[str, list[int]] = {}
        """The entries that a stream of the thread has told, in their order."""
        self.told: set[tuple[str, int]] = set()
        """The entries that the stream of all threads has told."""

    async def twice(self, ask: Callable[[], Awaitable[T]]) -> T:
        """An answer; now and then the client asks once more, as one does that has not heard it."""
        answer = await ask()
        self.answers += 1
        if self.chance.random() < 0.5:
            answer = await ask()
            self.answers += 1
        return answer

    async def kill(self) -> None:
        """Kill it after some more answers."""
        for _ in range(KILLS):
            wanted = self.answers + self.chance.randint(1, 40)
            async with asyncio.timeout(60):
                while self.answers < wanted:
                    await asyncio.sleep(0.005)
            await asyncio.sleep(self.chance.uniform(0, 0.03))
            await asyncio.to_thread(self.server.end, signal.SIGKILL)
            self.kills += 1
            await asyncio.to_thread(self.server.start)
        self.killing = False

    async def client(self, app: Remote, name: int) -> None:
        """One case after the other until nobody is killed any more."""
        number = 0
        while self.killing:
            key = f"{name}-{number}"
            run = await self.twice(
                lambda key=key: app.start("orders", {"order": key}, idempotency_key=f"start {key}")  # type: ignore[misc]
            )
            listening = asyncio.ensure_future(self.listen(app, run.thread))
            await self.carry(app, run.thread, key, amount=100 + number)
            if number % 2 == 0:
                entries = await app.entries(run.thread)
                at = next(entry.seq for entry in entries if entry.kind == "review.requested") - 1
                fork = await self.twice(
                    lambda thread=run.thread, at=at, key=key: app.fork(  # type: ignore[misc]
                        thread, at=at, update={"amount": 7}, idempotency_key=f"fork {key}"
                    )
                )
                self.forks[fork.thread] = run.thread
                await self.carry(app, fork.thread, f"fork {key}", amount=7)
            await asyncio.wait_for(listening, 120)
            number += 1

    async def carry(self, app: Remote, thread: str, key: str, amount: int) -> None:
        """A run from its review to its end."""
        outcome = await app.wait(f"{thread}/1")
        assert isinstance(outcome, Paused)
        [review] = outcome.reviews
        who = f"dana {key}"
        yes = approve(by=who) if amount == 7 else edit({"amount": amount}, by=who)
        found = await self.twice(lambda: app.resolve(review, yes, idempotency_key=f"decide {key}"))
        assert found.id == review.id
        with pytest.raises(
            ReviewClosed
        ) as refused:  # somebody else comes too late, and is told who was first
            await app.resolve(review, approve(by="late"), idempotency_key=f"late {key}")
        assert refused.value.first["by"] == who
        self.decided[thread] = (review.id, who)
        for n in (1, 2):
            await self.twice(
                lambda n=n: app.signal(thread, "goods", n, idempotency_key=f"signal {n} {key}")  # type: ignore[misc]
            )
        ended = await app.wait(f"{thread}/1")
        assert isinstance(ended, Finished), ended
        self.amounts[thread] = amount

    async def listen(self, app: Remote, thread: str) -> None:
        """The thread's stream from its first entry to the end of its run; the client goes on where it broke off."""
        seen = self.heard.setdefault(thread, [])
        async for event in app.stream(thread, after=0):
            if isinstance(event, Entry):
                seen.append(event.seq)
                if event.kind == "run.finished":
                    return

    async def listen_to_all(self) -> None:
        """The stream of all threads, by hand: `Last-Event-ID` is the last id that came."""
        last = ""
        async with httpx.AsyncClient(timeout=httpx.Timeout(60)) as http:
            while True:
                try:
                    headers = {"Last-Event-ID": last} if last else {}
                    async with http.stream(
                        "GET", f"{self.server.url}/api/v1/events", headers=headers
                    ) as said:
                        assert said.status_code == 200
                        mark = ""
                        async for line in said.aiter_lines():
                            if line.startswith("id: "):
                                mark = line[4:]
                            elif line.startswith("data: ") and '"seq"' in line:
                                entry = json.loads(line[6:])
                                self.told.add((entry["thread"], entry["seq"]))
                            elif not line:  # the event is whole
                                last, mark = mark or last, ""
                except httpx.HTTPError:
                    await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_clients_that_retry_with_their_keys_lose_nothing_and_double_nothing_when_it_is_killed(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / "orders_desk.py").write_text(DESK)
    (tmp_path / "turnout.toml").write_text("[serve]\nrate = 10000.0\nburst = 10000\n")
    if kind == "sqlite":
        _killed(tmp_path, f"sqlite:///{tmp_path / 'turnout.db'}")
        return
    with fresh_database(schema=True) as url:
        _killed(tmp_path, url)


def _killed(folder: Path, store: str) -> None:
    server = Server(folder, "orders_desk:orders", "--store", store)
    world = World(server, random.Random(KILLS))
    try:
        server.start()
        asyncio.run(_everything(world))
    finally:
        server.close()
    assert world.kills == KILLS
    assert world.forks
    assert len(world.heard) > CLIENTS
    paid: dict[str, Counter[str]] = {}
    for line in (folder / "world.txt").read_text().splitlines():
        key, order, amount = line.split()
        paid.setdefault(f"{order} {amount}", Counter())[key] += 1
    # A write that was cut off is sent again, under its own key: the lines may be more, the keys are not.
    assert all(len(keys) == 1 for keys in paid.values()), paid
    assert sum(len(keys) for keys in paid.values()) == len(world.amounts)


async def _everything(world: World) -> None:
    async with connect(world.server.url, patience=120) as app:
        to_all = asyncio.ensure_future(world.listen_to_all())
        # A first thread, so that the stream has an event to go on from before anybody is killed.
        first = await app.start("orders", {"order": "first"}, thread="first")
        await world.carry(app, first.thread, "first", amount=99)
        async with asyncio.timeout(30):
            while not world.told:
                await asyncio.sleep(0.01)
        await asyncio.gather(world.kill(), *(world.client(app, name) for name in range(CLIENTS)))
        await _check(app, world, to_all)


async def _check(app: Remote, world: World, to_all: "asyncio.Task[None]") -> None:
    rows = await app.threads(limit=100_000)
    assert {row.thread for row in rows} == set(world.amounts)  # every start and every fork is there, once
    assert all((row.status, row.run) == ("finished", 1) for row in rows)
    journals = {row.thread: await app.entries(row.thread) for row in rows}
    for thread, entries in journals.items():
        own = [entry for entry in entries if entry.thread == thread]
        made = [entry.body for entry in own if entry.kind == "review.decided"]
        assert [(body.review, body.by) for body in made] == [world.decided[thread]]  # type: ignore[attr-defined]
        assert [entry.body.payload for entry in own if entry.kind == "signal.received"] == [1, 2]  # type: ignore[attr-defined]
        state = await app.state(thread)
        assert (state["amount"], state["heard"]) == (world.amounts[thread], [1, 2])
        assert (await app.replay(thread)).identical
    for thread, seen in world.heard.items():
        assert seen == list(range(1, len(journals[thread]) + 1))
    assert not (await app.verify()).problems
    wanted = {(entry.thread, entry.seq) for entries in journals.values() for entry in entries}
    await asyncio.sleep(1)
    assert not to_all.done()
    to_all.cancel()
    assert {one for one in wanted - world.told if one[0] != "first"} == set()
