"""The rules of a store that go along when the whole of it is exported: limits, and schedules.

A schedule must fire in one store only. One that is moved is paused in its old store; one from a copy comes paused.
"""

from __future__ import annotations

from dataclasses import replace

from turnout.core.entries import Micros
from turnout.ports.rows import LimitRow, ScheduleRow
from turnout.ports.store import Store
from turnout.service.moving import lines

MOVED = "moved to "
COPY = "imported from a copy; let it fire here once the old store no longer does"


async def rules(store: Store, now: Micros, moved_to: str = "") -> list[lines.Line]:
    """The lines of the store's limits and schedules. With `moved_to` (where) the schedules are paused in it first."""
    found: list[lines.Line] = [
        lines.Limit(kind=row.kind, name=row.name, at_once=row.at_once) for row in await store.limits()
    ]
    note = f"{MOVED}{moved_to}"
    for row in await store.schedules():
        if not moved_to:
            found.append(_line(row, False))
        elif row.note == note:  # by this export, before it was cut off
            found.append(_line(replace(row, paused=False, note=""), True))
        else:
            was = await _pause(store, row, note, now)
            found.append(_line(was, not was.paused))
    return found


async def _pause(store: Store, row: ScheduleRow, note: str, now: Micros) -> ScheduleRow:
    """Pause a schedule, and return it as it was just before."""
    while not row.paused:
        if await store.move_schedule(replace(row, paused=True, note=note, updated_at=now), row):
            break
        row = next(
            iter(await store.schedules(name=row.name)), replace(row, paused=True)
        )  # it has fired, or is gone
    return row


async def give_back(store: Store, now: Micros, moved_to: str) -> None:
    """Let schedules fire again that were paused for a file that nobody can import."""
    for row in await store.schedules():
        if row.paused and row.note == f"{MOVED}{moved_to}":
            await store.move_schedule(replace(row, paused=False, note="", updated_at=now), row)


async def put_rules(store: Store, now: Micros, found: list[lines.Line]) -> list[str]:
    """Have the rules in a store that doesn't have them. Returns what somebody should know."""
    notes = []
    limits = {(row.kind, row.name): row for row in await store.limits()}
    for line in found:
        if isinstance(line, lines.Limit):
            here = limits.get((line.kind, line.name))
            if here is None:
                await store.put_limit(line.kind, line.name, line.at_once)
            elif here != LimitRow(line.kind, line.name, line.at_once):
                notes.append(
                    f"the limit of {line.kind} {line.name} stays {here.at_once}; in the file it is {line.at_once}"
                )
        elif isinstance(line, lines.Schedule):
            note = await _put_schedule(store, now, _row(line), line.moved)
            if note:
                notes.append(note)
    return notes


async def _put_schedule(store: Store, now: Micros, row: ScheduleRow, moved: bool) -> str:
    """Have one schedule. Returns what somebody should know."""
    there = next(iter(await store.schedules(name=row.name)), None)
    if there is None:
        stopped = not moved and not row.paused
        await store.put_schedule(replace(row, paused=True, note=COPY, updated_at=now) if stopped else row)
        return f"the schedule {row.name} is paused: it comes from a copy" if stopped else ""
    if _same(there) != _same(row):
        return f"the schedule {row.name} stays as it is here; in the file it is another one"
    if moved and there.paused and there.note.startswith((MOVED, COPY)):  # it was elsewhere, and comes to stay
        await store.move_schedule(row, there)
    return ""


def _same(row: ScheduleRow) -> tuple[object, ...]:
    """What makes a schedule, whatever it has done so far."""
    return (
        row.graph, row.input, row.cron, row.zone, row.at, row.missed, row.overlap, row.tenant, row.priority,
    )  # fmt: skip


def _line(row: ScheduleRow, moved: bool) -> lines.Schedule:
    text, base64 = lines.content(row.input)
    return lines.Schedule(
        name=row.name, graph=row.graph, text=text, base64=base64, cron=row.cron, zone=row.zone, at=row.at,
        missed=row.missed, overlap=row.overlap, paused=row.paused, next_at=row.next_at, created_at=row.created_at,
        updated_at=row.updated_at, last_at=row.last_at, last_thread=row.last_thread, note=row.note, by=row.by,
        tenant=row.tenant, priority=row.priority, moved=moved,
    )  # fmt: skip


def _row(line: lines.Schedule) -> ScheduleRow:
    return ScheduleRow(
        name=line.name, graph=line.graph, input=lines.stored(line, f"schedule {line.name}"), cron=line.cron,
        zone=line.zone, at=line.at, missed=line.missed, overlap=line.overlap, paused=line.paused, next_at=line.next_at,
        created_at=line.created_at, updated_at=line.updated_at, last_at=line.last_at, last_thread=line.last_thread,
        note=line.note, by=line.by, tenant=line.tenant, priority=line.priority,
    )  # fmt: skip
