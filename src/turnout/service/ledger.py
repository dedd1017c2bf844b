"""The ledger against the journals: it can be made again from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from turnout.core import aside
from turnout.core.amounts import NOTHING
from turnout.core.budgets import ChargeRow
from turnout.ports.store import Store
from turnout.runtime.reading import entries_of
from turnout.service.derived import Derived

BATCH = 500


def differences(derived: Derived, kept: list[ChargeRow], *, away: bool = False) -> list[str]:
    """Where the ledger has something else of a thread than its journal says. `away`: it has moved to another store.

    A call of a model that the ledger doesn't have at all is none if no budget was there: it may be from before there
    was a ledger.
    """
    says = {row.seq: row for row in _standing(derived, away)}
    has = {row.seq: replace(row, accounts=()) for row in kept}
    found = []
    for seq in sorted(says.keys() | has.keys()):
        if seq not in has and says[seq].reserved != NOTHING:
            found.append(
                f"the ledger lacks the call that entry {seq} reserved; `turnout budgets rebuild` adds it"
            )
        elif seq not in says:
            found.append(f"the ledger has a call at entry {seq} that its journal doesn't have")
        elif seq in has and has[seq] != says[seq]:
            found.append(f"the ledger has the call at entry {seq} otherwise than its journal")
    return found


async def rebuild(store: Store, thread: str = "", tell: Callable[[int], None] | None = None) -> int:
    """Put into the ledger what it lacks of the calls of one thread, or of all, and bring to an end there what has ended in
    the journal. Nothing stays reserved for threads that have moved away. Returns how many calls that changed.
    """
    added, done, after = 0, 0, ""
    while (
        names := [thread] if thread else [row.thread for row in await store.threads(after=after, limit=200)]
    ):
        for name in names:
            row = await store.thread(name)
            added += await bring(store, name, away=row is not None and bool(aside.away(row.aside)))
            done += 1
            if tell is not None:
                tell(done)
        if thread:
            break
        after = names[-1]
    return added


async def leave(store: Store, thread: str) -> int:
    """Free what is reserved for a thread that moves to another store: there it is reserved from now on, and settled."""
    held = [replace(row, state="moved") for row in await store.charges(thread) if row.state == "reserved"]
    return await _book(store, held)


async def stay(store: Store, thread: str) -> int:
    """The thread goes on here after all: reserve again what it was freed of."""
    freed = [replace(row, state="reserved") for row in await store.charges(thread) if row.state == "moved"]
    return await _book(store, freed)


async def bring(store: Store, name: str, *, away: bool) -> int:
    """Bring the ledger to what the journal of one thread says. `away`: the thread goes on in another store, so nothing is
    reserved for it here. Returns how many calls that changed."""
    derived = Derived(name)
    for entry in await entries_of(store, await store.read(name)):
        derived.take(entry)
    there = {row.seq: row for row in await store.charges(name)}
    says = _standing(derived, away)
    return await _book(store, [row for row in says if row.seq not in there or there[row.seq].is_behind(row)])


def _standing(derived: Derived, away: bool) -> list[ChargeRow]:
    rows = derived.charges.values()
    return [replace(row, state="moved") if away and row.state == "reserved" else row for row in rows]


async def _book(store: Store, rows: list[ChargeRow]) -> int:
    for start in range(0, len(rows), BATCH):
        await store.book(rows[start : start + BATCH])
    return len(rows)
