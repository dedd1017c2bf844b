"""A feed: the newest entries of all threads of a store (or of a tenant's), gathered once for all who watch them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from turnout.core import entries as e
from turnout.core.entries import Entry, Micros
from turnout.errors import ReplayError, StoreDamaged, StoreUnavailable
from turnout.ports.clock import Clock
from turnout.ports.dispatcher import Dispatcher
from turnout.ports.rows import ThreadRow
from turnout.ports.store import Store
from turnout.runtime.reading import entries_of
from turnout.service.live.ears import Ears
from turnout.service.live.scout import MARGIN, Scout

NEWEST, WEIGHT = 5_000, 8_000_000
"""So many entries are kept, and so many bytes of them; who is further behind is told from the store."""
FOLLOWED = 20_000
"""Threads of which it is remembered how far they were told of; of others what came since the feed began is told again."""
PAGE = 200
"""Entries that are read at a time."""
LAST = 2**62
"""Behind every entry of a thread."""
AT_ONCE = 8
"""Threads that are read at a time: a store at the other end of a line is waited for more than it works."""
AGAIN = 1.0
"""Seconds after which a store that couldn't be reached is asked again."""
LATER = 60.0
"""Seconds after which a thread that couldn't be read, when the store could, is read again."""
PROMPT = frozenset(
    body.kind
    for body in (
        e.InputReceived, e.CancelRequested, e.SignalReceived, e.ReviewDecided, e.ThreadForked, e.RunStarted, e.Decision,
        e.BranchesJoined, e.TimerFired, e.ReviewLapsed, e.CompensationStarted, e.RunFinished, e.RunFailing, e.RunFailed,
        e.RunCancelled,
    )
)  # fmt: skip
"""Entries that are made durable as soon as they are stamped, and with them all that stand before them. Others may wait for
what comes next: those of a step for its next commit, and that may come when a long call has been answered."""

log = logging.getLogger("turnout.live")


class Told(NamedTuple):
    """An entry of a feed. `sure`: when it was taken in, so was all that was durable a margin before it was stamped. Who
    comes back with such a one is told what came since by its stamp (see `newer`), and misses nothing."""

    entry: Entry
    sure: bool


