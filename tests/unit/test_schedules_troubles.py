"""What doesn't fit, can't be read or breaks is noted, and holds up no other schedule."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.slots import BEGIN, FAST, HOUR, narrow, one, other, quick, settled, slow, threads

from turnout.errors import StoreUnavailable
from turnout.ports.clock import micros
from turnout.ports.rows import Append, KeyRow
from turnout.ports.store import Store
from turnout.runtime.schedules import key_of
from turnout.stores.sqlite import SqliteStore
from turnout.testing import VirtualClock, open_test_app


async def test_an_input_that_fits_the_graph_no_more_is_noted_and_the_schedule_goes_on(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    async with open_test_app(store, graphs=[quick], work=False, clock=clock) as app:
        await app.schedule("s", quick, {"n": 1}, cron="@hourly")
        await app.schedule("t", quick, {"n": 1}, cron="@hourly")
    async with open_test_app(store, graphs=[narrow()], clock=clock) as app:
        await settled(clock, HOUR)
        for name in "st":
            found = await one(app, name)
            assert found.note.startswith("2026-01-01T01:00Z not started: ")
            assert "Narrow has m" in found.note
            assert (found.next_at, found.last_at) == (BEGIN + timedelta(hours=2), None)
        assert "schedule s: 2026-01-01T01:00Z not started" in caplog.text
        assert await threads(app) == []


async def test_a_thread_of_another_graph_in_the_place_of_a_slot_is_noted_and_left_alone() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick, other], clock=clock) as app:
        await app.run("other", {}, thread="s@2026-01-01T01:00Z")
        await app.schedule("s", quick, {}, cron="@hourly")
        await settled(clock, HOUR)
        assert "is of graph 'other'" in (await one(app)).note
        assert len(await app.store.runs("s@2026-01-01T01:00Z")) == 1


async def test_a_schedule_that_this_machine_can_not_read_is_complained_of_once_and_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        await app.schedule("a", quick, {}, cron="@hourly")
        [row] = await app.store.schedules(name="a")
        await app.store.put_schedule(replace(row, zone="Mars/Olympus", updated_at=row.updated_at + 1))
        await app.schedule("b", quick, {}, cron="@hourly")
        await settled(clock, 3 * HOUR)
        assert await threads(app) == [f"b@2026-01-01T0{hour}:00Z" for hour in (1, 2, 3)]
        assert caplog.text.count("no time zone 'Mars/Olympus'") == 1


async def test_a_schedule_whose_firing_breaks_is_tried_again_later_and_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        await app.schedule("a", quick, {}, cron="@hourly")
        await app.schedule("b", quick, {}, cron="@hourly")
        at = micros(BEGIN + timedelta(hours=1))
        [row] = await app.store.schedules(name="a")
        strange = KeyRow(key_of("a", at), "t", 1, "no slot")  # nothing of Turnout's writes such a key
        await app.store.append(Append("t", 0, 0, [], "g", "", "idle", 0, at, wake=None, keys=[strange]))
        await settled(clock, HOUR)
        assert await threads(app) == ["b@2026-01-01T01:00Z", "t"]
        await settled(clock, 5)
        assert caplog.text.count("firing schedule a broke") == 1
        assert await app.store.schedules(name="a") == [row]


async def test_hundreds_of_schedules_that_wait_keep_no_other_from_firing() -> None:
    clock = VirtualClock()
    names = [f"s{n:03}" for n in range(230)]
    async with open_test_app(graphs=[slow, other], clock=clock) as app:
        for name in names:
            await app.schedule(name, slow, {}, cron="@hourly", overlap="wait")
        await app.schedule("z", other, {}, cron="30 * * * *")
        await settled(clock, HOUR)
        await settled(clock)
        assert len(await threads(app)) == 231
        await settled(clock, 2 * HOUR)
        assert len(await threads(app)) == 233
        assert [t for t in await threads(app) if t > "t"] == [f"z@2026-01-01T0{n}:30Z" for n in range(3)]
        await app.signal("s117@2026-01-01T01:00Z", "go")
        await settled(clock)
        assert (await one(app, "s117")).last_thread == "s117@2026-01-01T03:00Z"


async def test_a_store_that_fails_for_a_while_costs_no_slot() -> None:
    class Flaky(SqliteStore):
        down = False

        async def due_schedules(self, *args: Any) -> Any:
            if self.down:
                raise StoreUnavailable("away")
            return await super().due_schedules(*args)

    clock, store = VirtualClock(), Flaky(":memory:")
    async with open_test_app(store, graphs=[quick], clock=clock, settings=FAST) as app:
        await app.schedule("s", quick, {}, cron="@hourly")
        await settled(clock)
        store.down = True
        await settled(clock, HOUR)
        assert await threads(app) == []
        store.down = False
        await clock.advance(1)
        for _ in range(400):
            if await threads(app):
                break
            await asyncio.sleep(0.01)
        assert await threads(app) == ["s@2026-01-01T01:00Z"]
