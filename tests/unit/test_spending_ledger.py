"""The ledger: what calls have cost, for whom, in which thread and on which store, and what is charged to nobody."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.capped import CALLS, app_with, look, send, stands, three
from tests.unit.runs import Work, chain, proven

from turnout import (
    App,
    Budget,
    Cancelled,
    Context,
    Finished,
    ModelReply,
    Paused,
    Usage,
    approve,
    landed,
    tool,
)
from turnout.errors import InputInvalid
from turnout.testing import ScriptedModel, open_test_app


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
