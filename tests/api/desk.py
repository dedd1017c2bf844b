"""A small desk that the API's tests serve: a review, a write, a signal, a model's words as they come, a failure."""

import asyncio
from typing import Annotated

from pydantic import BaseModel

from turnout import END, Context, Graph, append, rule, tool
from turnout import field as f

INPUT = {"order": "A-17", "amount": 500}
PAID: list[str] = []


class Refund(BaseModel):
    order: str
    amount: int = 0
    notes: Annotated[list[str], append] = []
    receipt: str | None = None


@tool(effect="write")
async def send_refund(order: str, amount: int, idempotency_key: str) -> str:
    PAID.append(idempotency_key)
    return f"R-{order}-{amount}"


refunds = Graph("refunds", state=Refund, tools=[send_refund])


@refunds.node
async def ask(state: Refund, ctx: Context) -> dict:
    decision = await ctx.review(
        "Refund this order?", payload={"order": state.order, "amount": state.amount},
        allowed=["approve", "edit", "reject"], roles=["finance"],
    )  # fmt: skip
    return {"amount": decision.payload["amount"] if decision.approved else 0, "notes": [decision.decision]}


@refunds.node
async def pay(state: Refund, ctx: Context) -> dict:
    return {"receipt": await ctx.call(send_refund, order=state.order, amount=state.amount)}


refunds.start(ask)
refunds.route(ask, [rule("rejected", f("amount") == 0, to=END)], default=pay)
refunds.edge(pay, END)


class Talk(BaseModel):
    words: int = 3
    said: str = ""


talks = Graph("talks", state=Talk)


@talks.node
async def talk(state: Talk, ctx: Context) -> dict:
    for number in range(state.words):
        ctx.emit({"text": f"word{number} "})
        await asyncio.sleep(0)
    return {"said": "done"}


talks.start(talk)
talks.edge(talk, END)


class Wait(BaseModel):
    got: str = ""


waits = Graph("waits", state=Wait)


@waits.node
async def hold(state: Wait, ctx: Context) -> dict:
    return {"got": await ctx.signal("go")}


waits.start(hold)
waits.edge(hold, END)

breaks = Graph("breaks", state=Talk)


@breaks.node
async def snap(state: Talk, ctx: Context) -> dict:
    raise ValueError("it snapped")


breaks.start(snap)
breaks.edge(snap, END)

GRAPHS = [refunds, talks, waits, breaks]
