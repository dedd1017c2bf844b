"""From entries to what has happened: runs, steps, effects and attempts of model calls, each with beginning and end.

A `Tracker` sees the entries that one process commits. It keeps what is open on the threads that this process drives, and
nothing of those that rest: what was open when it took a thread over it learns from the thread's view.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from turnout.core import entries as e
from turnout.core import tracing
from turnout.core.attempts import Attempt
from turnout.core.effects import slot
from turnout.core.tracing import Traced
from turnout.core.view import RunView, ThreadView

UNTOLD = frozenset(("now", "random", "uuid"))
"""Effects that are over before they have begun."""


@dataclass(slots=True)
class Open:
    """Something that has begun. `known`: the beginning was seen. `args` are those of a write."""

    at: e.Micros
    name: str = ""
    known: bool = True
    failures: int = 0
    args: Any = None


@dataclass(slots=True)
class Track:
    """Something that has ended. `kind`: run, step, effect, attempt, verdict or finding. `error` is a class name, empty when it went well.

    `facts` is what there is to say of it by kind: see where they are made.
    """

    kind: str
    name: str
    entry: e.Entry
    began: e.Micros
    at: Traced
    parent: str
    graph: str
    tenant: str
    error: str = ""
    known: bool = True
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(0, self.entry.at - self.began) / 1_000_000


@dataclass(slots=True)
class Thread:
    """What is open on a thread that this process drives."""

    graph: str
    tenant: str
    run: Run | None = None
    inputs: dict[int, tuple[str, int]] = field(default_factory=dict)  # traceparent and priority, by run


@dataclass(slots=True)
class Run:
    """The active run, and what is open in it."""

    number: int
    began: e.Micros
    at: Traced
    parent: str
    fingerprint: str
    priority: int
    steps: dict[str, Open] = field(default_factory=dict)
    nodes: dict[str, Open] = field(
        default_factory=dict
    )  # as decisions name them, with their branch and without
    effects: dict[tuple[str, str], Open] = field(default_factory=dict)  # by step and slot
    reviews: dict[str, tuple[str, Open]] = field(default_factory=dict)  # the step, by review
    attempted: set[tuple[str, str]] = field(default_factory=set)
    children: dict[str, tuple[str, Open]] = field(default_factory=dict)


class Tracker:
    """Follows the threads of one process."""

    def __init__(self) -> None:
        self._threads: dict[str, Thread] = {}

    def began(self, thread: str, opened: Thread) -> None:
        """The thread is driven here from now on."""
        self._threads[thread] = opened

    def rested(self, thread: str) -> None:
        """It isn't any more."""
        self._threads.pop(thread, None)

    def ended(self, entries: Sequence[e.Entry]) -> Iterator[Track]:
        """What the entries, all of one thread, bring to an end."""
        for entry in entries:
            thread = self._threads.setdefault(entry.thread, Thread("", ""))
            handle = _HANDLERS.get(entry.kind)
            if handle is not None:
                found = handle(thread, entry, entry.body)
                if found is not None:
                    yield found
                if entry.kind in _RUN_ENDS:
                    thread.run = None


def opened(view: ThreadView) -> Thread:
    """What is open on a thread as it is now: all that a `Tracker` wants to know of it."""
    found = Thread(view.graph, view.tenant)
    found.inputs = {queued.run: (queued.traceparent, queued.priority) for queued in view.queue}
    if view.run is not None:
        found.run = _run_of(view, view.run)
    return found


def _run_of(view: ThreadView, run: RunView) -> Run:
    came = tracing.parse(run.traceparent)
    found = Run(
        run.number, run.started_at, tracing.of_run(run.traceparent, view.thread, run.number, run.started_at),
        came.span if came is not None else "", run.fingerprint, run.priority,
    )  # fmt: skip
    found.steps = {
        step.id: Open(step.at, step.node, bool(step.at), step.attempt - 1) for step in run.steps.values()
    }
    found.reviews = {
        review.id: (review.step, Open(review.asked_at, review.name)) for review in view.reviews.values()
    }
    for step in run.steps.values():
        found.attempted |= {(step.id, at) for at in step.attempts}
    return found


# --- runs and steps ---------------------------------------------------------------------------------------------


def _input(thread: Thread, entry: e.Entry, body: e.InputReceived) -> None:
    thread.graph = body.graph
    thread.tenant = thread.tenant or body.tenant
    thread.inputs[entry.run] = (body.traceparent, body.priority)


def _run_started(thread: Thread, entry: e.Entry, body: e.RunStarted) -> None:
    thread.graph = body.graph
    traceparent, priority = thread.inputs.pop(entry.run, ("", 0))
    came = tracing.parse(traceparent)
    thread.run = Run(
        entry.run, entry.at, tracing.of_run(traceparent, entry.thread, entry.run, entry.at),
        came.span if came is not None else "", body.fingerprint, priority,
    )  # fmt: skip


