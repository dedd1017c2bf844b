"""What `turnout serve` serves in the benchmarks: a run that takes one step, and one that waits for a person."""

from __future__ import annotations

from typing import Any

from common import message
from pydantic import BaseModel

from turnout import END, Context, Graph


class Case(BaseModel):
    order: str
    note: str = ""


plain = Graph("plain", state=Case)
asks = Graph("asks", state=Case)


@plain.node
async def take_note(state: Case, ctx: Context) -> dict[str, Any]:
    return {"note": message(1)}


@asks.node
async def ask(state: Case, ctx: Context) -> dict[str, Any]:
    decision = await ctx.review("Refund this order?", payload={"order": state.order})
    return {"note": decision.summary}


plain.start(take_note)
plain.edge(take_note, END)
asks.start(ask)
asks.edge(ask, END)
graphs = [plain, asks]
