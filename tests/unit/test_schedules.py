"""Schedules are declared, and fired at their very moment. On a virtual clock."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runs import proven
from tests.unit.slots import BEGIN, DAY, HOUR, one, other, quick, settled, threads

from turnout import Finished, Schedule, open_sync
from turnout.errors import InputInvalid, UnknownGraph, UnknownSchedule
from turnout.ports.clock import micros
from turnout.ports.store import Store
from turnout.runtime.schedules import key_of
from turnout.testing import VirtualClock, open_test_app

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
