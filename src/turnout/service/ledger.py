"""The ledger against the journals: it can be made again from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from turnout.core.amounts import NOTHING
from turnout.core.budgets import ChargeRow
from turnout.ports.store import Store
from turnout.runtime.reading import entries_of
from turnout.service.derived import Derived

BATCH = 500


def differences(derived: Derived, kept: list[ChargeRow]) -> list[str]:
    """Where the ledger has something else of a thread than its journal says.

    A call of a model that the ledger doesn't have at all is none if no budget was there: it may be from before there
    was a ledger.
    """
    says, has = derived.charges, {row.seq: replace(row, accounts=()) for row in kept}
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
    """Put into the ledger what it lacks of the calls of one thread, or of all. Returns how many that were."""
    added, done, after = 0, 0, ""
    while (
        names := [thread] if thread else [row.thread for row in await store.threads(after=after, limit=200)]
    ):
        for name in names:
            added += await _add(store, name)
            done += 1
            if tell is not None:
                tell(done)
        if thread:
            break
        after = names[-1]
    return added


async def _add(store: Store, name: str) -> int:
    derived = Derived(name)
    for entry in await entries_of(store, await store.read(name)):
        derived.take(entry)
    there = {row.seq for row in await store.charges(name)}
    missing = [row for seq, row in derived.charges.items() if seq not in there]
    for start in range(0, len(missing), BATCH):
        await store.book(missing[start : start + BATCH])
    return len(missing)
