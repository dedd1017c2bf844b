"""Schedules are fired: once each, however many look, whenever one of them dies. On a virtual clock."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel
from tests.unit.runs import chain, kinds, proven

from turnout import (
    END,
    App,
    Cancelled,
    Context,
    Failed,
    Finished,
    Graph,
    Paused,
    Schedule,
    Settings,
    open_sync,
)
from turnout.errors import (
    InputInvalid,
    KeyReused,
    StoreUnavailable,
    ThreadBusy,
    UnknownGraph,
    UnknownSchedule,
)
from turnout.ports.clock import micros
from turnout.ports.rows import Append, KeyRow
from turnout.ports.store import Store
from turnout.runtime.hub import LocalHub
from turnout.runtime.schedules import Schedules, key_of
from turnout.stores.sqlite import SqliteStore
from turnout.testing import VirtualClock, open_test_app

HOUR, DAY = 3600, 86_400
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)  # where a virtual clock begins
FAST = Settings(sweep=0.05, poll=0.005)


async def work(state: Any, ctx: Context) -> dict[str, Any]:
    return {"n": 1}


async def hold(state: Any, ctx: Context) -> dict[str, Any]:
    """Unfinished until somebody says so."""
    await ctx.signal("go")
    return {"n": 1}


quick, slow, other = chain(work), chain(hold), chain(work, name="other")


def narrow() -> Graph:
    """A later version of the graph, whose state is another."""

    class Narrow(BaseModel):
        m: int

    changed = Graph("g", state=Narrow)
    changed.node(work)
    changed.start(work)
    changed.edge(work, END)
    return changed


async def threads(app: App) -> list[str]:
    return [row.thread for row in await app.threads(limit=100_000)]


async def one(app: App, name: str = "s") -> Schedule:
    return next(found for found in await app.schedules() if found.name == name)


async def settled(clock: VirtualClock, seconds: float = 0) -> None:
    await clock.advance(seconds)
    await asyncio.sleep(0)
    await clock.settle(200)


class Kept(SqliteStore):
    """A store in memory that outlives the apps on it, as a file does, and is as quick as the clock is virtual."""

    async def close(self) -> None:
        """It is the test's to close."""


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    kept = Kept(":memory:")
    yield kept  # type: ignore[misc]
    await SqliteStore.close(kept)


# --- when it fires -----------------------------------------------------------------------------------------------------


async def test_a_year_of_a_cron_fires_each_slot_once_at_its_very_moment() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        await app.schedule("s", quick, {"n": 5}, cron="30 2 * * *", timezone="Europe/Berlin")
        await clock.advance(days=365)
        found = await app.threads(limit=1000)
        assert len(found) == 365
        assert Counter(row.status for row in found) == {"finished": 365}
        for row in found:
            [started] = [x for x in await app.entries(row.thread) if x.kind == "input.received"]
            assert started.at == micros(datetime.fromisoformat(row.thread.removeprefix("s@")))
        names = [row.thread for row in found]
        assert names[0] == "s@2026-01-01T01:30Z"
        assert {"s@2026-03-28T01:30Z", "s@2026-03-29T01:00Z", "s@2026-03-30T00:30Z"} <= set(names)
        assert {"s@2026-10-24T00:30Z", "s@2026-10-25T00:30Z", "s@2026-10-26T01:30Z"} <= set(names)
        await proven(app, names[100])
        assert (await app.state(names[0]))["n"] == 6


async def test_a_run_of_a_schedule_says_where_it_comes_from() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        await app.schedule("s", quick, {}, cron="@hourly")
        await app.schedule("mine", quick, {}, cron="@hourly", by="dana")
        await clock.advance(HOUR)
        for name, by in (("s", "schedule s"), ("mine", "dana")):
            [run] = (await app.explain(f"{name}@2026-01-01T01:00Z")).runs
            assert (run.by, run.key) == (by, key_of(name, micros(BEGIN + timedelta(hours=1))))
        found = await one(app)
        assert (found.last_at, found.last_thread) == (BEGIN + timedelta(hours=1), "s@2026-01-01T01:00Z")
        assert found.next_at == BEGIN + timedelta(hours=2)


async def test_a_run_of_a_schedule_is_of_its_tenant_and_as_urgent_as_it_says() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        await app.schedule("s", quick, {}, cron="@hourly", tenant="acme", priority=7)
        await clock.advance(HOUR)
        [row] = await app.threads(tenant="acme")
        assert (row.thread, (await app.explain(row.thread)).runs[0].priority) == ("s@2026-01-01T01:00Z", 7)
        await app.start("g", {}, thread="s@2026-01-01T02:00Z", tenant="other")
        await settled(clock, HOUR)
        assert "belongs to tenant 'other'" in (await one(app)).note


