"""Child threads: how they get their input, how their end comes on record in their parent, how they are told to stop."""

from __future__ import annotations

import logging

from turnout.core import entries as e
from turnout.core.fold import fold
from turnout.core.taint import union
from turnout.core.view import RunView, ThreadView
from turnout.errors import ThreadMoved
from turnout.ports.clock import Clock
from turnout.ports.dispatcher import Dispatcher
from turnout.ports.store import Store
from turnout.runtime.loop import Driver
from turnout.runtime.outside import append_outside
from turnout.runtime.reading import entries_of, load_view

log = logging.getLogger("turnout.worker")


async def put_ends(store: Store, driver: Driver) -> None:
    """Put the ends of child threads on record in their parent."""
    run = driver.journal.view.run
    if run is None:
        return
    for step in run.steps.values():
        for effect in list(step.effects.values()):
            if effect.kind == "child" and effect.status == "waiting":
                ended = await _ended(store, effect.child)
                if ended is not None:
                    driver.journal.stage([e.Draft(run.number, step.id, ended)])


async def _ended(store: Store, child: str) -> e.ChildEnded | None:
    rows = await store.runs(child)
    if not rows or rows[0].end_seq is None:
        return None
    view = (await load_view(store, child)).view
    if view.seq != rows[0].end_seq:  # somebody gave it another input since
        rest = await store.read(child, upto=rows[0].end_seq)
        view = fold(ThreadView(thread=child), await entries_of(store, rest))
    labels = union(view.labels)
    if rows[0].status == "finished":
        return e.ChildEnded(child=child, status="finished", state=view.state, taint=labels)
    error = (
        view.last.error
        if view.last is not None and view.last.error
        else e.ErrorInfo("Cancelled", "it was cancelled")
    )
    met = sorted({*labels, *(view.last.taint if view.last is not None else ())})
    return e.ChildEnded(child=child, status=rows[0].status, error=error, taint=met)


async def start_run(store: Store, clock: Clock, hub: Dispatcher, thread: str, body: e.InputReceived) -> None:
    """Give a child thread its input, unless it has it."""

    def make(view: ThreadView) -> list[e.Draft]:
        return [] if view.runs else [e.Draft(1, "", body)]

    _, made = await append_outside(store, clock, thread, make)
    if made:
        hub.notify(thread)


async def cancel_run(store: Store, clock: Clock, hub: Dispatcher, thread: str, reason: str) -> None:
    """Ask the active run of a child thread to stop, unless it was asked, has ended, or goes on in another store."""

    def make(view: ThreadView) -> list[e.Draft]:
        active = view.run or (view.queue[0] if view.queue else None)
        if active is None or active.cancel is not None:
            return []
        number = active.number if isinstance(active, RunView) else active.run
        return [e.Draft(number, "", e.CancelRequested(by="turnout", reason=reason))]

    try:
        _, made = await append_outside(store, clock, thread, make)
    except ThreadMoved as error:
        log.warning("not cancelled with its parent: %s", error)
        return
    if made:
        hub.notify(thread)
