"""A step that makes five model calls, as an agent loop inside one node does; it can be killed at any store write."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel
from tests.crash.desk import SETTINGS
from tests.crash.failpoint import FailpointStore
from tests.crash.stores import clock_for
from tests.crash.world import Oracle

from turnout import END, Context, Finished, Graph, ModelReply, ModelRequest, append, open_app
from turnout.ports.rows import Lease
from turnout.testing import ScriptedModel
from turnout.wiring import open_store

CALLS = 5


class Talk(BaseModel):
    said: Annotated[list[str], append] = []


five = Graph("five", state=Talk)


@five.node
async def agent(state: Talk, ctx: Context) -> dict[str, Any]:
    said: list[str] = []
    for number in range(1, CALLS + 1):
        reply = await ctx.model("clerk", messages=f"call {number} after {len(said)}")
        said.append(reply.text)
    return {"said": said}


five.start(agent)
five.edge(agent, END)


class Store(FailpointStore):
    """Renewals aren't counted: how many there are depends on how slow the machine is."""

    async def renew(self, worker: str, threads: Sequence[Lease], until: int) -> list[Lease]:
        return await self._inner.renew(worker, threads, until)


async def work(args: argparse.Namespace) -> dict[str, Any]:
    world = Oracle(args.oracle)

    def clerk(request: ModelRequest) -> ModelReply:
        asked = request.messages[-1].content
        world.note("model", asked)  # from here on it is paid for
        return ModelReply(text=f"answer to {asked}")

    clock = clock_for(args.store)
    store = Store(open_store(args.store, clock=clock), args.at, args.when)
    models = {"clerk": ScriptedModel(clerk)}
    async with open_app(store, graphs=[five], models=models, settings=SETTINGS, clock=clock) as app:
        run = await app.start("five", {}, thread="t", idempotency_key="t")
        outcome = await app.wait(run, timeout=15)
        assert isinstance(outcome, Finished), outcome
        replayed = await app.replay("t")
        return {
            "writes": store.writes,
            "state": await app.state("t"),
            "identical": replayed.identical,
            "verify": (await app.verify()).problems,
            "recorded": [entry.kind for entry in await app.entries("t")].count("effect.recorded"),
        }


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("oracle")
    parser.add_argument("--at", type=int, default=0)
    parser.add_argument("--when", choices=["before", "after"], default="before")
    print(json.dumps(asyncio.run(work(parser.parse_args(argv)))), flush=True)
