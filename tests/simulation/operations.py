"""What the nodes of the simulated graphs do: operations on the world, told apart by where they are asked for."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel
from tests.simulation.world import PATIENCE, THREAD, WORLD, Refused

from turnout import Context, add, append, tool
from turnout.errors import EffectError

Op = tuple[Any, ...]


class Work(BaseModel):
    """`case` is different for every input; `log` has what came of every operation."""

    case: str = ""
    n: Annotated[int, add] = 0
    log: Annotated[list[str], append] = []


class Flaky(Exception):
    """A node's own trouble; it passes."""


class MixedUp(Exception):
    """A call was handed another call's answer."""


@tool(effect="read", time_limit=PATIENCE)
async def look(what: str) -> str:
    return await WORLD.get().ask("look", what)


async def _look_into(what: str) -> Any:
    return await WORLD.get().look_into(what)


@tool(effect="write", reconcile=_look_into, time_limit=PATIENCE)
async def book(what: str) -> str:
    return await WORLD.get().write("book", what)


@tool(effect="write", did_not_happen=(Refused,), time_limit=PATIENCE)
async def pay(what: str, idempotency_key: str) -> str:
    return await WORLD.get().write("pay", what, idempotency_key)


@tool(effect="write", time_limit=PATIENCE)
async def post(what: str) -> str:
    return await WORLD.get().write("post", what)


TOOLS = {"look": look, "book": book, "pay": pay, "post": post}


async def search(query: str, k: int) -> list[Any]:
    """The retrieval source of the simulation."""
    return [await WORLD.get().ask("retrieve", query)]


async def _once(what: str) -> str:
    return await WORLD.get().ask("once", what)


async def play(ops: tuple[Op, ...], state: Work, ctx: Context) -> list[str]:
    """All operations of a node, one after the other."""
    THREAD.set(ctx.thread)
    log: list[str] = []
    for place, op in enumerate(ops):
        log += await do(op, f"{state.case}:{ctx.step}:{place}", ctx)
    return log


async def do(op: Op, what: str, ctx: Context) -> list[str]:
    """One operation."""
    kind = op[0]
    if kind in TOOLS:
        return [answered(what, await ctx.call(TOOLS[kind], what=what))]
    if kind == "changed":  # by a newer version
        return await do(op[1], f"{what}'", ctx)
    if kind == "twice":
        return [await ctx.call(book, what=what), await ctx.call(book, what=f"{what}+")]
    if kind == "gather":
        found = await asyncio.gather(*(do(inner, f"{what}.{i}", ctx) for i, inner in enumerate(op[1])))
        return [line for lines in found for line in lines]
    if kind == "group":
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(do(inner, f"{what}.{i}", ctx)) for i, inner in enumerate(op[1])]
        return [line for task in tasks for line in task.result()]
    if (
        kind == "braid"
    ):  # which of the two writes is asked first differs between the first time and later ones
        return list(await asyncio.gather(_slowly(what, ctx), ctx.call(book, what=f"{what}.b")))
    if kind == "try":
        try:
            return await do(op[1], what, ctx)
        except EffectError as error:
            return [f"{what} failed: {error.cause}"]
    if kind == "agent":
        return await _agent(what, ctx)
    if kind == "flaky" and ctx.attempt <= op[1]:
        raise Flaky(what)
    return await _ask(op, what, ctx)


async def _ask(op: Op, what: str, ctx: Context) -> list[str]:
    kind = op[0]
    if kind == "model":
        return [answered(what, (await ctx.model("m", messages=what)).text)]
    if kind == "retrieve":
        return [answered(what, (await ctx.retrieve("r", what))[0])]
    if kind == "once":
        return [answered(what, await ctx.once("once", _once, what))]
    if kind == "review":
        return [(await _review(op, what, ctx)).decision]
    if kind == "signal":
        return [str(await ctx.signal(op[1]))]
    if kind == "sleep":
        await ctx.sleep(op[1])
    if kind == "child":
        return (await ctx.run(op[1], {"case": what}))["log"][:1]
    if kind in ("now", "random", "uuid"):
        return [str(await getattr(ctx, kind)())]
    return []


async def _review(op: Op, what: str, ctx: Context) -> Any:
    if op[1] == "due":
        return await ctx.review(
            what, payload={"of": what}, due=timedelta(seconds=op[2]), on_due=op[3], escalate_to=["boss"]
        )
    return await ctx.review(
        what, payload={"of": what}, allowed=["approve", "edit", "reject"], quorum=2 if op[1] == "two" else 1
    )


async def _slowly(what: str, ctx: Context) -> str:
    await ctx.call(look, what=f"{what}.a")
    return str(await ctx.call(book, what=f"{what}.a"))


async def _agent(what: str, ctx: Context) -> list[str]:
    """A model says what to do next, and hears what came of it: several calls within one step."""
    log: list[str] = []
    messages: list[dict[str, str]] = []
    for turn in range(5):
        asked = f"{what}~{turn}"
        messages.append({"role": "user", "content": asked})
        reply = await ctx.model("m", messages=messages)
        word, _, said = reply.text.partition(" ")
        answered(asked, said)
        messages.append({"role": "assistant", "content": reply.text})
        if word == "done":
            break
        log.append(await ctx.call(TOOLS[word], what=f"{asked}.{word}"))
    return log


def answered(what: str, answer: str) -> str:
    """The answer, which must be one to `what`."""
    if what not in answer:
        raise MixedUp(f"{what} was answered with {answer}")
    return answer
