"""Reviews that a run asks for: their terms, who decides them, and what an edit may be."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from tests.unit.runs import Work, chain, proven, until

from turnout import Context, Failed, Finished, Paused, approve, edit
from turnout.errors import DecisionNotAllowed
from turnout.testing import VirtualClock, open_test_app


@pytest.mark.parametrize(
    "terms",
    [
        {"due": 3600},
        {"due": datetime(2030, 1, 1)},
        {"due": timedelta.max},
        {"roles": "finance"},
        {"due": timedelta(1), "on_due": "escalate", "escalate_to": "finance"},
    ],
)
async def test_review_terms_that_mean_nothing_are_refused(terms: dict[str, Any]) -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.review("ok?", **terms)
        return {}

    async with open_test_app(graphs=[chain(node)]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Failed)
        assert ended.error.type == "InputInvalid"


async def test_one_person_is_one_person_whatever_blanks_are_around_the_name() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.review("ok?", quorum=2)
        return {}

    async with open_test_app(graphs=[chain(node)]) as app:
        paused = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(paused, Paused)
        await app.resolve(paused.reviews[0].id, approve(by="dana"))
        with pytest.raises(DecisionNotAllowed):
            await app.resolve(paused.reviews[0].id, approve(by="dana "))


async def test_after_an_escalation_only_the_new_roles_decide() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        said = await ctx.review(
            "ok?", roles=["clerk"], due=timedelta(hours=1), on_due="escalate", escalate_to=["boss"]
        )
        return {"log": [said.summary]}

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node)], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.settle()
        await until(lambda: not app.worker.busy, clock)  # type: ignore[union-attr]
        await clock.advance(3700)
        [review] = await app.reviews(thread="t")
        assert review.roles == ["boss"] or tuple(review.roles) == ("boss",)
        with pytest.raises(DecisionNotAllowed):
            await app.resolve(review.id, approve(by="carl", roles=["clerk"]))
        await app.resolve(review.id, approve(by="dana", roles=["boss"]))
        assert isinstance(await app.wait(run, timeout=5), Finished)


async def test_a_review_whose_due_time_is_past_is_listed_as_every_other() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        said = await ctx.review("ok?", due=datetime(2000, 1, 1, tzinfo=UTC), on_due="approve")
        return {"log": [said.summary]}

    async with open_test_app(graphs=[chain(node)]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Finished)
        assert [review.status for review in await app.reviews(status="", thread="t")] == ["approve"]
        await proven(app)


async def test_an_edit_that_does_not_fit_the_payloads_type_says_so() -> None:
    class Amount(BaseModel):
        amount: Annotated[int, Field(gt=0)]

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.review("ok?", payload=Amount(amount=1), allowed=["approve", "edit"])
        return {}

    async with open_test_app(graphs=[chain(node)]) as app:
        run = await app.start("g", {}, thread="t")
        paused = await app.wait(run, timeout=5)
        assert isinstance(paused, Paused)
        await app.resolve(paused.reviews[0].id, edit({"amount": -1}, by="dana"))
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Failed)
        assert ended.error.type == "InputInvalid"
        await proven(app)
