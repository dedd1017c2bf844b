"""Each slot is fired once, however many workers look and whenever they die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.runs import kinds
from tests.unit.slots import BEGIN, FAST, HOUR, one, quick, settled, threads

from turnout import App, Graph
from turnout.errors import StoreUnavailable
from turnout.ports.clock import micros
from turnout.ports.rows import KeyRow
from turnout.ports.store import Store
from turnout.runtime.hub import LocalHub
from turnout.runtime.schedules import Schedules, key_of
from turnout.testing import VirtualClock, open_test_app


@asynccontextmanager
async def several(count: int, store: str, graph: Graph, clock: VirtualClock) -> AsyncIterator[list[App]]:
    apps = [open_test_app(store, graphs=[graph], clock=clock, settings=FAST) for _ in range(count)]
    try:
        yield [await app.__aenter__() for app in apps]
    finally:
        for app in apps:
            await app.close()


@pytest.mark.parametrize("overlap", ["allow", "skip", "wait", "cancel"])
async def test_many_workers_on_one_store_fire_each_slot_once(tmp_path: Path, overlap: Any) -> None:
    clock, store = VirtualClock(), f"sqlite:///{tmp_path / 't.db'}"
    async with open_test_app(store, graphs=[quick], work=False, clock=clock) as app:
        for name in "abc":
            await app.schedule(name, quick, {}, cron="0 * * * *", overlap=overlap)
    async with several(4, store, quick, clock) as apps:
        for hour in range(1, 13):
            clock._now = micros(BEGIN + timedelta(hours=hour))  # at once, for all of them
            for timer in [t for _, _, t in clock._timers if t.do]:
                do, timer.do = timer.do, None
                do()

            async def done(wanted: int = 3 * hour) -> bool:
                rows = await apps[0].threads(limit=1000)
                return [row.status for row in rows] == ["finished"] * wanted

            for _ in range(2000):
                if await done():
                    break
                await asyncio.sleep(0.005)
        found = await threads(apps[0])
        assert found == sorted(f"{n}@2026-01-01T{h:02}:00Z" for n in "abc" for h in range(1, 13))
        for thread in found:
            assert (await kinds(apps[0], thread)).count("input.received") == 1
        for schedule in await apps[0].schedules():
            assert schedule.last_at == BEGIN + timedelta(hours=12)


class Together:
    """A store whose readers of a key all get their answers before the first of them may write."""

    def __init__(self, store: Store, readers: int) -> None:
        self._store, self._barrier = store, asyncio.Barrier(readers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def key(self, key: str) -> Any:
        found = await self._store.key(key)
        if found is None:
            await self._barrier.wait()
        return found


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
async def test_workers_that_have_all_seen_that_nothing_was_started_start_one_run(
    store: Store, missed: Any
) -> None:
    clock = VirtualClock()
    async with open_test_app(store, graphs=[quick], clock=clock, work=False) as app:
        await app.schedule("s", quick, {}, cron="@hourly", missed=missed, overlap="allow")
        together = cast("Store", Together(store, 5))
        workers = [Schedules(together, app.graphs, clock, LocalHub(), 1.0) for _ in range(5)]
        for hour in range(1, 4):
            await clock.advance(HOUR)
            told = await asyncio.gather(*(worker.fire(clock.now()) for worker in workers))
            assert set(told) == {micros(BEGIN + timedelta(hours=hour + 1))}
            assert len(await threads(app)) == hour
        for thread in await threads(app):
            assert await kinds(app, thread) == ["input.received"]
        assert [key.run for thread in await threads(app) for key in await keys_of(store, thread)] == [1, 1, 1]


async def keys_of(store: Store, thread: str) -> list[KeyRow]:
    found = await store.key(key_of("s", micros(datetime.fromisoformat(thread.removeprefix("s@")))))
    return [found] if found is not None and found.thread == thread else []


class Dies:
    """A store whose process dies before or after the first write of a kind; all later ones are lost, too."""

    def __init__(self, store: Store, verb: str, *, after: bool = False) -> None:
        self._store, self._verb, self._after, self.dead = store, verb, after, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, change: Any) -> None:
        await self._do("append" if change.keys else "", lambda: self._store.append(change))

    async def move_schedule(self, row: Any, was: Any) -> bool:
        return bool(await self._do("move", lambda: self._store.move_schedule(row, was)))

    async def _do(self, verb: str, write: Callable[[], Any]) -> Any:
        dies = verb == self._verb or self.dead
        done = await write() if not dies or (self._after and not self.dead) else None
        self.dead = dies
        if dies:
            raise StoreUnavailable("the process is dead")
        return done


@pytest.mark.parametrize("verb", ["append", "move"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("missed", ["skip", "once", "all"])
async def test_a_crash_between_start_and_move_gives_one_run(
    store: Store, verb: str, after: bool, missed: Any
) -> None:
    clock = VirtualClock()
    async with open_test_app(store, graphs=[quick], work=False, clock=clock) as app:
        await app.schedule("s", quick, {}, cron="@hourly", missed=missed, overlap="allow")
    dying = Dies(store, verb, after=after)
    async with open_test_app(cast("Store", dying), graphs=[quick], clock=clock) as app:
        await settled(clock, HOUR)
        assert dying.dead
    async with open_test_app(store, graphs=[quick], clock=clock) as app:
        await settled(clock, 30)
        await settled(clock, HOUR)
        assert await threads(app) == ["s@2026-01-01T01:00Z", "s@2026-01-01T02:00Z"]
        for thread in await threads(app):
            assert (await kinds(app, thread)).count("input.received") == 1
        found = await one(app)
        assert (found.last_at, found.note) == (BEGIN + timedelta(hours=2), "")


async def test_a_slot_that_was_started_and_not_moved_before_a_long_outage_is_not_started_again(
    store: Store,
) -> None:
    """The rule for what was missed begins behind what is on record."""
    clock = VirtualClock()
    async with open_test_app(store, graphs=[quick], work=False, clock=clock) as app:
        await app.schedule("s", quick, {}, cron="@hourly", missed="once", overlap="allow")
    async with open_test_app(cast("Store", Dies(store, "move")), graphs=[quick], clock=clock):
        await settled(clock, HOUR)
    clock._timers.clear()
    await clock.advance(5.5 * HOUR)
    async with open_test_app(store, graphs=[quick], clock=clock) as app:
        await settled(clock)
        assert await threads(app) == ["s@2026-01-01T01:00Z", "s@2026-01-01T06:00Z"]
        assert (await one(app)).next_at == BEGIN + timedelta(hours=7)


async def test_one_run_for_all_that_was_missed_stays_one_when_a_second_worker_looks_after_the_next_slot(
    store: Store,
) -> None:
    """The first worker starts it and dies; the second sees one slot more, but it was not missed together with them."""
    clock = VirtualClock()
    async with open_test_app(store, graphs=[quick], work=False, clock=clock) as app:
        await app.schedule("s", quick, {}, cron="@hourly", missed="once", overlap="allow")
    await clock.advance(5.5 * HOUR)
    async with open_test_app(cast("Store", Dies(store, "move")), graphs=[quick], clock=clock):
        await settled(clock)
    clock._timers.clear()
    await clock.advance(HOUR)
    async with open_test_app(store, graphs=[quick], clock=clock) as app:
        await settled(clock)
        assert await threads(app) == ["s@2026-01-01T05:00Z", "s@2026-01-01T06:00Z"]
