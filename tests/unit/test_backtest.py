"""Backtest: every call on record decided again."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.desks import Desk, paused
from tests.unit.rules import PAY, folder
from tests.unit.runs import Work, chain, kinds

from turnout import END, Context, Failed, Finished, Graph, approve, guard, tool
from turnout.errors import GuardBlocked, InputInvalid, SettingsInvalid, ToolFailed
from turnout.testing import VirtualClock, open_test_app


async def test_what_flips_is_told_by_graph_node_and_tool_with_examples(tmp_path: Path) -> None:
    desk = Desk()
    async with open_test_app(graphs=[desk.graph], policy=folder(tmp_path)) as app:
        for n in (50, 60, 5000):
            await app.run("g", {"n": n}, thread=f"t{n}")
        await app.resolve((await paused(app)).reviews[0], approve(by="dana"))
        await app.wait("t/1")
        before = {thread: await kinds(app, thread) for thread in ("t", "t50")}
        found = await app.backtest(
            folder(tmp_path, PAY.replace("<= 100", "<= 55").replace("> 100", "> 55"), "b")
        )
        assert {thread: await kinds(app, thread) for thread in ("t", "t50")} == before
    assert (found.threads, found.calls, found.derived, found.unchanged) == (4, 4, 0, 3)
    [flip] = found.flips
    assert (flip.graph, flip.node, flip.kind, flip.name, flip.before, flip.after, flip.calls) == (
        "g", "work", "tool", "pay", "allow", "review by finance", 1
    )  # fmt: skip
    [example] = flip.examples
    assert (example.thread, example.args["amount"], example.before, example.after) == (
        "t60",
        60,
        ("small",),
        ("big",),
    )
    assert desk.sent == [50, 60, 500]


async def test_the_same_rules_flip_nothing(tmp_path: Path) -> None:
    async with open_test_app(graphs=[Desk().graph], policy=folder(tmp_path)) as app:
        for n in (50, 500, 5000):
            await app.run("g", {"n": n}, thread=f"t{n}")
        found = await app.backtest(folder(tmp_path, "// moved\n" + PAY, "b"))
    assert found.same
    assert found.unchanged == found.calls == 3


async def test_calls_that_were_made_without_a_policy_count_as_allowed(tmp_path: Path) -> None:
    async with open_test_app(graphs=[Desk().graph], policy="") as app:
        for n in (50, 5000):
            await app.run("g", {"n": n}, thread=f"t{n}", by="eve", tenant="acme")
        rules = (
            PAY
            + 'forbid(principal, action, resource) when { principal.tenant != "acme" || principal.by != "eve" };'
        )
        found = await app.backtest(folder(tmp_path, rules))
    assert (found.calls, found.derived, found.unchanged) == (2, 2, 1)
    assert [(flip.before, flip.after, flip.node) for flip in found.flips] == [("allow", "deny", "work")]


async def test_what_a_guardrail_has_blocked_was_no_call(tmp_path: Path) -> None:
    @tool(effect="read")
    async def look(text: str) -> str:
        return "AKIAIOSFODNN7EXAMPLE" if text == "answer" else "seen"

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        for text in ("AKIAIOSFODNN7EXAMPLE", "answer", "hello"):
            with suppress(ToolFailed, GuardBlocked):
                await ctx.call(look, text=text)
        return {}

    for n, policy in enumerate(("", folder(tmp_path, "permit(principal, action, resource);"))):
        async with open_test_app(
            graphs=[chain(work, tools=[look])], policy=policy, guards=[guard("no-keys", "secrets")]
        ) as app:
            await app.run("g", {}, thread="t")
            found = await app.backtest(folder(tmp_path, "permit(principal, action, resource);", "b"))
        assert (found.calls, found.derived, found.same) == (2, 2 - 2 * n, True)


@pytest.mark.parametrize("more", ["@separate", '@due("24h")', '@holds("2h")', '@quorum("2")'])
async def test_a_review_of_which_less_is_demanded_is_another(tmp_path: Path, more: str) -> None:
    rule = '@review("finance") permit(principal, action, resource);'
    async with open_test_app(graphs=[Desk().graph], policy=folder(tmp_path, f"{more} {rule}")) as app:
        await paused(app)
        [flip] = (await app.backtest(folder(tmp_path, rule, "b"))).flips
        assert (await app.backtest(folder(tmp_path, f"{more} {rule}", "c"))).same
    said = more.replace('"', "").replace("24h", "1d")
    assert (flip.before, flip.after) == (f"review by finance {said}", "review by finance")


async def test_calls_that_undo_are_decided_as_they_were_when_no_verdict_was_on_record(tmp_path: Path) -> None:
    @tool(effect="write")
    async def cancel(place: str) -> str:
        return "cancelled"

    @tool(effect="write", compensate=cancel)
    async def book(place: str) -> str:
        return "booked"

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.call(book, place="Rome")
        raise ValueError("no")

    graph = Graph("g", state=Work, tools=[book], together=[book])
    graph.start(graph.node(work))
    graph.edge(work, END)
    rules = 'permit(principal, action, resource); forbid(principal == Node::"g.undo", action, resource);'
    async with open_test_app(graphs=[graph], policy="") as app:
        assert isinstance(await app.run("g", {}, thread="t"), Failed)
        [flip] = (await app.backtest(folder(tmp_path, rules))).flips
    assert (flip.node, flip.name, flip.after) == ("undo", "cancel", "deny")


async def test_only_calls_since_then_and_of_that_graph_are_decided(tmp_path: Path) -> None:
    clock = VirtualClock()
    deny = folder(tmp_path, "forbid(principal, action, resource);", "deny")
    async with open_test_app(graphs=[Desk().graph], policy=folder(tmp_path), clock=clock) as app:
        await app.run("g", {"n": 1}, thread="old")
        await clock.advance(days=40)
        await app.run("g", {"n": 2}, thread="new")
        await app.run("g", {"n": 2}, thread="old")  # on top of what was there
        now = datetime.fromtimestamp(clock.now() / 1_000_000, UTC)
        found = await app.backtest(deny, since=now - timedelta(days=30))
        assert sorted(x.args["amount"] for x in found.flips[0].examples) == [2, 3]
        assert (await app.backtest(deny, graph="g")).calls == 3
        assert (await app.backtest(deny, graph="other")).calls == 0
        with pytest.raises(InputInvalid, match="no time zone"):
            await app.backtest(deny, since=datetime(2026, 1, 1))


async def test_what_a_fork_shares_with_its_parent_is_counted_once(tmp_path: Path) -> None:
    async with open_test_app(graphs=[Desk().graph], policy=folder(tmp_path)) as app:
        await app.run("g", {"n": 1}, thread="t")
        fork = await app.fork("t", name="fork")
        assert isinstance(await app.wait(fork), Finished)
        assert (await app.backtest(folder(tmp_path))).calls == 1


async def test_a_candidate_with_mistakes_is_refused_with_its_lines(tmp_path: Path) -> None:
    async with open_test_app(graphs=[Desk().graph]) as app:
        with pytest.raises(SettingsInvalid, match=r"rules\.cedar:1: "):
            await app.backtest(folder(tmp_path, "permit(;"))
