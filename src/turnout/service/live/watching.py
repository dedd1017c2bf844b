"""Watching: a thread's events, or those of all threads, from an entry on, for as long as somebody wants them.

A watcher is told the entries, each once it is durable, and in between what `ctx.emit` says in this process: the words of
a model's answer while it comes. What is there by then is told at once, up to a page of it: an empty list says that nothing
has come for a while. Nobody is kept waiting by a watcher who is slow, and nothing grows for one: who falls
behind is told from the store.

To go on after a break a watcher names the last entry it has (or, of all threads, the moment when it began). For one thread
that is exact. For all threads it is in the process that told it, while the entry is among its newest. Otherwise there is no
order in which could be told what came since, for each process hears of what others write in an order of its own: then every
entry is told that may be new, so that some come twice, and none is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from turnout.core.entries import Entry, Micros
from turnout.errors import JournalDamaged, UnknownEntry
from turnout.ports.clock import Clock
from turnout.ports.dispatcher import Dispatcher
from turnout.ports.store import Store
from turnout.runtime.reading import entries_of
from turnout.service.live.ears import Ears, Piece, ThreadEars
from turnout.service.live.feed import PAGE, Feed, entries_behind, newer, without_older
from turnout.service.live.scout import MARGIN, Scout
from turnout.service.threads import thread_row

QUIET = 15.0
"""Seconds without news after which a watcher is told that there are none."""
REST = 0.0002
"""Seconds for each who watches all threads in which news gather before they are told the next: telling one costs about as
much, so that all of them together leave half of the time to the runs."""


@dataclass(frozen=True)
class News:
    """An entry. `mark`: a watcher can go on from here after a break."""

    entry: Entry
    mark: bool = True


@dataclass(frozen=True)
class Place:
    """A moment, of all threads, that a watcher who was told everything until here can go on from after a break."""

    moment: Micros


Event = News | Piece | Place


class Live:
    """Where watchers come to. One for a process; `close` sends them all home."""

    def __init__(self, store: Store, hub: Dispatcher, clock: Clock, quiet: float = QUIET) -> None:
        self.name = secrets.token_hex(4)
        """Of this process: who goes on says which one told what they have."""
        self._hub = hub
        self._clock = clock
        self._quiet = quiet
        self._scout = Scout(store, clock)
        self._closing = asyncio.Event()
        self._ears: set[Ears] = set()
        self._feeds: dict[str | None, Feed] = {}

    def close(self) -> None:
        """Have every watch end."""
        self._closing.set()
        for ears in self._ears:
            ears.news.set()

    async def closed(self) -> None:
        """Until everybody is sent home."""
        await self._closing.wait()

    async def thread(
        self, store: Store, thread: str, after: int | None = None
    ) -> AsyncGenerator[list[Event]]:
        """A thread's events behind entry `after` (None: from now on). They end where its journal can't be read on.

        Raises `UnknownThread`, `UnknownEntry`, and `JournalDamaged` when the entry behind `after` can't be read: so who goes
        on where the events ended is told why they did."""
        row = await thread_row(store, thread)
        seq = row.head if after is None else after
        if not 0 <= seq <= row.head:
            raise UnknownEntry(
                f"thread {thread!r} has entries 1 to {row.head}; there is none {after} to go on from"
            )
        begun = (await _read(store, thread, seq))[0] if seq < row.head else []
        return self._thread(store, thread, seq, begun)

    async def _thread(
        self, store: Store, thread: str, seq: int, begun: list[Entry]
    ) -> AsyncGenerator[list[Event]]:
        ears = ThreadEars(self._hub, self._scout, thread)
        self._ears.add(ears)
        try:
            if begun:
                seq = begun[-1].seq
                yield [News(entry) for entry in begun]
            while not self._closing.is_set():
                heard = ears.take()
                found: list[Event] = []
                for event in heard:
                    if isinstance(event, Piece):
                        found.append(event)
                        continue
                    between = event.seq - 1 if event.seq > seq + 1 else seq
                    async for entry in entries_behind(store, thread, seq, between):
                        seq = entry.seq
                        found.append(News(entry))
                        if len(found) >= PAGE:
                            yield found
                            found = []
                    if event.seq > seq:
                        seq = event.seq
                        found.append(News(event))
                if not heard and ears.more:
                    ears.more = False
                    entries, more = await _read(store, thread, seq)
                    ears.more = ears.more or more
                    for entry in entries:
                        seq = entry.seq
                        found.append(News(entry))
                elif not heard and not await self._until(ears.news):
                    yield []
                if found:
                    yield found
        finally:
            self._ears.discard(ears)
            ears.close()

    async def all(
        self,
        store: Store,
        tenant: str | None = None,
        after: tuple[str, int] | None = None,
        since: Micros | None = None,
        told_by: str = "",
    ) -> AsyncGenerator[list[Event]]:
        """Events of all threads in `store` (that of `tenant`, if it is one's) behind the entry `after`, which
        the process `told_by` told (see `name`), or all that may be new `since` then (neither: from now on; of a thread that
        goes on then, what is only just older may come, too). Raises `UnknownEntry`."""
        if after is not None:
            exact = told_by == self.name
            return self._all(store, tenant, after, await _stamp(store, after), exact=exact)
        if since is not None:
            return self._all(store, tenant, ("", 0), since)
        return self._all(store, tenant, None, self._clock.now())

    async def _all(
        self,
        store: Store,
        tenant: str | None,
        after: tuple[str, int] | None,
        moment: Micros,
        *,
        exact: bool = False,
    ) -> AsyncGenerator[list[Event]]:
        feed = self._feeds.get(tenant)
        if feed is None:
            feed = self._feeds[tenant] = Feed(store, self._hub, self._scout, self._clock)
        ears = Ears(self._hub, feed.knows)
        self._ears.add(ears)
        feed.join(ears)
        try:
            place = feed.end if after is None else feed.behind(*after) if exact else None
            # Clocks differ: some come that are older, rather than that one is left out which isn't.
            first = moment - MARGIN if after is None else 0
            while not self._closing.is_set():
                found: list[Event] = [event for event in ears.take() if isinstance(event, Piece)]
                page = feed.page(place) if place is not None else None
                if page is None:  # too far behind: what there is in the store, thread by thread
                    begun, place = self._clock.now(), feed.end
                    async for entry in newer(store, moment - MARGIN, after or ("", 0)):
                        found.append(News(entry, mark=False))
                        if len(found) >= PAGE:
                            yield found
                            found = []
                    moment = begun
                    yield [*found, Place(begun)]
                    continue
                assert place is not None
                place += len(page)
                for entry, sure in without_older(page, first):
                    if sure:
                        after, moment = (entry.thread, entry.seq), max(moment, entry.at)
                    found.append(News(entry, mark=sure))
                if found:
                    yield found
                    await asyncio.sleep(REST * feed.watching)
                if not page and not await self._until(ears.news):
                    yield []
        finally:
            self._ears.discard(ears)
            ears.close()
            feed.leave(ears)
            if not feed.watching and self._feeds.get(tenant) is feed:
                del self._feeds[tenant]

    async def _until(self, news: asyncio.Event) -> bool:
        """Until there are news, or everybody is sent home. False: it is only that a while has passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._quiet):
                return await news.wait()
        return False


async def _read(store: Store, thread: str, seq: int) -> tuple[list[Entry], bool]:
    """A page of the entries behind `seq`, up to one that can't be read, and whether there may be more behind them. Raises
    `JournalDamaged` when the first of them can't be read."""
    rows = await store.read(thread, seq, seq + PAGE)
    with contextlib.suppress(JournalDamaged):
        return await entries_of(store, rows, whole=True), len(rows) == PAGE
    found: list[Entry] = []
    for row in rows:
        try:
            found += await entries_of(store, [row], whole=True)
        except JournalDamaged:
            if not found:
                raise
            break
    return found, True


async def _stamp(store: Store, after: tuple[str, int]) -> Micros:
    """When the entry that a watcher names was stamped. Raises `UnknownEntry`."""
    thread, seq = after
    rows = await store.read(thread, seq - 1, seq) if seq > 0 else []
    if not rows:
        raise UnknownEntry(f"there is no entry {seq} of thread {thread!r} to go on from")
    return rows[0].at
