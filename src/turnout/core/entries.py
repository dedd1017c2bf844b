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
from turnout.core.attempts import Attempt
from turnout.core.reducers import Delta

Micros = int


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as the journal has it. `type` is a class name, `where` a `file:line` of the user's code."""

    type: str
    message: str
    where: str = ""


class Body(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What an entry says. `outside` bodies may come from any process, the others only from the thread's writer."""

    kind: ClassVar[str] = ""
    outside: ClassVar[bool] = False


# --- from outside --------------------------------------------------------------------------------------------


class InputReceived(Body, frozen=True, kw_only=True):
    """An input. The first one says to which tenant the thread belongs; each says how urgent its run is, which starts when
    no other is active, and not before `at`."""

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
    """One person's decision. `outcome` is set on the one that closes the review; `payload` is what then holds. `via` is how
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


class ChildEnded(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "child.ended"
    outside: ClassVar[bool] = True
    child: str
    status: str
    state: dict[str, Any] | None = None
    error: ErrorInfo | None = None


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
    kind: ClassVar[str] = "run.started"
    graph: str
    fingerprint: str
    delta: Delta
    deadline: Micros | None = None


class Split(msgspec.Struct, frozen=True, omit_defaults=True):
    """Parallel branches: one step per item of a fan-out (then `join` is None), or one branch per target."""

    nodes: list[str]
    items: list[Any] = []
    join: str | None = None


class Decision(Body, frozen=True, kw_only=True):
    """Where a route went, and why. `target` is a node, "END", or the text of a split."""

    kind: ClassVar[str] = "decision"
    graph: str
    target: str
    rule: str
    branch: str = ""
    after: str = ""
    why: str = ""
    reads: dict[str, Any] = {}
    others: list[tuple[str, str]] = []
    split: Split | None = None


class FanOut(msgspec.Struct, frozen=True):
    node: str
    items: list[Any]


class StepFinished(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "step.finished"
    delta: Delta = {}
    fan_out: FanOut | None = None


class StepFailed(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "step.failed"
    error: ErrorInfo
    attempt: int = 1
    retry_at: Micros | None = None


class StepCancelled(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "step.cancelled"
    error: ErrorInfo | None = None


class BranchesJoined(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "branches.joined"
    branch: str = ""
    delta: Delta = {}


class RunFinished(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run.finished"


class WriteKnown(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a write at the end of a run: landed, did_not_happen or unknown."""

    step: str
    name: str
    outcome: str
    idempotency_key: str = ""


class RunFailing(Body, frozen=True, kw_only=True):
    """The run can't go on; its open steps are being stopped."""

    kind: ClassVar[str] = "run.failing"
    error: ErrorInfo


class RunFailed(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run.failed"
    error: ErrorInfo
    writes: list[WriteKnown] = []


class RunCancelled(Body, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run.cancelled"
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


class RunMigrated(Body, frozen=True, kw_only=True):
    """A declared migration took the run over: `nodes` maps open steps to the nodes they start again as."""

    kind: ClassVar[str] = "run.migrated"
    before: str
    fingerprint: str
    state: dict[str, Any]
    nodes: dict[str, str] = {}


# --- effects ------------------------------------------------------------------------------------------------


class EffectRecorded(Body, frozen=True, kw_only=True):
    """An effect that is done: asked and answered in one entry. `key` and `n` are its content key and occurrence."""

    kind: ClassVar[str] = "effect.recorded"
    effect: str
    name: str
    key: str
    n: int = 0
    args: Any = None
    result: Any = None
    error: ErrorInfo | None = None
    ms: int = 0


class ModelAttempted(Body, frozen=True, kw_only=True):
    """One attempt of a model call, answered or not. The call itself is on record when one was answered, or all failed."""

    kind: ClassVar[str] = "model.attempted"
    name: str
    key: str
    n: int = 0
    attempt: Attempt


class EffectIntended(Body, frozen=True, kw_only=True):
    """A write that is about to be sent."""

    kind: ClassVar[str] = "effect.intended"
    effect: str
    name: str
    key: str
    n: int = 0
    args: Any = None
    idempotency_key: str = ""


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


class ReviewRequested(Body, frozen=True, kw_only=True):
    """A person is asked. `purpose` is "ask", or "outcome" when the question is what became of a write."""

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


class ReviewLapsed(Body, frozen=True, kw_only=True):
    """The due time passed: `action` is reject, approve or escalate (then the review stays open, for other roles)."""

    kind: ClassVar[str] = "review.lapsed"
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
