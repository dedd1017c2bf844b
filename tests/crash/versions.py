"""Workers of several versions of one module, on one store: what a rolling deploy is while it lasts."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.crash.world import Oracle
from tests.promises.bench import load

from turnout import App, Graph, Settings, open_app

SETTINGS = Settings(lease=2.0, poll=0.01, sweep=0.1, grace=2.0, signing_key="11" * 32)
DESK = """
class S(BaseModel):
    order: str = "A"
    amount: int = 0
    receipt: str = ""

@tool(effect="read")
async def price(order: str) -> int:
    world.note("read", f"price {order}")
    return 70

@tool(effect="write")
async def pay(order: str, amount: int) -> str:
    world.note("write", f"pay {order}", VERSION)
    return f"{order} {amount} {VERSION}"

desk = Graph("desk", state=S, tools=[price, pay])

@desk.node
async def look_up(state, ctx):
    return {"amount": 7}

@desk.node
async def ask(state, ctx):
    amount = await ctx.call(price, order=state.order)
    answer = await ctx.review("pay?", payload={"amount": amount})
    return {"amount": amount}

@desk.node
async def settle(state, ctx):
    return {"receipt": await ctx.call(pay, order=state.order, amount=state.amount)}

desk.start(look_up)
desk.edge(look_up, ask)
desk.edge(ask, settle)
desk.edge(settle, END)
"""
VERSIONS = {
    "old": [],
    "fits": [("return {\"receipt\": await", "return {\"receipt\": \"\" + await")],
    "apart": [("price, order=state.order", "price, order=state.order + '!'")],
}  # fmt: skip


def graph(version: str, world: Oracle) -> Graph:
    """The module as it is in this version."""
    source = DESK
    for old, new in VERSIONS[version]:
        assert old in source
        source = source.replace(old, new)
    with tempfile.TemporaryDirectory() as folder:
        sys.modules["shared"] = type(sys)("shared")
        vars(sys.modules["shared"]).update(world=world, VERSION=version)
        found: Graph = load(Path(folder), f"from shared import world, VERSION\n{source}").desk
        return found.build()


def open_version(store: str, version: str, world: Oracle, *, work: bool = False) -> App:
    return open_app(store, graphs=[graph(version, world)], settings=SETTINGS, work=work)


async def work(args: argparse.Namespace) -> None:
    done, world = asyncio.Event(), Oracle(args.oracle)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    async with open_version(args.store, args.version, world, work=True):
        world.note("ready", str(os.getpid()))
        await done.wait()


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("oracle")
    parser.add_argument("version", choices=sorted(VERSIONS))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    args: Any = parser.parse_args(argv)
    asyncio.run(work(args))
