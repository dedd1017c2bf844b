"""The worker: claims threads that are due, drives them, renews their leases, gives them back.

A worker holds nothing for a thread that waits. It hears of work in three ways: a notice from this process, a change
in the store made by another one, and a look at what is due every now and then, which alone would be enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Mapping
from typing import Any

from turnout.core import entries as e
from turnout.core.fold import fold
from turnout.core.graph import Graph
from turnout.core.view import RunView, ThreadView
from turnout.errors import StaleWriter, StoreError
from turnout.ports.clock import Clock
from turnout.ports.dispatcher import Dispatcher
from turnout.ports.store import Lease, Store
from turnout.runtime.journal import Journal, Sign, append_outside, entries_of, load_view
from turnout.runtime.loop import Driver, Limits
from turnout.runtime.perform import Performer, World
from turnout.runtime.replay import take_over
from turnout.settings import Settings

log = logging.getLogger("turnout.worker")
BACK_OFF = 5_000_000
"""Microseconds before a thread is looked at again whose driving broke for a reason that is not its own."""


class Worker:
    """Drives the threads of the given graphs in one event loop."""

    def __init__(
        self,
        store: Store,
        graphs: Mapping[str, Graph],
        world: World,
        hub: Dispatcher,
        settings: Settings,
        name: str,
        sign: Sign | None = None,
    ) -> None:
        self.store = store
        self.graphs = graphs
        self.world = world
        self.hub = hub
        self.settings = settings
        self.name = name
        self.clock: Clock = world.clock
        self._sign = sign
        self._drivers: dict[str, tuple[Driver, Lease]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leases: dict[str, Lease] = {}
        self._ends: dict[str, e.Micros] = {}  # until then no claim, not even one of ours, takes that thread
        self._claiming = asyncio.Lock()
        self._due = asyncio.Event()
        self._hints: dict[str, None] = {}  # in the order in which they came
        self._alarm_at: e.Micros | None = None
        self._draining = False
        self.looked = False
        """Whether it has seen, since it began, what is due (also what another version left as diverged)."""
        self._limits = Limits(grace=settings.grace, strict=settings.strict)

    @property
    def busy(self) -> frozenset[str]:
        """The threads that are driven here now."""
        return frozenset(self._tasks)

    async def run(self) -> None:
        """Work until cancelled."""
        stop_listening = self.hub.listen(self._hear)
        helpers = [asyncio.ensure_future(self._renew()), asyncio.ensure_future(self._notice())]
        try:
            await self._wake_diverged()
            while True:
                await self._claim()
                self.looked = True
                await self._due.wait()
                self._due.clear()
        finally:
            stop_listening()
            for helper in helpers:
                helper.cancel()
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*helpers, *self._tasks.values(), return_exceptions=True)

    async def drain(self, seconds: float) -> None:
        """Take nothing new, finish the steps that run, give all threads back; at most `seconds`."""
        self._draining = True
        for driver, _ in self._drivers.values():
            driver.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async with self._claiming:  # what is being claimed at this moment is given back, too
                    pass
                if self._tasks:
                    await asyncio.wait(list(self._tasks.values()))

    # --- hearing of work -----------------------------------------------------------------------------------------

    def _hear(self, thread: str) -> None:
        if thread in self._drivers:
            self._drivers[thread][0].poke()
        else:
            self._hints[thread] = None
            self._due.set()

    async def _notice(self) -> None:
        """Look whether another process has written; and every `sweep` seconds, whether anything is due at all."""
        seen: Any = None
        looks, every = 0, max(1, int(self.settings.sweep / self.settings.poll))
        while True:
            await asyncio.sleep(self.settings.poll)
            looks += 1
            with contextlib.suppress(StoreError):
                now_seen = self.store.changed()
                if now_seen != seen:
                    seen = now_seen
                    self._due.set()
                    await self._poke_changed()
            if looks % every == 0:
                self._due.set()

    async def _poke_changed(self) -> None:
        """Which of the threads that are driven here have got entries from elsewhere?"""
        if not self._drivers:
            return
        for row in await self.store.threads(owner=self.name, limit=1_000_000):
            held = self._drivers.get(row.thread)
            if held is not None and row.head > held[0].journal.head:
                held[0].poke()

    async def _wake_diverged(self) -> None:
        """Threads that an earlier version of the code left: this one may be able to take them over."""
        with contextlib.suppress(StoreError):
            for name in self.graphs:
                rows = await self.store.threads(graph=name, status="diverged", limit=1_000_000)
                await self.store.wake([row.thread for row in rows], self.clock.now())

    def _alarm(self, moment: e.Micros | None) -> None:
        """Look again at `moment`: a timer, a retry or a due time falls then."""
        if moment is not None and (self._alarm_at is None or moment < self._alarm_at):
            self._alarm_at = moment
            self.clock.call_at(moment, self._ring)

    def _ring(self) -> None:
        self._alarm_at = None
        self._due.set()

    # --- driving -------------------------------------------------------------------------------------------------

    async def _claim(self) -> None:
        async with self._claiming:
            await self._claim_due()

    async def _claim_due(self) -> None:
        hints, self._hints = self._hints, {}
        while not self._draining:
            free = self.settings.concurrency - len(self._tasks)
            if free <= 0:
                return
            now = self.clock.now()
            until = now + int(self.settings.lease * 1_000_000)
            try:
                # else the claim takes our own threads from us
                if min(self._ends.values(), default=until) <= now:
                    await self._renew_leases()
                leases: list[Lease] = []
                for thread in hints if len(hints) <= 4 else ():
                    leases += await self.store.claim(
                        self.name, now, until, 1, list(self.graphs), thread=thread
                    )
                if not leases:
                    leases = await self.store.claim(self.name, now, until, free, list(self.graphs))
            except StoreError as error:
                log.warning("can't claim threads now: %s", error)
                return
            hints = {}
            for lease in leases:
                before = self._tasks.get(lease.thread)
                task = asyncio.ensure_future(self._drive(lease, before))
                self._tasks[lease.thread], self._leases[lease.thread] = task, lease
                self._ends[lease.thread] = until
                task.add_done_callback(functools.partial(self._drove, lease.thread))
            if not leases:
                return

    def _drove(self, thread: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(thread) is task:
            del self._tasks[thread]
            self._let_go(thread)
            self._drivers.pop(thread, None)
        self._due.set()

    async def _drive(self, lease: Lease, before: asyncio.Task[None] | None = None) -> None:
        """One thread, from where it is to where it parks. What goes wrong here must not reach another thread.

        `before` drove it under a lease that was lost, and may still be cleaning up.
        """
        journal = None
        try:
            if before is not None:
                if not before.cancelling():
                    before.cancel()
                await asyncio.wait([before])
            journal = await Journal.load(self.store, self.clock, lease.thread, lease=lease, sign=self._sign)
            graph = self.graphs.get(journal.view.graph)
            if graph is None:
                await self.store.release(lease, journal.head, self.clock.now() + BACK_OFF)
                return
            journal.on_entries = self._tell
            body = await take_over(graph, journal.view)
            if body is not None and journal.view.run is not None:
                journal.stage([e.Draft(journal.view.run.number, "", body)])
            driver = Driver(
                journal, graph, Performer(journal, self.world, functools.partial(self._hold, lease)), self.clock, self._limits,
                emit=lambda event: self.hub.emit(lease.thread, event), watch=self._children,
            )  # fmt: skip
            self._drivers[lease.thread] = (driver, lease)
            if self._draining:
                driver.drain()
            await driver.drive()
            self._alarm(driver.wake_at)
        except StaleWriter as error:
            log.warning("left thread %s to its new owner: %s", lease.thread, error)
        except asyncio.CancelledError:
            with contextlib.suppress(StoreError, asyncio.CancelledError):
                await self._give_back(lease, journal)
            raise
        except StoreError as error:
            log.error("thread %s stops until the store is back: %s", lease.thread, error)
            self._alarm(self.clock.now() + BACK_OFF)
        except Exception:
            log.exception(
                "driving thread %s broke; it is looked at again in %d s", lease.thread, BACK_OFF // 1_000_000
            )
            with contextlib.suppress(StoreError):
                row = await self.store.thread(lease.thread)
                if row is not None:
                    await self.store.release(lease, row.head, self.clock.now() + BACK_OFF)
        finally:
            self.hub.notify(lease.thread)

    def _tell(self, entries: list[e.Entry]) -> None:
        thread = entries[0].thread
        for entry in entries:
            self.hub.emit(thread, entry)
        driver = self._drivers.get(thread)
        if driver is not None and entries[-1].kind in ("run.finished", "run.failed", "run.cancelled"):
            parent = driver[0].journal.view.last
            if parent is not None and parent.parent:
                self.hub.notify(parent.parent)

    async def _children(self, driver: Driver) -> None:
        """Put the ends of child threads on record in their parent."""
        run = driver.journal.view.run
        if run is None:
            return
        for step in run.steps.values():
            for effect in list(step.effects.values()):
                if effect.kind == "child" and effect.status == "waiting":
                    ended = await self._ended(effect.child)
                    if ended is not None:
                        driver.journal.stage([e.Draft(run.number, step.id, ended)])

    async def _ended(self, child: str) -> e.ChildEnded | None:
        rows = await self.store.runs(child)
        if not rows or rows[0].end_seq is None:
            return None
        view = (await load_view(self.store, child)).view
        if view.seq != rows[0].end_seq:  # somebody gave it another input since
            rest = await self.store.read(child, upto=rows[0].end_seq)
            view = fold(ThreadView(thread=child), await entries_of(self.store, rest))
        if rows[0].status == "finished":
            return e.ChildEnded(child=child, status="finished", state=view.state)
        error = (
            view.last.error
            if view.last is not None and view.last.error
            else e.ErrorInfo("Cancelled", "it was cancelled")
        )
        return e.ChildEnded(child=child, status=rows[0].status, error=error)

    # --- leases --------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self.settings.lease / 3)
            try:
                await self._renew_leases()
            except StoreError as error:
                log.warning("can't renew leases now: %s", error)

    async def _renew_leases(self) -> None:
        until = self.clock.now() + int(self.settings.lease * 1_000_000)
        asked = list(self._leases.values())
        lost = await self.store.renew(self.name, asked, until)
        for lease in asked:
            if self._leases.get(lease.thread) is not lease:
                continue
            self._ends[lease.thread] = until
            if lease in lost:
                log.warning("lost the lease of thread %s; stopping its steps", lease.thread)
                self._let_go(lease.thread)
                self._tasks[lease.thread].cancel()

    async def _give_back(self, lease: Lease, journal: Journal | None) -> None:
        """Others needn't wait for the lease to run out. Without a `journal` it wasn't read to its end yet."""
        row = await self.store.thread(lease.thread) if journal is None else None
        head = journal.head if journal is not None else row.head if row is not None else 0
        await self.store.release(lease, head, self.clock.now())

    def _let_go(self, thread: str) -> None:
        self._leases.pop(thread, None)
        self._ends.pop(thread, None)

    async def _hold(self, lease: Lease) -> None:
        """Make sure that the thread is still ours, by a clock that may differ from that of others by a third of a lease.

        Renewed as often as it should be, a lease never gets so near to its end; but this process may have been
        stopped for a while, or have waited long for the store.
        """
        spare = int(self.settings.lease * 1_000_000) // 3
        while (
            self._leases.get(lease.thread) is lease and self._ends[lease.thread] - spare <= self.clock.now()
        ):
            await self._renew_leases()
        if self._leases.get(lease.thread) is not lease:
            raise StaleWriter(f"thread {lease.thread!r} was taken over while this process stood still")


async def start_run(store: Store, clock: Clock, hub: Dispatcher, thread: str, body: e.InputReceived) -> None:
    """Give a child thread its input, unless it has it."""

    def make(view: ThreadView) -> list[e.Draft]:
        return [] if view.runs else [e.Draft(1, "", body)]

    _, made = await append_outside(store, clock, thread, make)
    if made:
        hub.notify(thread)


async def cancel_run(store: Store, clock: Clock, hub: Dispatcher, thread: str, reason: str) -> None:
    """Ask the active run of a child thread to stop, unless it was asked or has ended."""

    def make(view: ThreadView) -> list[e.Draft]:
        active = view.run or (view.queue[0] if view.queue else None)
        if active is None or active.cancel is not None:
            return []
        number = active.number if isinstance(active, RunView) else active.run
        return [e.Draft(number, "", e.CancelRequested(by="turnout", reason=reason))]

    _, made = await append_outside(store, clock, thread, make)
    if made:
        hub.notify(thread)
