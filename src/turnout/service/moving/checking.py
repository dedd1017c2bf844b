"""Is a file a whole export, and is every journal in it what was written? Nothing is imported before that is proven.

The file is read once, from its first line to its last. What is checked: the lines and their order; numbering, chain
and digests of every entry; that every stored value is what its address says, and there before it is needed; that a
fork's base stands before the fork; that the rows of the thread, its runs, reviews, heads and start keys are those that its
journal adds up to; and at last the SHA-256 over everything, for what no journal covers.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

from turnout.core import aside, pack
from turnout.core import entries as e
from turnout.errors import ExportInvalid, JournalDamaged
from turnout.ports.rows import KeyRow, Row, RunRow
from turnout.runtime.reading import entry_of
from turnout.service.derived import Derived
from turnout.service.moving import lines, rows
from turnout.service.moving.keys import Keys
from turnout.service.moving.progress import Progress, Tell
from turnout.service.moving.source import Found, Place, Source

PAUSE = 1000
"""Lines after which others get a turn."""


class Here(Protocol):
    """The store that the threads are to come into."""

    async def meets(self, line: lines.Thread, keys: list[KeyRow]) -> int:
        """Told of a thread of the file. Returns the entry whose digest is wanted, or 0."""

    async def got(self, line: lines.Thread, digest: bytes) -> None:
        """The digest in the file of the entry that was wanted."""


class Checked:
    """A file that was checked. `rules` are its limits and schedules. `waits`: of its threads that wait for the end of
    another, by the name of that."""

    def __init__(self, header: lines.Export) -> None:
        self.header = header
        self.threads, self.entries, self.values = 0, 0, 0
        self.rules: list[lines.Line] = []
        self.waits: dict[str, str] = {}


@contextlib.contextmanager
def _readable(where: str, what: str) -> Iterator[None]:
    """Whatever is wrong inside (it may be anything: a file can say what it likes), `JournalDamaged` says where."""
    try:
        yield
    except JournalDamaged as error:  # it ends with what to do about a store
        raise JournalDamaged(f"{where}: {str(error).partition('; ')[0]}; export again") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise JournalDamaged(f"{where}: {what} can't be read: {error!r}") from None


class Part:
    """One thread of the file, as far as it was read."""

    def __init__(self, line: lines.Thread, place: Place) -> None:
        self.line = line
        self.place = place
        self.derived = Derived(line.thread)
        self.digest = e.GENESIS
        self.epoch = 0
        self.begun = False
        self.wanted = 0
        self.runs: dict[int, RunRow] = {}
        self.reviews: dict[str, Any] = {}
        self.keys = Keys(line.thread)
        self.heads: dict[int, bytes] = {}


class Checker:
    """One check. It fills in where the threads and values of `source` are."""

    def __init__(self, source: Source, here: Here | None = None, tell: Tell = lambda progress: None) -> None:
        self.source = source
        self._here = here
        self._tell = tell
        self._part: Part | None = None
        self._found = Checked(source.header())

    async def check(self) -> Checked:
        """Raises `ExportInvalid` or `JournalDamaged`, naming the line, or the thread and the entry."""
        source, sha, last = self.source, hashlib.sha256(), None
        for found in source.walk(sha=sha):
            line = source.line(found)
            if last is not None:
                raise ExportInvalid(f"{source.where(found)} comes after the last line; somebody put it there")
            if isinstance(line, lines.Whole):
                last = line
                self._is_whole(line, sha.hexdigest())
            elif found.number > 1:
                await self._take(found, line)
            if found.number % PAUSE == 0:
                self._say(found.end)
                await asyncio.sleep(0)
        if last is None:
            where = f"in thread {self._part.line.thread}" if self._part else "behind a whole thread"
            raise ExportInvalid(
                f"{source.name} has no last line: it was cut off {where}, or is being written still; "
                f"`turnout export --to {source.name} --resume` goes on with it"
            )
        self._say(source.size)
        return self._found

    def _say(self, done: int) -> None:
        found = self._found
        self._tell(Progress("checking", found.threads, found.entries, done, self.source.size))

    def _is_whole(self, line: lines.Whole, sha: str) -> None:
        found, name = self._found, self.source.name
        if self._part is not None:
            raise ExportInvalid(f"{name}: thread {self._part.line.thread} has no end; it was cut out")
        if (line.threads, line.entries, line.values) != (found.threads, found.entries, found.values):
            raise ExportInvalid(
                f"{name} says that it has {line.threads} threads, {line.entries} entries and {line.values} values; it has "
                f"{found.threads}, {found.entries} and {found.values}: something was cut out or put in"
            )
        if line.sha256 != sha:
            raise ExportInvalid(
                f"{name} was altered: its journals are what was written, but something beside them isn't (a time, a "
                f"reason, an order of lines); export again"
            )

    # --- lines ---------------------------------------------------------------------------------------------------

    async def _take(self, found: Found, line: Any) -> None:
        part, where = self._part, self.source.where(found)
        if isinstance(line, lines.Limit | lines.Schedule):
            if part is not None:
                raise ExportInvalid(f"{where} stands inside of thread {part.line.thread}")
            self._found.rules.append(line)
        elif isinstance(line, lines.Thread):
            if part is not None:
                raise ExportInvalid(f"{where} begins a thread, but thread {part.line.thread} has no end")
            self._part = self._begin(line, found, where)
        elif part is None or isinstance(line, lines.Export):
            raise ExportInvalid(f"{where} stands outside of a thread")
        elif isinstance(line, lines.Value | lines.Entry | lines.End):
            if not part.begun:
                await self._open(part)
            if isinstance(line, lines.Value):
                self._value(part, line, found, where)
            elif isinstance(line, lines.Entry):
                await self._entry(part, line, where)
            else:
                self._end(part, line)
        elif part.begun:
            raise ExportInvalid(f"{where} stands behind entries of thread {part.line.thread}")
        else:
            self._beside(part, line, where)

    def _begin(self, line: lines.Thread, found: Found, where: str) -> Part:
        if line.thread in self.source.threads:
            raise ExportInvalid(f"{where}: thread {line.thread} is in the file twice")
        if line.base_thread is not None and line.base_thread not in self.source.threads:
            raise ExportInvalid(
                f"{where}: thread {line.thread} is a fork of {line.base_thread}, which doesn't stand before it"
            )
        lines.hexed(line.digest, 32, where)
        if not line.thread or not line.thread.isprintable():
            raise ExportInvalid(f"{where}: {line.thread[:80]!r} can't be a thread's name")
        if not aside.readable(line.aside):
            raise ExportInvalid(f"{where}: {line.aside[:80]!r} can't be why a thread was set aside")
        return Part(line, Place(found.begin, found.number))

    def _beside(self, part: Part, line: Any, where: str) -> None:
        name = part.line.thread
        if isinstance(line, lines.Run):
            part.runs[line.run] = rows.run_row(name, line)
        elif isinstance(line, lines.Review):
            part.reviews[line.review] = rows.review_row(name, line, where)
        elif isinstance(line, lines.Key):
            part.keys.add(rows.key_row(name, line), where)
        else:
            part.heads[line.seq] = rows.head_row(name, line, where).digest

    async def _open(self, part: Part) -> None:
        """Everything that stands in front of the entries was read: take in what a fork shares."""
        line, part.begun = part.line, True
        if line.base_thread is not None:
            for row in journal(self.source, line.base_thread, line.base_seq):
                self._fold(part, row)
            if part.derived.view.seq != line.base_seq:
                raise JournalDamaged(
                    f"thread {line.thread}: it is a fork of {line.base_thread} at entry {line.base_seq}, which the file "
                    f"doesn't have"
                )
        if self._here is not None:
            part.wanted = await self._here.meets(line, list(part.keys.rows.values()))

    def _value(self, part: Part, line: lines.Value, found: Found, where: str) -> None:
        source, data = self.source, lines.stored(line, where)
        address = lines.hexed(line.address, 32, where)
        if address in source.values:
            raise ExportInvalid(f"{where}: the value {line.address[:12]}... is in the file twice")
        with _readable(f"{where}, thread {part.line.thread}", f"the stored value {line.address[:12]}..."):
            self._there(pack.addresses(data))
            pack.check(line.address, data, source.value)
        source.values[address] = found.begin
        source.keep(line.address, data)
        self._found.values += 1

    def _there(self, addresses: set[str]) -> None:
        for address in addresses:
            if bytes.fromhex(address) not in self.source.values:
                raise JournalDamaged(f"the stored value {address[:12]}... is missing")

    async def _entry(self, part: Part, line: lines.Entry, where: str) -> None:
        row, name = rows.entry_row(part.line.thread, line, where), part.line.thread
        if row.kind not in e.BODIES:
            raise JournalDamaged(
                f"{where}, thread {name}: {row.kind[:80]!r} is no kind of entry; a newer Turnout may know it"
            )
        if row.seq != part.derived.view.seq + 1:
            raise JournalDamaged(
                f"{where}, thread {name}: entry {part.derived.view.seq + 1} is missing (found entry {row.seq} in its place)"
            )
        envelope = (name, row.seq, row.kind, row.run, row.step, row.at, row.epoch)
        if e.chain(part.digest, envelope, row.stored) != row.digest:
            raise JournalDamaged(
                f"{where}, thread {name}: entry {row.seq} ({row.kind}) was altered or put in"
            )
        if part.heads.pop(row.seq, row.digest) != row.digest:
            raise JournalDamaged(f"{where}, thread {name}: entry {row.seq} is not what was signed")
        with _readable(f"{where}, thread {name}, entry {row.seq} ({row.kind})", "it"):
            self._there(pack.wanted(row.stored))
            part.keys.take(self._fold(part, row))
        part.epoch = row.epoch
        self._found.entries += 1
        if row.seq == part.wanted and self._here is not None:
            await self._here.got(part.line, row.digest)

    def _fold(self, part: Part, row: Row) -> e.Entry:
        entry = entry_of(row, row.stored, self.source.value)
        part.derived.take(entry)
        part.digest = row.digest
        return entry

    def _end(self, part: Part, line: lines.End) -> None:
        said, derived, name = part.line, part.derived, part.line.thread
        view = derived.view
        at = (view.seq, part.digest.hex())
        if (line.thread, line.head, line.digest) != (name, *at) or (said.head, said.digest) != at:
            raise JournalDamaged(
                f"thread {name}: it should end at entry {said.head}; it ends at {view.seq}, or another"
            )
        problem = ""
        if (
            said.graph, said.status, said.run, said.fingerprint, said.tenant, said.priority, said.parent, said.children,
            said.epoch,
        ) != (
            view.graph, view.status, view.runs, derived.fingerprint, view.tenant, view.priority, derived.parent,
            derived.children, part.epoch,
        ):  # fmt: skip
            problem = "of the thread"
        elif part.runs != derived.runs:
            problem = "of its runs"
        elif _undated(part.reviews) != _undated(derived.reviews):
            problem = "of its reviews"
        elif part.heads:
            problem = f"of a signed head at entry {min(part.heads)}"
        if problem:
            raise JournalDamaged(f"thread {name}: what the file says {problem} is not what its journal says")
        part.keys.check(view.runs)
        self.source.threads[name] = part.place
        self._found.threads += 1
        self._found.waits.update(dict.fromkeys(said.children, name))
        self._part = None


def journal(source: Source, thread: str, upto: int) -> Iterator[Row]:
    """The entries of a thread of the file up to `upto`, those that it shares with others included."""
    parts: list[tuple[str, int]] = []
    name: str | None = thread
    while name is not None:
        parts.append((name, upto))
        place = source.threads[name]
        line = source.line(next(source.walk(*place)))
        upto, name = min(upto, line.base_seq), line.base_thread
    for name, last in reversed(parts):
        for found in source.walk(*source.threads[name]):
            line = source.line(found)
            if isinstance(line, lines.End) or (isinstance(line, lines.Entry) and line.seq > last):
                break
            if isinstance(line, lines.Entry):
                yield rows.entry_row(name, line, source.where(found))


def _undated(reviews: dict[str, Any]) -> dict[str, Any]:
    """Reviews, of when they were closed only whether they were."""
    return {
        name: replace(row, closed_at=None if row.closed_at is None else 0) for name, row in reviews.items()
    }
