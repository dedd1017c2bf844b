"""Who may write, in SQLite: claims with their limits, threads that are set aside. Functions on a connection.

A claim is *planned* by reading alone, so that a worker that finds nothing to take needs no lock; then it is made, in a
transaction. With no limits set a plan is two statements over indexes that hold only what is due or held.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from turnout.core.entries import Micros
from turnout.ports.clock import at
from turnout.ports.store import SUSPECT, Lease, LimitRow
from turnout.stores.statements import statements

SQL = statements("sqlite_claims.sql")
SPARE = 64
"""How many threads without room a claim looks past before it goes by tenant."""
FEW = 8
"""How many threads of each tenant it takes then at once: there may be many tenants."""
log = logging.getLogger("turnout.store")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a claim asks for; see `Store.claim`."""

    worker: str
    now: Micros
    limit: int
    graphs: tuple[str, ...] | None
    thread: str
    tries: int
    suspects: bool


class Due(NamedTuple):
    """A thread that may be taken, as it was when it was read."""

    thread: str
    graph: str
    tenant: str
    priority: int
    wake_at: Micros
    epoch: int
    owner: str
    lease_until: Micros
    tries: int

    @property
    def tried(self) -> int:
        """Its tries, that of the lease that has just run out counted in."""
        return self.tries + (self.owner != "")


@dataclass(slots=True)
class Plan:
    """What a claim takes, and what it sets aside."""

    take: list[Due] = field(default_factory=list)
    aside: list[Due] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.take or self.aside)


class Room:
    """How many threads of a graph or tenant may still be taken. What has no limit always has room."""

    def __init__(self, limits: Iterable[LimitRow], held: Iterable[tuple[str, str, int]]) -> None:
        self._left = {(row.kind, row.name): row.at_once for row in limits}
        for graph, tenant, count in held:
            self._take(graph, tenant, count)

    def __bool__(self) -> bool:
        return bool(self._left)

    def left(self, kind: str, name: str) -> bool:
        return self._left.get((kind, name), 1) > 0

    def full(self, kind: str) -> list[str]:
        return [name for (what, name), left in self._left.items() if what == kind and left <= 0]

    def take(self, due: Due) -> bool:
        """Take the room that `due` needs; False: there isn't any."""
        if not (self.left("graph", due.graph) and self.left("tenant", due.tenant)):
            return False
        self._take(due.graph, due.tenant, 1)
        return True

    def _take(self, graph: str, tenant: str, count: int) -> None:
        for place in (("graph", graph), ("tenant", tenant)):
            if place in self._left:
                self._left[place] -= count


def plan(db: sqlite3.Connection, asked: Asked) -> Plan:
    """What the claim would take at this moment. Changes nothing."""
    if asked.limit <= 0:
        return Plan()
    named = _json(asked.graphs) if asked.graphs is not None else None
    values = {"now": asked.now, "graphs": named, "thread": asked.thread}
    if asked.thread:
        return _pick([Due(*r) for r in db.execute(SQL["due_one"], values)], asked, _room(db, asked.now))
    room = _room(db, asked.now)
    left_alone = [Due(*r) for r in db.execute(SQL["run_out"], values)]
    open_ = _json(graph for graph in _graphs(db, asked.graphs) if room.left("graph", graph))
    few = asked.limit + SPARE if room else asked.limit
    free = [Due(*r) for r in db.execute(SQL["due"], {"graphs": open_, "now": asked.now, "limit": few})]
    found = _pick(left_alone + free, asked, room)
    if len(free) == few and len(found.take) < asked.limit and room:  # behind them others may have room
        room = _room(db, asked.now)
        by_tenant = {
            "graphs": open_,
            "now": asked.now,
            "limit": min(asked.limit, FEW),
            "full": _json(room.full("tenant")),
        }
        free = [Due(*r) for r in db.execute(SQL["due_by_tenant"], by_tenant)]
        found = _pick(left_alone + free, asked, room)
    return found


