"""Schedules are fired here: for each slot one run, however many workers look, and whenever one of them dies.

To fire is two writes. First a run is started, on a thread that is named for the slot, in one transaction with the
idempotency key of the slot; then the schedule is moved on to its next slot, if it still is as it was. Who comes second
is refused the first write; who comes after a crash between the two finds the key and makes only the second.
See docs/adr/0017-schedules.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from turnout.core import canon, schedules
from turnout.core import entries as e
from turnout.core.aside import elsewhere
from turnout.core.graph import Graph
from turnout.core.inputs import active_runs, check_input, check_tenant
from turnout.core.view import ThreadView
from turnout.errors import HeadMoved, InputInvalid, KeyReused, StoreError, ThreadMoved
from turnout.ports.clock import Clock
from turnout.ports.dispatcher import Dispatcher
from turnout.ports.rows import KeyRow, ScheduleRow
from turnout.ports.store import Store
from turnout.runtime.outside import append_outside
from turnout.runtime.trouble import Trouble
from turnout.runtime.zones import zone

log = logging.getLogger("turnout.schedules")
EVER = 2**62
AT_ONCE = 100
"""Slots that are fired before the worker looks after its threads again."""
REST = 10_000_000
"""Microseconds before a schedule is looked at again that waits for a run, or whose firing broke."""


def key_of(name: str, slot: e.Micros) -> str:
    """The idempotency key of a slot. The `digest` that is kept with it is the last slot that its run stands for."""
    return f"schedule:{name}:{slot}"


def rules_of(row: ScheduleRow) -> schedules.Rules:
    """A schedule's rules. Raises `InputInvalid` when this machine doesn't know its zone."""
    return schedules.Rules(zone(row.zone), row.cron, row.at, row.missed, row.overlap)


def changed(row: ScheduleRow, now: e.Micros, **values: Any) -> ScheduleRow:
    """`row` with these values, to be written over it. No two versions of a schedule have one `updated_at`, not even
    within a microsecond: that is what `move_schedule` tells them apart by."""
    return replace(row, updated_at=max(now, row.updated_at + 1), **values)


class Schedules:
    """Fires the schedules of these graphs. Each worker has one."""

    def __init__(
        self, store: Store, graphs: Mapping[str, Graph], clock: Clock, hub: Dispatcher, sweep: float
    ) -> None:
        """`sweep`: how often (seconds) the worker asks, even if nothing is known to be due."""
        self._store = store
        self._graphs = graphs
        self._clock = clock
        self._hub = hub
        self._unseen = int(
            sweep * 500_000
        )  # half of it: then each sweep looks, though it come a little early
        self._told = True
        self._firing = Trouble("fire schedules")
        self._look_at: e.Micros = 0
        self._next_at: e.Micros | None = None
        self._left = 0
        self._rests: dict[str, tuple[e.Micros, e.Micros]] = {}  # schedule -> its version, and until when
        self._awaited: dict[str, str] = {}  # thread -> the schedule that waits for its end
        hub.listen(self._hear)

    def _hear(self, thread: str) -> None:
        name = self._awaited.pop(thread, None)
        if name is not None:
            self._rests.pop(name, None)
        if name is not None or not thread:
            self._told = True

    async def fire(self, now: e.Micros) -> e.Micros | None:
        """Start what is due. Returns when the next slot is that is known of.

        It is asked at every turn of the worker, so it looks into the store only when a slot's time has come, when it
        was told of a change, and once a sweep for what other processes have changed.
        """
        if not self._told and now < self._look_at:
            return self._next_at
        self._told = False
        self._look_at = now + self._unseen
        self._next_at = None
        try:
            self._next_at = await self._fire(now)
            self._firing.over()
        except (StoreError, HeadMoved) as error:
            self._firing.tell(error)
        if self._next_at is not None:
            self._look_at = min(self._look_at, self._next_at)
        return self._next_at

    async def _fire(self, now: e.Micros) -> e.Micros | None:
        names = list(self._graphs)
        limit = AT_ONCE + len(self._rests)  # those that rest must not keep others out
        due = await self._store.due_schedules(now, names, limit)
        if len(due) < limit:
            there = {row.name for row in due}
            self._rests = {name: rest for name, rest in self._rests.items() if name in there}
        self._left = AT_ONCE
        done = await asyncio.gather(*(self._catch_up(row, now) for row in due), return_exceptions=True)
        for error in done:
            if isinstance(error, BaseException):
                raise error
        if len(due) == limit or not self._left:
            self._told = True
            return now
        later = await self._store.due_schedules(EVER, names, len(due) + 1)
        times = [row.next_at for row in later if row.next_at is not None and row.next_at > now]
        return min(times, default=None)

    async def _catch_up(self, row: ScheduleRow, now: e.Micros) -> None:
        """Do what is to be done about a schedule's slots up to `now`, unless it is to be left alone for a while."""
        version, until = self._rests.get(row.name, (0, 0))
        if version == row.updated_at and now < until:
            return
        at: ScheduleRow | None = row
        while at is not None and at.next_at is not None and at.next_at <= now and self._left:
            self._left -= 1
            at = await self._slot(at, at.next_at, now)

    async def _slot(self, row: ScheduleRow, slot: e.Micros, now: e.Micros) -> ScheduleRow | None:
        """Do what is to be done about a slot. Returns the schedule as it is then, or None: leave it alone for now."""
        try:
            rules = rules_of(row)
            found = await self._store.key(key_of(row.name, slot))
            if found is not None:  # whoever started it was too late, or too dead, to move the schedule on
                return await self._move(row, rules, int(found.digest), now, thread=found.thread)
            plan = schedules.decide(rules, slot, now, await self._before(row))
            if isinstance(plan, schedules.Wait):
                await self._wait(row, plan.why, now)
                return None
            if isinstance(plan, schedules.Skip):
                log.info("schedule %s: %s", row.name, plan.why)
                return await self._move(row, rules, plan.slot, now, note=plan.why)
            return await self._start(row, rules, slot, plan, now)
        except (StoreError, HeadMoved):
            raise
        except InputInvalid as error:  # so its rules are, until somebody changes them
            log.error("schedule %s can't be fired by this worker: %s", row.name, error)
            self._rests[row.name] = (row.updated_at, EVER)
        except Exception:
            log.exception(
                "firing schedule %s broke; it is looked at again in %d s", row.name, REST // 1_000_000
            )
            self._rests[row.name] = (row.updated_at, now + REST)
        return None

    async def _before(self, row: ScheduleRow) -> schedules.Before | None:
        """The run of the slot before. If somebody has given its thread other inputs since, those count with it.

        One that goes on in another store is none: nobody here hears of its end, or could ask it to stop."""
        if not row.last_thread or row.overlap == "allow":
            return None
        if row.overlap == "wait":  # noted before it is looked at: it may end meanwhile
            self._awaited[row.last_thread] = row.name
        runs = await self._store.runs(row.last_thread)
        ends = [run.ended_at for run in runs if run.ended_at is not None]
        ended_at = max(ends) if ends and len(ends) == len(runs) else None
        thread = await self._store.thread(row.last_thread) if runs and ended_at is None else None
        if thread is not None and elsewhere(thread.aside):
            runs = []
        if ended_at is not None or not runs:
            self._awaited.pop(row.last_thread, None)
        return schedules.Before(row.last_thread, runs[-1].started_at, ended_at) if runs else None

    async def _wait(self, row: ScheduleRow, why: str, now: e.Micros) -> None:
        """Look again when the thread that is waited for is heard of; after a while even if it is not."""
        if row.note != why:
            log.info("schedule %s: %s", row.name, why)
            noted = changed(row, now, note=why)
            row = noted if await self._store.move_schedule(noted, row) else row
        if row.last_thread in self._awaited:
            self._rests[row.name] = (row.updated_at, now + REST)

    async def _start(
        self, row: ScheduleRow, rules: schedules.Rules, slot: e.Micros, plan: schedules.Fire, now: e.Micros
    ) -> ScheduleRow | None:
        thread = f"{row.name}@{schedules.text(plan.slot)}"
        upto = plan.slot
        try:
            if plan.cancel:
                with contextlib.suppress(ThreadMoved):  # just now: it is the other store's to stop
                    await self._stop(row.last_thread, f"replaced by {thread}")
            await self._begin(row, thread, key_of(row.name, slot), upto)
        except KeyReused:  # another worker was quicker, and may have been so before a slot that we see now
            found = await self._store.key(key_of(row.name, slot))
            if found is None:
                raise
            thread, upto = found.thread, int(found.digest)
        except (StoreError, HeadMoved):
            raise
        except Exception as error:  # also what a user's validator raises: a schedule that blocks helps nobody
            note = f"{schedules.text(upto)} not started: {canon.text(str(error))}"
            log.error("schedule %s: %s", row.name, note)
            return await self._move(row, rules, upto, now, note=note)
        return await self._move(row, rules, upto, now, thread=thread)

    async def _begin(self, row: ScheduleRow, thread: str, key: str, upto: e.Micros) -> None:
        """Give the slot's thread its input, once."""
        given = canon.decode(row.input)

        def make(view: ThreadView) -> list[e.Draft]:
            check_tenant(view, row.tenant)
            check_input(self._graphs[row.graph], view, given, self._clock.now())
            body = e.InputReceived(
                graph=row.graph, input=given, key=key, by=row.by or f"schedule {row.name}", tenant=row.tenant,
                priority=row.priority,
            )  # fmt: skip
            return [e.Draft(view.runs + 1, "", body)]

        def keys(view: ThreadView) -> list[KeyRow]:
            return [KeyRow(key, thread, view.runs, str(upto))]

        await append_outside(self._store, self._clock, thread, make, keys=keys)
        log.info("schedule %s has started %s", row.name, thread)
        self._hub.notify(thread)

    async def _stop(self, thread: str, reason: str) -> None:
        """Ask the unfinished runs of a thread to stop, unless they were asked."""

        def make(view: ThreadView) -> list[e.Draft]:
            asked = view.run.number if view.run is not None and view.run.cancel is not None else None
            body = e.CancelRequested(by="turnout", reason=reason)
            return [e.Draft(number, "", body) for number in active_runs(view) if number != asked]

        _, made = await append_outside(self._store, self._clock, thread, make)
        if made:
            self._hub.notify(thread)

    async def _move(
        self, row: ScheduleRow, rules: schedules.Rules, upto: e.Micros, now: e.Micros, *, thread: str = "", note: str = ""
    ) -> ScheduleRow | None:  # fmt: skip
        """Go on to the first slot after `upto`; None when somebody else has moved or changed the schedule.

        A run that was started is noted even then: the slot after it has to know whether it overlaps.
        """
        moved = changed(row, now, next_at=rules.next(upto), note=note)
        while True:
            if thread:
                moved = replace(moved, last_at=upto, last_thread=thread)
            if await self._store.move_schedule(moved, row):
                return moved
            found = await self._store.schedules(name=row.name)
            if not thread or not found or found[0].created_at != row.created_at:
                return None
            row = found[0]
            if row.last_at is not None and row.last_at >= upto:
                return None
            passed = row.next_at is not None and row.next_at <= upto
            moved = changed(row, now, next_at=rules_of(row).next(upto) if passed else row.next_at, note=note)
