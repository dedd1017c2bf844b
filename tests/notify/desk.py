"""A desk whose reviews people are told of, and a turnout.toml for it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from turnout import END, Context, Graph
from turnout.settings import Settings

QUICK = Settings(lease=1.0, poll=0.01, sweep=0.05)


class Refund(BaseModel):
    order: str
    amount: int = 7_000
    how: str = "ask"
    decision: str = ""


async def ask(state: Refund, ctx: Context) -> dict[str, Any]:
    if state.how == "fail":
        raise RuntimeError(f"order {state.order} is unknown to the shop")
    if state.how == "none":
        return {}
    soon = timedelta(seconds=60)
    options: dict[str, Any] = {
        "ask": {},
        "due": {"due": soon},
        "escalate": {"due": soon, "on_due": "escalate", "escalate_to": ["chief"]},
    }[state.how]
    said = await ctx.review(
        "Refund this order?", payload={"order": state.order, "iban": "DE02"}, roles=["finance"], **options
    )
    return {"decision": said.decision}


def refunds(name: str = "refunds") -> Graph:
    graph = Graph(name, state=Refund)
    graph.node(ask)
    graph.start(ask)
    graph.edge(ask, END)
    return graph


def toml(folder: Path, text: str) -> Path:
    path = folder / "turnout.toml"
    path.write_text(text)
    return path
