"""What the tests of explain share: a desk that refunds after a review, and a case that it has refunded."""

from typing import Annotated, Any

from pydantic import BaseModel

from turnout import (
    END,
    Context,
    Finished,
    Graph,
    ModelReply,
    Paused,
    Usage,
    append,
    edit,
    field,
    merge,
    rule,
    tool,
)
from turnout.service.app import App
from turnout.service.report import Report
from turnout.testing import ScriptedModel, open_test_app


class Desk(BaseModel):
    order: str
    amount: int = 0
    notes: Annotated[list[str], append] = []
    facts: Annotated[dict[str, int], merge] = {}
    receipt: str | None = None


@tool(effect="read")
async def order_total(order: str) -> int:
    return 9000


@tool(effect="write")
async def send_refund(order: str, amount: int, idempotency_key: str) -> str:
    return "R-1"


desk = Graph("desk", state=Desk, tools=[order_total, send_refund])


@desk.node
async def look_up(state: Desk, ctx: Context) -> dict[str, Any]:
    reply = await ctx.model("clerk", messages="What is it about?")
    return {
        "amount": await ctx.call(order_total, order=state.order),
        "notes": [reply.text],
        "facts": {"seen": 1},
    }


@desk.node
async def ask(state: Desk, ctx: Context) -> dict[str, Any]:
    decision = await ctx.review(
        "Refund?", payload={"amount": state.amount}, allowed=["approve", "edit", "reject"], roles=["finance"]
    )
    return {"amount": decision.payload["amount"]}


@desk.node
async def pay(state: Desk, ctx: Context) -> dict[str, Any]:
    return {"receipt": await ctx.call(send_refund, order=state.order, amount=state.amount)}


desk.start(look_up)
desk.route(look_up, [rule("small refund", field("amount") <= 5_000, to=pay)], default=ask)
desk.edge(ask, pay)
desk.edge(pay, END)

REPLY = ModelReply(
    text="a broken lamp", usage=Usage(input_tokens=12, output_tokens=5), cost_micros=420, model="clerk-1"
)


async def refunded(app: App) -> Report:
    outcome = await app.run("desk", {"order": "A-17"}, thread="case", by="eve", idempotency_key="k")
    assert isinstance(outcome, Paused)
    await app.resolve(
        outcome.reviews[0], edit({"amount": 100}, by="dana", roles=["finance"], comment="too much")
    )
    assert isinstance(await app.wait("case/1", timeout=10), Finished)
    return await app.explain("case")


def scripted() -> App:
    return open_test_app(graphs=[desk], models={"clerk": ScriptedModel([REPLY] * 3)})
