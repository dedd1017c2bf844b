"""Verify: is the journal what was written? And in-flight checks: would this code take over what is unfinished?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from turnout.core import canon, pack
from turnout.core import entries as e
from turnout.core.aside import MOVED
from turnout.core.effects import shortened
from turnout.core.graph import Graph
from turnout.core.view import clone
from turnout.errors import InputInvalid, TurnoutError
from turnout.ports.rows import ReviewRow, Row, ThreadRow
from turnout.ports.store import Store
from turnout.runtime.reading import entries_of, load_view
from turnout.runtime.replay import prove
from turnout.service.derived import Derived
from turnout.service.ledger import differences
from turnout.service.signing import Signer, genuine, statement


@dataclass(frozen=True)
class InFlight:
    """Would the code at hand adopt this thread's unfinished run?"""

    thread: str
    graph: str
    before: str
    now: str
    divergence: e.Divergence | None
    proof: list[str]

    @property
    def adopted(self) -> bool:
        return self.divergence is None


@dataclass
class Verified:
    """What `verify` found. `problems` name the thread and, where it can be known, the entry.

    `newer` counts the entries that came after the exported head: for those only the chain speaks, which somebody who
    can write the store can make anew.
    """

    threads: int = 0
    entries: int = 0
    values: int = 0
    heads: int = 0
    newer: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems


async def in_flight(store: Store, graphs: Mapping[str, Graph], row: ThreadRow) -> InFlight:
    """Would the code at hand adopt this thread's unfinished run?"""
    view = (await load_view(store, row.thread)).view
    graph = graphs.get(row.graph)
    if graph is None:
        where = e.Divergence(
            "the graph", f"graph {row.graph!r}", "the code at hand doesn't have it", row.head
        )
        return InFlight(row.thread, row.graph, row.fingerprint, "", where, [])
    divergence, lines = await prove(graph, view)
    divergence = shortened(divergence) if divergence is not None else None
    return InFlight(row.thread, row.graph, row.fingerprint, graph.fingerprint, divergence, lines)


async def all_in_flight(
    store: Store, graphs: Mapping[str, Graph], progress: Callable[[int], None] | None
) -> list[InFlight]:
    """The same of every thread whose run is unfinished."""
    found = []
    after = ""
    while rows := await store.threads(after=after, limit=500):
        for row in rows:
            if row.status in ("running", "waiting", "diverged", "compensating"):
                found.append(await in_flight(store, graphs, row))
        after = rows[-1].thread
        if progress is not None:
            progress(len(found))
    return found


async def verify(
    store: Store, signer: Signer, thread: str = "", against: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None, signed_by: str = "",
) -> Verified:  # fmt: skip
    """Check one thread, or all. With `against` (an exported head) also what the store alone can't know.

    `signed_by`: the public key of a store that the threads came from, which may have signed that head, too.
    """
    found = Verified()
    heads = _anchor(against, signer, found, signed_by) if against is not None else {}
    after = ""
    while rows := ([await store.thread(thread)] if thread else await store.threads(after=after, limit=200)):
        for row in rows:
            if row is not None:
                head = heads.pop(row.thread, None)
                if against is not None:
                    found.newer += max(0, row.head - (head[0] if head else 0))
                await _settled(store, signer, row, head, found)
        if progress is not None:
            progress(found.threads)
        if thread or rows[-1] is None:
            break
        after = rows[-1].thread
    for name, seq in await store.strays(thread):
        found.problems.append(
            f"thread {name}: entry {seq} lies outside its journal; it was put in"
            if name
            else f"an entry numbered {seq} belongs to no thread; it was put in, or its thread was taken out"
        )
    for name, (seq, _) in heads.items():
        if not thread or name == thread:
            found.problems.append(f"thread {name}: gone; the head that was exported has it at entry {seq}")
    return found


async def _settled(
    store: Store, signer: Signer, row: ThreadRow, head: tuple[int, str] | None, found: Verified
) -> None:
    """Check one thread; once more, when it was written while we looked."""
    while True:
        once = Verified()
        await _thread(store, row, head, once)
        await _signed(store, signer, row, once)
        now = await store.thread(row.thread) if once.problems else None
        if now is None or now.head == row.head:
            break
        row = now
    found.threads += once.threads
    found.entries += once.entries
    found.values += once.values
    found.heads += once.heads
    found.problems += once.problems


async def _thread(store: Store, row: ThreadRow, head: tuple[int, str] | None, found: Verified) -> None:
    name = row.thread
    found.threads += 1
    rows = await store.read(name)
    found.entries += len(rows)
    before = len(found.problems)
    digests = _chain(name, rows, found)
    last = rows[-1] if rows else None
    if last is None or last.seq != row.head or last.digest != row.digest:
        found.problems.append(
            f"thread {name}: its row says entry {row.head}, its journal ends at {last.seq if last else 0}"
        )
    if head is not None:
        seq, digest = head
        if seq not in digests:
            found.problems.append(
                f"thread {name}: cut off or rolled back: the exported head has entry {seq}, the journal ends at {max(digests, default=0)}"
            )
        elif digests[seq] != digest:
            found.problems.append(
                f"thread {name}: entry {seq} or one before it is not what the exported head says"
            )
    if len(found.problems) == before:
        await _contents(store, row, rows, found)


def _chain(name: str, rows: list[Row], found: Verified) -> dict[int, str]:
    """Check numbering and digests; returns the digest (hex) of every entry up to the first that is wrong."""
    previous, digests = e.GENESIS, {}
    for expected, row in enumerate(rows, 1):
        if row.seq != expected:
            found.problems.append(
                f"thread {name}: entry {expected} is missing (found entry {row.seq} in its place)"
            )
            break
        envelope = (row.thread, row.seq, row.kind, row.run, row.step, row.at, row.epoch)
        if e.chain(previous, envelope, row.stored) != row.digest:
            found.problems.append(
                f"thread {name}: entry {row.seq} ({row.kind}) was altered, reordered or put in"
            )
            break
        previous = row.digest
        digests[row.seq] = row.digest.hex()
    return digests