def _run_ended(thread: Thread, entry: e.Entry, body: e.Body) -> Track | None:
    run = thread.run
    if run is None or run.number != entry.run:  # it ended before it began
        return None
    status = entry.kind.removeprefix("run.")
    error = body.error.type if isinstance(body, e.RunFailed) else "cancelled" if status == "cancelled" else ""
    facts = {"status": status, "fingerprint": run.fingerprint, "priority": run.priority}
    return Track(
        "run",
        thread.graph,
        entry,
        run.began,
        run.at,
        run.parent,
        thread.graph,
        thread.tenant,
        error,
        facts=facts,
    )


def _decision(thread: Thread, entry: e.Entry, body: e.Decision) -> None:
    """Steps begin with the decision that names them; their ids are known when they end."""
    if thread.run is not None:
        for node in body.split.nodes if body.split is not None else [body.target]:
            thread.run.nodes[node] = thread.run.nodes[f"{node}@{body.branch}"] = Open(entry.at, node)


def _step_ended(thread: Thread, entry: e.Entry, body: e.Body) -> Track | None:
    run = thread.run
    if run is None:
        return None
    visit, _, branch = entry.step.partition("@")
    node = visit.rpartition(".")[0]
    step = (
        run.steps.get(entry.step) or run.nodes.get(f"{node}@{branch}") or run.nodes.get(node)
        or Open(entry.at, node, known=False)
    )  # fmt: skip
    if isinstance(body, e.StepFailed) and body.retry_at is not None:  # it is the same step, and goes on
        run.steps[entry.step] = Open(step.at, step.name, step.known, step.failures + 1)
        return None
    run.steps.pop(entry.step, None)
    error, outcome = "", "finished"
    if isinstance(body, e.StepFailed):
        error, outcome = body.error.type, "failed"
    elif isinstance(body, e.StepCancelled):
        error, outcome = (body.error.type if body.error is not None else "cancelled"), "cancelled"
    facts = {"node": node, "failures": step.failures + (outcome == "failed"), "outcome": outcome}
    return Track(
        "step", node, entry, step.at, tracing.below(run.at, entry.step), run.at.span, thread.graph, thread.tenant,
        error, step.known, facts,
    )  # fmt: skip


def _undoing(thread: Thread, entry: e.Entry, body: e.CompensationStarted) -> None:
    if thread.run is not None:
        thread.run.steps[entry.step] = Open(entry.at, body.tool)


def _undone(thread: Thread, entry: e.Entry, body: e.CompensationEnded) -> Track | None:
    """A compensation is a step of its own, whose node is what undoes the write."""
    run = thread.run
    if run is None:
        return None
    step = run.steps.pop(entry.step, Open(entry.at, known=False))
    error = body.error.type if body.error is not None else ""
    facts = {"node": step.name, "failures": 0, "outcome": body.outcome}
    return Track(
        "step", step.name, entry, step.at, tracing.below(run.at, entry.step), run.at.span, thread.graph, thread.tenant,
        error, step.known, facts,
    )  # fmt: skip


# --- effects ----------------------------------------------------------------------------------------------------


def _effect(
    thread: Thread, entry: e.Entry, kind: str, name: str, at: str, began: e.Micros, error: str, facts: dict[str, Any],
    *, step: str | None = None, known: bool = True,
) -> Track | None:  # fmt: skip
    run = thread.run
    if run is None:
        return None
    above = tracing.below(run.at, entry.step if step is None else step)
    return Track(
        "effect", name, entry, began, tracing.below(above, at), above.span, thread.graph, thread.tenant, error, known,
        {"kind": kind, **facts},
    )  # fmt: skip


def _recorded(thread: Thread, entry: e.Entry, body: e.EffectRecorded) -> Track | None:
    if body.effect in UNTOLD or thread.run is None:
        return None
    at = slot(body.key, body.n)
    attempted = (entry.step, at) in thread.run.attempted
    thread.run.attempted.discard((entry.step, at))
    facts = {"args": body.args, "result": body.result, "attempted": attempted}
    error = body.error.type if body.error is not None else ""
    return _effect(thread, entry, body.effect, body.name, at, entry.at - body.ms * 1000, error, facts)


def _intended(thread: Thread, entry: e.Entry, body: e.EffectIntended) -> None:
    if thread.run is not None:
        thread.run.effects[(entry.step, slot(body.key, body.n))] = Open(entry.at, body.name, args=body.args)


def _settled(thread: Thread, entry: e.Entry, body: e.EffectSettled) -> Track | None:
    if thread.run is None:
        return None
    at = slot(body.key, body.n)
    begun = thread.run.effects.get((entry.step, at))
    began = begun.at if begun is not None else entry.at - body.ms * 1000
    if body.outcome != "unknown":
        thread.run.effects.pop((entry.step, at), None)
    error = body.error.type if body.error is not None else ("unknown" if body.outcome == "unknown" else "")
    facts = {
        "write": body.outcome,
        "how": body.how,
        "result": body.result,
        "args": begun.args if begun is not None else None,
    }
    name = begun.name if begun is not None else ""
    return _effect(
        thread, entry, "tool", name, f"{at} {entry.seq}", began, error, facts, known=begun is not None
    )