def claim(db: sqlite3.Connection, asked: Asked, until: Micros, seen: Plan) -> list[Lease]:
    """Take what was planned just before, as far as it is still there; under limits what is planned now, in the caller's
    transaction, for only here the count of what is held stands still."""
    found = plan(db, asked) if limits(db) else seen
    for due in found.aside:
        reason = stopped(due.tried, due.owner, due.lease_until)
        values = {
            "thread": due.thread,
            "epoch": due.epoch,
            "now": asked.now,
            "tries": due.tried,
            "reason": reason,
        }
        if db.execute(SQL["give_up"], values).rowcount:
            log.error("thread %s was set aside: %s", due.thread, reason)
    leases = []
    for due in found.take:
        values = {
            "worker": asked.worker, "until": until, "thread": due.thread, "epoch": due.epoch, "now": asked.now,
            "tries": due.tried,
        }  # fmt: skip
        if db.execute(SQL["take"], values).rowcount:
            leases.append(Lease(due.thread, asked.worker, due.epoch + 1, due.tried))
    return leases


def stopped(tries: int, worker: str, lease_until: Micros) -> str:
    """Why a thread is set aside whose workers stopped again and again."""
    times = "once" if tries == 1 else f"{tries} times in a row"
    return (
        f"its worker stopped {times} before a step came to its end; the last was {worker}, whose lease ran out at "
        f"{at(lease_until):%Y-%m-%d %H:%M:%S}Z"
    )


def due(db: sqlite3.Connection, now: Micros, graphs: Sequence[str] | None, limit: int, held: bool) -> int:
    """How many threads are due, up to `limit`; see `Store.due`."""
    values = {
        "now": now,
        "limit": limit,
        "held": held,
        "graphs": _json(graphs) if graphs is not None else None,
    }
    count = int(db.execute(SQL["count_held"], values).fetchone()[0])
    if count >= limit:
        return count
    values["graphs"], values["limit"] = _json(_graphs(db, graphs)), limit - count
    return count + int(db.execute(SQL["count_due"], values).fetchone()[0])


def set_aside(db: sqlite3.Connection, threads: Sequence[str], reason: str) -> list[str]:
    """Those of `threads` that are set aside by this."""
    values = [{"thread": thread, "reason": reason} for thread in threads]
    return [v["thread"] for v in values if db.execute(SQL["set_aside"], v).rowcount]


def take_back(db: sqlite3.Connection, threads: Sequence[str], when: Micros) -> list[str]:
    """Those of `threads` that were set aside and are no more."""
    return [t for t in threads if db.execute(SQL["take_back"], {"thread": t, "at": when}).rowcount]


def limits(db: sqlite3.Connection) -> list[LimitRow]:
    """The limits, in their order."""
    return [LimitRow(*row) for row in db.execute(SQL["limits"])]


def put_limit(db: sqlite3.Connection, kind: str, name: str, at_once: int | None) -> None:
    """Set a limit, or take it away."""
    statement = SQL["drop_limit"] if at_once is None else SQL["put_limit"]
    values = {"kind": kind, "name": name} | ({} if at_once is None else {"at_once": at_once})
    db.execute(statement, values)


def _pick(found: list[Due], asked: Asked, room: Room) -> Plan:
    """Who of those that are due is taken: the highest priority first, then the longest due, as far as there is room."""
    picked, suspects = Plan(), asked.suspects
    for one in sorted(found, key=lambda d: (-d.priority, d.wake_at)):
        if len(picked.take) == asked.limit:
            break
        if asked.tries and one.tried >= asked.tries:
            picked.aside.append(one)
        elif one.tried >= SUSPECT and not suspects:
            continue
        elif room.take(one):
            picked.take.append(one)
            suspects = suspects and one.tried < SUSPECT
    return picked


def _room(db: sqlite3.Connection, now: Micros) -> Room:
    set_ = limits(db)
    return Room(set_, db.execute(SQL["held"], {"now": now}) if set_ else ())


def _graphs(db: sqlite3.Connection, graphs: Sequence[str] | None) -> list[str]:
    """The graphs to look at; without a choice those that have a thread that is due or will be."""
    return (
        [row[0] for row in db.execute(SQL["due_graphs"])] if graphs is None else list(dict.fromkeys(graphs))
    )


def _json(names: Iterable[str]) -> str:
    return msgspec.json.encode(list(names)).decode()
