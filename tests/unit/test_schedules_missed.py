"""Slots that were missed while no worker was there, or while the schedule was paused."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.slots import BEGIN, HOUR, one, quick, settled, threads

from turnout.ports.store import Store
from turnout.testing import VirtualClock, open_test_app


@pytest.mark.parametrize(
    ("missed", "started", "note"),
    [
        ("skip", [], "2026-01-01T01:00Z to 2026-01-01T05:00Z missed: no worker was there"),
        ("once", ["05"], ""),
        ("all", ["01", "02", "03", "04", "05"], ""),
    ],
)
async def test_slots_that_passed_without_a_worker(
    store: Store, missed: Any, started: list[str], note: str
) -> None:
    clock = VirtualClock()
    async with open_test_app(store, graphs=[quick], work=False, clock=clock) as app:
        await app.schedule("s", quick, {}, cron="@hourly", missed=missed, overlap="allow")
    await clock.advance(5.5 * HOUR)
    async with open_test_app(store, graphs=[quick], clock=clock) as app:
        await settled(clock)
        assert await threads(app) == [f"s@2026-01-01T{hour}:00Z" for hour in started]
        found = await one(app)
        assert (found.note, found.next_at) == (note, BEGIN + timedelta(hours=6))
        await settled(clock, HOUR / 2)
        assert (await threads(app))[-1] == "s@2026-01-01T06:00Z"
        assert (await one(app)).note == ""


async def test_thousands_of_missed_slots_are_started_and_the_worker_works_on_them_meanwhile(
    store: Store,
) -> None:
    clock = VirtualClock()
    async with open_test_app(store, graphs=[quick], work=False, clock=clock) as app:
        await app.schedule("s", quick, {}, cron="* * * * *", missed="all", overlap="allow")
    await clock.advance(1000 * 60)
    async with open_test_app(store, graphs=[quick], clock=clock) as app:
        for _ in range(3000):
            rows = await app.threads(limit=2000)
            if len(rows) == 1000 and all(row.status == "finished" for row in rows):
                break
            await asyncio.sleep(0.01)
        assert len(rows) == 1000


async def test_a_paused_schedule_fires_nothing_and_when_it_is_resumed_its_rule_is_for_what_came_meanwhile() -> (
    None
):
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        for missed in ("skip", "once"):
            await app.schedule(missed, quick, {}, cron="@hourly", missed=missed)  # type: ignore[arg-type]
            assert (await app.pause_schedule(missed)).paused
            assert (await app.pause_schedule(missed)).paused  # once more changes nothing
        await settled(clock, 5.5 * HOUR)
        assert await threads(app) == []
        for missed in ("skip", "once"):
            assert not (await app.resume_schedule(missed)).paused
        await settled(clock)
        assert await threads(app) == ["once@2026-01-01T05:00Z"]
        await settled(clock, HOUR)
        assert (await threads(app))[1:] == ["once@2026-01-01T06:00Z", "skip@2026-01-01T06:00Z"]


async def test_a_moment_that_passed_while_the_schedule_was_paused_is_started_late_or_not_at_all() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        for missed in ("skip", "once"):
            at = BEGIN + timedelta(hours=1)
            await app.schedule(missed, quick, {}, at=at, missed=missed)  # type: ignore[arg-type]
            await app.pause_schedule(missed)
        await settled(clock, 2 * HOUR)
        for missed in ("skip", "once"):
            await app.resume_schedule(missed)
        await settled(clock)
        assert await threads(app) == ["once@2026-01-01T01:00Z"]
        assert [s.next_at for s in await app.schedules()] == [None, None]
        assert (await one(app, "skip")).note == "2026-01-01T01:00Z missed: no worker was there"
