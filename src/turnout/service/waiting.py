"""Waiting for a run: how it stands, and what to wait for until it stands otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from turnout.core import entries as e
from turnout.core import project
from turnout.core.graph import Graph
from turnout.core.view import ThreadView
from turnout.errors import StateInvalid, UnknownGraph, UnknownRun
from turnout.ports.clock import Clock
from turnout.ports.dispatcher import Dispatcher
from turnout.ports.rows import RunRow
from turnout.ports.store import Store
from turnout.runtime.reading import entries_of, load_view
from turnout.service.outcome import Cancelled, Failed, Finished, Outcome, Paused, Run, review_of
from turnout.service.threads import thread_row, view_at
from turnout.settings import Settings


async def wait(
    store: Store, graphs: Mapping[str, Graph], clock: Clock, hub: Dispatcher, settings: Settings, run: Run,
    timeout: float | None, drives: Callable[[str], bool],
) -> Outcome:  # fmt: skip
    """Until the run has ended or waits for somebody. `drives`: is a thread driven by this process at this moment?

    Raises TimeoutError after `timeout` seconds, `UnknownThread`, `UnknownRun`.
    """
    changed = asyncio.Event()

    def ended(_: str, event: Any) -> None:  # the thread's next run may begin at once, and give no notice
        if isinstance(event, e.Entry) and event.kind in project.RUN_ENDS:
            changed.set()

    stops = (hub.listen(lambda _: changed.set(), run.thread), hub.watch(ended, run.thread))
    try:
        async with asyncio.timeout(timeout):
            while True:
                changed.clear()
                outcome = await outcome_of(store, graphs, clock, run)
                if outcome is not None:
                    return outcome
                await change(store, settings, changed, lambda: drives(run.thread))
    finally:
        for stop in stops:
            stop()


async def change(
    store: Store, settings: Settings, notice: asyncio.Event, ours: Callable[[], bool] = lambda: False
) -> None:
    """Until a notice, or until another process may have written, or at the latest after a sweep. What is `ours` is
    driven by this process, which gives notice itself: nobody needs to look."""
    seen, waited = store.changed(), 0.0
    while not notice.is_set() and waited < settings.sweep:
        try:
            async with asyncio.timeout(settings.poll):
                await notice.wait()
        except TimeoutError:
            waited += settings.poll
            if store.changed() != seen and not ours():
                return


async def outcome_of(store: Store, graphs: Mapping[str, Graph], clock: Clock, run: Run) -> Outcome | None:
    """How the run stands; None while it is still going. Raises `UnknownThread`, `UnknownRun`, or, of a run that has
    finished, `UnknownGraph` and `StateInvalid` when its state can't be given as the graph's model."""
    row = await run_row(store, run)
    if row.end_seq is None:
        return await _paused(store, clock, run)
    view = (await load_view(store, run.thread)).view
    if view.seq != row.end_seq:
        view = await view_at(store, run.thread, row.end_seq)
    return await _ended(store, graphs, run, row, view)


async def _ended(
    store: Store, graphs: Mapping[str, Graph], run: Run, row: RunRow, view: ThreadView
) -> Outcome:
    rows = await store.read(run.thread, after=(row.end_seq or 1) - 1, upto=row.end_seq)
    body = (await entries_of(store, rows))[-1].body
    if isinstance(body, e.RunCancelled):
        return Cancelled(body.by, body.reason, body.writes)
    graph = graphs.get(view.graph)
    if isinstance(body, e.RunFailed):
        try:
            state = graph.schema.load(view.state) if graph is not None and view.started else None
        except StateInvalid:
            state = None
        return Failed(body.error, state, body.writes)
    if graph is None:
        raise UnknownGraph(
            f"thread {run.thread!r} is of graph {view.graph!r}, which this app doesn't have; give it to open_app"
        )
    return Finished(graph.schema.load(view.state))


async def _paused(store: Store, clock: Clock, run: Run) -> Outcome | None:
    """Paused, if the thread rests and waits for somebody; None if it is still going (or waits for time or a child).

    A thread that waits for a child which waits for somebody waits for that one too. A thread that is set aside waits
    for somebody to take it back.
    """
    row = await store.thread(run.thread)
    if row is None or row.owner or (row.status not in ("waiting", "diverged") and not row.aside):
        return None
    if row.wake_at is not None and row.wake_at <= clock.now() and not row.aside:
        return None
    view = (await load_view(store, run.thread)).view
    if view.run is None or view.run.number != run.number:
        return Paused([], aside=row.aside) if row.aside else None
    # What a run that is ending waits for is broken off, also when its worker has yet to come to that: all but its undoing.
    ending = view.run.cancel is not None or view.run.failing is not None
    steps = {s.id: s for s in view.run.steps.values() if not ending or s.undoes is not None}
    asked = [review for review in view.reviews.values() if review.step in steps]
    reviews = [review_of(run.thread, "open", review, []) for review in asked]
    waits = [x for s in steps.values() for x in s.effects.values() if x.status == "waiting"]
    signals = [x.name for x in waits if x.kind == "signal"]
    divergence = view.run.divergence.divergence if view.run.divergence else None
    if row.aside:
        return Paused(reviews, signals, divergence, row.aside)
    aside = ""
    for child in (x.child for x in waits if x.kind == "child"):
        below = await _paused(store, clock, Run(child, 1))
        if not isinstance(below, Paused):
            return None
        reviews, signals = reviews + below.reviews, signals + below.signals
        if below.aside and not aside:
            aside = f"child {child}: {below.aside}"
    return Paused(reviews, signals, divergence, aside) if reviews or signals or divergence or aside else None


async def run_row(store: Store, run: Run) -> RunRow:
    """The run's row, also of one that a fork shares. Raises `UnknownThread`, `UnknownRun`."""
    rows = await store.runs(run.thread)
    found = next((row for row in rows if row.run == run.number), None)
    if found is not None:
        return found
    row = await thread_row(store, run.thread)
    if row.base_thread is not None:  # a fork shares the runs that had ended before it
        shared = await run_row(store, Run(row.base_thread, run.number))
        if shared.end_seq is not None and shared.end_seq <= row.base_seq:
            return shared
    raise UnknownRun(f"thread {run.thread!r} has no run {run.number}; it has {row.run}")
