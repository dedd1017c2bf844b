"""Attempts of a model call are reserved at the most that they may cost, and settled at what they did; on a virtual clock."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from tests.unit.gateways import Scripted, ended, gateways, limited, one
from tests.unit.runs import Work, chain, proven, until

from turnout import (
    App,
    Budget,
    BudgetExceeded,
    Context,
    Failed,
    Finished,
    ModelReply,
    ModelRequest,
    Paused,
    Usage,
    approve,
)
from turnout.core import entries as e
from turnout.core.amounts import Amount, Estimate
from turnout.errors import (
    AnswerBroken,
    ContentFiltered,
    ModelFailed,
    ModelRateLimited,
    ModelRequestRefused,
    ModelUnavailable,
)
from turnout.models.gateway import Gateways
from turnout.ports.model import Call
from turnout.testing import ScriptedModel, VirtualClock, open_test_app

ALL = Budget(name="all", per="all", micros=10_000, tokens=100_000, calls=9, ms=900_000)


async def hi(state: Work, ctx: Context) -> dict[str, Any]:
    try:
        reply = await ctx.model("main", messages="hi", max_output_tokens=10)
    except (ModelFailed, BudgetExceeded) as error:
        return {"log": [type(error).__name__]}
    return {"log": [reply.text]}


@asynccontextmanager
async def running(clock: VirtualClock, found: Gateways, *budgets: Budget, fn: Any = hi) -> Any:
    graphs = [chain(fn)]
    async with open_test_app(graphs=graphs, models=found.models(), clock=clock, budgets=budgets) as app:
        yield app


async def charges(app: App) -> list[tuple[str, int, int, int]]:
    rows = await app.store.charges("t")
    return [(row.state, row.spent.micros, row.spent.tokens, row.spent.calls) for row in rows]


async def reservations(app: App) -> list[e.BudgetReserved]:
    return [x.body for x in await app.entries("t") if isinstance(x.body, e.BudgetReserved)]


async def nothing_reserved(app: App) -> bool:
    accounts = await app.store.accounts()
    return all(not any(vars_of(one.reserved)) for one in accounts)


def vars_of(amount: Any) -> tuple[int, ...]:
    return amount.micros, amount.tokens, amount.calls, amount.ms


async def test_an_attempt_is_reserved_at_its_most_and_settled_at_what_it_cost() -> None:
    clock = VirtualClock()
    _, found = one(clock, "yes")
    async with running(clock, found, ALL) as app:
        assert isinstance(await ended(app, clock), Finished)
        [held] = await reservations(app)
        assert (held.deployment, held.model, held.retry) == ("a", "a", False)
        assert held.amount.calls == 1
        assert held.amount.ms == 120_000, "the deployment's time limit"
        assert held.amount.tokens >= 10 + 1
        read = held.amount.tokens - 10
        assert held.amount.micros == read + 2 * 10, "at 1 and 2 dollars a million"
        assert await charges(app) == [("settled", 20, 15, 1)]
        assert await nothing_reserved(app)
        await proven(app)


async def test_each_attempt_is_charged_and_what_an_upstream_refused_costs_nothing() -> None:
    clock = VirtualClock()
    _, found = one(clock, ModelUnavailable("HTTP 503: down"), limited(3), "yes")
    async with running(clock, found, ALL) as app:
        assert isinstance(await ended(app, clock), Finished)
        assert await charges(app) == [("settled", 0, 0, 1), ("settled", 0, 0, 1), ("settled", 20, 15, 1)]
        retries = {row.what: (row.calls, row.micros) for row in await app.costs("retry")}
        assert retries == {"first attempts": (1, 0), "retries": (2, 20)}
        [row] = [x for x in await app.costs("model") if x.what == "said"]
        assert row.micros == 20
        await proven(app)


@pytest.mark.parametrize(
    "failure", [AnswerBroken("cut off"), ModelRateLimited("in the middle of the answer: enough")]
)
async def test_an_answer_that_broke_off_may_have_cost_all_that_was_reserved(failure: Exception) -> None:
    clock = VirtualClock()
    _, found = one(clock, failure, retries=0)
    async with running(clock, found, ALL) as app:
        await ended(app, clock)
        [held] = await reservations(app)
        assert await charges(app) == [("assumed", held.amount.micros, held.amount.tokens, 1)]
        assert await nothing_reserved(app)
        [row] = await app.costs()
        assert row.assumed_micros == held.amount.micros


IMPOSSIBLE = (
    Usage(input_tokens=2**62, output_tokens=2**62), Usage(input_tokens=10**30), Usage(input_tokens=-5_000_000),
    Usage(input_tokens=10, output_tokens=2, reasoning_tokens=-1),
)  # fmt: skip


@pytest.mark.parametrize("usage", IMPOSSIBLE)
@pytest.mark.parametrize("budgets", [(), (ALL,)])
async def test_tokens_that_cannot_be_are_unknown_and_what_was_reserved_counts(
    usage: Usage, budgets: Any
) -> None:
    clock = VirtualClock()
    upstream, found = one(clock, ModelReply(text="yes", usage=usage, model="said"), "yes")
    async with running(clock, found, *budgets) as app:
        outcome = await ended(app, clock)
        assert isinstance(outcome, Finished)
        assert outcome.state.log == ["yes"]
        assert len(upstream.asked) == 2
        broken, _ = await app.store.charges("t")
        if budgets:
            assert broken.state == "assumed"
            assert broken.spent == msgspec.structs.replace(broken.reserved, ms=0)
        else:
            assert (broken.state, broken.spent) == ("settled", Amount(calls=1))
        assert await nothing_reserved(app)
        await proven(app)


@pytest.mark.parametrize("usage", IMPOSSIBLE)
async def test_what_a_failure_says_it_used_is_not_believed_either(usage: Usage) -> None:
    clock = VirtualClock()
    filtered = ContentFiltered("no")
    filtered.usage = usage
    _, found = one(clock, filtered)
    async with running(clock, found, ALL) as app:
        assert (await ended(app, clock)).state.log == ["ContentFiltered"]
        [row] = await app.store.charges("t")
        assert (row.state, row.spent.tokens) == ("assumed", row.reserved.tokens)
        await proven(app)


@pytest.mark.parametrize(
    "reply",
    [*(ModelReply(usage=usage) for usage in IMPOSSIBLE), ModelReply(cost_micros=-1), ModelReply(cost_micros=2**63)],
)  # fmt: skip
@pytest.mark.parametrize("budgets", [(), (Budget(name="all", per="all", tokens=99),)])
async def test_a_model_of_the_program_may_not_say_what_cannot_be(reply: ModelReply, budgets: Any) -> None:
    models = {"main": ScriptedModel(lambda request: reply)}
    async with open_test_app(graphs=[chain(hi)], models=models, budgets=budgets) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished)
        assert outcome.state.log == ["AnswerBroken"]
        [row] = await app.store.charges("t")
        assert (row.state, row.spent.tokens) == ("assumed" if budgets else "settled", 0)
        await proven(app)


async def test_an_attempt_that_is_over_time_counts_as_assumed() -> None:
    clock = VirtualClock()
    forever = asyncio.Event()

    async def silent(request: Any, emit: Any) -> None:
        await forever.wait()

    upstream = Scripted(clock, silent)
    found = gateways(clock, {"a": upstream}, {"main": {"deployments": ["a"], "retries": 0, "deadline": 5.0}})
    real = asyncio.get_running_loop()
    async with running(clock, found, ALL) as app:
        task = asyncio.ensure_future(app.run("g", {}, thread="t"))
        await until(lambda: upstream.asked, clock)
        assert [state for state, *_ in await charges(app)] == ["reserved"]
        await app.cancel("t")
        await asyncio.wait_for(task, 20)
        assert real.is_running()
        assert [state for state, *_ in await charges(app)] == ["assumed"]
        assert await nothing_reserved(app)
        await proven(app)


async def test_an_attempt_for_which_there_is_no_room_is_not_sent() -> None:
    clock = VirtualClock()
    upstream, found = one(clock, ModelUnavailable("HTTP 503: down"), "yes")
    async with running(clock, found, Budget(name="one", per="all", calls=1)) as app:
        outcome = await ended(app, clock)
        assert isinstance(outcome, Finished)
        assert outcome.state.log == ["BudgetExceeded"]
        assert len(upstream.asked) == 1
        await proven(app)


async def test_at_the_cap_the_call_waits_and_goes_on_after_the_top_up() -> None:
    clock = VirtualClock()
    upstream, found = one(clock, "yes")
    budget = Budget(name="dear", per="run", micros=5, at_cap="review")
    async with running(clock, found, budget) as app:
        outcome = await ended(app, clock)
        assert isinstance(outcome, Paused)
        assert upstream.asked == []
        shown = outcome.reviews[0].payload
        assert (shown["measure"], shown["cap"], shown["spent"]) == ("micros", 5, 0)
        assert shown["top_up"] == shown["wanted"] - 5
        await app.resolve(outcome.reviews[0], approve(by="dana"))
        outcome = await app.wait("t/1")
        assert isinstance(outcome, Finished)
        assert outcome.state.log == ["yes"]
        assert await charges(app) == [("settled", 20, 15, 1)]
        await proven(app)


@pytest.mark.parametrize("bound", [-10_000_000, 0, 100_000.0, "9", True, 2**41])
async def test_a_bound_that_is_no_positive_whole_number_is_refused_before_anything_is_sent(
    bound: Any,
) -> None:
    async def bad(state: Work, ctx: Context) -> dict[str, Any]:
        with pytest.raises(ModelRequestRefused, match="max_output_tokens"):
            await ctx.model("main", messages="hi", max_output_tokens=bound)
        return {}

    clock = VirtualClock()
    upstream, found = one(clock, "yes")
    async with running(clock, found, ALL, fn=bad) as app:
        assert isinstance(await ended(app, clock), Finished)
        assert (upstream.asked, await reservations(app)) == ([], [])
        await proven(app)


async def test_less_than_nothing_is_never_reserved() -> None:
    class Own:
        async def complete(self, request: ModelRequest, emit: Any) -> ModelReply:
            raise NotImplementedError

        async def attempt(self, request: ModelRequest, emit: Any, call: Call) -> ModelReply:
            await call.reserve(lambda: Estimate(Amount(calls=1, tokens=-5_000)))
            return ModelReply(text="yes")

    async with open_test_app(graphs=[chain(hi)], models={"main": Own()}, budgets=[ALL]) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished)
        assert outcome.state.log == ["ModelFailed"]
        assert await reservations(app) == []


async def test_what_has_no_price_does_not_slip_through_a_cap_on_money() -> None:
    clock = VirtualClock()
    upstream = Scripted(clock, "yes", "yes")
    terms = {"price": None, "base_url": "http://127.0.0.1:1/v1"}
    found = gateways(clock, {"a": upstream}, {"main": {"deployments": ["a"]}}, a=terms)

    async def bare(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [(await ctx.model("main", messages="hi")).text]}

    async with running(clock, found, ALL, fn=bare) as app:
        outcome = await ended(app, clock)
        assert isinstance(outcome, Failed)
        assert "no price is known for deployment a" in outcome.error.message
        assert upstream.asked == []
    async with running(clock, found, Budget(name="calls", per="all", calls=5), fn=bare) as app:
        assert isinstance(await ended(app, clock), Finished)


async def test_an_answer_from_the_cache_costs_nothing_and_reserves_nothing() -> None:
    clock = VirtualClock()
    _, found = one(clock, "yes", cache={"seconds": 60})

    async def twice(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [(await ctx.model("main", messages="hi")).text for _ in range(2)]}

    async with running(clock, found, Budget(name="one", per="all", calls=1), fn=twice) as app:
        outcome = await ended(app, clock)
        assert isinstance(outcome, Finished)
        assert outcome.state.log == ["yes", "yes"]
        assert await charges(app) == [("settled", 20, 15, 1)]


async def test_without_a_budget_each_attempt_is_in_the_ledger_all_the_same() -> None:
    clock = VirtualClock()
    _, found = one(clock, ModelUnavailable("HTTP 503: down"), "yes")
    async with running(clock, found) as app:
        await ended(app, clock)
        assert await reservations(app) == []
        assert await charges(app) == [("settled", 0, 0, 1), ("settled", 20, 15, 1)]
        assert [(row.what, row.micros) for row in await app.costs("day")] == [("2026-01-01", 20)]
        assert (await app.verify("t")).ok


async def test_an_attempt_settles_its_reservation_when_somebody_appends_from_outside_meanwhile() -> None:
    clock = VirtualClock()

    async def yes(request: Any, emit: Any) -> str:
        await app.signal("t", "tick")
        return "yes"

    _, found = one(clock, yes)
    async with running(clock, found, ALL) as app:
        assert isinstance(await ended(app, clock), Finished)
        assert await charges(app) == [("settled", 20, 15, 1)]
        assert await nothing_reserved(app)
        await proven(app)


async def test_the_run_knows_what_its_models_have_cost() -> None:
    clock = VirtualClock()
    _, found = one(clock, "yes")

    async def pause(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.model("main", messages="hi")
        await ctx.review("go on?")
        return {}

    async with running(clock, found, fn=pause) as app:
        await ended(app, clock)
        view = await app.view("t")
        assert view.run is not None
        assert (view.run.spent.micros, view.run.spent.tokens, view.run.spent.calls) == (20, 15, 1)
