"""A graph with one of each: tools that read and write, a model, a retrieval, a review, a retry, branches, a child."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel

from turnout import END, Context, Graph, append, tool
from turnout.core.graph import Retry
from turnout.settings import Settings

QUICK = Settings(lease=5.0, poll=0.01, sweep=0.05)
SECRET = "swordfish"


class Case(BaseModel):
    order: str = "A-17"
    how: str = ""
    log: Annotated[list[str], append] = []


@tool(effect="read")
async def look_up(order: str) -> str:
    return f"{order} {SECRET}"


@tool(effect="write")
async def pay(order: str, idempotency_key: str) -> str:
    return f"paid {SECRET}"


tries: list[int] = []


async def research(state: Case, ctx: Context) -> dict[str, Any]:
    await ctx.now()
    await ctx.random()
    found = await ctx.call(look_up, order=state.order)
    reply = await ctx.model("clerk", messages=[{"role": "user", "content": f"what of {SECRET}?"}])
    docs = await ctx.retrieve("policies", SECRET, k=1)
    return {"log": [found, reply.text, str(len(docs))]}


async def shaky(state: Case, ctx: Context) -> dict[str, Any]:
    tries.append(1)
    if len(tries) < 2:
        raise OSError(f"no {SECRET}")
    if state.how == "fail":
        raise RuntimeError(SECRET)
    return {}


async def settle(state: Case, ctx: Context) -> dict[str, Any]:
    await ctx.call(pay, order=state.order)
    if state.how == "due":
        await ctx.review(f"Is {SECRET} right?", due=timedelta(seconds=0.05), on_due="approve")
    if state.how == "ask":
        await ctx.review(f"Is {SECRET} right?")
    return {}


def desk() -> Graph:
    graph = Graph("desk", state=Case, tools=[look_up, pay])
    graph.node(research)
    graph.node(shaky, retry=Retry(attempts=2, wait=0.01))
    graph.node(settle)
    graph.start(research)
    graph.edge(research, shaky)
    graph.edge(shaky, settle)
    graph.edge(settle, END)
    tries.clear()
    return graph


async def policies(query: str, k: int) -> list[Any]:
    return [{"text": SECRET}]


def toml(folder: Path, text: str) -> Path:
    path = folder / "turnout.toml"
    path.write_text(text)
    return path
