"""What the console's tests serve: reviews of several kinds, a write, a model, a failure, parallel branches, a loop; and
content that would like to be more than text."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel

from turnout import END, Context, Graph, ModelReply, append, parallel, rule, tool
from turnout import field as f
from turnout.testing import ScriptedModel

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"


class Refund(BaseModel):
    order: str
    amount: int = 0
    limit: float | None = None
    tone: Literal["kind", "plain"] = "plain"
    notes: Annotated[list[str], append] = []
    checked: bool = False
    receipt: str | None = None


@tool(effect="read")
async def order_total(order: str) -> int:
    return int(order.rpartition("-")[2])


@tool(effect="write")
async def send_refund(order: str, amount: int, idempotency_key: str) -> str:
    return f"receipt {amount} for {order}"


refunds = Graph("refunds", state=Refund, tools=[order_total, send_refund])


@refunds.node
async def look_up(state: Refund, ctx: Context) -> dict[str, Any]:
    """What was paid for the order?"""
    return {"amount": await ctx.call(order_total, order=state.order)}


@refunds.node
async def ask(state: Refund, ctx: Context) -> dict[str, Any]:
    """Somebody of finance decides."""
    reply = await ctx.model("summary", messages=f"Sum up order {state.order}")
    shown = {
        "order": state.order, "amount": state.amount, "summary": reply.text, "urgent": False, "limit": None,
        "parts": {"net": state.amount, "names": ["a", "b"]},
    }  # fmt: skip
    decision = await ctx.review(
        f"Refund {state.amount} for {state.order}?", payload=shown, allowed=["approve", "edit", "reject", "respond"],
        roles=["finance"],
    )  # fmt: skip
    return {"amount": decision.payload["amount"] if decision.approved else 0, "notes": [decision.summary]}


@refunds.node
async def pay(state: Refund, ctx: Context) -> dict[str, Any]:
    return {"receipt": await ctx.call(send_refund, order=state.order, amount=state.amount)}


refunds.start(look_up)
refunds.route(
    look_up,
    [rule("nothing to refund", f("amount") <= 0, to=END), rule("small refund", f("amount") <= 50, to=pay)],
    default=ask,
)
refunds.route(ask, [rule("rejected", f("amount") == 0, to=END)], default=pay)
refunds.edge(pay, END)


class Round(BaseModel):
    turns: int = 0
    fails: bool = False
    left: int = 0
    right: int = 0


rounds = Graph("rounds", state=Round)


@rounds.node
async def turn(state: Round, ctx: Context) -> dict[str, Any]:
    return {"turns": state.turns + 1}


@rounds.node
async def go_left(state: Round, ctx: Context) -> dict[str, Any]:
    return {"left": 1}


@rounds.node
async def go_right(state: Round, ctx: Context) -> dict[str, Any]:
    return {"right": 1}


@rounds.node
async def meet(state: Round, ctx: Context) -> dict[str, Any]:
    if state.fails:
        raise RuntimeError(HOSTILE)
    return {}


rounds.start(turn)
rounds.route(turn, [rule("again", f("turns") < 3, to=turn)], default=parallel(go_left, go_right, join=meet))
rounds.edge(go_left, meet)
rounds.edge(go_right, meet)
rounds.edge(meet, END)


class Sign(BaseModel):
    text: str = HOSTILE
    people: int = 1
    got: str = ""


signs = Graph("signs", state=Sign)


@signs.node
async def ask_people(state: Sign, ctx: Context) -> dict[str, Any]:
    decision = await ctx.review(
        f"Sign {state.text}?", payload={HOSTILE: state.text}, quorum=state.people, separate=True, due=timedelta(minutes=30), on_due="reject",
    )  # fmt: skip
    return {"got": decision.decision}


@signs.node
async def hold(state: Sign, ctx: Context) -> dict[str, Any]:
    await ctx.signal("go")
    return {}


signs.start(ask_people)
signs.edge(ask_people, hold)
signs.edge(hold, END)

GRAPHS = [refunds, rounds, signs]


def _reply(request: Any) -> ModelReply:
    return ModelReply(
        text=f"In short: {HOSTILE}",
        model="scripted",
        usage={"input_tokens": 321, "output_tokens": 45},
        cost_micros=1234,
    )


MODELS = {"summary": ScriptedModel(_reply)}
