"""What explain tells of runs: how they failed, branched, forked and followed one another, and who drove them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.promises.bench import Dying, Later, app_on, until_death
from tests.unit.refunds import REPLY, Desk, desk, refunded, scripted

from turnout import END, Context, Failed, Finished, Graph, Paused, Retry, approve, fan_out, parallel
from turnout.testing import ScriptedModel, VirtualClock, open_test_app


async def test_failures_retries_and_the_end_of_a_failed_run_are_told() -> None:
    shaky = Graph("shaky", state=Desk)

    @shaky.node(retry=Retry(attempts=2, wait=5))
    async def fall(state: Desk, ctx: Context) -> dict[str, Any]:
        raise ValueError(f"try {ctx.attempt}")

    shaky.start(fall)
    shaky.edge(fall, END)
    clock = VirtualClock()
    async with open_test_app(graphs=[shaky], clock=clock) as app:
        run = await app.start("shaky", {"order": "A"}, thread="case")
        await clock.advance(60)
        assert isinstance(await app.wait(run, timeout=10), Failed)
        report = await app.explain("case")
    [step] = report.steps
    assert (step.status, step.attempt) == ("failed", 2)
    assert [failure.error.message for failure in step.failures] == ["try 1", "try 2"]
    assert step.failures[0].retry_at is not None
    assert step.failures[1].retry_at is None
    [ended] = report.runs
    assert ended.status == "failed"
    assert ended.error is not None
    assert "try 2" in ended.error.message


async def test_branches_fan_outs_timers_signals_and_children_are_told() -> None:
    inner = Graph("inner", state=Desk)

    @inner.node
    async def nothing(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"amount": 7}

    inner.start(nothing)
    inner.edge(nothing, END)
    outer = Graph("outer", state=Desk)

    @outer.node
    async def left(state: Desk, ctx: Context) -> dict[str, Any]:
        await ctx.sleep(timedelta(days=1))
        return {"notes": ["left"]}

    @outer.node
    async def right(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"notes": [str(await ctx.signal("go"))]}

    @outer.node
    async def spread(state: Desk, ctx: Context) -> object:
        return fan_out(each, [1, 2, 3])

    @outer.node
    async def each(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"notes": [f"item {ctx.item}"]}

    @outer.node
    async def child(state: Desk, ctx: Context) -> dict[str, Any]:
        return {"amount": (await ctx.run("inner", {"order": "c"}))["amount"]}

    @outer.node
    async def split(state: Desk, ctx: Context) -> dict[str, Any]:
        return {}

    outer.start(split)
    outer.edge(split, parallel(left, right, join=spread))
    outer.edge(left, spread)
    outer.edge(right, spread)
    outer.edge(spread, each)
    outer.edge(each, child)
    outer.edge(child, END)
    clock = VirtualClock()
    async with open_test_app(graphs=[outer, inner], clock=clock) as app:
        run = await app.start("outer", {"order": "A"}, thread="case")
        await clock.settle()
        waiting = await app.explain("case")
        await app.signal("case", "go", {"n": 1}, by="eve")
        await clock.advance(days=2)
        assert isinstance(await app.wait(run, timeout=10), Finished)
        report = await app.explain("case")
    assert {step.id.split(".")[0] for step in waiting.steps if step.status == "open"} == {"left", "right"}
    assert {wait.kind for wait in waiting.waits if wait.ended_seq is None} == {"timer", "signal"}
    waits = {wait.kind: wait for wait in report.waits}
    assert waits["timer"].due_at is not None
    assert waits["signal"].result == {"n": 1}
    assert (waits["child"].name, waits["child"].result["amount"]) == ("inner", 7)
    assert all(wait.ended_seq is not None for wait in report.waits)
    assert [(signal.name, signal.by) for signal in report.signals] == [("go", "eve")]
    pair, items = report.splits
    assert (pair.nodes, pair.join, pair.items) == (("left", "right"), "spread", 0)
    assert (items.nodes, items.join, items.items) == (("each",), None, 3)
    assert pair.joined_seq is not None
    assert items.joined_seq is not None
    assert [step.item for step in report.steps if step.node == "each"] == [1, 2, 3]
    joined = next(
        found for found in report.state_changes if found.what == "join" and found.seq == items.joined_seq
    )
    assert joined.changes[0].wrote == ["item 1", "item 2", "item 3"]


async def test_a_fork_names_its_parent_and_does_not_take_over_the_parents_open_review() -> None:
    async with scripted() as app:
        outcome = await app.run("desk", {"order": "A-17"}, thread="case")
        assert isinstance(outcome, Paused)
        head = (await app.explain("case")).head
        await app.fork("case", at=head, update={"amount": 10}, name="branch", by="zoe")
        await app.wait("branch/1", timeout=10)
        report = await app.explain("branch")
        await app.cancel("case", by="eve", reason="enough")
        await app.wait("case/1", timeout=10)
        cancelled = await app.explain("case")
    [fork] = report.forks
    assert (fork.parent, fork.entry, fork.by) == ("case", head, "zoe")
    old, new = report.reviews
    assert (old.thread, old.status) == ("case", "withdrawn")
    assert (new.thread, new.status, new.payload) == ("branch", "open", {"amount": 10})
    assert [entry.thread for entry in report.entries[:head]] == ["case"] * head
    edited = next(found for found in report.state_changes if found.what == "fork")
    assert (edited.changes[0].before, edited.changes[0].after) == (9000, 10)
    [review] = cancelled.reviews
    assert review.status == "withdrawn"
    assert review.closed_at is not None
    assert (cancelled.runs[0].cancelled_by, cancelled.runs[0].reason) == ("eve", "enough")


async def test_every_run_of_a_conversation_is_told() -> None:
    async with scripted() as app:
        await refunded(app)
        again = await app.run("desk", {"order": "A-18"}, thread="case")
        assert isinstance(again, Paused)
        await app.start("desk", {"order": "A-19"}, thread="case")
        report = await app.explain("case")
        await app.resolve(again.reviews[0], approve(by="dana"))
    assert [(run.number, run.status) for run in report.runs] == [
        (1, "finished"),
        (2, "waiting"),
        (3, "queued"),
    ]


async def test_who_went_on_in_the_middle_of_a_run_is_told_and_a_pause_is_none(tmp_path: Path) -> None:
    """A worker dies with a step under way; another one takes over. That a third one goes on after a review is usual."""
    path = tmp_path / "t.db"
    clerk = {"clerk": ScriptedModel([REPLY])}
    dying = Dying(path, "review.requested")
    async with until_death(dying, desk, {"order": "A-17"}, thread="case", models=clerk):
        pass
    async with app_on(path, desk, clock=Later(), models=clerk) as app:
        paused = await app.wait("case/1", timeout=10)
        assert isinstance(paused, Paused)
        await app.resolve(paused.reviews[0], approve(by="dana"))
        assert isinstance(await app.wait("case/1", timeout=10), Finished)
        report = await app.explain("case")
        entries = await app.entries("case")
    [told] = report.takeovers
    first = next(entry for entry in entries if entry.epoch == 2)
    assert (told.seq, told.run, told.before, told.epoch) == (first.seq, 1, 1, 2)
    assert max(entry.epoch for entry in entries) > 2
