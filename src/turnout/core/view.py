"""The view of a thread: what its journal adds up to, as data.

A view is made and changed by the fold alone (in `fold`). It has one owner; `clone` makes a second one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from turnout.core import entries as e
from turnout.core.amounts import NOTHING, Amount, Reserved, TopUp
from turnout.core.attempts import Attempt
from turnout.core.effects import Effect, slot
from turnout.core.reducers import Delta, Doc
from turnout.core.taint import Labels
from turnout.core.verdict import Approval

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
    binds: e.Binding | None = None
    edit: str = ""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a guardrail has found in a request (`where` input) or in its answer (output)."""

    guard: str
    where: str
    action: str
    labels: dict[str, int] = {}


class Landing(msgspec.Struct, frozen=True, omit_defaults=True):
    """A write that has to be undone when the run doesn't finish. `seq` is the entry by which it landed, or, when its
    outcome is unknown, was intended."""

    step: str
    name: str
    undo: str
    key: str
    n: int
    seq: int
    args: Any = None
    result: Any = None
    idempotency_key: str = ""
    known: bool = True
    error: e.ErrorInfo | None = None
    why: str = ""

    @property
    def slot(self) -> str:
        return slot(self.key, self.n)


class Clearance(msgspec.Struct, omit_defaults=True):
    """A person has let through what these guardrails find in a request: in the arguments that the node asked with, or,
    when it is given, in those that this review's `edit` made of them. In no others."""

    guards: list[str]
    edit: str = ""


class StepView(msgspec.Struct, omit_defaults=True):
    """An open step, begun `at`. `progress` counts what has arrived for it since it began: a resting step is run again
    when it has grown. By the slot of the request: `attempts` are those of model calls that have no answer yet, `approvals` those
    of calls that a person was asked about, `findings` what guardrails have found, `cleared` what a person has let
    pass of what they found in a request, `topups` the reviews of calls that wait at a cap."""

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
    attempts: dict[str, list[Attempt]] = {}
    taint: list[str] = []  # the labels of its item
    approvals: dict[str, list[Approval]] = {}
    findings: dict[str, list[Finding]] = {}
    cleared: dict[str, list[Clearance]] = {}
    topups: dict[str, TopUp] = {}
    undoes: Landing | None = None  # the step is no node's: it undoes this write
    at: e.Micros = 0


class BranchView(msgspec.Struct, omit_defaults=True):
    """One line of execution. `phase`: start, step, route, split, join, arrived or dead.

    `at` is the node whose route comes next (or, in phase join, the node to go on with). The root branch has path ""
    and no document of its own: it writes the thread's state. `labels` are those of its document, `taint` those of the
    items that it is about to fan out.
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
    labels: Labels = {}
    taint: list[str] = []


class RunView(msgspec.Struct, omit_defaults=True):
    """The active run. `spent` is what its own calls have cost so far, `reserved` what is reserved for those under way, by
    the entry that reserved it. `root` is `thread/run` of the run whose child it is; "" when it is nobody's."""

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
    priority: int = 0
    taint: list[str] = []  # labels of what its failed steps have met, and so of its error
    root: str = ""
    spent: Amount = NOTHING
    reserved: dict[str, Reserved] = {}
    landings: list[Landing] = []  # what has to be undone when it doesn't finish
    undone: int = 0  # how many compensations were begun
    traceparent: str = ""


class Queued(msgspec.Struct, omit_defaults=True):
    """An input that waits for its run, which starts not before `at`."""

    run: int
    graph: str
    input: dict[str, Any]
    by: str = ""
    parent: str = ""
    cancel: e.CancelRequested | None = None
    priority: int = 0
    at: e.Micros | None = None
    taint: list[str] = []
    root: str = ""
    traceparent: str = ""


class Ended(msgspec.Struct, omit_defaults=True):
    """How the last run ended: finished, failed or cancelled."""

    run: int
    status: str
    seq: int
    error: e.ErrorInfo | None = None
    parent: str = ""
    taint: list[str] = []


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
    tenant: str = ""
    labels: Labels = {}

    def doc(self, path: str) -> Doc:
        """The document that the branch at `path` sees."""
        branch = self.run.branches[path] if self.run and path else None
        return branch.doc if branch is not None and branch.doc is not None else self.state

    def labels_of(self, path: str) -> Labels:
        """The labels of that document's fields."""
        branch = self.run.branches[path] if self.run and path else None
        return branch.labels if branch is not None and branch.doc is not None else self.labels

    @property
    def status(self) -> str:
        """idle, running, waiting, diverged, compensating: the state of the thread in one word (`last` says how its last run ended)."""
        if self.run is None and self.queue:
            later = all(queued.at is not None and queued.cancel is None for queued in self.queue)
            return "waiting" if later else "running"
        if self.run is None:
            return self.last.status if self.last else "idle"
        if self.run.divergence:
            return "diverged"
        if waiting(self.run):
            return "waiting"
        return "compensating" if self.run.undone else "running"

    @property
    def priority(self) -> int:
        """That of the active run, else of the input that comes next."""
        if self.run is not None:
            return self.run.priority
        return min(self.queue, key=lambda queued: queued.at or 0).priority if self.queue else 0


AT_REST = ("idle", "finished", "failed", "cancelled")
"""The statuses of a thread that has nothing to do: no run, and no input in its queue."""


def waiting(run: RunView) -> bool:
    """Does every open step wait for something outside?"""
    steps = run.steps.values()
    if not any(s.effects or s.retry_at or s.topups for s in steps):  # as at most steps
        return False
    return bool(steps) and all(
        s.retry_at
        or any(map(_outstanding, s.effects.values()))
        or any(not x.outcome for x in s.topups.values())
        for s in steps
    )


def _outstanding(effect: Effect) -> bool:
    """Is its answer still to come? Of a write with an unknown outcome: from a person, or on a later look."""
    if effect.status in ("intended", "unknown"):
        return bool(effect.review) or effect.due_at is not None
    return effect.status in ("waiting", "held")


def clone(view: ThreadView) -> ThreadView:
    """A view that shares nothing changeable with `view`."""
    return msgspec.convert(msgspec.to_builtins(view), ThreadView)


def active_run(view: ThreadView) -> RunView:
    """The active run. Raises KeyError, which the fold takes for a damaged journal, when there is none."""
    if view.run is None:
        raise KeyError("no run is active")
    return view.run


def run_of(view: ThreadView, entry: e.Entry) -> RunView:
    """The active run, which must be the one that the entry belongs to. Raises KeyError like `active_run`."""
    run = active_run(view)
    if run.number != entry.run:
        raise KeyError(f"run {entry.run} is not active")
    return run


def root_of(view: ThreadView) -> str:
    """`thread/run` of the run that the active run is part of: its own, unless it is a child's."""
    run = active_run(view)
    return run.root or f"{view.thread}/{run.number}"
