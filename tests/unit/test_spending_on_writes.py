"""What a write costs: reserved with its intention, sent only then, and kept while its outcome is unknown."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.capped import CALLS, app_with, send, sent, stands
from tests.unit.runs import Work, kinds, proven

from turnout import DID_NOT_HAPPEN, Budget, Context, Failed, Finished, Paused, approve, landed, tool


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    sent.clear()


async def test_a_write_is_reserved_in_the_commit_that_says_it_is_intended() -> None:
    async def pay(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send, n=n) for n in range(3)]}

    async with app_with(pay, budgets=[CALLS]) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Failed)
        assert outcome.error.type == "BudgetExceeded"
        assert sent == [0, 1], "the third was never sent"
        found = await kinds(app)
        assert found.count("effect.intended") == found.count("budget.reserved") == 2
        assert found[found.index("budget.reserved") + 1] == "effect.intended"
        assert await stands(app) == (2, 0)
        await proven(app)


async def test_a_write_that_waits_at_the_cap_is_sent_once_after_the_top_up() -> None:
    async def pay(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send, n=7)]}

    none = Budget(name="calls", per="all", calls=0, at_cap="review")
    async with app_with(pay, budgets=[none]) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Paused)
        assert sent == []
        await app.resolve(outcome.reviews[0], approve(by="dana"))
        assert isinstance(await app.wait("t/1"), Finished)
        assert sent == [7]
        await proven(app)


async def test_a_write_of_unknown_outcome_keeps_its_reservation_until_a_person_has_decided() -> None:
    @tool(effect="write")
    async def breaks() -> str:
        raise ConnectionError("the line went dead")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(breaks)]}

    async with app_with(node, budgets=[CALLS], tools=[breaks]) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Paused)
        assert await stands(app) == (0, 1)
        await app.resolve(outcome.reviews[0], landed("it was there", by="dana"))
        assert isinstance(await app.wait("t/1"), Finished)
        assert await stands(app) == (1, 0)
        await proven(app)


async def test_a_write_that_is_sent_again_is_charged_for_each_sending() -> None:
    tries: list[str] = []

    @tool(effect="write", reconcile=lambda: DID_NOT_HAPPEN)
    async def once_broken() -> str:
        tries.append("x")
        if len(tries) == 1:
            raise ConnectionError("the line went dead")
        return "done"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(once_broken)]}

    async with app_with(node, budgets=[CALLS], tools=[once_broken]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Finished)
        assert len(tries) == 2
        assert await stands(app) == (2, 0)
        await proven(app)
