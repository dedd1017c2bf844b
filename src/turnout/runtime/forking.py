"""Fork: a new thread that shares another's journal up to an entry, and goes on by itself."""

from __future__ import annotations

from typing import Any

from turnout.core import entries as e
from turnout.core.graph import Graph
from turnout.core.view import ThreadView
from turnout.errors import ForkRefused, HeadMoved, InputInvalid, StaleWriter
from turnout.ports.clock import Clock
from turnout.ports.rows import KeyRow
from turnout.ports.store import Store
from turnout.runtime.journal import Journal
from turnout.runtime.outside import sound


async def fork(
    store: Store, clock: Clock, graph: Graph, view: ThreadView, name: str, update: dict[str, Any], by: str,
    keys: list[KeyRow] | None = None,
) -> None:  # fmt: skip
    """Make thread `name` from `view`, which is the parent folded up to the entry to fork at; `keys` are used for it.

    With an `update` the open steps start again on the edited state. One that has written already can't: the write
    was made for the state as it was. Raises `ForkRefused`, `InputInvalid`, or `KeyReused`.
    """
    parent, at = view.thread, view.seq
    if update and not view.started:
        raise ForkRefused(
            f"entry {at} lies before the start of the first run, where there is no state to edit yet; fork at entry "
            f"{at + 1} or later, or start another thread with another input"
        )
    delta = graph.schema.delta(view.state, update, "the fork's update", InputInvalid) if update else {}
    for step in view.run.steps.values() if view.run and delta else ():
        written = next((x for x in step.effects.values() if x.write), None)
        if written is not None:
            raise ForkRefused(
                f"entry {at} lies inside step {step.id}, which has called {written.name} already, so its state can't be "
                f"edited there; fork at entry {step.seq} or before, or after the step has ended"
            )
    journal = Journal(store, clock, view, 0)
    view.thread = name
    run = view.run.number if view.run else view.runs
    journal.stage(sound([e.Draft(run, "", e.ThreadForked(parent=parent, at=at, delta=delta, by=by))]))
    try:
        await journal.commit(wake=clock.now(), base=(parent, at), keys=keys, opened=True)
    except (HeadMoved, StaleWriter):  # the latter when that thread has been claimed already
        raise ForkRefused(f"there is a thread {name!r} already; give the fork another name") from None
