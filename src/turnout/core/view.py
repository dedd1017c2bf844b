"""The fold: what a thread's journal adds up to.

`apply(view, entry)` is the only thing that changes a view. It needs no graph and runs none of the user's code, so a
journal can be folded anywhere: by the loop, by `turnout show`, by a verifier. It changes the view it is given (a
view has one owner) and gives it back; `clone` makes a second one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from turnout.core import entries as e
from turnout.core.effects import Effect, slot
from turnout.core.state import Delta, Doc, apply_delta
from turnout.errors import JournalDamaged

END = "END"


class Opinion(msgspec.Struct, omit_defaults=True):
    """One person's decision on a review that is still open."""

    by: str
    decision: str
    comment: str = ""


class ReviewView(msgspec.Struct, omit_defaults=True):
    """An open review. `shown` is the digest of what a decision must be about; an edit changes it."""

    id: str
    run: int
    step: str
    slot: str
    name: str
    purpose: str
    payload: Any
    allowed: list[str]
    roles: list[str]
    quorum: int
    separate: bool
    requester: str
    shown: str
    asked_at: e.Micros
    seq: int
    due_at: e.Micros | None = None
    on_due: str = ""
    escalate_to: list[str] = []
    opinions: list[Opinion] = []
    edited: bool = False


class StepView(msgspec.Struct, omit_defaults=True):
    """An open step. `progress` counts what has arrived for it since it began: a resting step is run again when it
    has grown."""

    id: str
    node: str
    branch: str
    seq: int
    attempt: int = 1
    item: Any = None
    fanned: bool = False  # it is a step of a fan-out, one per item
    retry_at: e.Micros | None = None
    effects: dict[str, Effect] = {}
    progress: int = 0


class BranchView(msgspec.Struct, omit_defaults=True):
    """One line of execution. `phase`: start, step, route, split, join, arrived or dead.

    `at` is the node whose route comes next (or, in phase join, the node to go on with). The root branch has path ""
    and no document of its own: it writes the thread's state.
    """

    path: str
    phase: str = "start"
    at: str = ""
    step: str = ""
    doc: Doc | None = None
    deltas: list[tuple[str, Delta]] = []
    visits: dict[str, int] = {}
    splits: int = 0
    children: list[str] = []
    join: str | None = None
    fan_out: e.FanOut | None = None


class RunView(msgspec.Struct, omit_defaults=True):
    """The active run."""

    number: int
    graph: str
    fingerprint: str
    started_at: e.Micros
    by: str = ""
    parent: str = ""
    deadline: e.Micros | None = None
    steps_taken: int = 0
    branches: dict[str, BranchView] = {}
    steps: dict[str, StepView] = {}
    cancel: e.CancelRequested | None = None
    failing: e.ErrorInfo | None = None
    divergence: e.RunDiverged | None = None
    writes: list[e.WriteKnown] = []


class Queued(msgspec.Struct, omit_defaults=True):
    """An input that waits for its run."""

    run: int
    graph: str
    input: dict[str, Any]
    by: str = ""
    parent: str = ""
    cancel: e.CancelRequested | None = None


class Ended(msgspec.Struct, omit_defaults=True):
    """How the last run ended: finished, failed or cancelled."""

    run: int
    status: str
    seq: int
    error: e.ErrorInfo | None = None
    parent: str = ""


class Signal(msgspec.Struct, omit_defaults=True):
    name: str
    payload: Any = None


class ThreadView(msgspec.Struct, omit_defaults=True):
    """A thread as its journal says it is, after entry `seq` with `digest` (hex)."""

    thread: str
    seq: int = 0
    digest: str = e.GENESIS.hex()
    graph: str = ""
    state: Doc = {}
    run: RunView | None = None
    queue: list[Queued] = []
    runs: int = 0
    last: Ended | None = None
    reviews: dict[str, ReviewView] = {}
    signals: list[Signal] = []
    started: bool = False

    def doc(self, path: str) -> Doc:
        """The document that the branch at `path` sees."""
        branch = self.run.branches[path] if self.run and path else None
        return branch.doc if branch is not None and branch.doc is not None else self.state

    @property
    def status(self) -> str:
        """idle, running, waiting, diverged: the state of the thread in one word (`last` says how its last run ended)."""
        if self.run is None:
            return "running" if self.queue else (self.last.status if self.last else "idle")
        if self.run.divergence:
            return "diverged"
        return "waiting" if waiting(self.run) else "running"


