"""One graph with a node that kills its worker, and one whose nodes do no harm but take their time."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Annotated, Any

from pydantic import BaseModel

from turnout import END, Context, Graph, append
from turnout.cli.main import main as turnout


class Job(BaseModel):
    notes: Annotated[list[str], append] = []


poisoned = Graph("poisoned", state=Job)


@poisoned.node
async def kill(state: Job, ctx: Context) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


poisoned.start(kill)
poisoned.edge(kill, END)

innocent = Graph("innocent", state=Job)


@innocent.node
async def first(state: Job, ctx: Context) -> dict[str, Any]:
    await asyncio.sleep(0.2)
    return {"notes": ["first"]}


@innocent.node
async def second(state: Job, ctx: Context) -> dict[str, Any]:
    await asyncio.sleep(0.2)
    return {"notes": ["second"]}


innocent.start(first)
innocent.edge(first, second)
innocent.edge(second, END)
graphs = [poisoned, innocent]


def main(argv: list[str]) -> None:
    """`turnout` with these arguments."""
    turnout(argv, standalone_mode=False)
