"""The program by which the design introduces the API, as written there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel

from turnout import END, Context, Finished, Graph, Paused, append, approve, field, open_app, rule, tool

sent: list[tuple[str, int, str]] = []


class Refund(BaseModel):
    order: str
    amount: int = 0  # minor units
    notes: Annotated[list[str], append] = []
    receipt: str | None = None


@tool(effect="read")
async def order_total(order: str) -> int:
    return 12_000


@tool(effect="write")
async def send_refund(order: str, amount: int, idempotency_key: str) -> str:
    sent.append((order, amount, idempotency_key))
    return f"refund {len(sent)}"


refunds = Graph("refunds", state=Refund, tools=[order_total, send_refund])


@refunds.node
async def look_up(state: Refund, ctx: Context) -> dict:
    return {"amount": await ctx.call(order_total, order=state.order)}


@refunds.node
async def ask(state: Refund, ctx: Context) -> dict:
    decision = await ctx.review("Refund this order?", payload={"order": state.order, "amount": state.amount},
                                allowed=["approve", "edit", "reject"], roles=["finance"])  # fmt: skip
    return {"amount": decision.payload["amount"] if decision.approved else 0, "notes": [decision.summary]}


@refunds.node
async def pay(state: Refund, ctx: Context) -> dict:
    return {"receipt": await ctx.call(send_refund, order=state.order, amount=state.amount)}


refunds.start(look_up)
refunds.route(look_up, [
    rule("nothing to refund", field("amount") <= 0, to=END),
    rule("small refund", field("amount") <= 5_000, to=pay),
], default=ask)  # fmt: skip
refunds.route(ask, [rule("rejected", field("amount") == 0, to=END)], default=pay)
refunds.edge(pay, END)


async def test_the_designs_own_program_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_app("sqlite:///turnout.db", graphs=[refunds]) as app:
        run = await app.start("refunds", {"order": "A-17"}, thread="case-17", idempotency_key="req-1")
        outcome = await app.wait(run)  # Finished(state) | Paused(reviews) | Failed(error) | Cancelled
        assert isinstance(outcome, Paused)
        [review] = await app.reviews(status="open")
        await app.resolve(review.id, approve(by="dana"))  # also edit(...), reject(...); consumed once
        outcome = await app.wait(run)
        report = await app.explain("case-17")  # the four questions, as data
        replay = await app.replay("case-17")  # replay.identical, or replay.divergence
        branch = await app.fork("case-17", at=report.entries[3].seq, update={"amount": 100})

        assert isinstance(outcome, Finished)
        assert (outcome.state.receipt, outcome.state.notes) == ("refund 1", ["approved by dana"])
        assert replay.identical
        forked = await app.wait(branch)
        assert isinstance(forked, Paused)  # the step that was open at that entry looks up the total again
        assert forked.reviews[0].payload == {"order": "A-17", "amount": 12_000}
    assert [(order, amount) for order, amount, _ in sent] == [("A-17", 12_000)]
