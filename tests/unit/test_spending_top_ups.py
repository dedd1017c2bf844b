"""At a cap a person is asked: the budget is topped up, or the call fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.capped import ASKED, app_with, look, stands, three
from tests.unit.runs import Work, proven, until

from turnout import Budget, Context, Failed, Finished, Paused, approve, edit, reject
from turnout.errors import InputInvalid


async def test_at_the_cap_a_person_may_top_it_up_and_the_call_goes_on() -> None:
    async with app_with(three, budgets=[ASKED]) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Paused)
        [review] = outcome.reviews
        assert (review.purpose, review.roles, review.allowed) == (
            "budget",
            ("finance",),
            ("approve", "edit", "reject"),
        )
        assert review.payload == {
            "budget": "calls", "account": "calls/all", "measure": "calls", "unit": "calls", "cap": 2, "spent": 2,
            "reserved": 0, "wanted": 1, "top_up": 2,
        }  # fmt: skip
        report = await app.explain("t")
        assert report.steps[-1].waits_for == (f"review {review.id}",)
        await app.resolve(review, approve(by="dana", roles=["finance"]))
        outcome = await app.wait("t/1")
        assert isinstance(outcome, Finished)
        assert outcome.state.log == ["0", "10", "20"]
        [account] = (await app.budgets())[0].accounts
        assert (account.cap, account.topped_up, account.spent, account.left) == (2, 2, 3, 1)
        await proven(app)


async def test_the_amount_can_be_edited_and_too_little_is_asked_for_again() -> None:
    async def five(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [str(await ctx.call(look, n=n)) for n in range(5)]}

    async with app_with(five, budgets=[ASKED]) as app:
        await app.run("g", {}, thread="t")
        for bad in (0, -1):
            [review] = await app.reviews()
            with pytest.raises(InputInvalid, match="top_up"):
                await app.resolve(review, edit({"top_up": bad}, by="dana"))
        await app.resolve(review, edit({"top_up": 1}, by="dana"))
        assert isinstance(await app.wait("t/1"), Paused)
        [again] = await app.reviews()
        assert again.id != review.id
        assert (again.payload["cap"], again.payload["spent"]) == (3, 3)
        await app.resolve(again, edit({"top_up": 7}, by="dana"))
        assert isinstance(await app.wait("t/1"), Finished)
        assert (await app.budgets())[0].accounts[0].topped_up == 8
        await proven(app)


async def test_an_edit_tops_up_the_account_that_was_asked_about_and_no_other() -> None:
    company = Budget(name="company", per="all", calls=1_000, at_cap="review", roles=("cfo",))
    async with app_with(three, budgets=[ASKED, company]) as app:
        await app.run("g", {}, thread="t")
        [review] = await app.reviews()
        for change in (
            {"account": "company/all", "budget": "company"}, {"account": "nobody/x"}, {"measure": "foo"},
            {"measure": "tokens"}, {"cap": 9, "top_up": 1}, {"top_up": 2**53 + 1},
        ):  # fmt: skip
            with pytest.raises(InputInvalid):
                await app.resolve(review, edit(change, by="mallory", roles=["finance"]))
        await app.resolve(review, edit({**review.payload, "top_up": 1}, by="dana", roles=["finance"]))
        assert isinstance(await app.wait("t/1"), Finished)
        topped = {one.account: one.topped.calls for one in await app.store.accounts()}
        assert topped == {"calls/all": 1, "company/all": 0}


async def test_a_top_up_that_is_rejected_fails_the_call() -> None:
    async with app_with(three, budgets=[ASKED]) as app:
        await app.run("g", {}, thread="t")
        [review] = await app.reviews()
        await app.resolve(review, reject(by="dana"))
        outcome = await app.wait("t/1")
        assert isinstance(outcome, Failed)
        assert outcome.error.type == "BudgetExceeded"
        assert await stands(app) == (2, 0)
        await proven(app)


async def test_a_run_that_waits_at_a_cap_can_be_cancelled() -> None:
    async with app_with(three, budgets=[ASKED]) as app:
        await app.run("g", {}, thread="t")
        await app.cancel("t")
        outcome = await app.wait("t/1")
        assert type(outcome).__name__ == "Cancelled"
        assert await app.reviews() == []
        assert await stands(app) == (2, 0)
        await proven(app)


async def test_what_if_a_thread_waits_at_a_cap_it_waits_there_too() -> None:
    async with app_with(three, budgets=[ASKED]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Paused)
        found = await app.whatif("t")
        assert (found.same, found.gap, found.after.status) == (True, None, "waiting")
        [review] = await app.reviews()
        await app.resolve(review, approve(by="dana", roles=["finance"]))
        assert isinstance(await app.wait("t/1"), Finished)
        assert (await app.whatif("t")).same


async def test_a_step_that_fails_beside_a_wait_at_the_cap_leaves_nothing_reserved() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await asyncio.gather(ctx.call(look, n=1), ctx.call(look, n=2), ctx.call(look, n=3))
        return {}

    async with app_with(node, budgets=[ASKED]) as app:
        await app.run("g", {}, thread="t")
        await until(lambda: True)
        [review] = await app.reviews()
        await app.resolve(review, reject(by="dana"))
        assert isinstance(await app.wait("t/1"), Failed)
        assert await stands(app) == (2, 0)
