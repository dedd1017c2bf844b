"""Appends as the parameters of one statement: arrays, one element an append, an entry, a value and so on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from turnout.ports.rows import KEEP, Append, ReviewRow, Row, RunRow


def usual(change: Append) -> bool:
    """Is it the usual step: entries, and nothing of the thread's row but how far the journal is?"""
    return (
        change.same
        and change.wake == KEEP
        and bool(change.rows)
        and change.head > 0
        and not (
            change.release or change.runs or change.reviews or change.keys or change.wakes or change.values
            or change.snapshot is not None or change.signed is not None or change.base or change.aside is not None
            or change.outbox or change.withdrawn
        )
    )  # fmt: skip


def step(change: Append) -> list[Any]:
    """The parameters of `step_of_1` or `step_of_2`: a usual append of so many entries."""
    last = change.rows[-1]
    values = [
        change.thread, change.head, last.seq, last.digest, change.at, change.epoch, change.progress,
    ]  # fmt: skip
    for row in change.rows:
        values += [row.seq, row.kind, row.run, row.step, row.at, row.stored, row.digest]
    return values


def steps(changes: Sequence[Append]) -> list[Any]:
    """The parameters of `steps`: usual appends."""
    last = [change.rows[-1] for change in changes]
    return [
        [change.thread for change in changes], [change.head for change in changes], [row.seq for row in last],
        [row.digest for row in last], [change.at for change in changes], [change.epoch for change in changes],
        [change.progress for change in changes], *_entries(changes),
    ]  # fmt: skip


def appends(changes: Sequence[Append]) -> list[Any]:
    """The parameters of `appends`: appends of any kind."""
    last = [change.rows[-1] if change.rows else None for change in changes]
    rows: list[list[Any]] = [
        [
            change.thread, change.graph, change.fingerprint, change.status, change.run, change.head,
            row.seq if row else change.head, row.digest if row else b"", change.epoch, change.at, change.wake == KEEP,
            None if change.wake == KEEP else change.wake, change.release, change.base[0] if change.base else None,
            change.base[1] if change.base else 0, change.tenant, change.priority, change.progress,
            change.head == 0 or change.base is not None, change.aside,
        ]
        for change, row in zip(changes, last, strict=True)
    ]  # fmt: skip
    values = [(c.thread, address, body) for c in changes for address, body in c.values.items()]
    runs = {(run.thread, run.run): run for c in changes for run in c.runs}
    reviews = {review.review: review for c in changes for review in c.reviews}
    keys = [key for c in changes for key in c.keys]
    folded = [
        (c.thread, row.seq, c.snapshot)
        for c, row in zip(changes, last, strict=True)
        if c.snapshot is not None and row is not None
    ]
    signed = [c.signed for c in changes if c.signed is not None]
    return [
        *_columns(rows, 20),
        *_entries(changes),
        *_columns(values, 3),
        *_columns([_run(run) for run in runs.values()], 8),
        *_columns([_review(review) for review in reviews.values()], 9),
        *_columns([(key.key, key.thread, key.run, key.digest) for key in keys], 4),
        *_columns(folded, 3),
        *_columns([(head.thread, head.seq, head.digest, head.at, head.signature) for head in signed], 5),
    ]


def _entries(changes: Sequence[Append]) -> list[list[Any]]:
    rows: list[Row] = [row for change in changes for row in change.rows]
    return _columns(rows, 9)


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _run(run: RunRow) -> tuple[Any, ...]:
    return (
        run.thread, run.run, run.graph, run.status, run.started_at, run.ended_at, run.end_seq, run.error,
    )  # fmt: skip


def _review(review: ReviewRow) -> tuple[Any, ...]:
    return (
        review.review, review.thread, review.run, review.status, review.roles, review.due_at, review.asked_at,
        review.closed_at, review.about,
    )  # fmt: skip
