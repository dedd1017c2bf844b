"""What an entry about a step or a route does to a view: where the branches go, and what the steps write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from turnout.core import entries as e
from turnout.core import taint
from turnout.core.effects import Effect
from turnout.core.reducers import Delta, apply_delta
from turnout.core.taint import Labels
from turnout.core.view import END, BranchView, Landing, RunView, StepView, ThreadView, active_run


def step_id(branch: BranchView, node: str) -> str:
    """The id of the next step of `node` in `branch`: "pay.2", or "pay.1@1.0" in a parallel branch."""
    visit = branch.visits.get(node, 0) + 1
    return f"{node}.{visit}@{branch.path}" if branch.path else f"{node}.{visit}"


def _activate(
    run: RunView, branch: BranchView, node: str, entry: e.Entry, item: Any = None, labels: Sequence[str] = ()
) -> None:
    fanned = bool(branch.path) and branch.join == ""
    step = StepView(
        id=step_id(branch, node), node=node, branch=branch.path, seq=entry.seq, item=item, fanned=fanned,
        taint=list(labels), at=entry.at,
    )  # fmt: skip
    branch.visits[node] = branch.visits.get(node, 0) + 1
    branch.phase, branch.step = "step", step.id
    run.steps[step.id] = step
    run.steps_taken += 1


def _decision(view: ThreadView, entry: e.Entry, body: e.Decision) -> None:
    run = active_run(view)
    branch = run.branches[body.branch]
    branch.fan_out, branch.taint = None, []
    if body.split is not None:
        branch.splits += 1
        branch.phase, branch.step = "split", ""
        # After a fan-out the route of the node that ran per item comes next; after branches, their join.
        branch.join = body.split.join
        branch.at = body.split.nodes[0] if body.split.join is None else body.split.join
        items = body.split.items
        doc, labels = view.doc(branch.path), view.labels_of(branch.path)
        for i, node in enumerate(
            body.split.nodes if body.split.join is not None else body.split.nodes * len(items)
        ):
            path = f"{branch.path}/{branch.splits}.{i}" if branch.path else f"{branch.splits}.{i}"
            child = BranchView(path=path, doc=doc, join=body.split.join or "", labels=labels)
            run.branches[path] = child
            branch.children.append(path)
            _activate(run, child, node, entry, items[i] if items else None, body.taint if items else ())
    elif body.target == END or (branch.path and body.target == branch.join):
        branch.phase, branch.step = "arrived", ""
    elif body.target.endswith("/" + END):  # the end of a subgraph: the route after it comes next
        branch.phase, branch.at = "route", body.target.removesuffix("/" + END)
    else:
        _activate(run, branch, body.target, entry)


def _change(
    view: ThreadView, branch: BranchView, who: str, delta: Delta, labels: Labels, *, private: bool = False
) -> None:
    """Write into the branch's document, whose labels then are `labels`."""
    if not branch.path:  # the branches of a split share what was there when it was made
        view.state = apply_delta(view.state, delta, private=private and len(active_run(view).branches) == 1)
        view.labels = labels
    elif branch.doc is not None:
        branch.doc = apply_delta(branch.doc, delta)
        branch.labels = labels
        branch.deltas.append((who, delta))


def step_finished(view: ThreadView, entry: e.Entry, body: e.StepFinished, *, private: bool = False) -> None:
    run = active_run(view)
    step = run.steps.pop(entry.step)
    branch = run.branches[step.branch]
    _remember_writes(run, step)
    labels = view.labels_of(branch.path)
    if labels or body.taint:
        labels = taint.written(labels, body.delta, lambda name: body.taint)
    _change(view, branch, step.node, body.delta, labels, private=private)
    branch.at, branch.fan_out = step.node, body.fan_out
    branch.taint = body.taint if body.fan_out is not None else []
    # A branch of a fan-out is one step long: the route after it is taken once, when all items are in.
    branch.phase = "arrived" if branch.path and branch.join == "" else "route"


def _step_failed(view: ThreadView, entry: e.Entry, body: e.StepFailed) -> None:
    run = active_run(view)
    if body.retry_at is None:
        step = run.steps.pop(entry.step)
        run.failing = run.failing or body.error
        run.taint = sorted({*run.taint, *body.taint})
        run.branches[step.branch].phase = "dead"
        _remember_writes(run, step)
        withdraw(view, step)
        for other in run.steps.values():
            other.progress += 1
        return
    step = run.steps[entry.step]
    step.attempt, step.retry_at = body.attempt + 1, body.retry_at
    step.progress += 1
    # The next attempt keeps what was answered, and asks again what failed. Since what it asks again may turn out
    # otherwise, it need not take the same way; but what has been written must be claimed.
    step.effects = {at: x for at, x in step.effects.items() if x.status != "failed"}
    step.attempts = {}  # a model call that was cut off begins anew
    for effect in step.effects.values():
        effect.earlier = not effect.write


def _step_cancelled(view: ThreadView, entry: e.Entry, body: e.StepCancelled) -> None:
    run = active_run(view)
    step = run.steps.pop(entry.step)
    run.branches[step.branch].phase = "dead"
    _remember_writes(run, step)
    withdraw(view, step)


def withdraw(view: ThreadView, step: StepView) -> None:
    """Nobody is asked any more what a step that is over wanted to know."""
    view.reviews = {key: review for key, review in view.reviews.items() if review.step != step.id}


def _remember_writes(run: RunView, step: StepView) -> None:
    known = {"done": "landed", "held": "landed", "absent": "did_not_happen", "failed": "did_not_happen"}
    for effect in step.effects.values():
        if effect.write:
            outcome = known.get(effect.status, "unknown")
            run.writes.append(e.WriteKnown(step.id, effect.name, outcome, effect.idempotency_key))
            if effect.undo and outcome != "did_not_happen":
                run.landings.append(_landing(step, effect, known=outcome == "landed"))


def _landing(step: StepView, effect: Effect, known: bool) -> Landing:
    return Landing(
        step=step.id, name=effect.name, undo=effect.undo, key=effect.key, n=effect.n, seq=effect.landed or effect.seq,
        args=effect.args, result=effect.result if known else None, idempotency_key=effect.idempotency_key, known=known,
        error=None if known else effect.error,
    )  # fmt: skip


def _joined(view: ThreadView, entry: e.Entry, body: e.BranchesJoined) -> None:
    run = active_run(view)
    branch = run.branches[body.branch]
    parts = [
        (run.branches[path].labels, [delta for _, delta in run.branches[path].deltas])
        for path in branch.children
    ]
    labels = taint.joined(view.labels_of(branch.path), body.delta, parts)
    for path in branch.children:
        for gone in [p for p in run.branches if p == path or p.startswith(path + "/")]:
            del run.branches[gone]
    _change(view, branch, "join", body.delta, labels)
    branch.children = []
    branch.phase = "route" if branch.join is None else "join"
    if branch.path:
        branch.join = _own_join(run, branch)


def _own_join(run: RunView, branch: BranchView) -> str | None:
    """Where a nested branch itself is to arrive: what its parent's split said."""
    parent = branch.path.rpartition("/")[0]
    join = run.branches[parent].join
    return join if join is not None else ""


STEPS: dict[str, Callable[[ThreadView, e.Entry, Any], None]] = {
    "decision": _decision,
    "step.finished": step_finished,
    "step.failed": _step_failed,
    "step.cancelled": _step_cancelled,
    "branches.joined": _joined,
}
