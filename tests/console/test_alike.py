"""Which reviews are alike, so that one decision may be about many of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel
from tests.console.conftest import serving

from turnout import END, Context, Graph
from turnout.core.entries import Binding
from turnout.service.outcome import Review
from turnout.service.pages.inbox import kind_of

ONE = Review(
    id="rev-1", thread="t1", run=1, step="ask.1", question="Refund 900.00 for A-17?", payload={"order": "A-17", "amount": 900},
    status="open", purpose="review", allowed=("approve", "reject"), roles=("finance",), quorum=1, separate=False,
    requester="shop", shown="0", asked_at=datetime(2026, 1, 1, tzinfo=UTC), due_at=None, on_due="",
    binds=Binding("tool", "send_refund", "0", "0", 0),
)  # fmt: skip


@pytest.mark.parametrize(
    "same",
    [
        {"id": "rev-2", "thread": "t2", "run": 3, "step": "ask.2", "shown": "1", "requester": "eve"},
        {"question": "Refund 1,200 for B-2?", "payload": {"order": "B-2", "amount": 1200}},
        {"question": "Refund 900.00 for the order of Lee?", "payload": {"order": "the order of Lee", "amount": 900}},
        {"payload": {"amount": 900, "order": "A-17"}},
        {"binds": Binding("tool", "send_refund", "1", "1", 5)},
    ],
)  # fmt: skip
def test_reviews_are_alike_whatever_case_they_are_about(same: dict[str, Any]) -> None:
    assert kind_of(replace(ONE, **same), "refunds") == kind_of(ONE, "refunds")


@pytest.mark.parametrize(
    "other",
    [
        {"step": "tell.1"},
        {"question": "Delete the account of A-17?"},
        {"question": "Refund 900.00 for A-17x?"},
        {"purpose": "guard"},
        {"binds": None},
        {"binds": Binding("tool", "delete_account", "0", "0", 0)},
        {"binds": Binding("model", "send_refund", "0", "0", 0)},
        {"allowed": ("approve", "reject", "edit")},
        {"allowed": ("approve reject",)},
        {"roles": ("finance", "risk")},
        {"roles": ("finance|risk",)},
        {"quorum": 2},
        {"separate": True},
        {"payload": {"order": "A-17", "amount": 900, "x": 1}},
        {"payload": {"order amount": "A-17"}},
        {"payload": "A-17"},
    ],
)
def test_reviews_that_differ_in_what_is_asked_or_by_whom_are_not(other: dict[str, Any]) -> None:
    assert kind_of(replace(ONE, **other), "refunds") != kind_of(ONE, "refunds")
    assert kind_of(ONE, "refunds") != kind_of(ONE, "deletions")


@pytest.mark.parametrize(
    ("before", "said", "alike"),
    [
        ("a lamp, " * 20, ["a", "lamp"], True),
        ("a lamp, " * 2000, [], False),  # a long question
        ("a lamp, " * 200, ["a lamp, " * n for n in range(10, 40)], False),  # much of the payload is in it
        ("".join(f"x{n} " for n in range(60)), [f"x{n}" for n in range(60)], False),  # or many of its texts
    ],
)
def test_a_question_with_too_much_to_look_for_is_alike_only_to_the_same_words(
    before: str, said: list[str], alike: bool
) -> None:
    one, two = (
        replace(ONE, question=f"{before}for {order}?", payload={"order": order, "said": said})
        for order in ("A", "B")
    )
    assert (kind_of(one, "refunds") == kind_of(two, "refunds")) is alike
    assert kind_of(replace(one, id="rev-2", thread="t2"), "refunds") == kind_of(one, "refunds")


class Case(BaseModel):
    customer: str = "c1"


def asking(name: str, question: str) -> Graph:
    """A graph whose node `ask` asks that."""
    graph = Graph(name, state=Case)

    @graph.node
    async def ask(state: Case, ctx: Context) -> dict[str, Any]:
        await ctx.review(question, payload={"customer": state.customer})
        return {}

    graph.start(ask)
    graph.edge(ask, END)
    return graph


async def test_one_word_decides_no_reviews_of_two_graphs() -> None:
    async with serving(graphs=[asking("refund", "Go on?"), asking("delete", "Go on?")], models={}) as desk:
        for graph, thread in (("refund", "t1"), ("refund", "t2"), ("delete", "t3"), ("delete", "t4")):
            await desk.app.start(graph, {}, thread=thread)
        await desk.rest("t1", "t2", "t3", "t4")
        async with desk.visitor() as visitor:
            boxes = (await visitor.get("/reviews")).named("review")
            assert len({box["data-kind"] for box in boxes}) == 2
            chosen = [
                f"{r.id} {r.shown}" for t in ("t1", "t3", "t2") for r in await desk.app.reviews(thread=t)
            ]
            await visitor.post("/reviews", {"review": chosen, "decision": "approve", "by": "dana"})
            assert "2 approved; 1 not decided." in (await visitor.get("/reviews")).said()
        assert {review.thread for review in await desk.app.reviews()} == {"t3", "t4"}
