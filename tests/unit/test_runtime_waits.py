"""Sleeping, signals and due times: nothing is held, for seconds or for months."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import Context, Failed, Finished, Paused, approve
from turnout.errors import KeyReused, ReviewClosed, UnknownThread
from turnout.testing import VirtualClock, open_test_app


async def test_a_step_sleeps_for_months_and_holds_nothing() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        before = await ctx.now()
        await ctx.sleep(timedelta(days=90))
        return {"n": ((await ctx.now()) - before).days}

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node)], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(1)
        assert app.worker is not None
        await until(lambda: not app.worker.busy)  # type: ignore[union-attr]
        row = await app.store.thread("t")
        assert row is not None
        assert (row.owner, row.status) == ("", "waiting")
        await clock.advance(days=89)
        assert "timer.fired" not in await kinds(app)
        await clock.advance(days=1)
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert done.state.n == 90  # type: ignore[attr-defined]
        await proven(app)


@pytest.mark.parametrize(
    ("until_when", "seconds"),
    [(5, 5.0), (0.25, 0.25), (timedelta(minutes=2), 120.0), (datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC), 30.0),
     (datetime(2020, 1, 1, tzinfo=UTC), 0.0), (0, 0.0), (-5, 0.0)],
)  # fmt: skip
async def test_a_sleep_ends_at_its_moment_and_not_before(until_when: Any, seconds: float) -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.sleep(until_when)
        return {"n": 1}

    clock = VirtualClock()  # 2026-01-01 00:00 UTC
    async with open_test_app(graphs=[chain(node)], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(max(0.0, seconds - 0.001))
        if seconds:
            assert "run.finished" not in await kinds(app)
        await clock.advance(0.002)
        assert isinstance(await app.wait(run, timeout=5), Finished)
        await proven(app)


@pytest.mark.parametrize("until_when", [datetime(2027, 1, 1), float("nan"), float("inf"), "tomorrow"])
async def test_a_sleep_without_a_meaning_fails_clearly(until_when: Any) -> None:
    async def node(state: Work, ctx: Context) -> None:
        await ctx.sleep(until_when)

    async with open_test_app(graphs=[chain(node)]) as app:
        failed = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(failed, Failed)
        assert failed.error.type == "InputInvalid"
        assert "ctx.sleep" in failed.error.message


async def test_two_sleeps_at_once_run_side_by_side() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await asyncio.gather(ctx.sleep(10), ctx.sleep(20))
        return {"n": 1}

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node)], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(20.5)
        assert isinstance(await app.wait(run, timeout=5), Finished)
        await proven(app)


async def test_a_signal_that_comes_first_is_kept_and_one_that_comes_later_is_awaited() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        early = await ctx.signal("early")
        late = await ctx.signal("late")
        return {"data": [early, late]}

    async with open_test_app(graphs=[chain(gate, node)]) as app:
        run = await app.start("g", {}, thread="t")
        first = await app.wait(run, timeout=5)
        assert isinstance(first, Paused)
        assert await app.signal("t", "early", {"n": 1})
        await app.signal("t", "gate")
        waiting = await app.wait(run, timeout=5)
        assert isinstance(waiting, Paused)
        assert waiting.signals == ["late"]
        await app.signal("t", "other", "not this one")
        await app.signal("t", "late", [2])
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert done.state.data == [{"n": 1}, [2]]  # type: ignore[attr-defined]
        await proven(app)


async def gate(state: Work, ctx: Context) -> None:
    await ctx.signal("gate")


async def test_signals_of_one_name_come_in_order_and_each_once() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": [await ctx.signal("s") for _ in range(4)]}

    async with open_test_app(graphs=[chain(node)]) as app:
        run = await app.start("g", {}, thread="t")
        await app.wait(run, timeout=5)
        for i in range(4):
            await app.signal("t", "s", i)
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert done.state.data == [0, 1, 2, 3]  # type: ignore[attr-defined]
        await proven(app)


async def test_two_who_wait_for_one_signal_are_served_one_after_the_other() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": list(await asyncio.gather(ctx.signal("s"), ctx.signal("s")))}

    async with open_test_app(graphs=[chain(node)]) as app:
        run = await app.start("g", {}, thread="t")
        waiting = await app.wait(run, timeout=5)
        assert isinstance(waiting, Paused)
        assert waiting.signals == ["s", "s"]
        await app.signal("t", "s", "a")
        await app.wait(run, timeout=5)
        await app.signal("t", "s", "b")
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert sorted(done.state.data) == ["a", "b"]  # type: ignore[attr-defined]
        await proven(app)


async def test_a_signal_sent_again_with_its_key_counts_once() -> None:
    async with open_test_app(graphs=[chain(gate)]) as app:
        run = await app.start("g", {}, thread="t")
        await app.wait(run, timeout=5)
        assert await app.signal("t", "other", 1, idempotency_key="k") is True
        assert await app.signal("t", "other", 1, idempotency_key="k") is False
        assert (await kinds(app)).count("signal.received") == 1
        with pytest.raises(UnknownThread):
            await app.signal("nobody", "s")


@pytest.mark.parametrize(("on_due", "decision"), [("reject", "reject"), ("approve", "approve")])
async def test_a_review_that_nobody_decides_in_time_decides_itself(on_due: str, decision: str) -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        review = await ctx.review("ok?", due=timedelta(hours=1), on_due=on_due)
        return {"log": [review.decision, review.summary]}

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node)], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(3599)
        [review] = await app.reviews()
        await clock.advance(2)
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert done.state.log[0] == decision  # type: ignore[attr-defined]
        assert "the due time" in done.state.log[1]  # type: ignore[attr-defined]
        with pytest.raises(ReviewClosed):
            await app.resolve(review, approve(by="late"))
        await proven(app)


async def test_a_review_without_a_due_time_has_not_escalated_whoever_it_would_have_gone_to() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [(await ctx.review("ok?", roles=["boss"], escalate_to=["boss"])).decision]}

    async with open_test_app(graphs=[chain(node)]) as app:
        await app.wait(await app.start("g", {}, thread="t"))
        [review] = await app.reviews()
        assert not review.escalated


async def test_a_review_that_escalates_stays_open_for_others() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        review = await ctx.review(
            "ok?", roles=["clerk"], due=timedelta(hours=1), on_due="escalate", escalate_to=["boss"]
        )
        return {"log": [review.decision]}

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node)], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(3601)
        await clock.advance(days=5)
        [review] = await app.reviews(role="boss")
        assert (review.roles, review.due_at, review.escalated) == (("boss",), None, True)
        assert await app.reviews(role="clerk") == []
        await app.resolve(review, approve(by="b", roles=["boss"]))
        await clock.advance(1)
        assert isinstance(await app.wait(run, timeout=5), Finished)
        await proven(app)


async def test_idempotency_keys_of_two_threads_are_never_mistaken_for_one_another() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": await ctx.signal("go")}

    async with open_test_app(graphs=[chain(node)]) as app:
        first = await app.start("g", {}, thread="t")
        second = await app.start("g", {}, thread="t:a")
        assert await app.signal("t:a", "go", 1, idempotency_key="b")
        assert await app.signal("t", "go", 2, idempotency_key="a:b")
        assert isinstance(await app.wait(first, timeout=5), Finished)
        assert isinstance(await app.wait(second, timeout=5), Finished)


async def test_another_signal_with_a_used_key_is_refused() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": [await ctx.signal("go"), await ctx.signal("go")]}

    async with open_test_app(graphs=[chain(node)]) as app:
        await app.start("g", {}, thread="t")
        assert await app.signal("t", "go", 1, idempotency_key="b")
        assert not await app.signal("t", "go", 1, idempotency_key="b")
        with pytest.raises(KeyReused):
            await app.signal("t", "go", 2, idempotency_key="b")


@pytest.mark.parametrize("time", [1e15, timedelta.max, -1e15])
async def test_a_sleep_beyond_all_time_is_refused(time: Any) -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.sleep(time)
        return {}

    async with open_test_app(graphs=[chain(node)]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Failed)
        assert ended.error.type == "InputInvalid"
        await app.explain("t")


async def test_a_signal_that_came_before_a_migration_is_there_after_it(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"

    async def old(state: Work, ctx: Context) -> dict[str, Any]:
        said = await ctx.signal("go")
        await ctx.review("ok?")
        return {"data": said}

    async def new(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": await ctx.signal("go")}

    before = chain(old)
    async with open_test_app(store, graphs=[before]) as app:
        run = await app.start("g", {}, thread="t")
        assert isinstance(await app.wait(run, timeout=5), Paused)
        await app.signal("t", "go", "paid")
        await until(lambda: app.worker is not None and not app.worker.busy)
        paused = await app.wait(run, timeout=5)
        assert isinstance(paused, Paused)
        assert paused.reviews
    after_ = chain(new)
    after_.migration(before=before.fingerprint, nodes={"old": "new"})
    async with open_test_app(store, graphs=[after_]) as app:
        await app.signal("t", "wake")
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Finished)
        assert ended.state.data == "paid"
