"""Idempotency keys against the journal: an input that is sent again must find its run, and no key may stand for what
isn't in it."""

from __future__ import annotations

from typing import NamedTuple

from turnout.core import entries as e
from turnout.errors import ExportInvalid, JournalDamaged
from turnout.ports.rows import KeyRow
from turnout.runtime.schedules import slot_of
from turnout.service.starting import digest_of, key_of, older_digest

DAY = 86_400_000_000
"""Microseconds by which a clock may have been put back between the firing of a slot and its entry."""


class _Input(NamedTuple):
    """An input that came with a key: its row is one of `rows`, or that of a slot which had come `at` that time."""

    run: int
    rows: tuple[KeyRow, ...]
    slot: str
    at: e.Micros


class Keys:
    """The keys that a thread's journal and its file have, taken one by one."""

    def __init__(self, thread: str) -> None:
        self.rows: dict[str, KeyRow] = {}
        self._thread = thread
        self._inputs: list[_Input] = []

    def add(self, row: KeyRow, where: str) -> None:
        """A key of the file. Raises `ExportInvalid` when it can't be one of the thread's."""
        # Of what isn't an input the journal doesn't have the key.
        mine = f"{len(self._thread)}:{self._thread}:"
        known = ("start:", "start@", "schedule:", "decide:", "fork:", f"signal:{mine}", f"cancel:{mine}")
        if not row.key.startswith(known):
            raise ExportInvalid(
                f"{where}: {row.key[:80]!r} can't be an idempotency key of thread {self._thread}"
            )
        if row.key in self.rows:
            raise ExportInvalid(f"{where}: the idempotency key {row.key[:80]!r} is in the file twice")
        self.rows[row.key] = row

    def take(self, entry: e.Entry) -> None:
        """An entry of the thread's own."""
        body = entry.body
        if isinstance(body, e.InputReceived) and body.key is not None:
            name = key_of(body.tenant, body.graph, body.key)
            rows = tuple(
                KeyRow(name, self._thread, entry.run, digest)
                for thread in (self._thread, None)
                for digest in (
                    digest_of(body.graph, body.input, thread, body.priority, body.at),
                    older_digest(body.graph, body.input, thread),
                )
            )
            self._inputs.append(_Input(entry.run, rows, body.key, entry.at))

    def check(self, runs: int) -> None:
        """Compare, once all was taken. Raises `JournalDamaged`."""
        left = dict(self.rows)
        for given in self._inputs:
            row = left.pop(given.rows[0].key, None) or left.pop(given.slot, None)
            if row is None or not (row in given.rows or _is_of_slot(row, given)):
                raise JournalDamaged(
                    f"thread {self._thread}: what the file says of the idempotency key of run {given.run} is not what its "
                    f"journal says"
                )
        for row in left.values():
            if row.key.startswith(("start", "schedule")) or not 0 <= row.run <= runs:
                raise JournalDamaged(
                    f"thread {self._thread}: the file has an idempotency key {row.key[:80]!r} that its journal doesn't have"
                )


def _is_of_slot(row: KeyRow, given: _Input) -> bool:
    slot = slot_of(row.key)
    upto = int(row.digest) if row.digest.isascii() and row.digest.isdecimal() and len(row.digest) < 20 else -1
    return row.run == given.run and slot is not None and slot <= upto <= given.at + DAY
