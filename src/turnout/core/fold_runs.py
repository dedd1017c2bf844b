"""What an entry about a run does to a view: its input, begin and end, its versions, and a fork."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from turnout.core import entries as e
from turnout.core.reducers import Delta, apply_delta
from turnout.core.view import BranchView, Ended, Queued, RunView, Signal, ThreadView, active_run


def _input(view: ThreadView, entry: e.Entry, body: e.InputReceived) -> None:
    if not view.runs:
        view.tenant = body.tenant
    view.graph = body.graph
    view.runs = entry.run
    view.queue.append(
        Queued(
            run=entry.run, graph=body.graph, input=body.input, by=body.by, parent=body.parent, at=body.at,
            priority=body.priority,
        )
    )  # fmt: skip


def _cancel(view: ThreadView, entry: e.Entry, body: e.CancelRequested) -> None:
    if view.run is not None and view.run.number == entry.run:
        view.run.cancel = view.run.cancel or body
        for step in view.run.steps.values():
            step.progress += 1
    for queued in view.queue:
        if queued.run == entry.run:
            queued.cancel = body


def _run_started(view: ThreadView, entry: e.Entry, body: e.RunStarted) -> None:
    queued = next(queued for queued in view.queue if queued.run == entry.run)
    view.queue.remove(queued)
    view.started = True
    view.state = apply_delta(view.state, body.delta)
    view.run = RunView(
        number=entry.run, graph=body.graph, fingerprint=body.fingerprint, started_at=entry.at, by=queued.by,
        parent=queued.parent, deadline=body.deadline, branches={"": BranchView(path="")}, priority=queued.priority,
    )  # fmt: skip


def _ended(status: str) -> Callable[[ThreadView, e.Entry, Any], None]:
    def handler(view: ThreadView, entry: e.Entry, body: e.RunFinished | e.RunFailed | e.RunCancelled) -> None:
        if view.run is not None and view.run.number == entry.run:
            parent, view.run, view.reviews = view.run.parent, None, {}
        else:  # it ended before it began: a cancelled or unusable input
            parent = next(queued.parent for queued in view.queue if queued.run == entry.run)
            view.queue = [queued for queued in view.queue if queued.run != entry.run]
        error = getattr(body, "error", None)
        view.last = Ended(run=entry.run, status=status, seq=entry.seq, error=error, parent=parent)

    return handler


def _failing(view: ThreadView, entry: e.Entry, body: e.RunFailing) -> None:
    run = active_run(view)
    run.failing = run.failing or body.error
    for step in run.steps.values():
        step.progress += 1


def _diverged(view: ThreadView, entry: e.Entry, body: e.RunDiverged) -> None:
    active_run(view).divergence = body


def _change_all(view: ThreadView, delta: Delta) -> None:
    """Change the state, and what every parallel branch has of it."""
    view.state = apply_delta(view.state, delta)
    for branch in view.run.branches.values() if view.run else ():
        if branch.doc is not None:
            branch.doc = apply_delta(branch.doc, delta)


def _adopted(view: ThreadView, entry: e.Entry, body: e.RunAdopted) -> None:
    run = active_run(view)
    run.fingerprint, run.divergence = body.fingerprint, None
    _change_all(view, body.delta)


def _migrated(view: ThreadView, entry: e.Entry, body: e.RunMigrated) -> None:
    run = active_run(view)
    run.fingerprint, run.divergence = body.fingerprint, None
    view.state = body.state
    # A signal that came in for what is asked anew is there again; people and children are asked anew.
    came = [
        x for s in run.steps.values() for x in s.effects.values() if x.kind == "signal" and x.status == "done"
    ]
    came.sort(key=lambda effect: effect.seq)
    view.signals = [Signal(name=x.name, payload=x.result) for x in came] + view.signals
    for step in run.steps.values():
        step.node = body.nodes.get(step.node, step.node)
        step.effects, step.retry_at, step.attempt, step.seq = {}, None, 1, entry.seq  # it begins again, here
        step.findings, step.cleared = {}, {}
        step.progress += 1
    view.reviews = {}


def _forked(view: ThreadView, entry: e.Entry, body: e.ThreadForked) -> None:
    """Who was asked by the parent is not asked by the fork: reviews and children are asked for anew."""
    view.thread = entry.thread
    view.reviews, view.signals = {}, []
    for queued in view.queue:
        queued.parent = ""
    _change_all(view, body.delta)
    if view.run is None:
        return
    # What the parent has written is the parent's to undo.
    run = view.run
    run.landings, run.undone = [], 0
    run.steps = {name: step for name, step in run.steps.items() if step.undoes is None}
    for step in run.steps.values():
        step.progress += 1
        if body.delta:  # what was answered was answered about another state
            step.effects = {}
        else:
            step.effects = {
                k: x for k, x in step.effects.items() if x.status != "waiting" or x.kind == "sleep"
            }
        for effect in step.effects.values():
            effect.review = effect.undo = ""


RUNS: dict[str, Callable[[ThreadView, e.Entry, Any], None]] = {
    "input.received": _input,
    "cancel.requested": _cancel,
    "thread.forked": _forked,
    "run.started": _run_started,
    "run.failing": _failing,
    "run.finished": _ended("finished"),
    "run.failed": _ended("failed"),
    "run.cancelled": _ended("cancelled"),
    "run.diverged": _diverged,
    "run.adopted": _adopted,
    "run.migrated": _migrated,
}
