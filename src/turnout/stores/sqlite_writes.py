"""What the SQLite store writes: functions on a connection, each a part of one transaction.

A function that refuses does so before it has changed anything, so that its neighbours in the transaction can stay.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from turnout.errors import HeadMoved, KeyReused, StaleWriter
from turnout.ports.rows import KEEP, Append, ReviewRow, Row, ThreadRow
from turnout.stores import sqlite_budgets as budgets
from turnout.stores import sqlite_outbox as outbox
from turnout.stores.sqlite_moving import put_aside
from turnout.stores.statements import statements

SQL = statements("sqlite.sql")


def append(db: sqlite3.Connection, change: Append, numbers: dict[str, int]) -> None:
    """Everything of `change`, or an error before anything is written. `numbers` caches the numbers of threads."""
    for key in change.keys:
        found = db.execute(SQL["key"], (key.key,)).fetchone()
        if found:
            raise KeyReused(
                f"the idempotency key {key.key!r} was used for run {found[2]} of thread {found[1]!r}"
            )
    last = change.rows[-1] if change.rows else None
    booking = budgets.booked(db, change.charges) if change.charges else None
    if not _move_head(db, change, last):
        _refuse(db, change)
    if booking is not None:
        budgets.write(db, booking)
    thread = change.thread
    if change.aside is not None:
        put_aside(db, thread, change.aside)
    if change.rows:
        number = numbers.get(thread)
        if number is None:
            if len(numbers) > 10_000:
                numbers.clear()
            number = numbers[thread] = db.execute(SQL["number"], (thread,)).fetchone()[0]
        db.executemany(
            SQL["add_entry"],
            [(number, *row[1:]) for row in change.rows],
        )
    if change.values:
        db.executemany(SQL["add_value"], list(change.values.items()))
    for run in change.runs:
        db.execute(
            SQL["put_run"],
            (
                run.thread,
                run.run,
                run.graph,
                run.status,
                run.started_at,
                run.ended_at,
                run.end_seq,
                run.error,
            ),
        )
    for review in change.reviews:
        db.execute(SQL["put_review"], _tuple(review))
    for key in change.keys:
        db.execute(SQL["add_key"], (key.key, key.thread, key.run, key.digest))
    for other in change.wakes:
        db.execute(SQL["wake"], {"thread": other, "at": change.at})
    if change.withdrawn:
        outbox.withdraw(db, change.withdrawn, change.at)
    if change.outbox:
        outbox.add(db, change.outbox)
    if change.snapshot is not None and last:
        db.execute(SQL["put_snapshot"], (thread, last.seq, change.snapshot))
    if change.signed is not None:
        head = change.signed
        db.execute(SQL["put_head"], (head.thread, head.seq, head.digest, head.at, head.signature))


def _move_head(db: sqlite3.Connection, change: Append, last: Row | None) -> bool:
    """Put the thread's row where its journal will be. False: head or epoch isn't what the caller believes."""
    values = {
        "thread": change.thread,
        "graph": change.graph,
        "fingerprint": change.fingerprint,
        "status": change.status,
        "run": change.run,
        "head": change.head,
        "new_head": last.seq if last else change.head,
        "digest": last.digest if last else b"",
        "epoch": change.epoch,
        "at": change.at,
        "wake_at": None if change.wake == KEEP else change.wake,
        "base_thread": change.base[0] if change.base else None,
        "base_seq": change.base[1] if change.base else 0,
        "tenant": change.tenant,
        "priority": change.priority,
        "progress": change.progress,
    }
    name = "move_head_and_wake"
    if change.head == 0 or change.base:
        name = "open_thread"
    elif change.same and last is not None and change.wake == KEEP and not change.release:
        name = "advance_head"  # the usual step: what isn't named isn't touched, nor are the indexes over it
    elif change.release:
        name = "move_head_and_release"
    elif change.wake == KEEP:
        name = "move_head"
    return db.execute(SQL[name], values).rowcount == 1


def _tuple(review: ReviewRow) -> tuple[Any, ...]:
    return (
        review.review, review.thread, review.run, review.status, review.roles, review.due_at, review.asked_at,
        review.closed_at, review.about,
    )  # fmt: skip


def _refuse(db: sqlite3.Connection, change: Append) -> None:
    found = db.execute(SQL["thread"], (change.thread,)).fetchone()
    if found is None:
        raise HeadMoved(f"thread {change.thread!r} isn't there any more")
    row = ThreadRow(*found)
    if row.epoch != change.epoch:
        held = "set aside" if row.aside else f"held by {row.owner or 'nobody'}"
        raise StaleWriter(
            f"thread {change.thread!r} is in epoch {row.epoch} now ({held}); an append of epoch {change.epoch} was refused"
        )
    raise HeadMoved(f"the journal of thread {change.thread!r} is at entry {row.head}, not {change.head}")
