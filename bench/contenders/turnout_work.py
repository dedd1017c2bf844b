"""Turnout's side of the workload, on whichever store: the graphs, and what every store is asked to do with them."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from common import message
from pydantic import BaseModel

from turnout import END, Context, Finished, Graph, append, field, open_app, rule
from turnout.service.app import App


class State(BaseModel):
    n: int = 0
    limit: int
    messages: Annotated[list[str], append] = []


loop = Graph("loop", state=State, step_limit=1_000_000)
waiting = Graph("waiting", state=State, step_limit=1_000_000)
begun: list[float] = []
told: list[Callable[[float], None]] = [begun.append]
"""Who is told when a decision has been acted on (`time.perf_counter`, which all processes of a machine share)."""


@loop.node
@waiting.node
async def work(state: State, ctx: Context) -> dict[str, Any]:
    return {"n": state.n + 1, "messages": [message(state.n)]}


@waiting.node
async def ask(state: State, ctx: Context) -> dict[str, Any]:
    decision = await ctx.review("go on?")
    return {"messages": [decision.summary]}


@waiting.node
async def after(state: State, ctx: Context) -> dict[str, Any]:
    now = time.perf_counter()
    for tell in told:
        tell(now)
    return {}


loop.start(work)
loop.route(work, [rule("more", field("n") < field("limit"), to=work)], default=END)
waiting.start(work)
waiting.route(work, [rule("more", field("n") < field("limit"), to=work)], default=ask)
waiting.edge(ask, after)
waiting.edge(after, END)


def opened(url: str, **options: Any) -> App:
    return open_app(url, graphs=[loop, waiting], **options)


async def finish(app: App, graph: Graph, n: int, thread: str | None = None) -> None:
    """One run of `n` steps, to its end; a benchmark of runs that failed would be a fast one."""
    outcome = await app.run(graph, {"limit": n}, thread=thread)
    if not isinstance(outcome, Finished):
        sys.exit(f"a run of {n} steps did not finish: {outcome}")


async def alone(app: App, n: int) -> float:
    """Seconds for `n` steps of one thread, after a warm-up."""
    await finish(app, loop, 10)
    started = time.perf_counter()
    await finish(app, loop, n, "measured")
    return time.perf_counter() - started


async def together(app: App, k: int, n: int) -> float:
    """Seconds for `k` threads of `n` steps that are started at once, after a warm-up."""
    await finish(app, loop, 10)
    started = time.perf_counter()
    await asyncio.gather(*(finish(app, loop, n) for _ in range(k)))
    return time.perf_counter() - started


async def pause(app: App, names: list[str]) -> None:
    """Threads that wait for a person. The app has a worker."""
    for begin in range(0, len(names), 200):
        runs = [app.start(waiting, {"limit": 1}, thread=name) for name in names[begin : begin + 200]]
        await asyncio.gather(*(app.wait(run) for run in await asyncio.gather(*runs)))


def about(folder: Path) -> dict[str, Any]:
    return {"turnout": version("turnout"), "python": sys.version.split()[0], "sqlite": sqlite3.sqlite_version}
