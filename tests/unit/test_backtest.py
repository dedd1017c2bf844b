"""Backtest: every call on record decided again."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.rules import PAY, folder
from tests.unit.runs import kinds
from tests.unit.test_runtime_policy import Desk, paused

from turnout import Finished, approve
from turnout.errors import InputInvalid, SettingsInvalid
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
