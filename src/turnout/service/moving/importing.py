"""From a file to a store, once the file was checked. Each thread goes on when it is here as a whole, not before.

A thread is put together by a few appends. Until it is whole, with the rows of runs, reviews and keys, and its costs are
in the ledger, it is set aside: no worker claims it, nobody can send it anything. An import that is cut off leaves such a
thread behind, and goes on with it when it is run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from turnout.core import aside
from turnout.core import entries as e
from turnout.errors import HeadMoved, KeyReused, StaleWriter, ThreadDiffers
from turnout.ports.clock import Clock
from turnout.ports.rows import Append, HeadRow, Row, ThreadRow
from turnout.ports.store import Store
from turnout.service import ledger, outbox
from turnout.service.moving import lines, rules
from turnout.service.moving.checking import Checked
from turnout.service.moving.incoming import Incoming
from turnout.service.moving.progress import Imported, Progress, Say, Tell
from turnout.service.moving.source import Source
from turnout.service.moving.standing import check_new, difference, digest_at, set_aside
from turnout.service.signing import Signer, genuine, statement

AT_ONCE = 32
"""Threads that are imported side by side, so that they share commits."""
STATUS = "importing"
"""What a thread's row says while it isn't whole."""


class Importer:
    """One import of a checked file. `result` is filled in; threads that it has as refused are left out."""

    def __init__(
        self, store: Store, clock: Clock, signer: Signer, source: Source, checked: Checked, result: Imported, *,
        keep_going: bool = False, tell: Tell = lambda progress: None, say: Say = lambda text: None,
    ) -> None:  # fmt: skip
        self.store = store
        self.clock = clock
        self.signer = signer
        self.source = source
        self.checked = checked
        self.result = result
        self._keep_going = keep_going
        self._tell = tell
        self._say = say
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._error: Exception | None = None
        self._through = 0

    async def run(self, *, with_rules: bool = False) -> Imported:
        """Import. Raises `StoreError` or `ThreadDiffers`; what was imported by then stays, and is known again."""
        room = asyncio.Semaphore(AT_ONCE)
        try:
            for name in self.source.threads:
                if name not in self.result.refused:
                    await room.acquire()
                    if self._error is not None:
                        break
                    self._tasks[name] = asyncio.ensure_future(self._guarded(name, room))
            await asyncio.gather(*self._tasks.values())
        finally:
            for task in self._tasks.values():
                task.cancel()
        if self._error is not None:
            raise self._error
        await self._wake_parents()
        if with_rules:
            for note in await rules.put_rules(self.store, self.clock.now(), self.checked.rules):
                self.result.notes.append(note)
                self._say(note)
        return self.result

    async def _guarded(self, name: str, room: asyncio.Semaphore) -> None:
        try:
            await self._thread(name)
        except ThreadDiffers as error:
            if self._keep_going:
                self.result.refused[name] = str(error)
            else:
                self._error = self._error or error
        except Exception as error:
            self._error = self._error or error
        finally:
            self._tasks.pop(name, None)
            room.release()

    async def _thread(self, name: str) -> None:
        incoming = Incoming(self.source, name)
        line = incoming.line
        base = self._tasks.get(line.base_thread or "")
        if base is not None:
            await asyncio.wait([base])
        if self._error is not None:
            return
        row = await self.store.thread(name)
        if row is not None and row.head >= line.head:
            await self._there_already(line, row)
            return
        await check_new(self.store, line, row, incoming.keys)
        try:
            await self._write(incoming, row)
        except (HeadMoved, StaleWriter, KeyReused) as error:
            raise ThreadDiffers(
                f"thread {name!r} has changed here while it was being imported ({error}); run the import again"
            ) from error
        self.result.new += row is None
        self.result.continued += row is not None
        self._went_on(0)

    async def _there_already(self, line: lines.Thread, row: ThreadRow) -> None:
        """The journal is here, as far or further. It may still wait for the word that it goes on here."""
        if (await digest_at(self.store, row, line.head)).hex() != line.digest:
            raise ThreadDiffers(await difference(self.store, self.source, line.thread))
        if row.aside:
            comes = row.head == line.head and (line.moved or row.aside.startswith(aside.COMING))
            await self._open(line, row.epoch, set_aside(line, row) if comes else None, row.aside)
        self.result.same += 1
        self._went_on(line.head - line.base_seq)

    async def _write(self, incoming: Incoming, row: ThreadRow | None) -> None:
        """Put the thread's entries behind those that are here."""
        line, source = incoming.line, self.source
        self._sign(incoming)
        head, epoch = (row.head, row.epoch) if row is not None else (line.base_seq, line.epoch)
        base = (line.base_thread, line.base_seq) if row is None and line.base_thread is not None else None
        if base is not None:
            await self._check_base(*base, incoming.first)
        final = set_aside(line, row)
        shut = aside.coming(aside.away(row.aside) if row is not None else "")
        for rows, values in incoming.batches(self._behind(incoming, row), first_alone=row is None):
            change = Append(
                thread=line.thread, head=head, epoch=epoch, rows=rows, graph=line.graph, fingerprint="", status=STATUS,
                run=line.run, at=rows[-1].at, values=values, wake=None, base=base, tenant=line.tenant,
                priority=line.priority, aside=None if final is None else shut,
            )  # fmt: skip
            signed = incoming.heads.get(rows[-1].seq)
            change.signed = signed
            if row is None and head == line.base_seq:
                change.at = line.created_at
            if rows[-1].seq == line.head:
                await self._complete(change, incoming, new=row is None)
            await self.store.append(change)
            source.forget(values)
            head, base = rows[-1].seq, None
            self.result.entries += len(rows)
            self._went_on(len(rows))
        await self._open(line, epoch, final, row.aside if row is not None else "")
        self.result.aside += final == aside.copied(line.thread) != line.aside

    async def _complete(self, change: Append, incoming: Incoming, *, new: bool) -> None:
        """Make of the append the one after which the thread is whole."""
        line = incoming.line
        change.status, change.fingerprint, change.at = line.status, line.fingerprint, line.updated_at
        change.runs, change.reviews = incoming.runs, incoming.reviews
        there = set() if new else {key.key for key in await self.store.keys(line.thread)}
        change.keys = [key for key in incoming.keys if key.key not in there]
        if line.ended and line.parent and line.parent not in self.source.threads:
            change.wakes = [line.parent]

    async def _open(self, line: lines.Thread, epoch: int, final: str | None, was: str) -> None:
        """Let a thread that is whole stand as it is to: set aside for another reason, or not at all (None: as it `was`).

        Its costs are booked before that, so that no worker spends against budgets which don't know of them. Who is to
        hear of its open reviews hears of them from here on."""
        await ledger.bring(self.store, line.thread, away=bool(aside.away(was if final is None else final)))
        if final is None:
            return
        here = not aside.elsewhere(final)
        await self.store.append(
            Append(
                thread=line.thread, head=line.head, epoch=epoch, rows=[], graph=line.graph, fingerprint=line.fingerprint,
                status=line.status, run=line.run, at=line.updated_at, wake=line.wake_at if final == "" else None,
                release=True, tenant=line.tenant, priority=line.priority, aside=final,
                outbox=await outbox.of_open(self.store, line.thread, self.clock.now()) if here else [],
            )
        )  # fmt: skip

    def _behind(self, incoming: Incoming, row: ThreadRow | None) -> Iterator[Row]:
        """The entries that aren't here. Raises `HeadMoved` when those that are here are others."""
        head = row.head if row is not None else 0
        for one in incoming.entries():
            if one.seq > head:
                yield one
            elif row is not None and one.seq == head and one.digest != row.digest:
                raise HeadMoved(f"its entry {head} is another one than in the file")

    async def _check_base(self, base: str, seq: int, first: Row) -> None:
        """The fork's first own entry must follow the base's entry that is here."""
        row = await self.store.thread(base)
        digest = await digest_at(self.store, row, seq) if row is not None and row.head >= seq else b""
        envelope = (first.thread, first.seq, first.kind, first.run, first.step, first.at, first.epoch)
        if e.chain(digest, envelope, first.stored) != first.digest:
            raise ThreadDiffers(
                f"thread {first.thread!r} is a fork of {base!r} at entry {seq}, which isn't here or is another one"
            )

    def _sign(self, incoming: Incoming) -> None:
        """Heads that the old store's key has signed get the signature of this store's key, if that is another one."""
        public = self.checked.header.public_key
        if not incoming.heads or not public or public == self.signer.public:
            return
        for seq, head in incoming.heads.items():
            if genuine(public, statement(head.thread, head.seq, head.digest, head.at), head.signature):
                incoming.heads[seq] = self._signed(head)

    def _signed(self, head: HeadRow) -> HeadRow:
        self.result.signed += 1
        return self.signer.head(head.thread, head.seq, head.digest, head.at)

    async def _wake_parents(self) -> None:
        """A child may have come in when its parent had looked for it already, and its end wakes nobody here."""
        for child, parent in self.checked.waits.items():
            row, runs = await self.store.thread(parent), await self.store.runs(child)
            waits = row is not None and not row.aside and row.status not in lines.ENDED
            if waits and runs and runs[0].end_seq is not None:
                await self.store.wake([parent], self.clock.now())

    def _went_on(self, entries: int) -> None:
        self._through += entries
        result = self.result
        self._tell(
            Progress("importing", result.new + result.continued + result.same, result.entries, self._through,
                     self.checked.entries)
        )  # fmt: skip
