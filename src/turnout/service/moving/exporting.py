"""From a store to a file: each thread as it is at one entry, its chain proven as it is read.

Workers may go on meanwhile: a thread is exported up to the head that its row has at one moment, and its status, runs
and reviews are folded from the entries up to there. With `move` the thread is set aside in its store before that, so
that nobody there goes on with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from turnout.core import aside
from turnout.core import entries as e
from turnout.errors import ExportFailed, HeadMoved, JournalDamaged, StoreError, ThreadMoved, TurnoutError
from turnout.ports.rows import KeyRow, ReviewRow, Row, ThreadRow
from turnout.ports.store import Store
from turnout.runtime.reading import entry_of
from turnout.service.derived import Derived
from turnout.service.moving import lines, rows, rules
from turnout.service.moving.begun import Begun
from turnout.service.moving.leaving import Leaving, as_before
from turnout.service.moving.output import Output, Section
from turnout.service.moving.progress import Exported, Progress, Say, Tell
from turnout.service.moving.selection import Selection, lineage
from turnout.service.moving.values import Gathered
from turnout.service.threads import thread_row

BATCH = 500
"""Entries that are read at once."""


class Exporter:
    """One export. `header` says what it is; `where` is what people in the old store are told of a thread that moved."""

    def __init__(
        self, store: Store, out: Output, header: lines.Export, where: str, *, keep_going: bool = False,
        tell: Tell = lambda progress: None, say: Say = lambda text: None,
    ) -> None:  # fmt: skip
        self.store = store
        self.out = out
        self.header = header
        self.selection = Selection(tuple(header.threads), header.graph, header.status)
        self.result = Exported(out.name, header.export)
        self._leaving = Leaving(store, where, header.export)
        self._keep_going = keep_going
        self._tell = tell
        self._say = say
        self._done: dict[str, lines.Thread | None] = {}

    async def run(self, now: e.Micros, before: Begun | None = None, *, with_rules: bool = False) -> Exported:
        """Write the file, or what is missing of it. Raises `UnknownThread`, `JournalDamaged`, `ExportFailed`."""
        self._done = before.threads if before is not None else {}
        try:
            return await self._run(now, before, with_rules)
        except BaseException:
            if self.header.move and not self.out.is_file and not self.out.whole:  # nobody can import it
                for name in (*self._done, self.out.ending):
                    await self._leaving.give_back(name)
                if with_rules:
                    await rules.give_back(self.store, now, self._leaving.place)
            raise

    async def _run(self, now: e.Micros, before: Begun | None, with_rules: bool) -> Exported:
        if before is None or before.header is None:
            self.out.put(self.header)
        if with_rules and not self._done:
            self.out.put(*await rules.rules(self.store, now, self._leaving.place if self.header.move else ""))
        for front in filter(None, list(self._done.values())):  # what a cut-off export was still to take along
            await self._take(*self._family(front))
        async for name in self.selection.names(self.store):
            await self._take((name, ""))
        for front in filter(None, self._done.values()):
            for child in front.children:
                if child not in self._done:
                    self._note(f"thread {front.thread} waits for {child}, which is not in the file")
        self.result.sha256 = self.out.finish()
        return self.count()

    def count(self) -> Exported:
        """What is in the file now."""
        result, out = self.result, self.out
        result.threads, result.entries = out.threads, out.entries
        result.values, result.bytes = len(out.written), out.bytes
        return result

    async def _take(self, *asked: tuple[str, str]) -> None:
        """Export threads (name, why it is taken along) and what they can't be without."""
        queue = deque(asked)
        while queue:
            name, why = queue.popleft()
            row = await self.store.thread(name)
            if row is None or name in self._done or name in self.result.failed:
                continue
            for base in await lineage(self.store, row):
                if base.thread not in self._done and base.thread not in self.result.failed:
                    asked_for = self.selection.takes(base)
                    fork = "" if asked_for else f"{name} is a fork of it"
                    queue.extend(
                        await self._one(base.thread, fork, asked_for and not self._leaving.is_away(base))
                    )
            queue.extend(await self._one(name, why, True))

    async def _one(self, name: str, why: str, move: bool) -> list[tuple[str, str]]:
        """Export one thread. Returns what has to go along with it."""
        try:
            front = await self._thread(name, move=move and self.header.move)
        except (StoreError, ExportFailed):
            raise
        except TurnoutError as error:
            if isinstance(error, JournalDamaged) and not self._keep_going:
                raise JournalDamaged(
                    f"{error}; the export stopped there (--keep-going leaves it out)"
                ) from error
            if not self._keep_going:
                raise
            self.result.failed[name] = str(error)
            return []
        if front is None:
            return []
        self._done[name] = None if front.alone else front
        if why:
            self.result.taken.append(name)
            self._say(f"thread {name} is taken along: {why}")
        return self._family(front)

    def _family(self, front: lines.Thread) -> list[tuple[str, str]]:
        """Whom a thread that moves waits for, and who waits for it: one store must have them all."""
        if not front.moved:
            return []
        found = [(child, f"{front.thread} waits for it") for child in front.children]
        if front.parent and not front.ended:
            found.append((front.parent, f"it waits for {front.thread}"))
        return [(name, why) for name, why in found if name not in self._done]

    async def _thread(self, name: str, *, move: bool) -> lines.Thread | None:
        """Write one thread. None: it was left out, since another export has moved it before."""
        before = await thread_row(self.store, name)
        if before.aside.startswith(aside.COMING):
            raise ThreadMoved(f"thread {name!r} isn't whole in this store: {before.aside}")
        if not move:
            return await self._write(name, lambda row: row, False)
        if self._leaving.is_away(before):
            if name in self.selection.threads:
                raise ThreadMoved(
                    f"thread {name!r} was {before.aside}; `turnout take-back {name} --not-imported` first, if nobody "
                    f"has imported it"
                )
            self.result.away += 1
            return None
        mine = self._leaving.is_mine(before)
        try:
            if not mine:
                await self._leaving.set_aside(before)
            await self._leaving.release(name)
            front = await self._write(name, lambda row: as_before(row, None if mine else before), True)
        except BaseException:
            if self.out.ending != name:  # else it may be in the file, and --resume finds out
                await self._leaving.give_back(name, None if mine else before)
            raise
        self.result.moved += 1
        return front

    async def _write(self, name: str, seen: Callable[[ThreadRow], ThreadRow], moved: bool) -> lines.Thread:
        """Put one thread into the file. Raises `JournalDamaged` when it isn't what was written."""
        row, keys = await self._steady(name)
        row = seen(row)
        if row.base_thread is not None and row.base_thread not in self._done:
            raise JournalDamaged(
                f"thread {name}: it is a fork of {row.base_thread}, which could not be exported"
            )
        heads = [head for head in await self.store.heads(name) if head.seq <= row.head]
        signed = {head.seq: head.digest for head in heads}
        derived, digest, epoch = Derived(name), e.GENESIS, 0
        with Section() as section:
            for after in range(0, row.head, BATCH):
                batch = await self.store.read(name, after, min(after + BATCH, row.head))
                digest = _proven(name, batch, after, digest, signed)
                gathered = Gathered(name, self.out.written, section.written)
                await gathered.read(self.store, batch)
                for address in gathered.new:
                    section.value(address, gathered.values[address])
                for one in batch:
                    derived.take(entry_of(one, one.stored, gathered.values.__getitem__))
                    if one.thread == name:
                        section.entry(rows.entry_line(one))
                        epoch = one.epoch
                self._tell(
                    Progress(
                        "exporting", self.out.threads, self.out.entries + section.entries, self.out.bytes
                    )
                )
                await asyncio.sleep(0)
            if derived.view.seq != row.head or digest != row.digest:
                raise JournalDamaged(
                    f"thread {name}: its row says entry {row.head}, its journal ends at {derived.view.seq}"
                )
            if moved and (await thread_row(self.store, name)).head != row.head:
                raise HeadMoved(f"thread {name!r} has got an entry while it was moved; try again")
            front = _thread_line(row, derived, epoch, moved)
            beside = await self._beside(derived)
            beside += [rows.key_line(key) for key in keys] + [rows.head_line(head) for head in heads]
            self.out.put_thread(
                [front, *beside], section, lines.End(thread=name, head=row.head, digest=digest.hex())
            )
        return front

    async def _steady(self, name: str) -> tuple[ThreadRow, list[KeyRow]]:
        """The thread's row, and the keys that were used up to its head: no more, no less."""
        for _ in range(100):
            keys = await self.store.keys(name)
            row = await thread_row(self.store, name)
            if keys == await self.store.keys(name):
                return row, keys
        raise HeadMoved(f"thread {name!r} gets inputs faster than it can be read; try again")

    async def _beside(self, derived: Derived) -> list[lines.Line]:
        """The rows of runs and reviews. When a review was withdrawn the store knows better than the journal."""
        had = {row.review: row for row in await self.store.reviews(thread=derived.thread, limit=1_000_000)}
        found: list[lines.Line] = [rows.run_line(derived.runs[number]) for number in sorted(derived.runs)]
        for name in sorted(derived.reviews):
            row: ReviewRow = derived.reviews[name]
            if name in had and had[name].status == row.status and row.closed_at is not None:
                row = replace(row, closed_at=had[name].closed_at)
            found.append(rows.review_line(row))
        return found

    def _note(self, text: str) -> None:
        self.result.notes.append(text)
        self._say(text)


