"""The effects of a thread as the report of `explain` tells them: calls, reviews, waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from turnout.core.attempts import Attempt
from turnout.core.entries import ErrorInfo


@dataclass(frozen=True)
class Settlement:
    """What was found out about a write, and how: `call` (the tool's answer), `transaction` (committed with this entry,
    or undone), `reconcile`, `resend` or `person`."""

    seq: int
    at: datetime
    outcome: str
    how: str
    by: str = ""
    error: ErrorInfo | None = None


@dataclass(frozen=True)
class VerdictReport:
    """What policy said of a call (allow, review or deny), by which rules of which set, and why."""

    seq: int
    at: datetime
    decision: str
    policies: tuple[str, ...]
    digest: str
    reason: str
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Consent:
    """What people said to a call that needed their approval: approve, edit or reject; `lapsed` says why it counts no more."""

    seq: int
    at: datetime
    review: str
    decision: str
    by: tuple[str, ...]
    comment: str
    lapsed: str = ""


@dataclass(frozen=True)
class Call:
    """One call to the world. `kind` is tool, model, retrieve, once, now, random or uuid.

    `outcome`: answered or failed for calls that change nothing (or unanswered: a model call that was attempted and is
    under way, or was cut off; refused: policy or a person said no, and nothing was sent); landed, did_not_happen or unknown for a write, which
    also has an `idempotency_key`, the entries where it was `sent`, and how it was `settled`. `ms` is milliseconds.
    `cost_micros` is millionths of the account's currency unit. `attempts` are those of a model call through a gateway;
    then tokens and cost are over all of them, as far as they are known.
    """

    seq: int
    at: datetime
    run: int
    step: str
    kind: str
    name: str
    args: Any
    outcome: str
    result: Any = None
    error: ErrorInfo | None = None
    ms: int = 0
    write: bool = False
    idempotency_key: str = ""
    sent: tuple[int, ...] = ()
    settled: tuple[Settlement, ...] = ()
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    attempts: tuple[Attempt, ...] = ()
    verdicts: tuple[VerdictReport, ...] = ()
    consents: tuple[Consent, ...] = ()


@dataclass(frozen=True)
class Opinion:
    """One person's decision. `outcome` is set on the one that closed the review. `saw` is the digest of what the person was
    shown, `shown` that of what was asked from then on: after an edit another one. `via` is how the person had signed in."""

    seq: int
    at: datetime
    by: str
    decision: str
    roles: tuple[str, ...]
    shown: str
    payload: Any
    comment: str
    outcome: str
    via: str = ""
    saw: str = ""


@dataclass(frozen=True)
class Lapse:
    """The due time passed, and `action` happened; `roles` are those it was escalated to."""

    seq: int
    at: datetime
    action: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class ReviewReport:
    """Who was asked what, what was shown (and its digest), who decided what and when.

    `status` is open, withdrawn, or the outcome. `thread` is the parent's when a fork's shared part asked it.
    """

    id: str
    seq: int
    at: datetime
    thread: str
    run: int
    step: str
    question: str
    purpose: str
    payload: Any
    shown: str
    allowed: tuple[str, ...]
    roles: tuple[str, ...]
    quorum: int
    separate: bool
    requester: str
    due_at: datetime | None
    on_due: str
    status: str
    closed_at: datetime | None
    opinions: tuple[Opinion, ...]
    lapses: tuple[Lapse, ...]

    @property
    def edits(self) -> tuple[Opinion, ...]:
        """What it was changed to, and by whom; `payload` and `shown` here are what was asked first."""
        return tuple(said for said in self.opinions if said.decision == "edit")


@dataclass(frozen=True)
class Wait:
    """A timer, a signal or a child thread that a step waited for. `ended_seq` None: it still does.

    `kind`: timer, signal or child; `name` is the signal's name or the child's graph.
    """

    seq: int
    at: datetime
    run: int
    step: str
    kind: str
    name: str
    due_at: datetime | None = None
    child: str = ""
    ended_seq: int | None = None
    ended_at: datetime | None = None
    result: Any = None
    error: ErrorInfo | None = None


@dataclass(frozen=True)
class SignalReport:
    """A signal that came in."""

    seq: int
    at: datetime
    name: str
    payload: Any
    by: str


@dataclass(frozen=True)
class CompensationReport:
    """A write that was undone in `step` because its run didn't finish. `outcome`: compensated, left (a person wants it to
    stand), did_not_happen (there was nothing to undo), or open."""

    seq: int
    at: datetime
    run: int
    step: str
    write: str
    of: str
    tool: str
    why: str
    outcome: str = "open"
    ended_seq: int | None = None


@dataclass(frozen=True)
class FindingReport:
    """What a guardrail found in a request (`where` input) or an answer (output), and what came of it: block, redact,
    review or flag. `labels` are counts by kind; `spans` are places: a path, an offset and a length in characters."""

    seq: int
    at: datetime
    run: int
    step: str
    guard: str
    where: str
    action: str
    kind: str
    name: str
    labels: dict[str, int]
    spans: tuple[tuple[str, int, int], ...]
