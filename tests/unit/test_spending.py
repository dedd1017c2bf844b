"""What calls cost is reserved before they are sent and settled after, whatever comes in between."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import (
    DID_NOT_HAPPEN,
    App,
    Budget,
    BudgetExceeded,
    Cancelled,
    Context,
    Failed,
    Finished,
    Message,
    ModelReply,
    Paused,
    Retry,
    Settings,
    Usage,
    approve,
    edit,
    guard,
    landed,
    reject,
    tables,
    tool,
)
from turnout.core import entries as e
from turnout.errors import CallRefused, GuardBlocked, InputInvalid, SettingsInvalid, StoreUnavailable
from turnout.testing import ScriptedModel, VirtualClock, open_test_app

CALLS = Budget(name="calls", per="all", calls=2)
ASKED = Budget(name="calls", per="all", calls=2, at_cap="review", roles=("finance",))


@tool(effect="read")
async def look(n: int) -> int:
    return n * 10


@tool(effect="pure")
async def double(n: int) -> int:
    return 2 * n


sent: list[int] = []


@tool(effect="write")
async def send(n: int) -> str:
    sent.append(n)
    return f"sent {n}"


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    sent.clear()


async def three(state: Work, ctx: Context) -> dict[str, Any]:
    return {"log": [str(await ctx.call(look, n=n)) for n in range(3)]}


def app_with(
    *nodes: Any,
    budgets: Iterable[Budget] = (),
    tools: Any = (look, send, double),
    models: Any = None,
    **more: Any,
) -> App:
    return open_test_app(graphs=[chain(*nodes, tools=tools, **more)], budgets=budgets, models=models)


async def stands(app: App, account: str = "calls/all", measure: str = "calls") -> tuple[int, int]:
    """Spent and reserved."""
    [found] = [
        x for b in await app.budgets() for x in b.accounts if (x.account, x.measure) == (account, measure)
    ]
    return found.spent, found.reserved


async def ledger(app: App, thread: str = "t") -> list[tuple[str, str, int]]:
    return [(row.label.name, row.state, row.spent.calls) for row in await app.store.charges(thread)]


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


async def test_a_run_that_waits_at_a_cap_can_be_cancelled() -> None:
    async with app_with(three, budgets=[ASKED]) as app:
        await app.run("g", {}, thread="t")
        await app.cancel("t")
        outcome = await app.wait("t/1")
        assert type(outcome).__name__ == "Cancelled"
        assert await app.reviews() == []
        assert await stands(app) == (2, 0)
        await proven(app)


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


async def test_a_plain_model_is_settled_at_what_it_says_it_cost() -> None:
    reply = ModelReply(text="hi", usage=Usage(input_tokens=3, output_tokens=4), cost_micros=50, model="m-1")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [(await ctx.model("main", messages=str(n))).text for n in range(2)]}

    money = Budget(name="money", per="run", micros=100, calls=9)
    models = {"main": ScriptedModel([reply, reply])}
    async with app_with(node, models=models, budgets=[money]) as app:
        assert isinstance(await app.run("g", {}, thread="t", tenant="acme"), Finished)
        assert await stands(app, "money/run/t/1", "micros") == (100, 0)
        [row] = await app.costs("model")
        assert (row.what, row.micros, row.tokens, row.calls) == ("m-1", 100, 14, 2)
        assert [x.what for x in await app.costs("tenant")] == ["acme"]


async def test_costs_of_models_are_known_without_any_budget() -> None:
    reply = ModelReply(text="hi", usage=Usage(input_tokens=3, output_tokens=4), cost_micros=50, model="m-1")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [(await ctx.model("main", messages="x")).text]}

    async with app_with(node, models={"main": ScriptedModel([reply])}) as app:
        await app.run("g", {}, thread="t")
        [row] = await app.costs("node")
        assert (row.what, row.micros, row.tokens, row.calls) == ("g node", 50, 7, 1)
        assert await app.costs("node", thread="u") == []
        with pytest.raises(InputInvalid, match="there is graph"):
            await app.costs("moon")


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


async def test_a_fork_is_not_charged_for_what_it_shares_and_pays_for_its_own() -> None:
    async def wait(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.call(look, n=1)
        await ctx.review("go on?")
        return {"n": await ctx.call(look, n=2)}

    async with app_with(wait, budgets=[Budget(name="calls", per="run", calls=9)]) as app:
        await app.run("g", {}, thread="t")
        await app.fork("t", name="f")
        outcome = await app.wait("f/1")
        assert isinstance(outcome, Paused)
        assert await app.store.charges("f") == []
        await app.resolve(outcome.reviews[0], approve(by="dana"))
        assert isinstance(await app.wait("f/1"), Finished)
        assert await stands(app, "calls/run/f/1") == (1, 0)
        assert await stands(app, "calls/run/t/1") == (1, 0)
        await proven(app, "f")


async def test_replay_and_what_if_charge_nothing() -> None:
    async with app_with(three, budgets=[Budget(name="calls", per="all", calls=9)]) as app:
        await app.run("g", {}, thread="t")
        before = await app.store.accounts()
        assert (await app.replay("t")).identical
        assert (await app.whatif("t")).same
        assert await app.store.accounts() == before


async def test_what_if_reads_a_run_that_ended_with_a_call_under_way() -> None:
    """What that call held is given back by the run's end, which is no step's entry."""
    asked, never = asyncio.Event(), asyncio.Event()

    @tool(effect="read")
    async def hang(n: int) -> int:
        asked.set()
        await never.wait()
        return n

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": await ctx.call(look, n=1) + await ctx.call(hang, n=1)}

    budgets = [Budget(name="calls", per="all", calls=9)]
    async with app_with(node, tools=(look, hang), budgets=budgets) as app:
        run = await app.start("g", {}, thread="t")
        await asyncio.wait_for(asked.wait(), 20)
        await app.cancel("t")
        assert isinstance(await app.wait(run), Cancelled)
        assert (await app.whatif("t")).before.status == "cancelled"


async def test_what_if_a_thread_waits_at_a_cap_it_waits_there_too() -> None:
    async with app_with(three, budgets=[ASKED]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Paused)
        found = await app.whatif("t")
        assert (found.same, found.gap, found.after.status) == (True, None, "waiting")
        [review] = await app.reviews()
        await app.resolve(review, approve(by="dana", roles=["finance"]))
        assert isinstance(await app.wait("t/1"), Finished)
        assert (await app.whatif("t")).same


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


async def test_a_budget_that_is_set_while_runs_go_on_holds_from_then_on() -> None:
    async def more(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.call(look, n=1)
        await ctx.review("go on?")
        await ctx.call(look, n=2)
        return {}

    async with app_with(more) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Paused)
        await app.put_budget(Budget(name="none", per="thread", calls=0))
        await app.resolve(outcome.reviews[0], approve(by="dana"))
        assert isinstance(await app.wait("t/1"), Failed)


@pytest.mark.parametrize(
    ("terms", "word"),
    [
        ({"per": "moon", "calls": 1}, "per must be"), ({"per": "all"}, "caps nothing"),
        ({"per": "all", "calls": -1}, "below 0"), ({"per": "all", "calls": 1, "roles": ("x",)}, "roles"),
        ({"per": "all", "calls": 1, "at_cap": "sing"}, "at_cap"), ({"per": "all", "calls": 1, "name": "a/b"}, "name"),
    ],
)  # fmt: skip
async def test_a_budget_that_cannot_be_is_refused(terms: dict[str, Any], word: str) -> None:
    async with app_with(three) as app:
        with pytest.raises(InputInvalid, match=word):
            await app.put_budget(Budget(**{"name": "b", **terms}))
        assert await app.budgets() == []


def test_messages_are_bounded_from_above() -> None:
    from turnout import ModelRequest
    from turnout.models.bounds import UNBOUNDED, answer_tokens, read_tokens

    request = ModelRequest(alias="m", messages=(Message(role="user", content="word " * 100),))
    assert read_tokens(request) >= 110
    assert answer_tokens(request) == UNBOUNDED
    assert answer_tokens(request.model_copy(update={"options": {"max_output_tokens": 5}})) == 5
    both = {"max_output_tokens": 10, "max_tokens": 100_000, "max_completion_tokens": None}
    assert answer_tokens(request.model_copy(update={"options": both})) == 100_000


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


async def test_the_ledger_is_what_the_journals_say_and_can_be_made_again_from_them(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    reply = ModelReply(text="hi", usage=Usage(input_tokens=3, output_tokens=4), cost_micros=50, model="m-1")

    async def mixed(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.model("main", messages="x")
        return {"n": await ctx.call(look, n=1), "log": [await ctx.call(send, n=2)]}

    graphs, models = [chain(mixed, tools=[look, send])], {"main": ScriptedModel([reply])}
    budget = Budget(name="calls", per="all", calls=9)
    async with open_test_app(f"sqlite:///{path}", graphs=graphs, models=models, budgets=[budget]) as app:
        await app.run("g", {}, thread="t")
        rows, accounts = await app.store.charges("t"), await app.store.accounts()
        assert [row.label.name for row in rows] == ["main", "look", "send"]
        await proven(app)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE budget_charges SET spent_micros = 7 WHERE model = 'm-1'")
    db.close()
    async with open_test_app(f"sqlite:///{path}", graphs=graphs) as app:
        [problem] = (await app.verify()).problems
        assert "otherwise than its journal" in problem
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM budget_charges")
        db.execute("DELETE FROM budget_accounts")
    db.close()
    async with open_test_app(f"sqlite:///{path}", graphs=graphs) as app:
        assert len((await app.verify()).problems) == 3
        assert (await app.rebuild_ledger(), await app.rebuild_ledger("t")) == (3, 0)
        assert (await app.verify()).ok
        assert (await app.store.charges("t"), await app.store.accounts()) == (rows, accounts)


async def test_a_rebuild_adds_no_call_to_a_budget_that_was_set_after_it() -> None:
    async with app_with(three) as app:
        await app.put_budget(Budget(name="first", per="all", calls=9))
        await app.run("g", {}, thread="t")
        rows = [replace(row, thread="lost") for row in await app.store.charges("t")]
        await app.put_budget(CALLS)
        await app.put_budget(Budget(name="first", per="all", calls=5))
        await app.store.book(rows)
        assert await stands(app, "first/all") == (6, 0)
        assert await app.store.accounts("calls") == []


async def test_what_calls_have_cost_moves_house_with_their_thread(tmp_path: Path) -> None:
    file = str(tmp_path / "all.jsonl")
    late = Budget(name="late", per="all", calls=1)
    async with app_with(three, budgets=[Budget(name="calls", per="tenant", calls=9)]) as app:
        async with app_with(three, budgets=[Budget(name="calls", per="all", calls=9)]) as home:
            await home.run("g", {}, thread="t")
            rows = await home.store.charges("t")
            await home.export_to(file)
        await app.put_budget(late)
        for _ in range(2):
            await app.import_from(file)
            assert [replace(row, accounts=()) for row in await app.store.charges("t")] == [
                replace(row, accounts=()) for row in rows
            ]
            assert await stands(app, "calls/tenant") == (3, 0)
        assert await app.store.accounts("late") == [], "it was set when all was spent"
        assert (await app.verify()).ok


async def test_a_copy_of_a_thread_that_moved_away_reserves_nothing_where_it_left(tmp_path: Path) -> None:
    @tool(effect="write")
    async def lost(n: int) -> str:
        raise RuntimeError("no answer")

    async def write(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(lost, n=1)]}

    async with app_with(write, tools=[lost], budgets=[CALLS]) as app:
        await app.run("g", {}, thread="t")
        await app.export_to(str(tmp_path / "copy"), ["t"])
        assert await stands(app) == (0, 1)
        await app.export_to(str(tmp_path / "moved"), ["t"], move=True)
        assert await stands(app) == (0, 0)
        await app.import_from(str(tmp_path / "copy"))
        assert await stands(app) == (0, 0)
        assert (await app.verify()).problems == []


async def test_what_a_thread_has_reserved_moves_with_it_and_is_settled_wherever_it_ends(
    tmp_path: Path,
) -> None:
    @tool(effect="write")
    async def lost(n: int) -> str:
        raise RuntimeError("no answer")

    async def write(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(lost, n=1)]}

    async def wait(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.review("go on?")
        return {}

    def at(place: str) -> App:
        graphs = [chain(write, wait, tools=[lost])]
        return open_test_app(f"sqlite:///{tmp_path}/{place}.db", graphs=graphs, budgets=[CALLS])

    async def states(app: App) -> list[str]:
        assert (await app.verify()).problems == []
        assert await app.rebuild_ledger() == 0
        return [row.state for row in await app.store.charges("t")]

    away, back = str(tmp_path / "away.jsonl"), str(tmp_path / "back.jsonl")
    async with at("abroad"):
        pass  # its budget is set before anything is spent
    async with at("home") as app:
        await app.run("g", {}, thread="t")
        assert await stands(app) == (0, 1)
        await app.export_to(away, ["t"], move=True)
        assert (await stands(app), await states(app)) == ((0, 0), ["moved"])
        [row] = await app.store.charges("t")
        await app.store.book([replace(row, state="reserved")])  # as earlier versions left it
        assert await app.rebuild_ledger() == 1
        assert (await stands(app), await states(app)) == ((0, 0), ["moved"])
        assert await app.take_back("t", not_imported=True)  # in two minds
        assert (await stands(app), await states(app)) == ((0, 1), ["reserved"])
        await app.export_to(away + ".2", ["t"], move=True)
    async with at("abroad") as app:
        await app.import_from(away + ".2")
        assert (await stands(app), await states(app)) == ((0, 1), ["reserved"])
        [review] = await app.reviews()
        await app.resolve(review, landed("ok", by="dana"))
        assert isinstance(await app.wait("t/1"), Paused)
        assert (await stands(app), await states(app)) == ((1, 0), ["assumed"])
        await app.export_to(back, ["t"], move=True)
        assert (await stands(app), await states(app)) == ((1, 0), ["assumed"])
    async with at("home") as app:
        assert await stands(app) == (0, 0)
        await app.import_from(back)
        assert (await stands(app), await states(app)) == ((1, 0), ["assumed"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[budgets.a]\nper = "run"\n', "turnout.toml:1: budgets.a: it caps nothing; give it money, tokens, calls or time"),
        ('[budgets.a]\nper = "run"\ncals = 3\n', "turnout.toml:3: budgets.a has no 'cals'; did you mean 'calls'?"),
        ('[budgets.a]\nper = "moon"\ncalls = 3\n', "turnout.toml:2: budgets.a.per: Input should be 'run', 'thread'"),
        ('[budgets.a]\nper = "run"\ndollars = 1e999999\n', "turnout.toml:3: budgets.a.dollars: Input should be less than"),
        ('[budgets.a]\nper = "run"\nseconds = 1e14\n', "a cap is a whole number, not below 0 and not above 9007199254740992"),
        ('[budgets.a]\nper = "run"\ndollars = -1\n', "turnout.toml:3: budgets.a.dollars: Input should be greater than"),
        ('[budgets.a]\nper = "run"\ncalls = 1\nroles = ["x"]\n', "turnout.toml:1: budgets.a: roles are for the review"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "turnout.toml"
    file.write_text(text)
    with pytest.raises(SettingsInvalid) as found:
        tables.find(file)
    assert said in str(found.value)


async def test_budgets_of_the_file_are_set_when_the_app_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "turnout.toml"
    file.write_text('[budgets.day]\nper = "tenant"\nday = true\ndollars = 0.0000019\nseconds = 1.5\n')
    store = f"sqlite:///{tmp_path / 's.db'}"
    async with open_test_app(store, graphs=[chain(three, tools=[look])], config=file) as app:
        [found] = await app.budgets()
        assert (found.name, found.per, found.day, found.caps) == (
            "day",
            "tenant",
            True,
            {"micros": 1, "ms": 1500},
        )
        assert await app.drop_budget("day")
    async with open_test_app(store, graphs=[chain(three, tools=[look])], config=file) as app:
        assert len(await app.budgets("day")) == 1
    async with open_test_app(store, graphs=[chain(three, tools=[look])]) as app:
        assert len(await app.budgets("day")) == 1, "it stays though this app doesn't know of it"
