"""Inputs: may a thread start with this one? Checked by whoever writes it, before anything is written."""

from __future__ import annotations

from typing import Any

from turnout.core.decide import carry
from turnout.core.entries import Micros
from turnout.core.graph import Graph
from turnout.core.messages import recorded
from turnout.core.view import ThreadView
from turnout.errors import InputInvalid


def check_input(graph: Graph, view: ThreadView, given: dict[str, Any], at: Micros = 0) -> None:
    """Refuse an input that the run could not start with. `at` is when it starts (0: as soon as it can)."""
    if view.graph and view.graph != graph.name:
        raise InputInvalid(
            f"thread {view.thread!r} is of graph {view.graph!r}, not {graph.name!r}; use another thread"
        )
    ahead = [queued.input for queued in view.queue if queued.cancel is None and (queued.at or 0) <= at]
    if not view.started and not ahead:
        graph.schema.first(given)
    elif not view.started:  # it is merged into what the first one makes
        with recorded():
            made = graph.schema.first(ahead[0])
        graph.schema.delta(made, given, "the input", InputInvalid)
    else:
        state = {**view.state, **carry(graph, view.state).get("set", {})}
        graph.schema.delta(state, given, "the input", InputInvalid)


def check_tenant(view: ThreadView, tenant: str) -> None:
    """A thread belongs to one tenant for life."""
    if view.runs and view.tenant != tenant:
        whose = f"belongs to tenant {view.tenant!r}" if view.tenant else "belongs to no tenant"
        raise InputInvalid(
            f"thread {view.thread!r} {whose}, and this input is of {f'tenant {tenant!r}' if tenant else 'none'}; use "
            f"another thread, or send it with that tenant"
        )


def active_runs(view: ThreadView, now: Micros | None = None) -> list[int]:
    """The numbers of the active run and of those in the queue; with `now` only of those whose time has come."""
    due = [q.run for q in view.queue if q.cancel is None and (now is None or (q.at or 0) <= now)]
    return ([view.run.number] if view.run else []) + due