def waiting(run: RunView) -> bool:
    """Does every open step wait for something outside?"""
    steps = run.steps.values()
    return bool(steps) and all(s.retry_at or any(map(_outstanding, s.effects.values())) for s in steps)


def _outstanding(effect: Effect) -> bool:
    """Is its answer still to come? Of a write with an unknown outcome: from a person, or on a later look."""
    if effect.status in ("intended", "unknown"):
        return bool(effect.review) or effect.due_at is not None
    return effect.status == "waiting"


def clone(view: ThreadView) -> ThreadView:
    """A view that shares nothing changeable with `view`."""
    return msgspec.convert(msgspec.to_builtins(view), ThreadView)


def fold(view: ThreadView, entries: Iterable[e.Entry]) -> ThreadView:
    """`view` after `entries`, which must be nobody else's: long lists of the state are extended where they are."""
    for entry in entries:
        apply(view, entry, private=True)
    return view


def apply(view: ThreadView, entry: e.Entry, *, private: bool = False) -> ThreadView:
    """`view` after `entry`. Raises `JournalDamaged` when the entry can't follow.

    `private`: nobody else holds anything of view or entry (see `fold`).
    """
    if entry.seq != view.seq + 1:
        raise JournalDamaged(
            f"thread {view.thread}: entry {entry.seq} follows entry {view.seq}; run `turnout verify`"
        )
    try:
        if private and isinstance(entry.body, e.StepFinished):
            _step_finished(view, entry, entry.body, private=True)
        else:
            _HANDLERS[entry.kind](view, entry, entry.body)
    except (KeyError, IndexError, AttributeError, StopIteration) as error:
        raise JournalDamaged(
            f"thread {view.thread}: entry {entry.seq} ({entry.kind}) doesn't fit what was before it ({error!r}); "
            f"run `turnout verify`"
        ) from error
    view.seq = entry.seq
    view.digest = entry.digest.hex()
    return view


def _run(view: ThreadView) -> RunView:
    if view.run is None:
        raise KeyError("no run is active")
    return view.run


def _step(view: ThreadView, entry: e.Entry) -> StepView:
    return _run(view).steps[entry.step]


def _settle(
    step: StepView, at: str, status: str, result: Any = None, error: e.ErrorInfo | None = None
) -> None:
    effect = step.effects[at]
    effect.status, effect.result, effect.error = status, result, error
    step.progress += 1


# --- runs --------------------------------------------------------------------------------------------------


def _input(view: ThreadView, entry: e.Entry, body: e.InputReceived) -> None:
    view.graph = body.graph
    view.runs = entry.run
    view.queue.append(
        Queued(run=entry.run, graph=body.graph, input=body.input, by=body.by, parent=body.parent)
    )


def _cancel(view: ThreadView, entry: e.Entry, body: e.CancelRequested) -> None:
    if view.run is not None and view.run.number == entry.run:
        view.run.cancel = view.run.cancel or body
        for step in view.run.steps.values():
            step.progress += 1
    for queued in view.queue:
        if queued.run == entry.run:
            queued.cancel = body


