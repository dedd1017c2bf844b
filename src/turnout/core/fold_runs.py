"""What an entry about a run does to a view: its input, begin and end, its versions, and a fork."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from turnout.core import entries as e
from turnout.core import taint
from turnout.core.amounts import NOTHING
from turnout.core.reducers import Delta, apply_delta
from turnout.core.taint import Labels
from turnout.core.view import BranchView, Ended, Queued, RunView, Signal, ThreadView, active_run


def _input(view: ThreadView, entry: e.Entry, body: e.InputReceived) -> None:
    if not view.runs:
        view.tenant = body.tenant
    view.graph = body.graph
    view.runs = entry.run
    view.queue.append(
        Queued(
            run=entry.run, graph=body.graph, input=body.input, by=body.by, parent=body.parent, at=body.at,
            priority=body.priority, taint=body.taint, root=body.root, traceparent=body.traceparent,
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
    if view.labels or body.taint:
        view.labels = taint.written(view.labels, body.delta, lambda name: body.taint.get(name, ()))
    view.run = RunView(
        number=entry.run, graph=body.graph, fingerprint=body.fingerprint, started_at=entry.at, by=queued.by,
        parent=queued.parent, deadline=body.deadline, branches={"": BranchView(path="")}, priority=queued.priority,
        root=queued.root, traceparent=queued.traceparent,
    )  # fmt: skip


def _ended(status: str) -> Callable[[ThreadView, e.Entry, Any], None]:
    def handler(view: ThreadView, entry: e.Entry, body: e.RunFinished | e.RunFailed | e.RunCancelled) -> None:
        if view.run is not None and view.run.number == entry.run:
            parent, met, view.run, view.reviews = view.run.parent, view.run.taint, None, {}
        else:  # it ended before it began: a cancelled or unusable input
            parent, met = next((q.parent, q.taint) for q in view.queue if q.run == entry.run)
            view.queue = [queued for queued in view.queue if queued.run != entry.run]
        error = getattr(body, "error", None)
        view.last = Ended(run=entry.run, status=status, seq=entry.seq, error=error, parent=parent, taint=met)

    return handler


def _failing(view: ThreadView, entry: e.Entry, body: e.RunFailing) -> None:
    run = active_run(view)
    run.failing = run.failing or body.error
    for step in run.steps.values():
        step.progress += 1


def _diverged(view: ThreadView, entry: e.Entry, body: e.RunDiverged) -> None:
    active_run(view).divergence = body


def _change_all(view: ThreadView, delta: Delta, labels: Labels | None = None) -> None:
    """Change the state, and what every parallel branch has of it. `labels` are those of what the delta holds."""

    def of(name: str) -> list[str]:
        return (labels or {}).get(name, [])

    view.state = apply_delta(view.state, delta)
    view.labels = taint.written(view.labels, delta, of)
    for branch in view.run.branches.values() if view.run else ():
        if branch.doc is not None:
            branch.doc = apply_delta(branch.doc, delta)
            # A person's word is the same in every branch. What a new schema makes of a value stays what it was there.
            branch.labels = taint.written(
                branch.labels, delta, of if labels is None else _either(branch.labels, of)
            )


def _either(own: Labels, of: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    return lambda name: [*own.get(name, ()), *of(name)]


def _adopted(view: ThreadView, entry: e.Entry, body: e.RunAdopted) -> None:
    run = active_run(view)
    run.fingerprint, run.divergence = body.fingerprint, None
    _change_all(view, body.delta, body.taint)


def _migrated(view: ThreadView, entry: e.Entry, body: e.RunMigrated) -> None:
    run = active_run(view)
    run.fingerprint, run.divergence = body.fingerprint, None
    if view.labels:  # what the migration made of the old state may come from any field of it
        changed = {name: None for name in body.state if view.state.get(name, ...) != body.state[name]}
        gone = {name: None for name in view.state if name not in body.state}
        everything = taint.union(view.labels)
        view.labels = taint.written(view.labels, {"set": changed, "drop": gone}, lambda name: everything)
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
        step.approvals, step.findings, step.cleared, step.topups = {}, {}, {}, {}
        step.at = entry.at
        step.progress += 1
    view.reviews = {}


def _forked(view: ThreadView, entry: e.Entry, body: e.ThreadForked) -> None:
    """Who was asked by the parent is not asked by the fork: reviews and children are asked for anew."""
    view.thread = entry.thread
    view.reviews, view.signals = {}, []
    for queued in view.queue:
        queued.parent = queued.root = ""
    _change_all(view, body.delta)
    if view.run is None:
        return
    # What was spent and is reserved is the parent's: a fork pays for its own calls. What the parent has written, or was
    # about to write, is the parent's to send and to undo.
    run = view.run
    run.root, run.spent, run.reserved = "", NOTHING, {}
    run.landings, run.undone = [], 0
    run.steps = {name: step for name, step in run.steps.items() if step.undoes is None}
    for step in run.steps.values():
        step.progress += 1
        step.approvals, step.cleared, step.topups = {}, {}, {}  # one yes is for one call: the parent's
        step.attempts = {}  # a model call that the parent was in the middle of begins anew, with all its time
        if body.delta:  # what was answered was answered about another state
            step.effects = {}
        else:
            step.effects = {
                k: x for k, x in step.effects.items() if x.status != "waiting" or x.kind == "sleep"
            }
        step.findings = {k: found for k, found in step.findings.items() if k in step.effects}
        for effect in step.effects.values():
            effect.review = effect.undo = ""
            effect.of_parent = effect.write


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