async def _contents(store: Store, row: ThreadRow, rows: list[Row], found: Verified) -> None:
    """Stored values, and everything that is derived: snapshot, rows of runs and reviews."""
    name = row.thread
    try:
        wanted = set().union(*(pack.wanted(r.stored) for r in rows)) if rows else set()
        values: dict[str, bytes] = {}
        while wanted:
            new = await store.values(wanted)
            for address in wanted - new.keys():
                found.problems.append(f"thread {name}: the stored value {address[:12]}... is missing")
            values.update(new)
            wanted = {a for data in new.values() for a in pack.addresses(data)} - values.keys()
        for address, data in values.items():
            pack.check(address, data, values.__getitem__)
        found.values += len(values)
        derived, at_snapshot, kept = Derived(name), None, await store.snapshot(name)
        for entry in await entries_of(store, rows):
            derived.take(entry)
            if kept is not None and entry.seq == kept[0]:
                at_snapshot = clone(derived.view)
        if kept is not None and (at_snapshot is None or kept[1] != canon.encode(at_snapshot)):
            found.problems.append(f"thread {name}: its snapshot is not what the journal adds up to")
        await _derived(store, row, derived, found)
        different = differences(derived, await store.charges(name), away=row.aside.startswith(MOVED))
        found.problems += [f"thread {name}: {problem}" for problem in different]
    except (TurnoutError, msgspec.MsgspecError) as error:
        found.problems.append(f"thread {name}: {error}")


async def _derived(store: Store, row: ThreadRow, derived: Derived, found: Verified) -> None:
    """The rows of the thread, its runs and its reviews, against what the journal says."""
    name, view = row.thread, derived.view
    says = (view.status, view.graph, view.runs, derived.fingerprint)
    if (row.status, row.graph, row.run, row.fingerprint) != says:
        found.problems.append(
            f"thread {name}: its row (graph {row.graph}, run {row.run}, {row.status}) is not what its journal says "
            f"(graph {view.graph}, run {view.runs}, {view.status})"
        )
    if (row.tenant, row.priority) != (view.tenant, view.priority):
        found.problems.append(
            f"thread {name}: its row (tenant {row.tenant!r}, priority {row.priority}) is not what its journal says "
            f"(tenant {view.tenant!r}, priority {view.priority})"
        )
    runs = {run.run: run for run in await store.runs(name)}
    for number in sorted(derived.runs.keys() | runs.keys()):
        if derived.runs.get(number) != runs.get(number):
            found.problems.append(f"thread {name}: the row of run {number} is not what its journal says")
    kept = {review.review: _undated(review) for review in await store.reviews(thread=name, limit=1_000_000)}
    says_of = {review: _undated(row) for review, row in derived.reviews.items()}
    for review in sorted(says_of.keys() | kept.keys()):
        if says_of.get(review) != kept.get(review):
            found.problems.append(f"thread {name}: the row of review {review} is not what its journal says")


def _undated(review: ReviewRow) -> ReviewRow:
    """A review's row without when it was closed: the entry tells."""
    return replace(review, closed_at=None)


async def _signed(store: Store, signer: Signer, row: ThreadRow, found: Verified) -> None:
    """The heads that the store itself keeps."""
    digests = None
    for head in await store.heads(row.thread):
        found.heads += 1
        said = statement(head.thread, head.seq, head.digest, head.at)
        if not genuine(signer.public, said, head.signature):
            found.problems.append(
                f"thread {row.thread}: the signed head at entry {head.seq} was not signed with this store's key"
            )
            continue
        if digests is None:
            digests = {r.seq: r.digest for r in await store.read(row.thread)}
        if digests.get(head.seq) != head.digest:
            found.problems.append(f"thread {row.thread}: entry {head.seq} is gone or is not what was signed")


async def export_head(store: Store, signer: Signer, now: e.Micros, thread: str = "") -> dict[str, Any]:
    """A signed statement: every thread (or one), how many entries it has, and the digest of the last."""
    heads: dict[str, list[Any]] = {}
    after = ""
    while rows := ([await store.thread(thread)] if thread else await store.threads(after=after, limit=1000)):
        for row in rows:
            if row is not None:
                heads[row.thread] = [row.head, row.digest.hex()]
        if thread or rows[-1] is None:
            break
        after = rows[-1].thread
    said = {"format": "turnout head 1", "at": now, "threads": heads, "public_key": signer.public}
    return {**said, "signature": signer.sign(said).hex()}


def _anchor(
    head: Mapping[str, Any], signer: Signer, found: Verified, signed_by: str
) -> dict[str, tuple[int, str]]:
    """The threads that an exported head names. Raises `InputInvalid` when it isn't one."""
    try:
        said = {name: head[name] for name in ("format", "at", "threads", "public_key")}
        signature = bytes.fromhex(head["signature"])
        threads = {str(name): (int(seq), str(digest)) for name, (seq, digest) in head["threads"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputInvalid("that is not an exported head; `turnout head > head.json` makes one") from None
    if not genuine(str(head["public_key"]), said, signature):
        found.problems.append("the exported head itself was altered: its signature doesn't fit")
    if head["public_key"] not in (signed_by, signer.public or head["public_key"]):
        found.problems.append(
            "the exported head was signed with another key than this store has now: one of the two was replaced (or the "
            "threads came from another store: then say whose key it is with --signed-by)"
        )
    return threads
