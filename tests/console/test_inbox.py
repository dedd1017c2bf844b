"""The list of reviews: which are at its top, and whom it lets choose."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from tests.console.conftest import Page, serving

from turnout import END, Context, Graph
from turnout.cli.review_cards import review_table
from turnout.testing import VirtualClock


class Empty(BaseModel):
    pass


def asking(name: str, **terms: Any) -> Graph:
    """A graph that asks `name`? on these terms."""
    graph = Graph(name, state=Empty)

    async def ask(state: Empty, ctx: Context) -> dict[str, Any]:
        await ctx.review(f"{name}?", **terms)
        return {}

    graph.node(ask, name="ask")
    graph.start("ask")
    graph.edge("ask", END)
    return graph


def listed(page: Page) -> list[str | None]:
    return [attrs["href"] for _, attrs in page.elements if attrs.get("class") == "row-link"]


async def test_a_review_that_was_escalated_is_at_the_top_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    hour = timedelta(hours=1)
    graphs = [
        asking("open"),
        asking("later", due=50 * hour, on_due="reject"),
        asking("told", roles=["clerk"], due=hour, on_due="escalate", escalate_to=["boss"]),
    ]
    async with serving(graphs=graphs, models={}, clock=clock) as desk:
        for graph in graphs:
            await desk.app.start(graph.name, {}, thread=graph.name)
            await clock.advance(1)
        await clock.advance(7200)
        ids = {review.thread: f"/reviews/{review.id}" for review in await desk.app.reviews()}
        async with desk.visitor() as visitor:
            page = await visitor.get("/reviews")
            assert listed(page) == [ids["told"], ids["later"], ids["open"]]
            assert "Escalated: not decided in time 1" in page.said()
            assert "escalated: not decided in time" in (await visitor.get(ids["told"])).said()
            monkeypatch.setattr("turnout.console.reviews.SHOWN", 1)
            assert listed(await visitor.get("/reviews")) == [ids["told"]]
        review_table(await desk.app.reviews(), "open", "")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    first = next(row for row in rows if row and row[0].startswith("rev-"))
    assert first[1:5] == ["told", "open", "boss", "escalated"]


async def test_who_may_choose_nothing_is_not_offered_to_decide_many_together() -> None:
    graphs = [asking("money", roles=["finance"]), asking("law", roles=["legal"])]
    async with serving(graphs=graphs, models={}) as desk:
        for thread, graph in (("m1", "money"), ("m2", "money"), ("l1", "law")):
            await desk.app.start(graph, {}, thread=thread)
            await desk.rest(thread)
        for name, roles, of, offered in (
            ("fay", ["reviewer"], ("finance",), True),
            ("lou", ["reviewer"], ("legal",), False),
            ("vic", ["viewer"], ("finance",), False),
        ):
            async with desk.visitor(await desk.token(name, *roles, review_roles=of)) as visitor:
                page = await visitor.get("/reviews")
                assert len(page.named("review")) == (2 if offered else 0)
                assert ("Approve all chosen" in page.said()) is offered, name
                assert "Approve all chosen" not in (await visitor.get("/reviews?role=legal")).said()
