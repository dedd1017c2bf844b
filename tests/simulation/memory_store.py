"""The store's port as a model in memory: what every store must do, said as plainly as can be.

It passes `turnout.testing.contract`, and a schedule of the simulation takes the same course on it as on SQLite, entry
by entry: so it serves as an executable specification, too. `MemoryStore(data)` is a second handle on the same data.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from turnout.errors import HeadMoved, KeyReused, StaleWriter, StoreUnavailable
from turnout.ports.store import (
    KEEP,
    SUSPECT,
    Append,
    HeadRow,
    KeyRow,
    Lease,
    LimitRow,
    ReviewRow,
    Row,
    RunRow,
    ScheduleRow,
    ThreadRow,
)

WOKEN = 0
"""`wake_at` of a thread that was woken while somebody held it: it is due as soon as it is given back."""


@dataclass(slots=True)
class Kept:
    """A thread: the fields of its row, its own entries, its snapshot. `number` is the order in which threads came."""

    number: int
    row: ThreadRow
    entries: list[Row] = field(default_factory=list)
    snapshot: tuple[int, bytes] | None = None

    def set(self, **changes: Any) -> None:
        self.row = replace(self.row, **changes)


@dataclass
class Data:
    """What outlives the handles."""

    threads: dict[str, Kept] = field(default_factory=dict)
    values: dict[str, bytes] = field(default_factory=dict)
    runs: dict[tuple[str, int], RunRow] = field(default_factory=dict)
    reviews: dict[str, ReviewRow] = field(default_factory=dict)
    keys: dict[str, KeyRow] = field(default_factory=dict)
    heads: dict[tuple[str, int], HeadRow] = field(default_factory=dict)
    limits: dict[tuple[str, str], LimitRow] = field(default_factory=dict)
    schedules: dict[str, ScheduleRow] = field(default_factory=dict)
    listeners: list[tuple[tuple[str, ...], Callable[[str], None]]] = field(default_factory=list)
    written: int = 0
    tables: sqlite3.Connection | None = None  # what transactional tools write to


class MemoryTransaction:
    """Nobody else comes in between: what is in the block happens at once."""

    def __init__(self, store: MemoryStore, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._store = store
        self.changes: list[Append] = []

    async def append(self, change: Append) -> None:
        self._store._check(change)
        self.changes.append(change)


class MemoryStore:
    """A handle on the data. All verbs are done at once; they are coroutines because the port's are."""

    url = "sqlite://"

    def __init__(self, data: Data | None = None) -> None:
        self.data = data or Data()
        self._closed = False
        self._mine = 0

    # --- the journal ---------------------------------------------------------------------------------------------

    async def append(self, change: Append) -> None:
        self._open()
        self._check(change)
        self._apply(change)

    def _check(self, change: Append) -> None:
        """Refuse before anything is changed."""
        for key in change.keys:
            used = self.data.keys.get(key.key)
            if used is not None:
                raise KeyReused(f"the idempotency key {key.key!r} was used for {used.thread}/{used.run}")
        kept = self.data.threads.get(change.thread)
        opens = change.head == 0 or change.base is not None
        if kept is None and not opens:
            raise HeadMoved(f"thread {change.thread!r} isn't there any more")
        if kept is not None and kept.row.epoch != change.epoch:
            raise StaleWriter(
                f"thread {change.thread!r} is in epoch {kept.row.epoch} now (held by {kept.row.owner or 'nobody'}); an append "
                f"of epoch {change.epoch} was refused"
            )
        if kept is not None and (opens or kept.row.head != change.head):
            raise HeadMoved(
                f"the journal of thread {change.thread!r} is at entry {kept.row.head}, not {change.head}"
            )
        if [row.seq for row in change.rows] != list(
            range(change.head + 1, change.head + 1 + len(change.rows))
        ):
            raise StoreUnavailable("the entries of an append aren't numbered one after the other")
        if isinstance(change.wake, int) and change.wake >= 2**63:
            raise StoreUnavailable("no store can keep such a time")

    def _apply(self, change: Append) -> None:
        data = self.data
        self._move(change)
        kept = data.threads[change.thread]
        kept.entries += change.rows
        for address, body in change.values.items():
            data.values.setdefault(address, body)
        for run in change.runs:
            before = data.runs.get((run.thread, run.run))
            started_at = before.started_at if before else run.started_at
            data.runs[(run.thread, run.run)] = replace(run, started_at=started_at)
        for review in change.reviews:
            asked = data.reviews.get(review.review)
            data.reviews[review.review] = replace(
                review, asked_at=asked.asked_at if asked else review.asked_at
            )
        data.keys |= {key.key: key for key in change.keys}
        for other in change.wakes:
            self._wake(other, change.at)
        if change.snapshot is not None and change.rows:
            kept.snapshot = (change.rows[-1].seq, change.snapshot)
        if change.signed is not None:
            data.heads[(change.signed.thread, change.signed.seq)] = change.signed
        self._wrote(change.thread if isinstance(change.wake, int) else "", *change.wakes)

    def _move(self, change: Append) -> None:
        """The thread's row as it is after the append."""
        last = change.rows[-1] if change.rows else None
        if change.thread not in self.data.threads:
            wake = None if change.wake == KEEP else change.wake
            base, seq = change.base or (None, 0)
            row = ThreadRow(
                change.thread, change.graph, change.fingerprint, change.status, change.run, last.seq if last else change.head,
                last.digest if last else b"", change.epoch, "", 0, wake, change.at, change.at, base, seq,
                change.tenant, change.priority,
            )  # fmt: skip
            self.data.threads[change.thread] = Kept(len(self.data.threads), row)
            return
        kept = self.data.threads[change.thread]
        moved: dict[str, Any] = {"updated_at": change.at}
        if last is not None:
            moved |= {"head": last.seq, "digest": last.digest}
        if change.progress:
            moved["tries"] = 0
        if not change.same:
            moved |= {"status": change.status, "run": change.run, "fingerprint": change.fingerprint}
            moved["priority"] = change.priority
        woken = kept.row.wake_at == WOKEN
        if change.release:
            moved |= {"owner": "", "lease_until": 0, "tries": 0}
        if woken and change.release:
            moved["wake_at"] = change.at
        elif change.wake != KEEP and not woken:
            moved["wake_at"] = change.wake
        kept.set(**moved)

    async def thread(self, thread: str) -> ThreadRow | None:
        self._open()
        kept = self.data.threads.get(thread)
        return kept.row if kept else None

    async def read(self, thread: str, after: int = 0, upto: int | None = None) -> list[Row]:
        self._open()
        return self._read(thread, after, upto)

    def _read(self, thread: str, after: int, upto: int | None) -> list[Row]:
        kept = self.data.threads.get(thread)
        if kept is None:
            return []
        last = kept.row.head if upto is None else min(upto, kept.row.head)
        base = kept.row.base_seq
        shared = self._read(kept.row.base_thread or "", after, min(last, base)) if after < base else []
        return shared + kept.entries[max(after - base, 0) : max(last - base, 0)]

    async def values(self, addresses: Iterable[str]) -> dict[str, bytes]:
        self._open()
        return {a: self.data.values[a] for a in addresses if a in self.data.values}

    async def snapshot(self, thread: str) -> tuple[int, bytes] | None:
        self._open()
        kept = self.data.threads.get(thread)
        return kept.snapshot if kept else None

    # --- who may write -------------------------------------------------------------------------------------------

    async def claim(
        self, worker: str, now: int, until: int, limit: int, graphs: Sequence[str] | None = None, thread: str = "", *,
        tries: int = 0, suspects: bool = True,
    ) -> list[Lease]:  # fmt: skip
        self._open()
        due = [
            kept
            for kept in self._due(now, graphs)
            if kept.row.lease_until < now and thread in ("", kept.row.thread)
        ]
        due.sort(key=lambda kept: (-kept.row.priority, kept.row.wake_at, kept.number))
        leases: list[Lease] = []
        for kept in due:
            row = kept.row
            tried = row.tries + 1 if row.owner else row.tries
            if tries and tried >= tries:
                kept.set(aside=f"{tried} leases in a row ran out on it", tries=tried, owner="", lease_until=0)
                kept.set(epoch=row.epoch + 1)
                self._wrote()
            elif len(leases) < limit and self._may(row, now) and (suspects or tried < SUSPECT):
                suspects = suspects and tried < SUSPECT
                kept.set(epoch=row.epoch + 1, owner=worker, lease_until=until, tries=tried)
                kept.set(wake_at=max(row.wake_at or 0, 1))
                leases.append(Lease(row.thread, worker, row.epoch + 1, tried))
                self._wrote()
        return leases

    def _due(self, now: int, graphs: Sequence[str] | None) -> list[Kept]:
        return [
            kept
            for kept in self.data.threads.values()
            if kept.row.wake_at is not None
            and kept.row.wake_at <= now
            and not kept.row.aside
            and (graphs is None or kept.row.graph in graphs)
        ]

    def _may(self, row: ThreadRow, now: int) -> bool:
        """Do the limits of its graph and its tenant leave room for one more?"""
        held = [k.row for k in self.data.threads.values() if k.row.owner and k.row.lease_until >= now]
        graph = self.data.limits.get(("graph", row.graph))
        tenant = self.data.limits.get(("tenant", row.tenant))
        return (graph is None or sum(r.graph == row.graph for r in held) < graph.at_once) and (
            tenant is None or sum(r.tenant == row.tenant for r in held) < tenant.at_once
        )

    async def renew(self, worker: str, threads: Sequence[Lease], until: int) -> list[Lease]:
        self._open()
        lost = []
        for lease in threads:
            kept = self.data.threads.get(lease.thread)
            if kept is None or (kept.row.epoch, kept.row.owner) != (lease.epoch, worker):
                lost.append(lease)
            else:
                kept.set(lease_until=until)
                self._wrote()
        return lost

    async def release(self, lease: Lease, head: int, wake_at: int | None) -> bool:
        self._open()
        kept = self.data.threads.get(lease.thread)
        if kept is None or (kept.row.epoch, kept.row.head) != (lease.epoch, head):
            return False
        kept.set(owner="", lease_until=0, wake_at=1 if kept.row.wake_at == WOKEN else wake_at, tries=0)
        self._wrote(lease.thread if kept.row.wake_at is not None else "")
        return True

    async def wake(self, threads: Sequence[str], at: int) -> None:
        self._open()
        for thread in threads:
            self._wake(thread, at)
        self._wrote(*threads)

    def _wake(self, thread: str, at: int) -> None:
        kept = self.data.threads.get(thread)
        if kept is not None and kept.row.owner:
            kept.set(wake_at=WOKEN)
        elif kept is not None and (kept.row.wake_at is None or kept.row.wake_at > at):
            kept.set(wake_at=at)

    async def due(self, now: int, graphs: Sequence[str] | None = None, limit: int = 1) -> int:
        self._open()
        return min(len(self._due(now, graphs)), limit)

    async def set_aside(self, threads: Sequence[str], reason: str) -> list[str]:
        self._open()
        found = [self.data.threads[t] for t in threads if t in self.data.threads]
        found = [kept for kept in found if not kept.row.aside]
        for kept in found:
            kept.set(aside=reason, epoch=kept.row.epoch + 1, owner="", lease_until=0)
        self._wrote()
        return [kept.row.thread for kept in found]

    async def take_back(self, threads: Sequence[str], at: int) -> list[str]:
        self._open()
        found = [self.data.threads[t] for t in threads if t in self.data.threads]
        found = [kept for kept in found if kept.row.aside]
        for kept in found:
            kept.set(aside="", tries=0, wake_at=at)
        self._wrote(*(kept.row.thread for kept in found))
        return [kept.row.thread for kept in found]

    async def limits(self) -> list[LimitRow]:
        self._open()
        return [self.data.limits[key] for key in sorted(self.data.limits)]

    async def put_limit(self, kind: str, name: str, at_once: int | None) -> None:
        self._open()
        self.data.limits.pop((kind, name), None)
        if at_once is not None:
            self.data.limits[(kind, name)] = LimitRow(kind, name, at_once)
        self._wrote()

    # --- lists ---------------------------------------------------------------------------------------------------

    async def threads(
        self, *, graph: str = "", status: str = "", search: str = "", owner: str = "", tenant: str = "",
        aside: bool = False, after: str = "", limit: int = 100,
    ) -> list[ThreadRow]:  # fmt: skip
        self._open()
        found = [
            row
            for row in (kept.row for kept in self.data.threads.values())
            if row.thread > after
            and graph in ("", row.graph)
            and status in ("", row.status)
            and owner in ("", row.owner)
            and tenant in ("", row.tenant)
            and search in row.thread
            and (row.aside or not aside)
        ]
        return sorted(found, key=lambda row: row.thread)[:limit]

    async def runs(self, thread: str) -> list[RunRow]:
        self._open()
        return [self.data.runs[key] for key in sorted(self.data.runs) if key[0] == thread]

    async def reviews(
        self, *, status: str = "", thread: str = "", review: str = "", limit: int = 1000
    ) -> list[ReviewRow]:
        self._open()
        found = [
            row
            for row in self.data.reviews.values()
            if status in ("", row.status) and thread in ("", row.thread) and review in ("", row.review)
        ]
        found.sort(key=lambda row: (row.due_at is None, row.due_at or 0, row.asked_at, row.review))
        return found[:limit]

    async def key(self, key: str) -> KeyRow | None:
        self._open()
        return self.data.keys.get(key)

    async def keys(self, thread: str) -> list[KeyRow]:
        self._open()
        return sorted((k for k in self.data.keys.values() if k.thread == thread), key=lambda k: k.key)

    async def heads(self, thread: str = "") -> list[HeadRow]:
        self._open()
        found = [head for head in self.data.heads.values() if thread in ("", head.thread)]
        return sorted(found, key=lambda head: (head.at, head.thread, head.seq))

    async def strays(self, thread: str = "") -> list[tuple[str, int]]:
        self._open()
        return []  # there is no way to put one in

    # --- transactions --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        self._open()
        if self.data.tables is None:
            self.data.tables = sqlite3.connect(":memory:", isolation_level=None)
        tables = self.data.tables
        tables.execute("BEGIN")
        made = MemoryTransaction(self, tables)
        try:
            yield made
            for change in made.changes:
                self._check(change)
        except BaseException:
            tables.execute("ROLLBACK")
            raise
        tables.execute("COMMIT")
        for change in made.changes:
            self._apply(change)

    # --- schedules -----------------------------------------------------------------------------------------------

    async def schedules(self, *, name: str = "", graph: str = "") -> list[ScheduleRow]:
        self._open()
        found = [s for s in self.data.schedules.values() if name in ("", s.name) and graph in ("", s.graph)]
        return sorted(found, key=lambda s: s.name)

    async def due_schedules(self, now: int, graphs: Sequence[str], limit: int = 100) -> list[ScheduleRow]:
        self._open()
        found = [s for s in self.data.schedules.values() if s.graph in graphs and not s.paused]
        due = [(s.next_at, s.name) for s in found if s.next_at is not None and s.next_at <= now]
        return [self.data.schedules[name] for _, name in sorted(due)[:limit]]

    async def put_schedule(self, row: ScheduleRow) -> None:
        self._open()
        self.data.schedules[row.name] = row
        self._wrote()

    async def move_schedule(self, row: ScheduleRow, was: ScheduleRow) -> bool:
        self._open()
        now = self.data.schedules.get(row.name)
        if now is None or (now.next_at, now.updated_at) != (was.next_at, was.updated_at):
            return False
        self.data.schedules[row.name] = row
        self._wrote()
        return True

    async def drop_schedule(self, name: str) -> bool:
        self._open()
        self._wrote()
        return self.data.schedules.pop(name, None) is not None

    # --- hearing -------------------------------------------------------------------------------------------------

    async def hear(
        self, worker: str, graphs: Sequence[str], heard: Callable[[str], None], poll: float
    ) -> None:
        self._open()
        listener = (tuple(graphs), heard)
        self.data.listeners.append(listener)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.data.listeners.remove(listener)

    def changed(self) -> int:
        return self.data.written - self._mine

    def _wrote(self, *woken: str) -> None:
        self.data.written += 1
        self._mine += 1
        for thread in woken:
            kept = self.data.threads.get(thread)
            for graphs, heard in list(self.data.listeners):
                if kept is not None and kept.row.graph in graphs:
                    heard(thread)

    def _open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    async def close(self) -> None:
        self._closed = True
