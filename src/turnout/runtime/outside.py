"""Appends from outside a thread's writer: an input, a decision, a signal, a cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.aside import elsewhere
from turnout.core.view import ThreadView
from turnout.errors import HeadMoved, InputInvalid, StaleWriter, ThreadMoved
from turnout.ports.clock import Clock
from turnout.ports.rows import KeyRow
from turnout.ports.store import Store
from turnout.runtime.journal import Journal

Make = Callable[[ThreadView], list[e.Draft]]


def sound(drafts: list[e.Draft]) -> list[e.Draft]:
    """The drafts, which hold what somebody handed in. Raises `InputInvalid` when they wouldn't be read again as they are."""
    for draft in drafts:
        problem = ""
        try:
            if e.decode_body(draft.body.kind, canon.encode(draft.body)) != draft.body:
                problem = "it would be read as something else; hand in text where text is wanted"
        except (msgspec.DecodeError, RecursionError) as error:
            problem = str(error)
        if problem:
            raise InputInvalid(f"{draft.body.kind} can't be put on record: {problem}")
    return drafts


async def append_outside(
    store: Store,
    clock: Clock,
    thread: str,
    make: Make,
    *,
    keys: Callable[[ThreadView], list[KeyRow]] | None = None,
) -> tuple[ThreadView, list[e.Entry]]:
    """Append from outside the thread's writer: read, let `make` decide on what is there, append if nothing moved.

    `make` may raise to refuse. Returns the view afterwards and the entries; both empty-handed when `make` gives none
    (`keys` are put down all the same).
    Raises `ThreadMoved` when the journal goes on in another store.
    """
    for attempt in range(1000):
        row = await store.thread(thread)
        if row is None:
            journal = Journal(store, clock, ThreadView(thread=thread), 0)
        else:
            journal = await Journal.load(store, clock, thread, row=row)
        made = journal.stage(sound(make(journal.view)))
        put = keys(journal.view) if keys else []
        if not made and not put:
            return journal.view, []
        if row is not None and elsewhere(row.aside):
            raise ThreadMoved(f"thread {thread!r} takes no entries in this store: {row.aside}")
        try:
            await journal.commit(wake=clock.now(), keys=put, opened=True)
            return journal.view, made
        except (HeadMoved, StaleWriter):
            await asyncio.sleep(0 if attempt < 3 else 0.002)
    raise HeadMoved(
        f"thread {thread!r} is written so often that an append from outside found no gap; try again"
    )
