"""What calls cost is reserved before they are sent and settled after, whatever comes in between."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from tests.unit.capped import CALLS, app_with, double, ledger, look, send, stands, three
from tests.unit.runs import Work, chain, kinds, proven

from turnout import (
    Budget,
    BudgetExceeded,
    Context,
    Failed,
    Finished,
    Message,
    Paused,
    Retry,
    Settings,
    guard,
    tool,
)
from turnout.core import entries as e
from turnout.errors import CallRefused, GuardBlocked, StoreUnavailable
from turnout.testing import VirtualClock, open_test_app


@pytest.mark.parametrize("called", [look, send])
async def test_a_store_that_is_away_when_budgets_are_looked_up_ends_the_drive_and_not_the_call(
    called: Any,
) -> None:
    async def one(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [str(await ctx.call(called, n=1))]}

    graphs, soon = [chain(one, tools=[called])], Settings(lease=0.3, sweep=0.02)
    async with open_test_app(graphs=graphs, budgets=[CALLS], settings=soon) as app:
        budgets, looked = app.store.budgets, []

        async def away() -> Any:
            looked.append(1)
            if len(looked) == 1:
                raise StoreUnavailable("the database restarts")
            return await budgets()

        app.store.budgets = away  # type: ignore[method-assign]
        done = await asyncio.wait_for(app.run("g", {}, thread="t"), 20)
        assert isinstance(done, Finished)
        assert len(looked) == 2
        assert "step.failed" not in await kinds(app)
        await proven(app)


@pytest.mark.parametrize("effect", ["read", "write"])
async def test_a_call_that_policy_or_a_guardrail_stopped_counts_nowhere(tmp_path: Path, effect: Any) -> None:
    called = []

    @tool(effect=effect)
    async def act(word: str) -> str:
        called.append(word)
        return word

    async def ask(state: Work, ctx: Context) -> dict[str, Any]:
        for word in ("denied", "blocked"):
            with contextlib.suppress(CallRefused, GuardBlocked):
                await ctx.call(act, word=word)
        await ctx.signal("go")
        return {}

    rules = 'permit(principal, action, resource); forbid(principal, action, resource) when { context.args.word == "denied" };'
    (tmp_path / "p.cedar").write_text(rules)
    guards = [guard("g", lambda text: "blocked" in text, on="input", action="block")]
    graphs = [chain(ask, tools=[act])]
    async with open_test_app(graphs=graphs, policy=tmp_path, guards=guards) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Paused)
        recorded = [x.body for x in await app.entries("t") if isinstance(x.body, e.EffectRecorded)]
        assert [x.error.type for x in recorded if x.error] == ["CallRefused", "GuardBlocked"]
        assert called == []
        view = await app.view("t")
        assert view.run is not None
        assert view.run.spent.calls == 0
        assert await app.store.charges("t") == []
        await proven(app)


async def test_a_call_over_the_cap_fails_and_is_not_sent() -> None:
    async with app_with(three, budgets=[CALLS]) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Failed)
        assert outcome.error.type == "BudgetExceeded"
        assert "calls/all" in outcome.error.message
        assert await stands(app) == (2, 0)
        assert await ledger(app) == [("look", "settled", 1), ("look", "settled", 1)]
        await proven(app)


async def test_a_node_may_catch_it_and_do_without() -> None:
    async def careful(state: Work, ctx: Context) -> dict[str, Any]:
        found = []
        for n in range(4):
            try:
                found.append(str(await ctx.call(look, n=n)))
            except BudgetExceeded:
                found.append("none")
        return {"log": found}

    async with app_with(careful, budgets=[CALLS]) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished)
        assert outcome.state.log == ["0", "10", "none", "none"]
        await proven(app)


async def test_it_is_not_retried() -> None:
    async with app_with(three, budgets=[CALLS], retry=Retry(attempts=3, on=(Exception,))) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Failed)
        assert (await kinds(app)).count("step.failed") == 1


async def test_a_reservation_is_durable_before_the_call_and_settled_with_its_result() -> None:
    async def one(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": await ctx.call(look, n=1)}

    async with app_with(one, budgets=[CALLS]) as app:
        await app.run("g", {}, thread="t")
        found = await kinds(app)
        assert found.index("budget.reserved") + 1 == found.index("effect.recorded")
        [recorded] = [x for x in await app.entries("t") if isinstance(x.body, e.EffectRecorded)]
        assert recorded.body.spent is not None
        assert recorded.body.spent.reserved == recorded.seq - 1


async def test_without_a_budget_nothing_is_reserved() -> None:
    async with app_with(three) as app:
        await app.run("g", {}, thread="t")
        assert not any(kind.startswith("budget.") for kind in await kinds(app))
        assert await app.store.charges("t") == []


async def test_what_reaches_nobody_is_not_counted() -> None:
    async def cheap(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.now()
        await ctx.random()
        return {"n": await ctx.call(double, n=2)}

    async with app_with(cheap, budgets=[Budget(name="none", per="all", calls=0)]) as app:
        assert isinstance(await app.run("g", {}), Finished)


async def test_a_call_that_is_cut_off_counts_as_assumed_when_its_run_ends() -> None:
    begun = asyncio.Event()

    @tool(effect="read", time_limit=5)
    async def slow() -> int:
        begun.set()
        await asyncio.sleep(3600)
        return 1

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": await ctx.call(slow)}

    timed = Budget(name="calls", per="all", calls=5, ms=60_000)
    async with app_with(node, budgets=[timed], tools=[slow]) as app:
        await app.start("g", {}, thread="t")
        await begun.wait()
        assert await stands(app) == (0, 1)
        await app.cancel("t")
        await app.wait("t/1")
        assert await stands(app) == (1, 0)
        assert await stands(app, measure="ms") == (5_000, 0)
        assert await ledger(app) == [("slow", "assumed", 1)]
        await proven(app)


async def test_a_child_spends_of_its_parents_run() -> None:
    async def inner(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": await ctx.call(look, n=1)}

    child = chain(inner, tools=[look], name="child")

    async def outer(state: Work, ctx: Context) -> dict[str, Any]:
        for _ in range(3):
            await ctx.run(child, {})
        return {}

    per_run = Budget(name="calls", per="run", calls=2)
    graphs = [chain(outer), child]
    async with open_test_app(graphs=graphs, budgets=[per_run]) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Failed)
        assert (outcome.error.type, "BudgetExceeded" in outcome.error.message) == ("ChildFailed", True)
        assert await stands(app, "calls/run/t/1") == (2, 0)
        assert isinstance(await app.run("child", {}, thread="alone"), Finished)
        assert await stands(app, "calls/run/alone/1") == (1, 0)


async def test_a_clock_that_is_set_back_takes_no_time_away() -> None:
    clock = VirtualClock()

    @tool(effect="read")
    async def reads() -> None:
        clock._now -= 5_000_000

    @tool(effect="write")
    async def writes() -> None:
        clock._now -= 5_000_000

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.call(reads)
        await ctx.call(writes)
        clock._now += 20_000_000
        return {}

    graphs = [chain(node, tools=[reads, writes])]
    async with open_test_app(graphs=graphs, budgets=[CALLS], clock=clock) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Finished)
        assert [row.spent.ms for row in await app.store.charges("t")] == [0, 0]


async def test_parallel_calls_never_go_over_a_cap_together() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        calls = (ctx.call(look, n=n) for n in range(8))
        found = await asyncio.gather(*calls, return_exceptions=True)
        return {"log": [type(x).__name__ for x in found]}

    async with app_with(node, budgets=[Budget(name="calls", per="all", calls=3)]) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished)
        assert sorted(outcome.state.log) == ["BudgetExceeded"] * 5 + ["int"] * 3
        assert await stands(app) == (3, 0)
        await proven(app)


async def test_the_run_knows_what_it_has_spent_so_far() -> None:
    async def pause(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.call(look, n=1)
        await ctx.call(send, n=1)
        await ctx.review("go on?")
        return {}

    for budgets in ([], [Budget(name="calls", per="all", calls=9)]):
        async with app_with(pause, budgets=budgets) as app:
            await app.run("g", {}, thread="t")
            view = await app.view("t")
            assert view.run is not None
            assert (view.run.spent.calls, view.run.reserved) == (2, {})


def test_messages_are_bounded_from_above() -> None:
    from turnout import ModelRequest
    from turnout.models.bounds import UNBOUNDED, answer_tokens, read_tokens

    request = ModelRequest(alias="m", messages=(Message(role="user", content="word " * 100),))
    assert read_tokens(request) >= 110
    assert answer_tokens(request) == UNBOUNDED
    assert answer_tokens(request.model_copy(update={"options": {"max_output_tokens": 5}})) == 5
    both = {"max_output_tokens": 10, "max_tokens": 100_000, "max_completion_tokens": None}
    assert answer_tokens(request.model_copy(update={"options": both})) == 100_000
