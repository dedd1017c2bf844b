"""Schedules as people see them: declare, list, pause, resume, drop. What fires them is in `runtime.schedules`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from turnout.core import canon
from turnout.core.entries import Micros
from turnout.core.graph import Graph
from turnout.core.inputs import check_input
from turnout.core.schedules import TOLERANCE, Rules, expression, text
from turnout.core.schema import nearest
from turnout.core.view import ThreadView
from turnout.errors import InputInvalid, UnknownSchedule
from turnout.ports.clock import Clock, micros
from turnout.ports.clock import at as moment
from turnout.ports.rows import ScheduleRow
from turnout.ports.store import Store
from turnout.runtime.schedules import changed, key_of, rules_of
from turnout.runtime.zones import zone
from turnout.service.inputs import check_name, check_new_name, check_order, check_text

Missed = Literal["skip", "once", "all"]
Overlap = Literal["allow", "skip", "wait", "cancel"]
LONGEST = 150
"""Characters of a schedule's name: the threads that it starts are named for it and for the slot."""


@dataclass(frozen=True)
class Schedule:
    """A schedule: what is started, when, and how it stands. Times are UTC; `timezone` is that of `cron`.

    `next_at` is None when it never fires again. `last_at` is the slot that was fired last, `last_thread` the thread that
    was started for it. `note` says what became of the last slot when it was not a start.
    """

    name: str
    graph: str
    input: dict[str, Any]
    cron: str
    at: datetime | None
    timezone: str
    missed: str
    overlap: str
    paused: bool
    next_at: datetime | None
    last_at: datetime | None
    last_thread: str
    note: str
    by: str
    tenant: str
    priority: int
    created_at: datetime
    updated_at: datetime


def aware(what: str, at: Any) -> Micros:
    """A moment that a caller gave. Raises `InputInvalid` when it has no time zone."""
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise InputInvalid(
            f"{what}: `at` wants an aware datetime, not {at!r}; e.g. datetime.now(UTC) + timedelta(hours=1)"
        )
    return micros(at)


async def declare(
    store: Store, clock: Clock, graph: Graph, given: Mapping[str, Any], *, name: str, cron: str | None, at: datetime | None,
    timezone: str, missed: str, overlap: str, tenant: str, priority: int, by: str,
) -> Schedule:  # fmt: skip
    """Make the schedule, or have the one of that name be as declared. Raises `InputInvalid`."""
    check_name(name, "a schedule's name", LONGEST)
    if (cron is None) == (at is None):
        raise InputInvalid(
            f"schedule {name!r} has to say when, in one way: cron='0 2 * * *' (--cron) or at=a datetime (--at)"
        )
    now = clock.now()
    plain = canon.plain(dict(given), "the input")
    check_input(graph, ThreadView(thread=name), plain, now)
    check_order(tenant, priority)
    check_text(by, "by")
    row = ScheduleRow(
        name=name, graph=graph.name, input=canon.encode(plain), cron=expression(cron) if cron is not None else "",
        zone=zone(timezone).key, at=aware(f"schedule {name!r}", at) if at is not None else None, missed=missed,
        overlap=overlap, paused=False, next_at=None, created_at=now, updated_at=now, by=by, tenant=tenant, priority=priority,
    )  # fmt: skip
    rules = rules_of(row)
    while True:
        found = await store.schedules(name=name)
        was = found[0] if found else None
        made = await _as_declared(store, row, rules, was, now)
        if was is None:
            check_new_name(name, "a schedule's name", LONGEST)
            await store.put_schedule(made)
        elif made is not was and not await store.move_schedule(made, was):
            continue  # a worker has moved it on, or somebody has declared it, too
        return shown(made)


async def _as_declared(
    store: Store, row: ScheduleRow, rules: Rules, was: ScheduleRow | None, now: Micros
) -> ScheduleRow:
    """`row` with what stays as it `was`: whether it is paused, what it has started, and, if it is to fire at the same
    times as before, which slot comes next; so a program may declare its schedules whenever it starts."""
    if was is not None:
        kept = {
            name: getattr(was, name)
            for name in ("created_at", "updated_at", "paused", "last_at", "last_thread")
        }
        row = replace(row, **kept, next_at=was.next_at, note=was.note)
        if row == was:
            return was
        row = changed(row, now)
        if (row.cron, row.at) == (was.cron, was.at) and (row.zone == was.zone or not row.cron):
            return row
    if row.at is None:
        return replace(row, next_at=rules.next(now), note="")
    if now - row.at > TOLERANCE:
        raise InputInvalid(
            f"schedule {row.name!r}: {text(row.at)} is past; start it now with app.start (turnout run), or name a later time"
        )
    if await store.key(key_of(row.name, row.at)) is not None:
        raise InputInvalid(
            f"schedule {row.name!r} was fired for {text(row.at)} before; give it another name or another time"
        )
    return replace(row, next_at=row.at, note="")


def shown(row: ScheduleRow) -> Schedule:
    """A schedule from its row."""
    return Schedule(
        name=row.name, graph=row.graph, input=canon.decode(row.input), cron=row.cron, at=_time(row.at), timezone=row.zone,
        missed=row.missed, overlap=row.overlap, paused=row.paused, next_at=_time(row.next_at), last_at=_time(row.last_at),
        last_thread=row.last_thread, note=row.note, by=row.by, tenant=row.tenant, priority=row.priority,
        created_at=moment(row.created_at), updated_at=moment(row.updated_at),
    )  # fmt: skip


def _time(at: Micros | None) -> datetime | None:
    return moment(at) if at is not None else None


async def listed(store: Store, graph: str = "") -> list[Schedule]:
    """The schedules, in the order of their names."""
    return [shown(row) for row in await store.schedules(graph=canon.plain(graph, "the graph's name"))]


async def pause(store: Store, clock: Clock, name: str, paused: bool) -> Schedule:
    """Have a schedule fire nothing, or have it fire again. Raises `UnknownSchedule`."""
    while True:
        was = await _one(store, name)
        if was.paused == paused:
            return shown(was)
        made = changed(was, clock.now(), paused=paused)
        if await store.move_schedule(made, was):
            return shown(made)


async def drop(store: Store, name: str) -> Schedule:
    """Forget a schedule; gives it as it was. Raises `UnknownSchedule`."""
    was = await _one(store, name)
    await store.drop_schedule(name)
    return shown(was)


async def _one(store: Store, name: str) -> ScheduleRow:
    found = await store.schedules(name=canon.plain(name, "the schedule's name")) if name else []
    if not found:
        names = [row.name for row in await store.schedules()]
        raise UnknownSchedule(
            f"there is no schedule {name!r} in {store.url}; `turnout schedules` lists them{nearest(str(name), names)}"
        ).within(store.url)
    return found[0]
