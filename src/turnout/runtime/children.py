"""Child threads: how they get their input, how their end comes on record in their parent, how they are told to stop."""

from __future__ import annotations

import logging

from turnout.core import entries as e
from turnout.core.decide import error_info
from turnout.core.effects import Effect
from turnout.core.fold import fold
from turnout.core.graph import Graph
from turnout.core.inputs import check_input
from turnout.core.taint import union
from turnout.core.view import RunView, ThreadView
from turnout.errors import InputInvalid, ThreadMoved
from turnout.ports.clock import Clock
from turnout.ports.dispatcher import Dispatcher
from turnout.ports.store import Store
from turnout.runtime.loop import Driver
from turnout.runtime.outside import append_outside
from turnout.runtime.reading import entries_of, load_view
from turnout.runtime.staging import child_input

log = logging.getLogger("turnout.worker")


async def put_ends(store: Store, driver: Driver) -> None:
    """Put the ends of child threads on record in their parent."""
    view = driver.journal.view
    run = view.run
    if run is None:
        return
    for step in run.steps.values():
        for effect in list(step.effects.values()):
            if effect.kind == "child" and effect.status == "waiting":
                ended = await _ended(store, view, effect)
                if ended is not None:
                    driver.journal.stage([e.Draft(run.number, step.id, ended)])


async def _ended(store: Store, parent: ThreadView, effect: Effect) -> e.ChildEnded | None:
    child = effect.child
    rows = await store.runs(child)
    if not rows or rows[0].end_seq is None:
        return None
    if (stranger := await _stranger(store, child, child_input(parent, effect))) is not None:
        return e.ChildEnded(child=child, status="failed", error=stranger)
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


async def _stranger(store: Store, thread: str, given: e.InputReceived) -> e.ErrorInfo | None:
    """What to tell the parent when the thread, which is there, is not the child that was given this input. A child's
    name can be worked out, so anybody who may start threads can have taken it; but only a parent names itself in an input.
    A fork shares the first entry of another thread."""
    [first] = await entries_of(store, await store.read(thread, upto=1))
    found = first.body
    if (
        first.thread == thread
        and isinstance(found, e.InputReceived)
        and (found.parent, found.tenant, found.graph, found.input)
        == (given.parent, given.tenant, given.graph, given.input)
    ):
        return None
    log.warning("thread %s: its child %s is another's thread, and is left alone", given.parent, thread)
    return e.ErrorInfo(
        "Conflict", f"the name of the child, {thread!r}, was taken by a thread that isn't the child"
    )


async def start_run(
    store: Store, clock: Clock, hub: Dispatcher, thread: str, body: e.InputReceived, graph: Graph | None
) -> e.ErrorInfo | None:
    """Give a child thread its input, unless it has it; it is checked first if the child's graph is at hand. When its name
    is another's, that thread is left alone, and the parent is told so."""

    def make(view: ThreadView) -> list[e.Draft]:
        if view.runs:
            return []
        if graph is not None:
            check_input(graph, view, body.input)
        return [e.Draft(1, "", body)]

    try:
        _, made = await append_outside(store, clock, thread, make)
    except InputInvalid as error:
        return error_info(error)
    if not made:
        return await _stranger(store, thread, body)
    hub.notify(thread)
    return None


async def cancel_run(
    store: Store, clock: Clock, hub: Dispatcher, thread: str, given: e.InputReceived, reason: str
) -> None:
    """Ask the active run of the child thread that was given this input to stop, unless it was asked, has ended, or goes
    on in another store."""

    def make(view: ThreadView) -> list[e.Draft]:
        active = view.run or (view.queue[0] if view.queue else None)
        if active is None or active.cancel is not None:
            return []
        number = active.number if isinstance(active, RunView) else active.run
        return [e.Draft(number, "", e.CancelRequested(by="turnout", reason=reason))]

    if await store.thread(thread) is None or await _stranger(store, thread, given) is not None:
        return
    try:
        _, made = await append_outside(store, clock, thread, make)
    except ThreadMoved as error:
        log.warning("not cancelled with its parent: %s", error)
        return
    if made:
        hub.notify(thread)
