"""The stored values that entries need, read from a store: those that a file lacks, and those that the fold looks into."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from turnout.core import pack
from turnout.errors import JournalDamaged
from turnout.ports.rows import Row
from turnout.ports.store import Store
from turnout.runtime.reading import packed_fields

NEW, WHOLE = 1, 2
"""Why a value is needed: the file lacks it; or somebody looks into it, down to the last that it names."""


class Gathered:
    """What some entries need: `values` by address, and of these the `new` ones, which the file lacks.

    A new value stands behind those that it names, and is what its address says. `written`: the addresses (as bytes)
    that the file has.
    """

    def __init__(self, thread: str, *written: Collection[bytes]) -> None:
        self.values: dict[str, bytes] = {}
        self.new: list[str] = []
        self._thread = thread
        self._written = written
        self._names: dict[str, tuple[str, set[str]]] = {}  # what a value carries on, and what its items name
        self._why: dict[str, int] = {}
        self._todo: set[str] = set()

    async def read(self, store: Store, rows: Sequence[Row]) -> None:
        """Read what `rows` need. Raises `JournalDamaged`."""
        asked = [(a, NEW) for row in rows for a in pack.wanted(row.stored) if self._lacks(a)]
        asked += [(a, WHOLE) for row in rows for a in pack.wanted(row.stored, packed_fields(row.kind))]
        self._ask(asked)
        while self._todo:
            todo, self._todo = self._todo, set()
            found = await store.values(todo)
            self.values.update(found)
            for address in todo:
                if address not in found:
                    raise JournalDamaged(
                        f"thread {self._thread}: the stored value {address[:12]}... is missing; restore the store from "
                        f"a backup"
                    )
                self._names[address] = pack.parts(found[address])
            self._ask([x for address in todo for x in self._named(address, self._why[address])])
        self.new = self._in_order({a for a, why in self._why.items() if why & NEW})
        for address in self.new:
            try:
                pack.check(address, self.values[address], self.values.__getitem__)
            except JournalDamaged as error:
                raise JournalDamaged(f"thread {self._thread}: {error}") from None

    def _lacks(self, address: str) -> bool:
        raw = bytes.fromhex(address)
        return not any(raw in written for written in self._written)

    def _ask(self, asked: list[tuple[str, int]]) -> None:
        """Note what is needed, and what those that are here already need because of it."""
        while asked:
            address, why = asked.pop()
            more = why & ~self._why.get(address, 0)
            if not more:
                continue
            self._why[address] = self._why.get(address, 0) | more
            if address in self._names:
                asked += self._named(address, more)
            else:
                self._todo.add(address)

    def _named(self, address: str, why: int) -> list[tuple[str, int]]:
        """What a value names, and why that is needed. A new list is proven by its items: they are needed whole."""
        prefix, items = self._names[address]
        found = [(a, WHOLE) for a in items]
        if why & NEW:
            found += [(a, NEW) for a in (*items, prefix) if a and self._lacks(a)]
        if why & WHOLE and prefix:
            found.append((prefix, WHOLE))
        return found

    def _in_order(self, addresses: set[str]) -> list[str]:
        """Each behind those that it names. A loop, not a recursion: a list carries on a list carries on a list."""
        placed: dict[str, None] = {}
        for first in sorted(addresses):
            way = [first]
            while way:
                prefix, items = self._names[way[-1]]
                before = [a for a in (prefix, *sorted(items)) if a in addresses and a not in placed]
                if before and way[-1] not in placed:
                    way += before
                else:
                    placed[way.pop()] = None
        return list(placed)
