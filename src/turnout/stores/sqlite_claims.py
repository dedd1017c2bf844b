"""Who may write, in SQLite: claims with their limits, threads that are set aside. Functions on a connection.

A claim is *planned* by reading alone, so that a worker that finds nothing to take needs no lock; then it is made, in a
transaction. With no limits set a plan is two statements over indexes that hold only what is due or held.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from turnout.core.entries import Micros
from turnout.core.notices import Notice
from turnout.ports.rows import Lease, LimitRow
from turnout.stores import sqlite_outbox as outbox
from turnout.stores.claims import Asked, Due, Plan, Room, pick, stopped
from turnout.stores.statements import statements

SQL = statements("sqlite_claims.sql")
SPARE = 64
"""How many threads without room a claim looks past before it goes by tenant."""
FEW = 8
"""How many threads of each tenant it takes then at once: there may be many tenants."""
log = logging.getLogger("turnout.store")


def plan(db: sqlite3.Connection, asked: Asked) -> Plan:
    """What the claim would take at this moment. Changes nothing."""
    if asked.limit <= 0:
        return Plan()
    named = _json(asked.graphs) if asked.graphs is not None else None
    values = {"now": asked.now, "graphs": named, "thread": asked.thread}
    if asked.thread:
        return pick([Due(*r) for r in db.execute(SQL["due_one"], values)], asked, _room(db, asked.now))
    room = _room(db, asked.now)
    left_alone = [Due(*r) for r in db.execute(SQL["run_out"], values)]
    open_ = _json(graph for graph in _graphs(db, asked.graphs) if room.left("graph", graph))
    few = asked.limit + SPARE if room else asked.limit
    free = [Due(*r) for r in db.execute(SQL["due"], {"graphs": open_, "now": asked.now, "limit": few})]
    found = pick(left_alone + free, asked, room)
    if len(free) == few and len(found.take) < asked.limit and room:  # behind them others may have room
        room = _room(db, asked.now)
        by_tenant = {
            "graphs": open_,
            "now": asked.now,
            "limit": min(asked.limit, FEW),
            "full": _json(room.full("tenant")),
        }
        free = [Due(*r) for r in db.execute(SQL["due_by_tenant"], by_tenant)]
        found = pick(left_alone + free, asked, room)
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
            outbox.add(db, asked.told(due, reason))
    leases = []
    for due in found.take:
        values = {
            "worker": asked.worker, "until": until, "thread": due.thread, "epoch": due.epoch, "now": asked.now,
            "tries": due.tried,
        }  # fmt: skip
        if db.execute(SQL["take"], values).rowcount:
            leases.append(Lease(due.thread, asked.worker, due.epoch + 1, due.tried))
    return leases


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


def set_aside(
    db: sqlite3.Connection, threads: Sequence[str], reason: str, notices: Sequence[Notice]
) -> list[str]:
    """Those of `threads` that are set aside by this; their notices go into the outbox."""
    values = [{"thread": thread, "reason": reason} for thread in threads]
    done = [v["thread"] for v in values if db.execute(SQL["set_aside"], v).rowcount]
    if notices:
        outbox.add(db, [notice for notice in notices if notice.thread in done])
    return done


def take_back(
    db: sqlite3.Connection, threads: Sequence[str], when: Micros, notices: Sequence[Notice]
) -> list[str]:
    """Those of `threads` that were set aside and are no more; their notices go into the outbox."""
    done = [t for t in threads if db.execute(SQL["take_back"], {"thread": t, "at": when}).rowcount]
    outbox.add(db, [notice for notice in notices if notice.thread in done])
    return done


def limits(db: sqlite3.Connection) -> list[LimitRow]:
    """The limits, in their order."""
    return [LimitRow(*row) for row in db.execute(SQL["limits"])]


def put_limit(db: sqlite3.Connection, kind: str, name: str, at_once: int | None) -> None:
    """Set a limit, or take it away."""
    statement = SQL["drop_limit"] if at_once is None else SQL["put_limit"]
    values = {"kind": kind, "name": name} | ({} if at_once is None else {"at_once": at_once})
    db.execute(statement, values)


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