async def test_a_moment_fires_once_and_never_again() -> None:
    clock = VirtualClock()
    at = BEGIN + timedelta(hours=1, seconds=5, microseconds=7)
    async with open_test_app(graphs=[quick], clock=clock) as app:
        made = await app.schedule("s", quick, {}, at=at)
        assert (made.next_at, made.at, made.cron) == (at, at, "")
        await clock.advance(HOUR)
        assert await threads(app) == []
        await clock.advance(days=10)
        assert await threads(app) == ["s@2026-01-01T01:00:05.000007Z"]
        found = await one(app)
        assert (found.next_at, found.last_at, found.note) == (None, at, "")


async def test_a_schedule_that_is_declared_later_is_heard_of_by_a_worker_that_sleeps_until_another() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        await app.schedule("late", quick, {}, cron="@monthly")
        await settled(clock, DAY)
        await app.schedule("early", quick, {}, cron="@hourly")
        await settled(clock)
        await clock.advance(HOUR)
        assert await threads(app) == ["early@2026-01-02T01:00Z"]


async def test_a_worker_fires_only_what_it_has_the_graph_of(store: Store) -> None:
    clock = VirtualClock()
    async with open_test_app(store, graphs=[quick, other], clock=clock, work=False) as app:
        await app.schedule("a", quick, {}, cron="@hourly")
        await app.schedule("b", other, {}, cron="@hourly")
        assert [s.name for s in await app.schedules("other")] == ["b"]
    async with open_test_app(store, graphs=[quick], clock=clock) as app:
        await settled(clock, HOUR)
        assert await threads(app) == ["a@2026-01-01T01:00Z"]
        assert (await one(app, "b")).last_at is None
    async with open_test_app(store, graphs=[other], clock=clock) as app:
        await settled(clock)
        assert await threads(app) == ["a@2026-01-01T01:00Z", "b@2026-01-01T01:00Z"]


# --- once, however many workers look and whenever they die ----------------------------------------------------------


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


# --- what was missed --------------------------------------------------------------------------------------------------


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


# --- what overlaps ---------------------------------------------------------------------------------------------------


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


# --- what doesn't fit -------------------------------------------------------------------------------------------------


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


# --- declaring ---------------------------------------------------------------------------------------------------------


async def test_what_can_not_be_a_schedule_is_refused_and_changes_nothing() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        later = BEGIN + timedelta(hours=1)
        bad: list[tuple[type[Exception], str, dict[str, Any]]] = [
            (InputInvalid, "say when", {}),
            (InputInvalid, "in one way", {"cron": "@daily", "at": later}),
            (InputInvalid, "the hour can't be '25'", {"cron": "0 25 * * *"}),
            (InputInvalid, "did you mean 'Europe/Berlin'", {"cron": "@daily", "timezone": "Europe/Berln"}),
            (InputInvalid, "did you mean 'Europe/Berlin'", {"cron": "@daily", "timezone": "europe/berlin"}),
            (InputInvalid, "did you mean 'Europe/Berlin'", {"cron": "@daily", "timezone": "Berlin"}),
            (InputInvalid, "did you mean 'America/New_York'", {"cron": "@daily", "timezone": "new york"}),
            (InputInvalid, "no time zone ''", {"cron": "@daily", "timezone": ""}),
            (InputInvalid, "no time zone '../UTC'", {"cron": "@daily", "timezone": "../UTC"}),
            (InputInvalid, "no time zone None", {"cron": "@daily", "timezone": None}),
            (InputInvalid, "missed can't be 'never'", {"cron": "@daily", "missed": "never"}),
            (InputInvalid, "did you mean 'skip'", {"cron": "@daily", "overlap": "skpi"}),
            (InputInvalid, "aware datetime", {"at": datetime(2026, 12, 1)}),
            (InputInvalid, "aware datetime", {"at": "tomorrow"}),
            (InputInvalid, "is past", {"at": BEGIN - timedelta(hours=1)}),
            (InputInvalid, "'nn'", {"cron": "@daily", "input": {"nn": 1}}),
            (InputInvalid, "the input", {"cron": "@daily", "input": {"data": object()}}),
            (InputInvalid, "a schedule's name", {"cron": "@daily", "name": "a b"}),
            (InputInvalid, "1 to 150", {"cron": "@daily", "name": "x" * 151}),
            (InputInvalid, "can't be a tenant", {"cron": "@daily", "tenant": "a b"}),
            (InputInvalid, "can't be a priority", {"cron": "@daily", "priority": 101}),
            (InputInvalid, "can't be a schedule's name", {"cron": "@daily", "name": "\ud800"}),
            (InputInvalid, "valid Unicode", {"cron": "@daily", "by": "\ud800"}),
            (UnknownGraph, "'gg'", {"cron": "@daily", "graph": "gg"}),
        ]
        for kind, says, given in bad:
            with pytest.raises(kind) as refused:
                await app.schedule(**{"name": "s", "graph": "g", "input": {}, **given})
            assert says in str(refused.value), (says, str(refused.value))
        assert await app.schedules() == []
        for ask in (app.pause_schedule, app.resume_schedule, app.drop_schedule):
            with pytest.raises(UnknownSchedule, match="there is no schedule 'nightl'"):
                await ask("nightl")
        await app.schedule("nightly", "g", {}, cron="@daily")
        with pytest.raises(UnknownSchedule, match="did you mean 'nightly'"):
            await app.drop_schedule("nightl")


