"""The file that an export writes: whole threads only, hashed as they go.

A thread is gathered in a section first (in memory, a long one in a temporary file) and put into the file when it is
whole and proven. So what can't be exported leaves nothing behind, and an export that is cut off is cut off in the
middle of one thread at most.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO

from turnout.errors import ExportFailed, ExportInvalid
from turnout.service.moving import lines, rows

SPOOL = 8 << 20
"""Bytes of a section that are kept in memory."""
BLOCK = 1 << 20


class Section:
    """The values and entries of one thread, until they are put into the file; used as a `with` block."""

    def __init__(self) -> None:
        self.entries = 0
        self.written: set[bytes] = set()
        """The addresses of its values."""
        self.spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=SPOOL)  # noqa: SIM115 - __exit__ closes it

    def __enter__(self) -> Section:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.spool.close()

    def value(self, address: str, data: bytes) -> None:
        self._write(lines.encode(rows.value_line(address, data)))
        self.written.add(bytes.fromhex(address))

    def entry(self, line: lines.Entry) -> None:
        self._write(lines.encode(line))
        self.entries += 1

    def _write(self, data: bytes) -> None:
        try:
            self.spool.write(data)
        except OSError as error:
            raise ExportFailed(
                f"a long thread can't be gathered in {tempfile.gettempdir()}: {error.strerror}; free some space, or set "
                f"TMPDIR to a folder with more"
            ) from error


class Output:
    """Lines go in, the file's SHA-256 and what there is in it are kept. `written`: the addresses of its values.

    `ending` is the thread whose end was written last, or may have been (a write that fails may have come through);
    `whole`: so may have been the last line.
    """

    def __init__(self, handle: BinaryIO, name: str, *, is_file: bool = False) -> None:
        self.name = name
        self.is_file = is_file
        self.threads, self.entries, self.bytes = 0, 0, 0
        self.written: set[bytes] = set()
        self.ending, self.whole = "", False
        self.sha = hashlib.sha256()
        self._handle = handle

    def put(self, *found: lines.Line) -> None:
        """Lines outside of a thread."""
        self._write(b"".join(map(lines.encode, found)))
        self._flush()

    def put_thread(self, front: Iterable[lines.Line], section: Section, end: lines.End) -> None:
        """A whole thread: what stands in front, its section, its end."""
        self._write(b"".join(map(lines.encode, front)))
        section.spool.seek(0)
        while block := section.spool.read(BLOCK):
            self._write(block)
        self.ending = end.thread
        self._write(lines.encode(end))
        self._flush()
        self.written |= section.written
        self.threads += 1
        self.entries += section.entries

    def finish(self) -> str:
        """The last line. Returns the SHA-256 (hex) that it states."""
        sha, self.whole = self.sha.hexdigest(), True
        self.put(
            lines.Whole(threads=self.threads, entries=self.entries, values=len(self.written), sha256=sha)
        )
        if self.is_file:
            os.fsync(self._handle.fileno())
        return sha

    def took(self, block: bytes) -> None:
        """Count bytes that are in the file already."""
        self.sha.update(block)
        self.bytes += len(block)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._handle.write(left) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._failed(error) from error
        self.took(data)

    def _flush(self) -> None:
        try:
            self._handle.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> ExportFailed:
        again = "then run the same command with --resume" if self.is_file else "then start anew"
        return ExportFailed(f"{self.name} can't be written: {error.strerror}; mend that, {again}")


def create(path: str) -> BinaryIO:
    """A new file that only its owner may read: everything that was ever said is in it. Raises `ExportInvalid`.

    It has no buffer: what a write that failed has left in one could come into the file later.
    """
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b", buffering=0)
    except FileExistsError:
        raise ExportInvalid(
            f"{path} is there already; --resume goes on with an export that was cut off, else name another file"
        ) from None
    except OSError as error:
        raise ExportInvalid(f"{path} can't be made: {error.strerror}; name another file") from None


def reopen(path: str) -> BinaryIO:
    """A file that was begun; a new one if there is none. Raises `ExportInvalid`."""
    if not Path(path).exists():
        return create(path)
    try:
        return Path(path).open("r+b", buffering=0)
    except OSError as error:
        raise ExportInvalid(f"{path} can't be opened: {error.strerror}; name another file") from None
