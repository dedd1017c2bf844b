"""The worker: claims threads that are due, drives them, renews their leases, gives them back.

A worker holds nothing for a thread that waits. It hears of work in three ways: a notice from this process, a wake-up
from the store for what another one did, and a look at what is due every now and then, which alone would be enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from turnout.core import entries as e
from turnout.core import project
from turnout.core.graph import Graph
from turnout.errors import StaleWriter, StoreError
from turnout.ports.clock import Clock
from turnout.ports.dispatcher import Dispatcher
from turnout.ports.observer import Observer
from turnout.ports.rows import SUSPECT, Lease, ThreadRow
from turnout.ports.store import Store
from turnout.runtime import children, hearing, turns
from turnout.runtime.journal import Journal, Sign
from turnout.runtime.loop import Driver, Limits
from turnout.runtime.perform import Performer
from turnout.runtime.replay import take_over
from turnout.runtime.schedules import Schedules
from turnout.runtime.trouble import Trouble
from turnout.runtime.whereabouts import Whereabouts, here
from turnout.runtime.world import World
from turnout.settings import Settings

log = logging.getLogger("turnout.worker")
BACK_OFF = 5_000_000
"""Microseconds before a thread is looked at again whose driving broke for a reason that is not its own."""
PAGE = 1000
"""Diverged threads that are looked through at a time, of each graph: every sweep, for as long as there are any."""
CUT = 1.0
"""Seconds, at most, that a step gets to clean up which is cut off because its worker has to go."""


@dataclass(frozen=True)
class Drained:
    """What became of the threads that a worker held when it was drained and that had more to do: `back` were given
    back after their steps, `cut` in the middle of one. `kept` could not be: others take them when their leases run out.
    """

    back: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


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
        self._parted: dict[
            str, int
        ] = {}  # threads that this code can't drive on, and where their journals were then
        self._since: dict[str, e.Micros] = {}  # when their turns began
        self._suspects: set[str] = set()  # see `SUSPECT`
        self._back: set[str] = set()  # given back by a drain
        self._ends: dict[str, e.Micros] = {}  # until then no claim, not even one of ours, takes that thread
        self._claiming = asyncio.Lock()
        self._due = asyncio.Event()
        self._stir = asyncio.Event()  # another process did something, or it is time to look
        self._alarm_at: e.Micros | None = None
        self._draining = False
        self.looked = False
        """Whether it has seen, since it began, what is due (also what another version left as diverged)."""
        self.claiming = Trouble("claim threads")
        """Whether it could claim threads when it last tried."""
        self.renewing = Trouble("renew leases")
        """Whether it could keep what it has claimed."""
        self._limits = Limits(grace=settings.grace, strict=settings.strict)
        self.observers: list[Observer] = []
        """Who is shown what is committed here."""
        self._renewed = 0.0  # when the leases were looked at last, by the event loop's clock
        self._schedules = Schedules(store, graphs, world.clock, hub, settings.sweep)

    @property
    def busy(self) -> Collection[str]:
        """The threads that are driven here now."""
        return self._tasks.keys()

    @property
    def draining(self) -> bool:
        """Whether it takes nothing new."""
        return self._draining

    @property
    def pulse(self) -> float:
        """Seconds since it last looked at its leases, which it does three times a lease."""
        return asyncio.get_running_loop().time() - self._renewed

    async def run(self) -> None:
        """Work until cancelled."""
        self._renewed = asyncio.get_running_loop().time()
        stop_listening = self.hub.listen(self._heard)
        hear = hearing.hear(self.store, self.name, list(self.graphs), self._heard, self.settings.poll)
        helpers = [
            asyncio.ensure_future(job)
            for job in (self._renew(), hear, self._look(), self._sweep(), self._fetch_own())
        ]
        try:
            await self._wake_diverged()
            while True:
                self._alarm(await self._schedules.fire(self.clock.now()))
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

    async def drain(self, seconds: float) -> Drained:
        """Take nothing new, finish the steps that run, give all threads back; at most `seconds`.

        A step that takes longer is cut off as by a crash, but for the lease, which is given back all the same.
        """
        self._draining = True
        for driver, _ in self._drivers.values():
            driver.drain()
        clean_up = min(CUT, seconds / 4)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds - clean_up):
                async with self._claiming:  # what is being claimed at this moment is given back, too
                    pass
                if self._tasks:
                    await asyncio.wait(list(self._tasks.values()))
        back, left = tuple(sorted(self._back)), dict(self._tasks)
        for thread, task in left.items():
            if thread in self._drivers:
                self._drivers[thread][0].cut(clean_up / 2)
            task.cancel()
        if left:
            await asyncio.wait(list(left.values()), timeout=clean_up)
        ended = {t for t, task in left.items() if task.done() and not task.cancelled()} - self._back
        cut = left.keys() & self._back
        return Drained(back, tuple(sorted(cut)), tuple(sorted(left.keys() - cut - ended)))

    # --- hearing of work -----------------------------------------------------------------------------------------

    def _heard(self, thread: str) -> None:
        """Something was done on a thread, or ("") on one that nobody could name."""
        if not thread:
            self._stir.set()
        elif thread in self._drivers:
            self._drivers[thread][0].poke()
        else:
            self._due.set()

    async def _look(self) -> None:
        """Look at what is due, and at what is driven here, after a wake-up that names no thread."""
        while True:
            await self._stir.wait()
            self._stir.clear()
            self._due.set()
            with contextlib.suppress(StoreError):
                await self._poke_changed()

    async def _sweep(self) -> None:
        """Every `sweep` seconds: look, whatever was heard; and have threads that had their turn make room."""
        while True:
            await asyncio.sleep(max(min(self.settings.sweep, self.settings.turn), 0.01))
            self._stir.set()
            with contextlib.suppress(StoreError):
                await self._take_turns()

    async def _take_turns(self) -> None:
        now = self.clock.now()
        begun = sorted(self._since, key=self._since.__getitem__)
        over = [thread for thread in begun if now - self._since[thread] >= self.settings.turn * 1_000_000]
        held = {thread: self._drivers[thread][0] for thread in over if thread in self._drivers}
        long = {thread: driver for thread, driver in held.items() if not driver.draining}
        full = len(self._tasks) >= self.settings.concurrency
        since = now - int(self.settings.sweep * 1_000_000)  # who has just come isn't kept waiting yet
        for thread in await turns.to_yield(self.store, since, list(self.graphs), long, full=full):
            long[thread].drain()

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

    async def _fetch_own(self) -> None:
        """While another version works beside this one, it may have claimed a run of this one, and left it as diverged:
        nobody else would look at it again."""
        after = dict.fromkeys(self.graphs, "")
        while True:
            await asyncio.sleep(self.settings.sweep)
            with contextlib.suppress(StoreError):
                for name, graph in self.graphs.items():
                    rows = await self.store.threads(
                        graph=name, status="diverged", after=after[name], limit=PAGE
                    )
                    after[name] = rows[-1].thread if len(rows) == PAGE else ""
                    own = [row.thread for row in rows if self._may_go_on(row, graph)]
                    if own:
                        await self.store.wake(own, self.clock.now())
                        self._due.set()  # now, before the other version hears of it

    def _may_go_on(self, row: ThreadRow, graph: Graph) -> bool:
        """Is it a run of this very version, which another one left, and not this one itself?"""
        own = row.fingerprint == graph.fingerprint and not row.owner
        return own and self._parted.get(row.thread) != row.head

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
                leases = await self.store.claim(
                    self.name, now, until, free, list(self.graphs), tries=self.settings.tries,
                    suspects=not self._suspects,
                )  # fmt: skip
            except StoreError as error:
                self.claiming.tell(error)
                return
            self.claiming.over()
            for lease in leases:
                if lease.tries >= SUSPECT:
                    log.warning(
                        "thread %s: its last %d workers stopped before a step ended",
                        lease.thread,
                        lease.tries,
                    )
                    self._suspects.add(lease.thread)
                before = self._tasks.get(lease.thread)
                task = asyncio.ensure_future(self._drive(lease, before))
                self._tasks[lease.thread], self._leases[lease.thread] = task, lease
                self._since[lease.thread] = now
                self._ends[lease.thread] = until
                task.add_done_callback(functools.partial(self._drove, lease.thread))
            if not leases:
                return

    def _drove(self, thread: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(thread) is task:
            del self._tasks[thread], self._since[thread]
            self._let_go(thread)
            self._drivers.pop(thread, None)
            self._suspects.discard(thread)
        self._due.set()

    async def _drive(self, lease: Lease, before: asyncio.Task[None] | None = None) -> None:
        """One thread, from where it is to where it parks. What goes wrong here must not reach another thread.

        `before` drove it under a lease that was lost, and may still be cleaning up.
        """
        here.set(Whereabouts(lease.thread))
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
            self._show(lambda observer: observer.began(journal.view))
            performer = Performer(journal, self.world, functools.partial(self._hold, lease))
            body = await performer.gate.as_recorded(await take_over(graph, journal.view))
            if body is not None and journal.view.run is not None:
                journal.stage([e.Draft(journal.view.run.number, "", body)])
            driver = Driver(
                journal, graph, performer, self.clock, self._limits, emit=lambda event: self.hub.emit(lease.thread, event), watch=functools.partial(children.put_ends, self.store),
            )  # fmt: skip
            self._drivers[lease.thread] = (driver, lease)
            if self._draining:
                driver.drain()
            await driver.drive()
            self._alarm(driver.wake_at)
            if journal.view.run is not None and journal.view.run.divergence is not None:
                self._parted[lease.thread] = journal.head
            if driver.given_back and self._draining:
                self._back.add(lease.thread)
        except StaleWriter as error:
            log.warning("left thread %s to its new owner: %s", lease.thread, error)
        except asyncio.CancelledError:
            # Given back at once: others needn't wait for the lease to run out.
            with contextlib.suppress(StoreError, asyncio.CancelledError):
                if await self._give_back(lease, self.clock.now()):
                    self._back.add(lease.thread)
            raise
        except StoreError as error:
            log.error("thread %s stops until the store is back: %s", lease.thread, error)
            await self._give_back_later(lease)
        except Exception:
            log.exception(
                "driving thread %s broke; it is looked at again in %d s", lease.thread, BACK_OFF // 1_000_000
            )
            with contextlib.suppress(StoreError):
                await self._give_back(lease, self.clock.now() + BACK_OFF)
        finally:
            self._show(lambda observer: observer.rested(lease.thread))
            self.hub.notify(lease.thread)

    async def _give_back(self, lease: Lease, wake_at: e.Micros) -> bool:
        """Release a thread wherever its journal is: what was just being appended may have become durable or not."""
        for _ in range(5):
            row = await self.store.thread(lease.thread)
            if row is None or row.epoch != lease.epoch or row.owner != lease.worker:
                return False
            if await self.store.release(lease, row.head, wake_at):
                return True
        return False

    async def _give_back_later(self, lease: Lease) -> None:
        """When the store is back: a lease that runs out instead would count against the thread, which has done nothing."""
        while True:
            await asyncio.sleep(self.settings.sweep)
            with contextlib.suppress(StoreError):
                wake_at = self.clock.now() + min(BACK_OFF, int(self.settings.lease * 1_000_000))
                await self._give_back(lease, wake_at)
                self._alarm(wake_at)
                return

    def _tell(self, entries: list[e.Entry]) -> None:
        thread = entries[0].thread
        for entry in entries:
            self.hub.emit(thread, entry)
        self._show(lambda observer: observer.committed(entries))
        if thread in self._suspects and project.progress(entries):
            self._suspects.discard(thread)  # it wasn't what stopped the others: the next one may come
            self._due.set()
        driver = self._drivers.get(thread)
        if driver is not None and entries[-1].kind in project.RUN_ENDS:
            parent = driver[0].journal.view.last
            if parent is not None and parent.parent:
                self.hub.notify(parent.parent)

    def _show(self, what: Callable[[Observer], None]) -> None:
        """Whatever an observer does, no run is to suffer from it."""
        for observer in self.observers:
            try:
                what(observer)
            except Exception:
                log.exception("an observer broke")

    # --- leases --------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self.settings.lease / 3)
            self._renewed = asyncio.get_running_loop().time()
            try:
                await self._renew_leases()
                self.renewing.over()
            except StoreError as error:
                self.renewing.tell(error)

    async def _renew_leases(self) -> None:
        until = self.clock.now() + int(self.settings.lease * 1_000_000)
        asked = list(self._leases.values())
        lost = await self.store.renew(self.name, asked, until)
        for lease in asked:
            if self._leases.get(lease.thread) is not lease:
                continue
            if lease not in lost:
                self._ends[lease.thread] = until
                continue
            row = await self.store.thread(lease.thread)
            given_back = row is not None and row.epoch == lease.epoch  # at this moment, by its own drive
            if not given_back and self._leases.get(lease.thread) is lease:
                log.warning("lost the lease of thread %s; stopping its steps", lease.thread)
                self._let_go(lease.thread)
                self._tasks[lease.thread].cancel()

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
