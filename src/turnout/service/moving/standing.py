"""How a thread of a file stands in the store that it is to come into."""

from __future__ import annotations

from turnout.core import aside
from turnout.errors import ThreadDiffers
from turnout.ports.clock import at
from turnout.ports.rows import KeyRow, Row, ThreadRow
from turnout.ports.store import Store
from turnout.service.moving import lines
from turnout.service.moving.checking import journal
from turnout.service.moving.source import Source

PAGE = 500


class Standing:
    """Asked of every thread before anything is written. `refused`: why threads can't come in."""

    def __init__(self, store: Store, source: Source) -> None:
        self.refused: dict[str, str] = {}
        self._store = store
        self._source = source
        self._rows: dict[str, ThreadRow] = {}

    async def meets(self, line: lines.Thread, keys: list[KeyRow]) -> int:
        """See `checking.Here`."""
        name = line.thread
        try:
            if line.base_thread in self.refused:
                raise ThreadDiffers(
                    f"thread {name!r} is a fork of {line.base_thread!r}, which can't be imported"
                )
            row = await self._store.thread(name)
            if row is None or row.head < line.head:
                await check_new(self._store, line, row, keys)
        except ThreadDiffers as error:
            self.refused[name] = str(error)
            return 0
        if row is None:
            return 0
        self._rows[name] = row
        return min(row.head, line.head)

    async def got(self, line: lines.Thread, digest: bytes) -> None:
        """See `checking.Here`."""
        row = self._rows.pop(line.thread)
        if await digest_at(self._store, row, min(row.head, line.head)) != digest:
            self.refused[line.thread] = "differs"  # the file's threads are known only when all of it was read

    async def explain(self) -> dict[str, str]:
        """The threads that can't come in, and why."""
        for name, why in self.refused.items():
            if why == "differs":
                self.refused[name] = await difference(self._store, self._source, name)
        return self.refused


async def check_new(store: Store, line: lines.Thread, row: ThreadRow | None, keys: list[KeyRow]) -> None:
    """Refuse entries that are to be put behind those in `row` (None: the thread isn't here). Raises `ThreadDiffers`."""
    name = line.thread
    if row is not None and row.owner and not row.aside:
        raise ThreadDiffers(
            f"thread {name!r} is held by the worker {row.owner} here, so nothing can be put behind its entry {row.head}; "
            f"stop that worker first"
        )
    if row is not None and (row.base_thread, row.base_seq) != (line.base_thread, line.base_seq):
        raise ThreadDiffers(
            f"thread {name!r} is here already, and is a fork of another thread than in the file"
        )
    for key in keys:
        used = await store.key(key.key)
        if used is not None and used != key:
            raise ThreadDiffers(
                f"thread {name!r} can't come in: its idempotency key {key.key!r} was used here for run {used.run} of thread "
                f"{used.thread!r}, or with another input"
            )


async def digest_at(store: Store, row: ThreadRow, seq: int) -> bytes:
    """The digest of an entry of a thread that is here."""
    if seq == row.head:
        return row.digest
    rows = await store.read(row.thread, seq - 1, seq)
    return rows[-1].digest if rows else b""


async def difference(store: Store, source: Source, name: str) -> str:
    """The first entry that is another one here than in the file, in words."""
    row = await store.thread(name)
    head = row.head if row is not None else 0
    mine: list[Row] = []
    for theirs in journal(source, name, head):
        if not mine:
            mine = (await store.read(name, theirs.seq - 1, min(theirs.seq - 1 + PAGE, head)))[::-1]
        here = mine.pop() if mine else None
        if here is None or here.digest != theirs.digest:
            said = f"{here.kind} of {at(here.at):%Y-%m-%d %H:%M:%S}Z" if here is not None else "nothing"
            return (
                f"thread {name!r} is here already and differs from entry {theirs.seq} on: here it is {said}, in the file "
                f"{theirs.kind} of {at(theirs.at):%Y-%m-%d %H:%M:%S}Z; both went on by themselves, so keep one of the two"
            )
    return f"thread {name!r} is here already, and has changed while it was looked at; run the import again"


def set_aside(line: lines.Thread, row: ThreadRow | None) -> str | None:
    """Why the thread is set aside once it is here; "" when it isn't, None when that stays as it is in `row`.

    What was moved away comes only by a move: whoever has made a copy may be driving it.
    """
    was = row.aside if row is not None else ""
    if was and not aside.elsewhere(was):
        return None  # somebody here did it
    away = aside.away(was)
    if away and not line.moved:
        return away
    if line.aside:
        return line.aside
    return "" if line.ended or line.moved else aside.copied(line.thread)
