"""A slot whose run before is unfinished: it is started, left out, waits, or replaces it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runs import kinds
from tests.unit.slots import BEGIN, HOUR, one, quick, settled, slow, threads

from turnout import App, Cancelled, Finished, Paused
from turnout.ports.store import Store
from turnout.stores.sqlite import SqliteStore
from turnout.testing import VirtualClock, open_test_app


async def start_first(app: App, clock: VirtualClock, overlap: Any) -> None:
    await app.schedule("s", slow, {}, cron="@hourly", overlap=overlap)
    await settled(clock, HOUR)
    assert await threads(app) == ["s@2026-01-01T01:00Z"]


async def test_with_allow_a_slot_is_started_whatever_became_of_the_one_before() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[slow], clock=clock) as app:
        await start_first(app, clock, "allow")
        await settled(clock, 2 * HOUR)
        assert len(await threads(app)) == 3


async def test_with_skip_a_slot_is_left_out_while_the_one_before_is_unfinished() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[slow], clock=clock) as app:
        await start_first(app, clock, "skip")
        await settled(clock, 2 * HOUR)
        assert await threads(app) == ["s@2026-01-01T01:00Z"]
        found = await one(app)
        assert found.note == "2026-01-01T03:00Z skipped: s@2026-01-01T01:00Z is unfinished"
        assert found.last_at == BEGIN + timedelta(hours=1)
        await app.signal("s@2026-01-01T01:00Z", "go")
        await settled(clock, HOUR)
        assert await threads(app) == ["s@2026-01-01T01:00Z", "s@2026-01-01T04:00Z"]


async def test_with_wait_one_run_starts_as_soon_as_the_one_before_has_ended_for_all_that_came_meanwhile() -> (
    None
):
    clock = VirtualClock()
    async with open_test_app(graphs=[slow], clock=clock) as app:
        await start_first(app, clock, "wait")
        await settled(clock, 2.5 * HOUR)
        assert await threads(app) == ["s@2026-01-01T01:00Z"]
        assert (await one(app)).note == "2026-01-01T02:00Z waits for s@2026-01-01T01:00Z to end"
        await app.signal("s@2026-01-01T01:00Z", "go")
        await settled(clock)  # no time passes
        assert await threads(app) == ["s@2026-01-01T01:00Z", "s@2026-01-01T03:00Z"]
        found = await one(app)
        assert (found.note, found.next_at) == ("", BEGIN + timedelta(hours=4))


async def test_with_wait_a_slot_is_started_by_a_worker_that_did_not_drive_the_one_before(
    store: Store,
) -> None:
    clock = VirtualClock()
    async with open_test_app(store, graphs=[slow], clock=clock) as app:
        await start_first(app, clock, "wait")
        await settled(clock, HOUR)
        await app.signal("s@2026-01-01T01:00Z", "go")
        # and this process is gone before it has looked at the schedule again
        app.worker._schedules.fire = lambda now: asyncio.sleep(0)  # type: ignore[union-attr,method-assign,assignment,return-value]
        assert isinstance(await app.wait("s@2026-01-01T01:00Z/1", timeout=5), Finished)
    async with open_test_app(store, graphs=[slow], clock=clock) as app:
        await settled(clock)
        assert await threads(app) == ["s@2026-01-01T01:00Z", "s@2026-01-01T02:00Z"]


async def test_with_cancel_the_run_before_is_asked_to_stop_and_the_slot_is_started() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[slow], clock=clock) as app:
        await start_first(app, clock, "cancel")
        await settled(clock, HOUR)
        assert await threads(app) == ["s@2026-01-01T01:00Z", "s@2026-01-01T02:00Z"]
        ended = await app.wait("s@2026-01-01T01:00Z/1", timeout=5)
        assert isinstance(ended, Cancelled)
        assert ended.reason == "replaced by s@2026-01-01T02:00Z"
        assert isinstance(await app.wait("s@2026-01-01T02:00Z/1", timeout=5), Paused)
        assert (await kinds(app, "s@2026-01-01T01:00Z")).count("cancel.requested") == 1


@pytest.mark.parametrize("overlap", ["skip", "wait", "cancel"])
@pytest.mark.parametrize("where", ["moved away", "come from a copy"])
async def test_a_run_that_goes_on_in_another_store_holds_up_no_slot(
    overlap: Any, where: str, tmp_path: Path
) -> None:
    clock, first = VirtualClock(), "s@2026-01-01T01:00Z"
    async with open_test_app(graphs=[slow], clock=clock) as app:
        await start_first(app, clock, overlap)
        await app.export_to(str(tmp_path / "all.jsonl"))
        await app.export_to(str(tmp_path / "one.jsonl"), [first], move=True)
        if where == "moved away":
            await settled(clock, HOUR)
            assert await threads(app) == [first, "s@2026-01-01T02:00Z"]
            return
    async with open_test_app(graphs=[slow], clock=clock) as app:
        await app.import_from(str(tmp_path / "all.jsonl"))
        await app.resume_schedule("s")
        await settled(clock, HOUR)
        assert await threads(app) == [first, "s@2026-01-01T02:00Z"]


async def test_a_run_that_moves_away_just_when_it_is_to_be_stopped_holds_up_no_slot(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[slow], clock=clock) as app:
        await start_first(app, clock, "cancel")
        schedules: Any = app.worker._schedules  # type: ignore[union-attr]
        really = schedules._stop

        async def stop(thread: str, reason: str) -> None:
            await app.export_to(str(tmp_path / "one.jsonl"), [thread], move=True)
            await really(thread, reason)

        schedules._stop = stop
        await settled(clock, HOUR)
        assert await threads(app) == ["s@2026-01-01T01:00Z", "s@2026-01-01T02:00Z"]
        assert (await one(app)).note == ""


async def test_a_run_that_another_worker_has_started_is_not_forgotten_when_the_schedule_was_changed_meanwhile() -> (
    None
):
    """A schedule that is paused between start and move: what was started is noted, and it stays paused."""

    class Meddled(SqliteStore):
        async def move_schedule(self, row: Any, was: Any) -> bool:
            if row.last_thread and not was.paused:
                await super().move_schedule(replace(was, paused=True, updated_at=was.updated_at + 1), was)
            return await super().move_schedule(row, was)

    clock = VirtualClock()
    async with open_test_app(Meddled(":memory:"), graphs=[quick], clock=clock) as app:
        await app.schedule("s", quick, {}, cron="@hourly")
        await settled(clock, HOUR)
        found = await one(app)
        assert (found.paused, found.last_thread, found.next_at) == (
            True, "s@2026-01-01T01:00Z", BEGIN + timedelta(hours=2),
        )  # fmt: skip
