"""An export that was cut off: what is in its file is kept up to the last whole thread, and it goes on behind that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from turnout.errors import ExportInvalid
from turnout.ports.store import Store
from turnout.service.moving import lines
from turnout.service.moving.output import Output
from turnout.service.moving.source import Source


@dataclass
class Begun:
    """What is there. `header` is None in an empty file. `whole`: nothing is missing.

    `threads` has the lines of those that wait for others, or others for them; for the rest the name is enough.
    """

    out: Output
    header: lines.Export | None = None
    threads: dict[str, lines.Thread | None] = field(default_factory=dict)
    last: lines.Thread | None = None
    whole: bool = False


def begun(handle: BinaryIO, name: str) -> Begun:
    """Read what is in the file and cut off what isn't a whole thread. Raises `ExportInvalid` when it isn't an export."""
    found = Begun(Output(handle, name, is_file=True))
    source = Source(handle, name)
    if source.begins_like_one() and not source.first_line_is_whole():
        handle.truncate(0)
        handle.seek(0)
        return found
    found.header = source.header()
    end = _read(source, found)
    if not found.whole:
        handle.truncate(end)
    handle.seek(end)
    return found


def _read(source: Source, found: Begun) -> int:
    """Take in the whole threads. Returns where the last one ends."""
    out, kept_sha, kept = found.out, found.out.sha.copy(), 0
    thread: lines.Thread | None = None
    entries = 0
    values: list[bytes] = []
    for at in source.walk():
        try:
            line = source.line(at)
        except ExportInvalid:
            break
        out.took(at.data + b"\n")
        if isinstance(line, lines.Thread):
            thread, entries, values = line, 0, []
        elif isinstance(line, lines.Value):
            values.append(bytes.fromhex(line.address))
        elif isinstance(line, lines.Entry):
            entries += 1
        elif isinstance(line, lines.End) and thread is not None:
            found.threads[thread.thread] = None if thread.alone else thread
            found.last = thread
            out.threads, out.entries = out.threads + 1, out.entries + entries
            out.written.update(values)
        if isinstance(line, lines.Export | lines.End | lines.Whole):
            kept, kept_sha = at.end, out.sha.copy()
        found.whole = isinstance(line, lines.Whole)
    out.sha, out.bytes = kept_sha, kept
    return kept


async def check_same(found: Begun, header: lines.Export, store: Store) -> None:
    """Refuse to go on with a file that was begun otherwise, or from another store. Raises `ExportInvalid`."""
    had = found.header
    if had is None:
        return
    for what, before, now in (
        ("--move", had.move, header.move), ("threads", had.threads, header.threads),
        ("--graph", had.graph, header.graph), ("--status", had.status, header.status),
    ):  # fmt: skip
        if before != now:
            raise ExportInvalid(
                f"{found.out.name} was begun with other options ({what}: {before or 'none'}, now {now or 'none'}); give "
                f"the same ones, or name another file"
            )
    last = found.last
    if last is not None:
        rows = await store.read(last.thread, last.head - 1, last.head)
        if not rows or rows[-1].digest.hex() != last.digest:
            raise ExportInvalid(
                f"{found.out.name} was begun from another store: thread {last.thread} isn't the same in {store.url}"
            )
