"""The journal's vocabulary: what an entry is, and the declared type of every entry's body.

An entry has an *envelope* (thread, seq, kind, run, step, at, epoch, digest) that the store can index, and a *body*,
one of the types below, stored as JSON behind a codec. Times are whole microseconds since 1970 (UTC).

Entries from *outside* the thread's writer (an input, a cancel request, a signal, a decision on a review, the end
of a child) may be appended by any process, conditional on the head it has read. All others are the writer's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from turnout.core import canon
from turnout.core.amounts import Amount, Spent
from turnout.core.attempts import Attempt
from turnout.core.reducers import Delta
from turnout.core.verdict import Question, Terms, Verdict

Micros = int


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as the journal has it. `type` is a class name, `where` a `file:line` of the user's code."""

    type: str
    message: str
    where: str = ""


class Body(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What an entry says. `outside` bodies may come from any process, the others only from the thread's writer. `decided`
    ones follow from the view alone: on a newer view they are decided again. All others are facts, and hold on any view."""

    kind: ClassVar[str] = ""
    outside: ClassVar[bool] = False
    decided: ClassVar[bool] = False


# --- from outside --------------------------------------------------------------------------------------------


class InputReceived(Body, frozen=True, kw_only=True):
    """An input. The first one says to which tenant the thread belongs; each says how urgent its run is, which starts when
    no other is active, and not before `at`. `traceparent` is the trace that it came with. Of a child's input, `taint` are
    the labels of the step that gave it, and `root` is `thread/run` of the run that it is part of."""

    kind: ClassVar[str] = "input.received"
    outside: ClassVar[bool] = True
    graph: str
    input: dict[str, Any]
    key: str | None = None
    by: str = ""
    parent: str = ""
    tenant: str = ""
    priority: int = 0
    at: Micros | None = None
    taint: list[str] = []
    root: str = ""
    traceparent: str = ""


class CancelRequested(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "cancel.requested"
    outside: ClassVar[bool] = True
    by: str = ""
    reason: str = ""


class SignalReceived(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "signal.received"
    outside: ClassVar[bool] = True
    name: str
    payload: Any = None
    by: str = ""
    key: str | None = None


class ReviewDecided(Body, frozen=True, kw_only=True):
    """One person's decision. `outcome` is set on the one that closes the review; `payload` is what then holds. `saw` is the
    digest of what the person was shown, `shown` that of what is asked from then on: after an edit another one. `via` is how
    the person had signed in."""

    kind: ClassVar[str] = "review.decided"
    outside: ClassVar[bool] = True
    review: str
    decision: str
    by: str
    roles: list[str] = []
    shown: str = ""
    payload: Any = None
    comment: str = ""
    outcome: str = ""
    via: str = ""
    saw: str = ""


class ChildEnded(Body, frozen=True, kw_only=True):
    """`taint` are the labels of all that the child's state holds, or of what has failed."""

    kind: ClassVar[str] = "child.ended"
    outside: ClassVar[bool] = True
    child: str
    status: str
    state: dict[str, Any] | None = None
    error: ErrorInfo | None = None
    taint: list[str] = []


class ThreadForked(Body, frozen=True, kw_only=True):
    """The first own entry of a fork. Everything before it is the parent's journal up to entry `at`."""

    kind: ClassVar[str] = "thread.forked"
    outside: ClassVar[bool] = True
    parent: str
    at: int
    delta: Delta = {}
    by: str = ""


# --- runs, steps, routing ------------------------------------------------------------------------------------


class RunStarted(Body, frozen=True, kw_only=True):
    """`taint` are the labels of what the delta holds, by field."""

    kind: ClassVar[str] = "run.started"
    decided: ClassVar[bool] = True
    graph: str
    fingerprint: str
    delta: Delta
    deadline: Micros | None = None
    taint: dict[str, list[str]] = {}


class Split(msgspec.Struct, frozen=True, omit_defaults=True):
    """Parallel branches: one step per item of a fan-out (then `join` is None), or one branch per target."""

    nodes: list[str]
    items: list[Any] = []
    join: str | None = None


class Decision(Body, frozen=True, kw_only=True):
    """Where a route went, and why. `target` is a node, "END", or the text of a split. `taint` are the labels of the
    values that it read, or of the items of a fan-out."""

    kind: ClassVar[str] = "decision"
    decided: ClassVar[bool] = True
    graph: str
    target: str
    rule: str
    branch: str = ""
    after: str = ""
    why: str = ""
    reads: dict[str, Any] = {}
    others: list[tuple[str, str]] = []
    split: Split | None = None
    taint: list[str] = []


class FanOut(msgspec.Struct, frozen=True):
    node: str
    items: list[Any]


class StepFinished(Body, frozen=True, kw_only=True):
    """`taint` are the labels of all that the step has met, and so of what it writes."""

    kind: ClassVar[str] = "step.finished"
    delta: Delta = {}
    fan_out: FanOut | None = None
    taint: list[str] = []


class StepFailed(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "step.failed"
    error: ErrorInfo
    attempt: int = 1
    retry_at: Micros | None = None
    taint: list[str] = []


class StepCancelled(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "step.cancelled"
    error: ErrorInfo | None = None


class BranchesJoined(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "branches.joined"
    decided: ClassVar[bool] = True
    branch: str = ""
    delta: Delta = {}


class RunFinished(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run.finished"
    decided: ClassVar[bool] = True


class WriteKnown(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a write at the end of a run: landed, did_not_happen, unknown, or compensated (it had landed, and
    was undone)."""

    step: str
    name: str
    outcome: str
    idempotency_key: str = ""


class RunFailing(Body, frozen=True, kw_only=True):
    """The run can't go on; its open steps are being stopped."""

    kind: ClassVar[str] = "run.failing"
    decided: ClassVar[bool] = True
    error: ErrorInfo


class RunFailed(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run.failed"
    decided: ClassVar[bool] = True
    error: ErrorInfo
    writes: list[WriteKnown] = []


class RunCancelled(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run.cancelled"
    decided: ClassVar[bool] = True
    by: str = ""
    reason: str = ""
    writes: list[WriteKnown] = []


class Divergence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where code and record disagree: what the record expects, what the code did, and at which step or entry."""

    where: str
    expected: str
    actual: str
    seq: int = 0


class RunDiverged(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run.diverged"
    divergence: Divergence
    fingerprint: str


class RunAdopted(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run.adopted"
    before: str
    fingerprint: str
    proof: list[str] = []
    delta: Delta = {}
    taint: dict[str, list[str]] = {}


class RunMigrated(Body, frozen=True, kw_only=True):
    """A declared migration took the run over: `nodes` maps open steps to the nodes they start again as."""

    kind: ClassVar[str] = "run.migrated"
    before: str
    fingerprint: str
    state: dict[str, Any]
    nodes: dict[str, str] = {}


# --- effects ------------------------------------------------------------------------------------------------


class EffectRecorded(Body, frozen=True, kw_only=True):
    """An effect that is done: asked and answered in one entry. `key` and `n` are its content key and occurrence. `spent`:
    what it cost, where that is counted and no attempt of its own says so."""

    kind: ClassVar[str] = "effect.recorded"
    effect: str
    name: str
    key: str
    n: int = 0
    args: Any = None
    result: Any = None
    error: ErrorInfo | None = None
    ms: int = 0
    spent: Spent | None = None


class ModelAttempted(Body, frozen=True, kw_only=True):
    """One attempt of a model call, answered or not. The call itself is on record when one was answered, or all failed."""

    kind: ClassVar[str] = "model.attempted"
    name: str
    key: str
    n: int = 0
    attempt: Attempt
    spent: Spent | None = None


class EffectIntended(Body, frozen=True, kw_only=True):
    """A write that is about to be sent. `undo` is the tool that undoes it, if it has to be undone when the run doesn't
    finish."""

    kind: ClassVar[str] = "effect.intended"
    effect: str
    name: str
    key: str
    n: int = 0
    args: Any = None
    idempotency_key: str = ""
    undo: str = ""


class EffectSettled(Body, frozen=True, kw_only=True):
    """What became of a write. `outcome`: landed, did_not_happen or unknown; `how`: call, transaction, reconcile, resend.

    A *transaction* is made of the write, its intended and this entry: all of them are there, or the write isn't.
    """

    kind: ClassVar[str] = "effect.settled"
    key: str
    n: int = 0
    outcome: str
    how: str = "call"
    result: Any = None
    error: ErrorInfo | None = None
    retry_at: Micros | None = None
    ms: int = 0
    spent: Spent | None = None


class Binding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an approval is bound to: the kind of effect and its name, the tool's pin, the digest of the exact arguments,
    that of the policy set. It `holds` so long once it is given (microseconds). `then` are the reviews after this one."""

    effect: str
    name: str
    args: str
    policy: str
    holds: Micros
    pin: str = ""
    then: list[Terms] = []


class ReviewRequested(Body, frozen=True, kw_only=True):
    """A person is asked. `purpose` is "ask"; "outcome" when the question is what became of a write; "approval" when it is
    whether a call may be made: then `payload` are its arguments, and `binds` says to what a yes is bound; "guard": whether
    what a guardrail has found something in may go on (it is then in `key` and `n`: a request that was not sent, or, when
    that is on record, its answer); "budget": a call waits at a cap; or "compensation": what to do about a write that
    couldn't be undone. `edit` is the review in which a person made the arguments what they are here; "": they are those
    that the node asked with."""

    kind: ClassVar[str] = "review.requested"
    review: str
    name: str
    key: str
    n: int = 0
    purpose: str = "ask"
    payload: Any = None
    allowed: list[str]
    roles: list[str] = []
    quorum: int = 1
    separate: bool = False
    requester: str = ""
    due_at: Micros | None = None
    on_due: str = ""
    escalate_to: list[str] = []
    shown: str = ""
    binds: Binding | None = None
    edit: str = ""


class ReviewLapsed(Body, frozen=True, kw_only=True):
    """The due time passed: `action` is reject, approve or escalate (then the review stays open, for other roles)."""

    kind: ClassVar[str] = "review.lapsed"
    decided: ClassVar[bool] = True
    review: str
    action: str
    roles: list[str] = []


class TimerSet(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "timer.set"
    key: str
    n: int = 0
    due_at: Micros


class TimerFired(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "timer.fired"
    decided: ClassVar[bool] = True
    key: str
    n: int = 0


class SignalAwaited(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "signal.awaited"
    name: str
    key: str
    n: int = 0


class ChildStarted(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "child.started"
    child: str
    graph: str
    input: dict[str, Any]
    key: str
    n: int = 0


class VerdictGiven(Body, frozen=True, kw_only=True):
    """What policy says of a call, with all that it was asked with. It stands before the call, or before the review."""

    kind: ClassVar[str] = "verdict.given"
    key: str
    n: int = 0
    question: Question
    verdict: Verdict


class ApprovalLapsed(Body, frozen=True, kw_only=True):
    """A person's yes counts no more: something that it was bound to has changed. Nothing was sent on it."""

    kind: ClassVar[str] = "approval.lapsed"
    review: str
    key: str
    n: int = 0
    why: str


class FindingNoted(Body, frozen=True, kw_only=True):
    """A guardrail found something in a request (`where` input) or in its answer (output), and what comes of it: block,
    redact, review or flag. `labels` are counts by kind. `spans` are places (a path, an offset and a length in
    characters), the first of them if there are many. What was found itself is never told."""

    kind: ClassVar[str] = "finding.noted"
    guard: str
    where: str
    action: str
    effect: str
    name: str
    key: str
    n: int = 0
    labels: dict[str, int] = {}
    spans: list[tuple[str, int, int]] = []


# --- budgets ------------------------------------------------------------------------------------------------


class BudgetReserved(Body, frozen=True, kw_only=True):
    """A call is about to be sent that budgets count, and has its place in them: `amount` is the most that it may cost, as
    far as can be known. `effect`, `name`, `key` and `n` are those of the call; of a model's attempt there are also
    what is asked, and `retry` when something was asked before."""

    kind: ClassVar[str] = "budget.reserved"
    effect: str
    name: str
    key: str
    n: int = 0
    amount: Amount
    deployment: str = ""
    model: str = ""
    retry: bool = False


class BudgetSettled(Body, frozen=True, kw_only=True):
    """What a call has cost of which nothing else on record says so: it was cut off, or a person said what became of it."""

    kind: ClassVar[str] = "budget.settled"
    spent: Spent


class BudgetToppedUp(Body, frozen=True, kw_only=True):
    """The cap of one account was raised by `amount`, as was decided in `review`."""

    kind: ClassVar[str] = "budget.topped_up"
    budget: str
    account: str
    amount: Amount
    review: str
    key: str
    n: int = 0


class CompensationStarted(Body, frozen=True, kw_only=True):
    """A write of a run that doesn't finish is to be undone: what follows is a step of its own. `of` (a step), `key` and
    `n` are the place of the write, `tool` what undoes it."""

    kind: ClassVar[str] = "compensation.started"
    decided: ClassVar[bool] = True
    of: str
    key: str
    n: int = 0
    name: str
    tool: str
    why: str = ""


class CompensationEnded(Body, frozen=True, kw_only=True):
    """What came of it. `outcome`: compensated, left (a person wants the write to stand) or did_not_happen (there was
    nothing to undo)."""

    kind: ClassVar[str] = "compensation.ended"
    outcome: str
    error: ErrorInfo | None = None


BODIES: dict[str, type[Body]] = {body.kind: body for body in Body.__subclasses__()}
_DECODERS = {kind: msgspec.json.Decoder(body) for kind, body in BODIES.items()}


@dataclass(slots=True)
class Draft:
    """An entry that has no number yet."""

    run: int
    step: str
    body: Body


@dataclass(slots=True)
class Entry:
    """One numbered, chained entry. `stored` is the body as it lies in the store; `body` is what it says."""

    thread: str
    seq: int
    kind: str
    run: int
    step: str
    at: Micros
    epoch: int
    stored: bytes
    digest: bytes
    body: Body


def decode_body(kind: str, data: bytes) -> Body:
    """The body in `data`, as its declared type. Raises msgspec.ValidationError when it isn't one."""
    return _DECODERS[kind].decode(data)


def chain(previous: bytes, entry: tuple[str, int, str, int, str, Micros, int], stored: bytes) -> bytes:
    """The digest of an entry: over the digest before it, its envelope, and its body's bytes as stored."""
    return hashlib.sha256(previous + canon.encode(entry) + stored).digest()


GENESIS = bytes(32)
"""The digest before the first entry of a thread."""
