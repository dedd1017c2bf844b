"""A household with one of everything, and how it looks from outside."""

from __future__ import annotations

from typing import Any

from tests.moving.homes import Home
from tests.unit.runs import Work, chain

from turnout import DID_NOT_HAPPEN, Context, Graph, Paused, approve, reject, tool
from turnout.ports.rows import ThreadRow
from turnout.service.report import as_data
from turnout.testing import ScriptedModel

ledger: list[str] = []
broken: list[str] = []
"""What the line is down for: a write to it is sent, and nobody knows what became of it."""


async def landed(what: str, idempotency_key: str) -> Any:
    return DID_NOT_HAPPEN


@tool(effect="write", reconcile=landed)
async def pay(what: str, idempotency_key: str) -> str:
    ledger.append(what)
    return f"paid {what}"


@tool(effect="write")
async def post(what: str) -> str:
    raise ConnectionError("the line was cut")


def graphs() -> list[Graph]:
    """The graphs of the household, by name: asks, sleeps, fails, talks, child, parent, doubts."""

    async def ask(state: Work, ctx: Context) -> Any:
        said = await ctx.review("May we?", payload={"n": state.n, "letter": "long " * 300}, roles=["boss"])
        return {"log": [said.decision, await ctx.call(pay, what=f"{state.data} {said.decision}")]}

    async def sleep(state: Work, ctx: Context) -> Any:
        await ctx.sleep(86_400)
        return {"log": ["slept", str(await ctx.signal("bell"))]}

    async def fail(state: Work, ctx: Context) -> Any:
        raise ValueError("no")

    async def talk(state: Work, ctx: Context) -> Any:
        history = [{"role": "user", "content": line + " word" * 60} for line in state.log]
        reply = await ctx.model("clerk", messages=history)
        return {"log": [f"turn {len(state.log)}", reply.text]}

    async def listen(state: Work, ctx: Context) -> Any:
        return {"log": [str(await ctx.signal("word"))]}

    listens = chain(listen, name="child")

    async def have(state: Work, ctx: Context) -> Any:
        child = await ctx.run(listens, {})
        return {"log": [f"heard {child['log']}"]}

    async def write(state: Work, ctx: Context) -> Any:
        return {"log": [await ctx.call(post, what="letter")]}

    return [
        chain(ask, name="asks", tools=[pay]), chain(sleep, name="sleeps"), chain(fail, name="fails"),
        chain(talk, name="talks"), listens, chain(have, name="parent"), chain(write, name="doubts", tools=[post]),
    ]  # fmt: skip


def models() -> dict[str, Any]:
    return {"clerk": ScriptedModel([f"answer {n} " + "blah " * 150 for n in range(40)])}


async def furnish(home: Home) -> None:
    """Live in it for a while: threads that ended well and badly, that wait for everything there is, and forks."""
    async with home.app(*graphs(), models=models(), work=True) as app:
        for name, graph, data in (
            ("asked", "asks", "a"), ("denied", "asks", "d"), ("asking", "asks", "b"), ("sleeper", "sleeps", None),
            ("failed", "fails", None), ("parent", "parent", None), ("doubtful", "doubts", None),
            ("gone", "sleeps", None), ("rung", "sleeps", None),
        ):  # fmt: skip
            await app.start(graph, {"data": data}, thread=name, idempotency_key=f"key {name}", by="ada")
        for n in range(6):
            await app.wait(
                await app.start("talks", {"log": [f"q{n}"]}, thread="talk", idempotency_key=f"q{n}")
            )
        await app.wait("failed/1")
        for name, say in (("asked", approve), ("denied", reject)):
            paused = await app.wait(f"{name}/1")
            assert isinstance(paused, Paused)
            await app.resolve(paused.reviews[0], say(by="dana", comment="fine"))
            await app.wait(f"{name}/1")
        for waits in ("asking/1", "parent/1", "doubtful/1"):
            assert isinstance(await app.wait(waits), Paused)
        await app.start("asks", {"data": "next"}, thread="asking", idempotency_key="next")  # in the queue
        await app.signal("rung", "bell", "early", idempotency_key="bell")
        await app.cancel("gone", by="eve", reason="not needed")
        await app.wait("gone/1")
        asked = await app.entries("asking")
        await app.fork("asking", at=asked[-2].seq, name="fork")
        await app.fork("asked", at=4, name="other-fork", idempotency_key="other")
        assert isinstance(await app.wait("fork/1"), Paused)
        await app.fork("fork", name="zz-fork-of-fork")
        await home.clock.settle()


NAMES = (
    "asked", "asking", "denied", "doubtful", "failed", "fork", "gone", "other-fork", "parent", "rung", "sleeper", "talk",
    "zz-fork-of-fork",
)  # fmt: skip


def outline(row: ThreadRow) -> dict[str, Any]:
    """A thread's row, without who held it and how often."""
    found = as_data(row)
    for name in ("epoch", "owner", "lease_until", "tries"):
        del found[name]
    return dict(found)


async def picture(home: Home) -> dict[str, Any]:
    """Everything that anybody can see of a store's threads."""
    async with home.app(*graphs(), models=models()) as app:
        store = app.store
        found: dict[str, Any] = {}
        for row in await store.threads(limit=1000):
            name = row.thread
            found[name] = {
                "row": outline(row),
                "entries": [as_data(entry) for entry in await store.read(name)],
                "whole": as_data(await app.entries(name)),
                "runs": as_data(await store.runs(name)),
                "reviews": sorted(as_data(await store.reviews(thread=name)), key=lambda r: r["review"]),
                "keys": as_data(await store.keys(name)),
                "heads": as_data(await store.heads(name)),
                "explain": as_data(await app.explain(name)),
            }
        return found


async def sound(home: Home) -> None:
    """All verifies and replays identically."""
    async with home.app(*graphs(), models=models()) as app:
        verified = await app.verify()
        assert verified.ok, verified.problems
        for row in await app.threads(limit=1000):
            replayed = await app.replay(row.thread)
            assert replayed.identical, (row.thread, replayed.divergence)