class Feed:
    """Gathers while somebody watches. Entries have places, counted from 0 in the order in which they were seen.

    Of a thread that is first heard of it has what may have become durable since it began; so some of its entries may be
    older. A thread whose journal can't be read (it is damaged, or a newer Turnout writes it) is set apart: the others go
    on, and it is told of from where it was once it can be read.
    """

    def __init__(self, store: Store, hub: Dispatcher, scout: Scout, clock: Clock) -> None:
        self._store = store
        self._hub = hub
        self._scout = scout
        self._watching: set[Ears] = set()
        self._newest: deque[Told] = deque()
        self._first = 0  # the place of the oldest that is kept
        self._weight = 0
        self._named: dict[str, None] = {}
        self._found: dict[str, None] = {}
        """Threads to read: those that this process tells of, and those that the scout has found. Many of these at once keep
        none of the others waiting: after a busy time it finds all of the last seconds."""
        self._reading = False
        self._read_now: set[str] = set()
        self._sure = clock.now()
        """Everything that was durable before is taken in (but of threads set apart). Behind what the scout knows while
        threads that it named are still to be read."""
        self._stir = asyncio.Event()
        self._ends: OrderedDict[str, int] = OrderedDict()
        self._strangers: OrderedDict[str, None] = OrderedDict()
        self._apart: OrderedDict[str, float] = OrderedDict()
        """Threads that couldn't be read, and when they are read again, in that order."""
        self._begun = clock.now()
        self._task: asyncio.Task[None] | None = None

    @property
    def end(self) -> int:
        """The place of the next entry."""
        return self._first + len(self._newest)

    def behind(self, thread: str, seq: int) -> int | None:
        """The place behind an entry; None when it isn't among the newest."""
        for number, (one, _) in enumerate(self._newest):
            if one.seq == seq and one.thread == thread:
                return self._first + number + 1
        return None

    def page(self, place: int) -> list[Told] | None:
        """Some entries from a place on; None when what comes next isn't kept any more."""
        if place < self._first:
            return None
        begin = place - self._first
        return [self._newest[n] for n in range(begin, min(begin + PAGE, len(self._newest)))]

    def knows(self, thread: str) -> bool:
        """Is it one of these threads, as far as is known? Others' are found out when they are first heard of."""
        return thread in self._ends

    @property
    def watching(self) -> int:
        """How many watch."""
        return len(self._watching)

    def join(self, ears: Ears) -> None:
        """Somebody watches: their `news` is set whenever there is more."""
        self._watching.add(ears)
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())

    def leave(self, ears: Ears) -> None:
        """Somebody doesn't any more."""
        self._watching.discard(ears)
        if not self._watching and self._task is not None:
            self._task.cancel()
            self._task = None

    # --- gathering -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        stops = self._hub.listen(self._heard), self._hub.watch(self._saw), self._scout.listen(self._looked)
        try:
            while True:
                due = await self._due()
                self._reading, sure = True, self._scout.sure
                there = all(await asyncio.gather(*(self._read(thread) for thread in due)))
                self._reading = False
                if not there:
                    await asyncio.sleep(AGAIN)
                elif not self._found:
                    self._sure = sure
        finally:
            for stop in stops:
                stop()

    async def _due(self) -> dict[str, None]:
        """The next threads to read, when there are some: of those that this process tells of and of those that the scout has
        found, and those set apart whose time has come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LATER if self._apart else None):
                await self._stir.wait()
        due: dict[str, None] = {}
        for those, most in (self._named, AT_ONCE), (self._found, AT_ONCE // 2):
            for thread in list(itertools.islice(those, most)):
                del those[thread]
                due[thread] = None
        if not self._named and not self._found:
            self._stir.clear()
        now = time.monotonic()
        for thread, again in self._apart.items():
            if again > now:
                break
            due[thread] = None
        return due

    def _set_apart(self, thread: str, error: Exception) -> None:
        if thread not in self._apart:
            log.warning("those who watch all threads aren't told of %s for now: %s", thread, error)
        self._apart[thread] = time.monotonic() + LATER
        self._apart.move_to_end(thread)
        if len(self._apart) > FOLLOWED:
            self._apart.popitem(last=False)

    def _heard(self, thread: str) -> None:
        self._name(thread, self._named)

    def _looked(self, thread: str, head: int) -> None:
        if self._ends.get(thread, -1) < head:
            self._name(thread, self._found)

    def _name(self, thread: str, those: dict[str, None]) -> None:
        """It is to be read."""
        if thread and thread not in self._strangers and thread not in self._apart:
            self._settle()
            those[thread] = None
            self._stir.set()

    def _settle(self) -> None:
        """While no thread is still to be read, what the scout is sure of is taken in."""
        if not self._named and not self._found and not self._reading:
            self._sure = self._scout.sure

    def _saw(self, thread: str, event: Any) -> None:
        if not isinstance(event, Entry):
            if thread not in self._ends:
                self._heard(thread)
        elif thread not in self._read_now and self._ends.get(thread) == event.seq - 1:
            self._ends[thread] = event.seq  # it follows what is known: the store need not be asked
            self._ends.move_to_end(thread)
            self._settle()
            self._put(event)
        else:
            self._heard(thread)

    async def _read(self, thread: str) -> bool:
        """Take in what is new of a thread. False: the store can't be reached."""
        self._read_now.add(thread)
        try:
            await self._take_in(thread)
        except StoreUnavailable:  # it comes back, or the process ends
            self._heard(thread)
            return False
        except Exception as error:  # of this thread alone: it mustn't end what is told of the others
            self._set_apart(thread, error)
        else:
            self._apart.pop(thread, None)
        finally:
            self._read_now.discard(thread)
        return True

    async def _take_in(self, thread: str) -> None:
        seq, head = self._ends.get(thread), LAST
        if seq is None:
            row = await self._store.thread(thread)
            if row is None:
                self._strangers[thread] = None
                if len(self._strangers) > FOLLOWED:
                    self._strangers.popitem(last=False)
                return
            seq, head = await end_before(self._store, row, self._begun - MARGIN), row.head
        try:
            async for entry in entries_behind(self._store, thread, seq, head):
                seq = entry.seq
                self._put(entry)
        finally:  # what was taken in isn't taken in again when the rest can't be read now
            self._ends[thread] = seq
            self._ends.move_to_end(thread)
            if len(self._ends) > FOLLOWED:
                self._ends.popitem(last=False)

    def _put(self, entry: Entry) -> None:
        self._newest.append(Told(entry, entry.at - MARGIN <= self._sure))
        self._weight += len(entry.stored)
        while len(self._newest) > NEWEST or (self._weight > WEIGHT and len(self._newest) > 1):
            self._weight -= len(self._newest.popleft().entry.stored)
            self._first += 1
        for ears in self._watching:
            ears.news.set()


async def entries_behind(store: Store, thread: str, seq: int, head: int) -> AsyncIterator[Entry]:
    """The entries of a thread behind `seq`, up to `head`, a page at a time."""
    while seq < head:
        rows = await store.read(thread, seq, min(seq + PAGE, head))
        if not rows:
            return
        for entry in await entries_of(store, rows, whole=True):
            seq = entry.seq
            yield entry
        if len(rows) < PAGE:
            return


async def newer(store: Store, moment: Micros, after: tuple[str, int]) -> AsyncIterator[Entry]:
    """Every entry that may have become durable at `moment` or later, thread by thread; of the thread that is named only
    those behind the one that is. Threads that can't be read are left out."""
    name = ""
    while rows := await store.threads(since=moment, after=name, limit=1000):
        for row in rows:
            try:
                seq = after[1] if row.thread == after[0] else await end_before(store, row, moment)
                async for entry in entries_behind(store, row.thread, seq, row.head):
                    yield entry
            except (ReplayError, StoreDamaged) as error:
                log.warning("who watches all threads isn't told of %s: %s", row.thread, error)
        name = rows[-1].thread


async def end_before(store: Store, row: ThreadRow, moment: Micros) -> int:
    """The last entry that was surely durable before `moment`, looked for from the head back, a page at a time. What a fork
    shares is its parent's."""
    last = row.head
    while last > row.base_seq:
        rows = await store.read(row.thread, max(row.base_seq, last - PAGE), last)
        for found in reversed(rows):
            if found.kind in PROMPT and found.at < moment:
                return found.seq
        last -= PAGE
    return row.base_seq


def without_older(told: list[Told], moment: Micros) -> list[Told]:
    """Without those that were surely durable before `moment`, as far as these entries tell."""
    left: list[Told] = []
    older: set[str] = set()
    for one in reversed(told):
        entry = one.entry
        if entry.kind in PROMPT and entry.at < moment:
            older.add(entry.thread)
        if entry.thread not in older:
            left.append(one)
    left.reverse()
    return left
