"""One thread of a checked file, in the pieces in which a store takes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from turnout.core import pack
from turnout.ports.rows import HeadRow, KeyRow, ReviewRow, Row, RunRow
from turnout.service.moving import lines, rows
from turnout.service.moving.source import Source

BATCH = 500
SIZE = 1 << 20
"""At most so many entries, and about so many bytes of entries and values, become durable at once."""


class Incoming:
    """What stands in front of a thread's entries is read at once, the entries are when they are asked for."""

    def __init__(self, source: Source, name: str) -> None:
        self.runs: list[RunRow] = []
        self.reviews: list[ReviewRow] = []
        self.keys: list[KeyRow] = []
        self.heads: dict[int, HeadRow] = {}
        self._source = source
        self._name = name
        self._lines = source.walk(*source.threads[name])
        self.line: lines.Thread = source.line(next(self._lines))
        self.first = self._front()

    def _front(self) -> Row:
        for found in self._lines:
            line, where = self._source.line(found), self._source.where(found)
            if isinstance(line, lines.Entry):
                return rows.entry_row(self._name, line, where)
            if isinstance(line, lines.Run):
                self.runs.append(rows.run_row(self._name, line))
            elif isinstance(line, lines.Review):
                self.reviews.append(rows.review_row(self._name, line, where))
            elif isinstance(line, lines.Key):
                self.keys.append(rows.key_row(self._name, line))
            elif isinstance(line, lines.Head):
                self.heads[line.seq] = rows.head_row(self._name, line, where)
        raise AssertionError("a checked thread has entries of its own")

    def entries(self) -> Iterator[Row]:
        """The thread's own entries, in order; once."""
        yield self.first
        for found in self._lines:
            line = self._source.line(found)
            if isinstance(line, lines.End):
                return
            if isinstance(line, lines.Entry):
                yield rows.entry_row(self._name, line, self._source.where(found))

    def batches(
        self, entries: Iterable[Row], *, first_alone: bool
    ) -> Iterator[tuple[list[Row], dict[str, bytes]]]:
        """The entries in pieces, each with the values that it needs and that weren't imported yet. A piece has one signed
        head at most, at its end."""
        batch: list[Row] = []
        values: dict[str, bytes] = {}
        size = 0
        for row in entries:
            batch.append(row)
            size += len(row.stored) + self._add_values(row, values)
            if first_alone or len(batch) == BATCH or size >= SIZE or row.seq in self.heads:
                yield batch, values
                batch, values, size, first_alone = [], {}, 0, False
        if batch:
            yield batch, values

    def _add_values(self, row: Row, values: dict[str, bytes]) -> int:
        """Add what an entry needs; returns how many bytes that is."""
        size, todo = 0, pack.wanted(row.stored)
        while todo:
            address = todo.pop()
            if address in values or bytes.fromhex(address) not in self._source.values:
                continue
            values[address] = data = self._source.value(address)
            size += len(data)
            todo |= pack.addresses(data)
        return size