def _attempted(thread: Thread, entry: e.Entry, body: e.ModelAttempted) -> Track | None:
    run = thread.run
    if run is None:
        return None
    at = slot(body.key, body.n)
    run.attempted.add((entry.step, at))
    attempt: Attempt = body.attempt
    above = tracing.below(tracing.below(run.at, entry.step), at)
    return Track(
        "attempt", body.name, entry, attempt.at or entry.at - attempt.ms * 1000,
        tracing.below(above, entry.seq), above.span, thread.graph, thread.tenant, attempt.error, facts={"attempt": attempt},
    )  # fmt: skip


def _timer_set(thread: Thread, entry: e.Entry, body: e.TimerSet) -> None:
    if thread.run is not None:
        thread.run.effects[(entry.step, slot(body.key, body.n))] = Open(entry.at)


def _timer_fired(thread: Thread, entry: e.Entry, body: e.TimerFired) -> Track | None:
    if thread.run is None:
        return None
    at = slot(body.key, body.n)
    begun = thread.run.effects.pop((entry.step, at), Open(entry.at, known=False))
    return _effect(thread, entry, "sleep", "", at, begun.at, "", {}, known=begun.known)


def _review_asked(thread: Thread, entry: e.Entry, body: e.ReviewRequested) -> None:
    if thread.run is not None:
        thread.run.reviews[body.review] = (entry.step, Open(entry.at, body.name))


def _review_closed(thread: Thread, entry: e.Entry, body: e.Body) -> Track | None:
    lapsed = isinstance(body, e.ReviewLapsed)
    outcome = body.action if isinstance(body, e.ReviewLapsed) else getattr(body, "outcome", "")
    review: str = getattr(body, "review", "")
    if thread.run is None or not outcome or outcome == "escalate":
        return None
    step, asked = thread.run.reviews.pop(review, (entry.step, Open(entry.at, known=False)))
    facts = {"review": review, "outcome": outcome, "lapsed": lapsed}
    return _effect(
        thread,
        entry,
        "review",
        asked.name,
        f"review {review}",
        asked.at,
        "",
        facts,
        step=step,
        known=asked.known,
    )


def _child_started(thread: Thread, entry: e.Entry, body: e.ChildStarted) -> None:
    if thread.run is not None:
        thread.run.children[body.child] = (body.graph, Open(entry.at))


def _child_ended(thread: Thread, entry: e.Entry, body: e.ChildEnded) -> Track | None:
    if thread.run is None:
        return None
    graph, begun = thread.run.children.pop(body.child, ("", Open(entry.at, known=False)))
    error = body.error.type if body.error is not None else ""
    facts = {"child": body.child, "status": body.status}
    return _effect(
        thread, entry, "child", graph, f"child {body.child}", begun.at, error, facts, known=begun.known
    )


def _verdict(thread: Thread, entry: e.Entry, body: e.VerdictGiven) -> Track | None:
    facts = {"decision": body.verdict.decision}
    return _moment(thread, entry, "verdict", body.question.resource.name, facts)


def _finding(thread: Thread, entry: e.Entry, body: e.FindingNoted) -> Track | None:
    return _moment(thread, entry, "finding", body.name, {"guard": body.guard, "action": body.action})


def _moment(thread: Thread, entry: e.Entry, kind: str, name: str, facts: dict[str, Any]) -> Track | None:
    """Something that takes no time."""
    run = thread.run
    if run is None:
        return None
    return Track(kind, name, entry, entry.at, run.at, "", thread.graph, thread.tenant, facts=facts)


_RUN_ENDS = frozenset(("run.finished", "run.failed", "run.cancelled"))
_HANDLERS: dict[str, Any] = {
    "input.received": _input,
    "run.started": _run_started,
    "run.finished": _run_ended,
    "run.failed": _run_ended,
    "run.cancelled": _run_ended,
    "decision": _decision,
    "step.finished": _step_ended,
    "step.failed": _step_ended,
    "step.cancelled": _step_ended,
    "compensation.started": _undoing,
    "compensation.ended": _undone,
    "verdict.given": _verdict,
    "finding.noted": _finding,
    "effect.recorded": _recorded,
    "effect.intended": _intended,
    "effect.settled": _settled,
    "model.attempted": _attempted,
    "timer.set": _timer_set,
    "timer.fired": _timer_fired,
    "review.requested": _review_asked,
    "review.decided": _review_closed,
    "review.lapsed": _review_closed,
    "child.started": _child_started,
    "child.ended": _child_ended,
}