def _proven(name: str, batch: list[Row], after: int, digest: bytes, signed: dict[int, bytes]) -> bytes:
    """The digest of the last of `batch`, which follow entry `after` with `digest`. Raises `JournalDamaged`."""
    for number, row in enumerate(batch, after + 1):
        if row.seq != number:
            raise JournalDamaged(
                f"thread {name}: entry {number} is missing (found entry {row.seq} in its place)"
            )
        envelope = (row.thread, row.seq, row.kind, row.run, row.step, row.at, row.epoch)
        if e.chain(digest, envelope, row.stored) != row.digest:
            raise JournalDamaged(
                f"thread {name}: entry {row.seq} ({row.kind}) was altered, reordered or put in"
            )
        if signed.get(row.seq, row.digest) != row.digest and row.thread == name:
            raise JournalDamaged(f"thread {name}: entry {row.seq} is not what was signed")
        digest = row.digest
    return digest


def _thread_line(row: ThreadRow, derived: Derived, epoch: int, moved: bool) -> lines.Thread:
    """The line of a thread: what its journal says of it, and of the row what no journal says."""
    view = derived.view
    idle = view.status in lines.ENDED or row.aside
    return lines.Thread(
        thread=row.thread, graph=view.graph, status=view.status, run=view.runs, fingerprint=derived.fingerprint,
        head=row.head, digest=row.digest.hex(), epoch=epoch, created_at=row.created_at, updated_at=row.updated_at,
        wake_at=None if idle or row.wake_at is None else max(row.wake_at, 1), base_thread=row.base_thread,
        base_seq=row.base_seq, tenant=view.tenant, priority=view.priority, aside=row.aside, moved=moved,
        parent=derived.parent, children=derived.children,
    )  # fmt: skip