def _run_started(view: ThreadView, entry: e.Entry, body: e.RunStarted) -> None:
    queued = view.queue.pop(0)
    view.started = True
    view.state = apply_delta(view.state, body.delta)
    view.run = RunView(
        number=entry.run, graph=body.graph, fingerprint=body.fingerprint, started_at=entry.at, by=queued.by,
        parent=queued.parent, deadline=body.deadline, branches={"": BranchView(path="")},
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
    run = _run(view)
    run.failing = run.failing or body.error
    for step in run.steps.values():
        step.progress += 1


def _diverged(view: ThreadView, entry: e.Entry, body: e.RunDiverged) -> None:
    _run(view).divergence = body


def _adopted(view: ThreadView, entry: e.Entry, body: e.RunAdopted) -> None:
    run = _run(view)
    run.fingerprint, run.divergence = body.fingerprint, None
    view.state = apply_delta(view.state, body.delta)


def _migrated(view: ThreadView, entry: e.Entry, body: e.RunMigrated) -> None:
    run = _run(view)
    run.fingerprint, run.divergence = body.fingerprint, None
    view.state = body.state
    for step in run.steps.values():
        step.node = body.nodes.get(step.node, step.node)
        step.effects, step.retry_at, step.attempt, step.seq = {}, None, 1, entry.seq  # it begins again, here
        step.progress += 1
    view.reviews = {}


def _forked(view: ThreadView, entry: e.Entry, body: e.ThreadForked) -> None:
    """Who was asked by the parent is not asked by the fork: reviews and children are asked for anew."""
    view.thread = entry.thread
    view.reviews, view.signals = {}, []
    for queued in view.queue:
        queued.parent = ""
    if body.delta:
        view.state = apply_delta(view.state, body.delta)
    if view.run is None:
        return
    for step in view.run.steps.values():
        step.progress += 1
        if body.delta:  # what was answered was answered about another state
            step.effects = {}
        else:
            asked = ("review", "child", "signal")
            step.effects = {
                k: x for k, x in step.effects.items() if x.status != "waiting" or x.kind not in asked
            }
        for effect in step.effects.values():
            effect.review = ""


# --- routing ------------------------------------------------------------------------------------------------


def step_id(branch: BranchView, node: str) -> str:
    """The id of the next step of `node` in `branch`: "pay.2", or "pay.1@1.0" in a parallel branch."""
    visit = branch.visits.get(node, 0) + 1
    return f"{node}.{visit}@{branch.path}" if branch.path else f"{node}.{visit}"


def _activate(run: RunView, branch: BranchView, node: str, seq: int, item: Any = None) -> None:
    fanned = bool(branch.path) and branch.join == ""
    step = StepView(
        id=step_id(branch, node), node=node, branch=branch.path, seq=seq, item=item, fanned=fanned
    )
    branch.visits[node] = branch.visits.get(node, 0) + 1
    branch.phase, branch.step = "step", step.id
    run.steps[step.id] = step
    run.steps_taken += 1


def _decision(view: ThreadView, entry: e.Entry, body: e.Decision) -> None:
    run = _run(view)
    branch = run.branches[body.branch]
    branch.fan_out = None
    if body.split is not None:
        branch.splits += 1
        branch.phase, branch.step = "split", ""
        # After a fan-out the route of the node that ran per item comes next; after branches, their join.
        branch.join = body.split.join
        branch.at = body.split.nodes[0] if body.split.join is None else body.split.join
        items = body.split.items
        doc = view.doc(branch.path)
        for i, node in enumerate(
            body.split.nodes if body.split.join is not None else body.split.nodes * len(items)
        ):
            path = f"{branch.path}/{branch.splits}.{i}" if branch.path else f"{branch.splits}.{i}"
            child = BranchView(path=path, doc=doc, join=body.split.join or "")
            run.branches[path] = child
            branch.children.append(path)
            _activate(run, child, node, entry.seq, items[i] if items else None)
    elif body.target == END or (branch.path and body.target == branch.join):
        branch.phase, branch.step = "arrived", ""
    elif body.target.endswith("/" + END):  # the end of a subgraph: the route after it comes next
        branch.phase, branch.at = "route", body.target.removesuffix("/" + END)
    else:
        _activate(run, branch, body.target, entry.seq)


def _change(view: ThreadView, branch: BranchView, who: str, delta: Delta, *, private: bool = False) -> None:
    if not branch.path:  # the branches of a split share what was there when it was made
        view.state = apply_delta(view.state, delta, private=private and len(_run(view).branches) == 1)
    elif branch.doc is not None:
        branch.doc = apply_delta(branch.doc, delta)
        branch.deltas.append((who, delta))


def _step_finished(view: ThreadView, entry: e.Entry, body: e.StepFinished, *, private: bool = False) -> None:
    run = _run(view)
    step = run.steps.pop(entry.step)
    branch = run.branches[step.branch]
    _remember_writes(run, step)
    _change(view, branch, step.node, body.delta, private=private)
    branch.at, branch.fan_out = step.node, body.fan_out
    # A branch of a fan-out is one step long: the route after it is taken once, when all items are in.
    branch.phase = "arrived" if branch.path and branch.join == "" else "route"


def _step_failed(view: ThreadView, entry: e.Entry, body: e.StepFailed) -> None:
    run = _run(view)
    if body.retry_at is None:
        step = run.steps.pop(entry.step)
        run.failing = run.failing or body.error
        run.branches[step.branch].phase = "dead"
        _remember_writes(run, step)
        _withdraw(view, step)
        for other in run.steps.values():
            other.progress += 1
        return
    step = run.steps[entry.step]
    step.attempt, step.retry_at = body.attempt + 1, body.retry_at
    step.progress += 1
    # The next attempt keeps what was answered, and asks again what failed. Since what it asks again may turn out
    # otherwise, it need not take the same way; but what has been written must be claimed.
    step.effects = {at: x for at, x in step.effects.items() if x.status != "failed"}
    for effect in step.effects.values():
        effect.earlier = not effect.write


def _step_cancelled(view: ThreadView, entry: e.Entry, body: e.StepCancelled) -> None:
    run = _run(view)
    step = run.steps.pop(entry.step)
    run.branches[step.branch].phase = "dead"
    _remember_writes(run, step)
    _withdraw(view, step)


def _withdraw(view: ThreadView, step: StepView) -> None:
    view.reviews = {key: review for key, review in view.reviews.items() if review.step != step.id}


def _remember_writes(run: RunView, step: StepView) -> None:
    known = {"done": "landed", "absent": "did_not_happen", "failed": "did_not_happen"}
    for effect in step.effects.values():
        if effect.write:
            outcome = known.get(effect.status, "unknown")
            run.writes.append(e.WriteKnown(step.id, effect.name, outcome, effect.idempotency_key))


def _joined(view: ThreadView, entry: e.Entry, body: e.BranchesJoined) -> None:
    run = _run(view)
    branch = run.branches[body.branch]
    for path in branch.children:
        for gone in [p for p in run.branches if p == path or p.startswith(path + "/")]:
            del run.branches[gone]
    _change(view, branch, "join", body.delta)
    branch.children = []
    branch.phase = "route" if branch.join is None else "join"
    if branch.path:
        branch.join = _own_join(run, branch)


def _own_join(run: RunView, branch: BranchView) -> str | None:
    """Where a nested branch itself is to arrive: what its parent's split said."""
    parent = branch.path.rpartition("/")[0]
    join = run.branches[parent].join
    return join if join is not None else ""


# --- effects ------------------------------------------------------------------------------------------------


def _recorded(view: ThreadView, entry: e.Entry, body: e.EffectRecorded) -> None:
    _step(view, entry).effects[slot(body.key, body.n)] = Effect(
        kind=body.effect, name=body.name, key=body.key, n=body.n, seq=entry.seq,
        status="failed" if body.error else "done", result=body.result, error=body.error,
    )  # fmt: skip


def _intended(view: ThreadView, entry: e.Entry, body: e.EffectIntended) -> None:
    effects = _step(view, entry).effects
    at = slot(body.key, body.n)
    before = effects.get(at)  # there when it is sent again
    effects[at] = Effect(
        kind=body.effect, name=body.name, key=body.key, n=body.n, seq=entry.seq, status="intended", write=True,
        args=body.args, idempotency_key=body.idempotency_key, tries=before.tries if before else 0,
    )  # fmt: skip


_OUTCOMES = {"landed": "done", "did_not_happen": "absent", "unknown": "unknown"}


def _settled(view: ThreadView, entry: e.Entry, body: e.EffectSettled) -> None:
    step = _step(view, entry)
    at = slot(body.key, body.n)
    status = _OUTCOMES[body.outcome]
    if status == "absent" and body.how == "call":
        status = "failed"  # the tool itself said so, and the node was told
    _settle(step, at, status, body.result, body.error)
    effect = step.effects[at]
    effect.due_at = body.retry_at
    effect.tries += 1


def _review_requested(view: ThreadView, entry: e.Entry, body: e.ReviewRequested) -> None:
    step = _step(view, entry)
    at = slot(body.key, body.n)
    if body.purpose == "outcome":
        step.effects[at].review = body.review
        step.effects[at].due_at = None
    else:
        step.effects[at] = Effect(
            kind="review",
            name=body.name,
            key=body.key,
            n=body.n,
            seq=entry.seq,
            status="waiting",
            review=body.review,
        )
    view.reviews[body.review] = ReviewView(
        id=body.review, run=entry.run, step=entry.step, slot=at, name=body.name, purpose=body.purpose,
        payload=body.payload, allowed=list(body.allowed), roles=list(body.roles), quorum=body.quorum,
        separate=body.separate, requester=body.requester, shown=body.shown, asked_at=entry.at, seq=entry.seq,
        due_at=body.due_at, on_due=body.on_due, escalate_to=list(body.escalate_to),
    )  # fmt: skip


def _review_decided(view: ThreadView, entry: e.Entry, body: e.ReviewDecided) -> None:
    review = view.reviews[body.review]
    if body.decision == "edit":  # what others said was about other content
        review.opinions, review.edited, review.payload = [], True, body.payload
    review.shown = body.shown
    review.opinions.append(Opinion(by=body.by, decision=body.decision, comment=body.comment))
    if not body.outcome:
        return
    _close(view, review, body.outcome, body.payload, body.comment)


def _review_lapsed(view: ThreadView, entry: e.Entry, body: e.ReviewLapsed) -> None:
    review = view.reviews[body.review]
    if body.action == "escalate":
        review.roles, review.due_at, review.on_due = list(body.roles), None, ""
    else:
        _close(view, review, body.action, review.payload, "the due time passed")


def _close(view: ThreadView, review: ReviewView, outcome: str, payload: Any, comment: str) -> None:
    step = _run(view).steps[review.step]
    del view.reviews[review.id]
    if review.purpose == "outcome":
        landed = outcome == "landed"
        _settle(step, review.slot, "done" if landed else "absent", payload if landed else None)
        step.effects[review.slot].review = ""
        return
    result = {
        "decision": "edit" if outcome == "approve" and review.edited else outcome,
        "by": [opinion.by for opinion in review.opinions],
        "payload": payload,
        "comment": comment,
        "comments": [opinion.comment for opinion in review.opinions if opinion.comment],
    }
    _settle(step, review.slot, "done", result)


def _timer_set(view: ThreadView, entry: e.Entry, body: e.TimerSet) -> None:
    _step(view, entry).effects[slot(body.key, body.n)] = Effect(
        kind="sleep", name="", key=body.key, n=body.n, seq=entry.seq, status="waiting", due_at=body.due_at
    )


def _timer_fired(view: ThreadView, entry: e.Entry, body: e.TimerFired) -> None:
    _settle(_step(view, entry), slot(body.key, body.n), "done")


def _signal_awaited(view: ThreadView, entry: e.Entry, body: e.SignalAwaited) -> None:
    step = _step(view, entry)
    at = slot(body.key, body.n)
    step.effects[at] = Effect(
        kind="signal", name=body.name, key=body.key, n=body.n, seq=entry.seq, status="waiting"
    )
    for i, signal in enumerate(view.signals):
        if signal.name == body.name:
            del view.signals[i]
            _settle(step, at, "done", signal.payload)
            return


def _signal_received(view: ThreadView, entry: e.Entry, body: e.SignalReceived) -> None:
    waiting = [
        (effect.seq, step, at)
        for step in (view.run.steps.values() if view.run else ())
        for at, effect in step.effects.items()
        if effect.kind == "signal" and effect.status == "waiting" and effect.name == body.name
    ]
    if waiting:  # who has waited longest gets it
        _, step, at = min(waiting, key=lambda found: found[0])
        _settle(step, at, "done", body.payload)
    else:
        view.signals.append(Signal(name=body.name, payload=body.payload))


def _child_started(view: ThreadView, entry: e.Entry, body: e.ChildStarted) -> None:
    _step(view, entry).effects[slot(body.key, body.n)] = Effect(
        kind="child", name=body.graph, key=body.key, n=body.n, seq=entry.seq, status="waiting", child=body.child,
        args=body.input,
    )  # fmt: skip


def _child_ended(view: ThreadView, entry: e.Entry, body: e.ChildEnded) -> None:
    for step in _run(view).steps.values():
        for at, effect in step.effects.items():
            if effect.child == body.child and effect.status == "waiting":
                _settle(step, at, "failed" if body.error else "done", body.state, body.error)
                effect.args = None
                return


_HANDLERS: dict[str, Callable[[ThreadView, e.Entry, Any], None]] = {
    "input.received": _input,
    "cancel.requested": _cancel,
    "signal.received": _signal_received,
    "review.decided": _review_decided,
    "child.ended": _child_ended,
    "thread.forked": _forked,
    "run.started": _run_started,
    "decision": _decision,
    "step.finished": _step_finished,
    "step.failed": _step_failed,
    "step.cancelled": _step_cancelled,
    "branches.joined": _joined,
    "run.failing": _failing,
    "run.finished": _ended("finished"),
    "run.failed": _ended("failed"),
    "run.cancelled": _ended("cancelled"),
    "run.diverged": _diverged,
    "run.adopted": _adopted,
    "run.migrated": _migrated,
    "effect.recorded": _recorded,
    "effect.intended": _intended,
    "effect.settled": _settled,
    "review.requested": _review_requested,
    "review.lapsed": _review_lapsed,
    "timer.set": _timer_set,
    "timer.fired": _timer_fired,
    "signal.awaited": _signal_awaited,
    "child.started": _child_started,
}
