"""Starts that are delayed to a moment. On a virtual clock."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from tests.unit.runs import kinds, proven
from tests.unit.slots import BEGIN, HOUR, narrow, quick, settled, slow

from turnout import END, Cancelled, Context, Failed, Finished, Graph, Paused
from turnout.errors import InputInvalid, KeyReused, ThreadBusy
from turnout.ports.clock import micros
from turnout.ports.store import Store
from turnout.testing import VirtualClock, open_test_app


async def test_a_delayed_start_runs_at_its_moment_and_is_waited_for() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        run = await app.start("g", {}, thread="t", at=BEGIN + timedelta(days=3))
        assert str(run) == "t/1"
        waiting = asyncio.ensure_future(app.wait(run))
        await clock.advance(days=2.999)
        row = await app.store.thread("t")
        assert row is not None
        assert (row.status, row.owner, row.wake_at) == ("waiting", "", micros(BEGIN + timedelta(days=3)))
        assert not waiting.done()
        assert [x.status for x in (await app.explain("t")).runs] == ["queued"]
        assert (await app.whatif("t")).same  # it has not begun
        assert [x.adopted for x in await app.check_in_flight()] == [True]
        await clock.advance(days=0.001)
        assert isinstance(await asyncio.wait_for(waiting, 5), Finished)
        [started] = [x for x in await app.entries("t") if x.kind == "run.started"]
        assert started.at == micros(BEGIN + timedelta(days=3))
        [told] = (await app.explain("t")).runs
        assert (told.due_at, told.received_at) == (BEGIN + timedelta(days=3), BEGIN)
        await proven(app)
        assert (await app.whatif("t")).same


async def test_a_delayed_start_is_kept_by_the_store_alone(store: Store) -> None:
    clock = VirtualClock()
    async with open_test_app(store, graphs=[quick], clock=clock) as app:
        run = await app.start("g", {}, at=BEGIN + timedelta(hours=1))
        await settled(clock)
    await clock.advance(2 * HOUR)
    async with open_test_app(store, graphs=[quick], clock=clock) as app:
        assert isinstance(await app.wait(run, timeout=5), Finished)


async def test_a_delayed_start_that_is_cancelled_never_starts() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        run = await app.start("g", {}, thread="t", at=BEGIN + timedelta(days=3))
        await settled(clock)
        assert await app.cancel("t", by="dana", reason="no need") == run
        ended = await app.wait(run, timeout=5)  # at once, not in three days
        assert isinstance(ended, Cancelled)
        assert (ended.by, ended.reason) == ("dana", "no need")
        await clock.advance(days=4)
        assert "run.started" not in await kinds(app)
        await proven(app)


async def test_a_delayed_start_sent_twice_with_one_key_is_one_run() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        first = await app.start("g", {}, at=BEGIN + timedelta(hours=1), idempotency_key="k")
        await settled(clock, 60)
        again = await app.start("g", {}, at=BEGIN + timedelta(hours=1), idempotency_key="k")
        assert (again, again.new) == (first, False)
        with pytest.raises(KeyReused):
            await app.start("g", {"n": 1}, at=BEGIN + timedelta(hours=1), idempotency_key="k")
        with pytest.raises(KeyReused):
            await app.start("g", {}, at=BEGIN + timedelta(hours=1, minutes=1), idempotency_key="k")
        await settled(clock, HOUR)
        assert (await kinds(app, first.thread)).count("run.started") == 1


async def test_a_delayed_start_lets_others_pass_and_waits_its_turn_when_its_time_has_come() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[slow], clock=clock) as app:
        later = await app.start("g", {}, thread="t", at=BEGIN + timedelta(hours=1))
        await settled(clock)
        now = await app.start(
            "g", {}, thread="t", if_active="refuse", priority=3
        )  # what is to come is not active
        await settled(clock)
        assert isinstance(await app.wait(now, timeout=5), Paused)
        row = await app.store.thread("t")
        assert row is not None
        assert row.priority == 3
        with pytest.raises(ThreadBusy, match="has run 2 active"):
            await app.start("g", {}, thread="t", if_active="refuse")
        await settled(clock, 2 * HOUR)
        assert [x.run for x in await app.entries("t") if x.kind == "run.started"] == [2]
        with pytest.raises(TimeoutError):
            await app.wait(later, timeout=0.01)
        await app.signal("t", "go")
        assert isinstance(await app.wait(now, timeout=5), Finished)
        await settled(clock)
        await app.signal("t", "go")
        assert isinstance(await app.wait(later, timeout=5), Finished)
        assert [x.run for x in await app.entries("t") if x.kind == "run.started"] == [2, 1]
        await proven(app)
        assert (await app.whatif("t")).same


async def test_the_first_input_to_run_makes_the_state_whichever_came_first() -> None:
    class Needs(BaseModel):
        order: str
        note: str = ""

    graph = Graph("needs", state=Needs)

    @graph.node
    async def look(state: Needs, ctx: Context) -> dict[str, Any]:
        return {"note": state.order}

    graph.start(look)
    graph.edge(look, END)
    clock = VirtualClock()
    async with open_test_app(graphs=[graph], clock=clock) as app:
        later = await app.start("needs", {"order": "A"}, thread="t", at=BEGIN + timedelta(hours=1))
        with pytest.raises(InputInvalid, match="order"):  # it would run first, with nothing to build on
            await app.start("needs", {"note": "x"}, thread="t")
        await app.start("needs", {"note": "y"}, thread="t", at=BEGIN + timedelta(hours=2))
        with pytest.raises(InputInvalid, match="if_active='replace'"):
            await app.start("needs", {"order": "B"}, thread="t", at=BEGIN, if_active="replace")
        with pytest.raises(InputInvalid, match="a delayed start"):
            await app.start("needs", {"order": "B"}, thread="t", at=datetime(2026, 1, 1))
        await clock.advance(3 * HOUR)
        assert isinstance(await app.wait(later, timeout=5), Finished)
        done = await app.wait("t/2", timeout=5)
        assert isinstance(done, Finished)
        assert done.state == Needs(order="A", note="A")


async def test_a_moment_that_is_past_is_now() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        run = await app.start("g", {}, at=BEGIN - timedelta(days=1))
        assert isinstance(await app.wait(run, timeout=5), Finished)


async def test_a_delayed_start_whose_input_fits_no_more_fails_when_it_is_due(store: Store) -> None:
    clock = VirtualClock()
    async with open_test_app(store, graphs=[quick], work=False, clock=clock) as app:
        run = await app.start("g", {"n": 1}, thread="t", at=BEGIN + timedelta(hours=1))
    await clock.advance(HOUR)
    async with open_test_app(store, graphs=[narrow()], clock=clock) as app:
        outcome = await app.wait(run, timeout=5)
        assert isinstance(outcome, Failed)
        assert outcome.error.type == "InputInvalid"
