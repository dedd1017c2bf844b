"""The file that is read: line by line in order, or a value here and a thread there.

It must be seekable: what comes through a pipe is put into a temporary file first, since nothing may be imported
before all of it was checked. Where the values and threads are is kept in memory: about 200 bytes for each value.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from turnout.errors import ExportInvalid
from turnout.service.moving import lines

BLOCK = 1 << 20
FIRST = 1 << 14
"""Bytes that are read first: whoever looks at the front of a thread needs no more."""
HEADER = 4 << 20
"""Bytes in which the first line must end: a file that isn't ours need not have lines at all."""
START = b'{"turnout":"export"'
KEPT = 32 << 20
"""Bytes of values that are kept in memory."""


class Found(NamedTuple):
    """A line of the file: its number (from 1), where it begins and ends, and its bytes."""

    number: int
    begin: int
    end: int
    data: bytes


class Place(NamedTuple):
    """Where a thread begins in the file."""

    offset: int
    number: int


class Source:
    """An export. `name` is what errors call it."""

    def __init__(self, handle: BinaryIO, name: str) -> None:
        self.name = name
        self.threads: dict[str, Place] = {}
        """In the order of the file."""
        self.values: dict[bytes, int] = {}
        """Where values are, by the bytes of their address."""
        self.size = handle.seek(0, 2)
        self._handle = handle
        self._kept: dict[str, bytes] = {}
        self._kept_size = 0

    def walk(self, offset: int = 0, number: int = 1, sha: Any = None) -> Iterator[Found]:
        """The lines from `offset` on; `sha` is fed those that were gone past. Other reads may come in between."""
        rest: list[bytes] = []
        at = begin = offset
        size = FIRST
        while block := self._read(at, size):
            at, size = at + len(block), BLOCK
            first, *others = block.split(b"\n")
            rest.append(first)
            for other in others:
                data = b"".join(rest)
                end = begin + len(data) + 1
                yield Found(number, begin, end, data)
                if sha is not None:
                    sha.update(data)
                    sha.update(b"\n")
                number, begin, rest = number + 1, end, [other]
        if data := b"".join(rest):
            yield Found(number, begin, begin + len(data), data)

    def where(self, found: Found) -> str:
        """What errors call a line."""
        return f"line {found.number} of {self.name}"

    def line(self, found: Found) -> Any:
        """What a line says. One that the file's end cuts off is never taken for whole. Raises `ExportInvalid`."""
        if found.end == self.size and found.end - found.begin == len(found.data):
            raise ExportInvalid(
                f"{self.name} ends in the middle of line {found.number}: it was cut off, or is being written still; "
                f"`turnout export --to {self.name} --resume` goes on with it"
            )
        return lines.decode(found.data, self.where(found))

    def begins_like_one(self) -> bool:
        """Is what there is the beginning of an export, however short? (An empty file is.)"""
        start = self._read(0, len(START))
        return START.startswith(start)

    def first_line_is_whole(self) -> bool:
        """Was at least the first line written to its end?"""
        return b"\n" in self._read(0, HEADER)

    def header(self) -> lines.Export:
        """What the first line says. Raises `ExportInvalid` when it isn't ours, or is newer."""
        start = self._read(0, HEADER)
        if not start.startswith(START):
            what = "is empty" if not start else "is not an export of Turnout"
            raise ExportInvalid(f"{self.name} {what}; `turnout export --to FILE` makes one")
        end = start.find(b"\n")
        found = Found(1, 0, end + 1 if end >= 0 else self.size, start[:end] if end >= 0 else start)
        version = lines.version(found.data)
        if version is not None and version > lines.FORMAT:
            raise ExportInvalid(
                f"{self.name} has format {version}, this Turnout reads {lines.FORMAT}; upgrade with "
                f"`pip install -U turnout`"
            )
        said = self.line(found)
        if not isinstance(said, lines.Export) or said.format != lines.FORMAT:
            raise ExportInvalid(f"the first line of {self.name} is not that of an export")
        return said

    # --- values --------------------------------------------------------------------------------------------------

    def value(self, address: str) -> bytes:
        """The value at an address. Raises KeyError when the file doesn't have it."""
        found = self._kept.get(address)
        if found is None:
            line = self._line_at(self.values[bytes.fromhex(address)])
            found = lines.stored(lines.decode(line, f"the value {address}"), f"the value {address}")
            self.keep(address, found)
        return found

    def keep(self, address: str, data: bytes) -> None:
        """Keep a value in memory for a while."""
        if self._kept_size + len(data) > KEPT:
            self._kept, self._kept_size = {}, 0
        self._kept[address] = data
        self._kept_size += len(data)

    def forget(self, addresses: Iterable[str]) -> None:
        """Values that nobody will ask for any more."""
        for address in addresses:
            self.values.pop(bytes.fromhex(address), None)

    def again(self) -> Source:
        """The same file, of which nothing was read yet."""
        return Source(self._handle, self.name)

    def close(self) -> None:
        self._handle.close()

    def _line_at(self, offset: int) -> bytes:
        size = 4096
        while True:
            data = self._read(offset, size)
            end = data.find(b"\n")
            if end >= 0 or len(data) < size:
                return data if end < 0 else data[:end]
            size *= 8

    def _read(self, offset: int, size: int) -> bytes:
        try:
            self._handle.seek(offset)
            return self._handle.read(size)
        except OSError as error:
            raise ExportInvalid(f"{self.name} can't be read: {error.strerror}") from error


def opened(path: str, pipe: BinaryIO | None = None) -> Source:
    """The export in a file, or that which comes through `pipe`. Raises `ExportInvalid`."""
    try:
        if pipe is None:
            return Source(Path(path).open("rb"), path)
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - Source.close does
        shutil.copyfileobj(pipe, spool, BLOCK)
        return Source(spool, path)
    except OSError as error:
        raise ExportInvalid(f"{path} can't be read: {error.strerror}") from None