async def test_a_schedule_is_listed_as_it_was_declared_and_can_be_dropped() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        made = await app.schedule(
            "s", quick, {"n": 1, "log": ["ü"]}, cron="0 2 * * *", timezone="Europe/Berlin", missed="all",
            overlap="wait", tenant="acme", priority=3, by="dana",
        )  # fmt: skip
        assert made == Schedule(
            name="s", graph="g", input={"log": ["ü"], "n": 1}, cron="0 2 * * *", at=None, timezone="Europe/Berlin",
            missed="all", overlap="wait", paused=False, next_at=BEGIN + timedelta(hours=1), last_at=None, last_thread="",
            note="", by="dana", tenant="acme", priority=3, created_at=BEGIN, updated_at=BEGIN,
        )  # fmt: skip
        assert await app.schedules() == await app.schedules("g") == [made]
        await settled(clock, HOUR)
        dropped = await app.drop_schedule("s")
        assert dropped.last_thread == "s@2026-01-01T01:00Z"
        await settled(clock, 2 * DAY)
        assert await app.schedules() == []
        assert await threads(app) == ["s@2026-01-01T01:00Z"]


async def test_the_same_declaration_again_changes_nothing_not_even_what_was_missed(store: Store) -> None:
    """A program declares its schedules whenever it starts; that must not make slots of the outage disappear."""
    clock = VirtualClock()
    async with open_test_app(store, graphs=[quick], work=False, clock=clock) as app:
        made = await app.schedule("s", quick, {}, cron="@hourly")
        await clock.advance(2.5 * HOUR)
        assert await app.schedule("s", quick, {}, cron="0 * * * *") == made
        changed = await app.schedule("s", quick, {"n": 7}, cron="@hourly", missed="all")
        assert (changed.next_at, changed.input, changed.missed) == (made.next_at, {"n": 7}, "all")
        assert changed.created_at == made.created_at
        other = await app.schedule("s", quick, {"n": 7}, cron="30 * * * *", missed="all")
        assert other.next_at == BEGIN + timedelta(hours=3.5)  # new times count from now


async def test_a_declaration_leaves_a_schedule_paused_and_keeps_what_it_has_started() -> None:
    clock = VirtualClock()
    async with open_test_app(graphs=[quick], clock=clock) as app:
        await app.schedule("s", quick, {}, cron="@hourly")
        await settled(clock, HOUR)
        await app.pause_schedule("s")
        again = await app.schedule("s", quick, {}, cron="@daily")
        assert (again.paused, again.last_thread) == (True, "s@2026-01-01T01:00Z")


async def test_a_moment_that_was_fired_stays_fired_when_it_is_declared_again() -> None:
    clock = VirtualClock()
    at = BEGIN + timedelta(hours=1)
    async with open_test_app(graphs=[quick], clock=clock) as app:
        await app.schedule("s", quick, {}, at=at)
        await settled(clock, HOUR)
        assert (await app.schedule("s", quick, {}, at=at)).next_at is None  # as a program does when it starts
        await settled(clock, 5)
        await app.drop_schedule("s")
        with pytest.raises(InputInvalid, match="was fired for 2026-01-01T01:00Z before"):
            await app.schedule("s", quick, {}, at=at)
        moved = await app.schedule("s", quick, {}, at=at + timedelta(hours=1))
        assert moved.next_at == at + timedelta(hours=1)
        await settled(clock, HOUR)
        assert await threads(app) == ["s@2026-01-01T01:00Z", "s@2026-01-01T02:00Z"]


# --- delayed starts ----------------------------------------------------------------------------------------------------


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


def test_scripts_schedule_too(tmp_path: Path) -> None:
    with open_sync(f"sqlite:///{tmp_path / 't.db'}", graphs=[quick]) as app:
        soon = datetime.now(UTC) + timedelta(seconds=0.3)
        app.schedule("s", quick, {}, at=soon)
        app.schedule("never", quick, {}, cron="@yearly")
        run = app.start("g", {}, at=soon)
        assert isinstance(app.wait(run, timeout=10), Finished)
        while not app.schedules("g")[1].last_thread:
            time.sleep(0.01)
        assert isinstance(app.wait(f"{app.schedules()[1].last_thread}/1", timeout=10), Finished)
        assert app.pause_schedule("never").paused
        assert not app.resume_schedule("never").paused
        assert app.drop_schedule("never").name == "never"
        assert datetime.now(UTC) - soon < timedelta(seconds=5)
