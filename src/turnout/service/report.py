"""What `explain` answers, as data: the four questions about one thread, without a word of presentation.

Everything here is frozen, and `as_data` makes plain JSON of it: times are ISO 8601 (UTC), values are the journal's
own and are never shortened. `seq` is always the number of the journal's entry that says it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from turnout.core.entries import Divergence, ErrorInfo, WriteKnown
from turnout.service.effects import Call, CompensationReport, FindingReport, ReviewReport, SignalReport, Wait


def as_data(value: Any) -> Any:
    """Plain JSON data: dataclasses and structs become objects, datetimes ISO 8601 text, tuples lists."""
    return msgspec.to_builtins(value)


@dataclass(frozen=True)
class EntryReport:
    """An entry's envelope. `thread` is the parent's name for the entries that a fork shares."""

    seq: int
    kind: str
    at: datetime
    run: int
    step: str
    thread: str
    epoch: int
    digest: str


@dataclass(frozen=True)
class Change:
    """What one entry did to one field of the state. `how` is the reducer's operation:

    set      `before` -> `after`
    add      `wrote` was added: `before` -> `after`
    append   `wrote` was put behind a list of `items` items. No before and after: whole lists in every step would
             make a report grow with the square of the journal
    merge    `wrote` was put over a dict; `before` has those of its keys that were there
    reduce   a user's reducer was given `wrote`: `before` -> `after`
    drop     the field was taken away (`before`)
    """

    field: str
    how: str
    before: Any = None
    after: Any = None
    wrote: Any = None
    items: int | None = None


@dataclass(frozen=True)
class Changes:
    """All that one entry changed in the state: not what it wrote and left as it was. `what` is input, step, join,
    adopted, migrated or fork; `branch` is "" when it was the thread's own state, else the parallel branch whose copy it
    was."""

    seq: int
    at: datetime
    run: int
    what: str
    step: str
    branch: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class FailedTry:
    """A try of a step that failed. `retry_at` is when the next one was due; None: it was the last."""

    seq: int
    at: datetime
    number: int
    error: ErrorInfo
    retry_at: datetime | None


@dataclass(frozen=True)
class StepReport:
    """One activation of a node. `status`: finished, failed, cancelled, or open. `taint` are the labels that it had met at
    its end."""

    id: str
    node: str
    run: int
    branch: str
    status: str
    started_seq: int
    started_at: datetime
    ended_seq: int | None
    ended_at: datetime | None
    attempt: int
    failures: tuple[FailedTry, ...]
    item: Any = None
    waits_for: tuple[str, ...] = ()
    taint: tuple[str, ...] = ()


@dataclass(frozen=True)
class DecisionReport:
    """Where a route went: the rule and its text, the values that it read (and their labels, `taint`), and what else could
    have been chosen."""

    seq: int
    at: datetime
    run: int
    branch: str
    after: str
    target: str
    rule: str
    why: str
    reads: dict[str, Any]
    alternatives: tuple[tuple[str, str], ...]
    graph: str
    fingerprint: str
    taint: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunReport:
    """From one input to its end. `status`: queued, running, waiting, diverged, compensating, finished, failed or cancelled.

    `due_at` is when a delayed start was to be.
    """

    number: int
    graph: str
    fingerprint: str
    status: str
    input: dict[str, Any]
    by: str
    key: str | None
    parent: str
    received_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    deadline: datetime | None
    steps: int
    cancelled_by: str = ""
    reason: str = ""
    error: ErrorInfo | None = None
    writes: tuple[WriteKnown, ...] = ()
    priority: int = 0
    due_at: datetime | None = None


@dataclass(frozen=True)
class SplitReport:
    """Parallel branches: one per node, or one per item of a fan-out (then `join` is None)."""

    seq: int
    at: datetime
    run: int
    branch: str
    nodes: tuple[str, ...]
    items: int
    join: str | None
    joined_seq: int | None = None


@dataclass(frozen=True)
class VersionReport:
    """A change of version in the middle of a run. `what`: diverged, adopted or migrated."""

    seq: int
    at: datetime
    run: int
    what: str
    before: str
    fingerprint: str
    divergence: Divergence | None = None
    proof: tuple[str, ...] = ()


@dataclass(frozen=True)
class TakeoverReport:
    """Somebody else went on in the middle of a run, from entry `seq` on: the lease before (`before`) had run out, as when
    its worker has died, or was given back with work left."""

    seq: int
    at: datetime
    run: int
    before: int
    epoch: int


@dataclass(frozen=True)
class ForkReport:
    """This thread was forked from `parent` at its entry `entry`, with `changes` to the state."""

    seq: int
    at: datetime
    parent: str
    entry: int
    by: str


@dataclass(frozen=True)
class Totals:
    """Sums over the calls. Only models have tokens and costs."""

    calls: int
    model_calls: int
    input_tokens: int
    output_tokens: int
    cost_micros: int
    ms: int


@dataclass(frozen=True)
class ReplayReport:
    """Can we replay it? `identical` None: it wasn't tried, because no code was at hand; `command` does it."""

    command: str
    identical: bool | None = None
    entries: int = 0
    divergence: Divergence | None = None
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The four questions about one thread, after entry `at` of `head`.

    `aside` says why the thread is set aside now, if it is. `priority` is that of the active run, else of the input that
    comes next. `labels` are those of the state's fields: what their values may be derived from that is not trusted.
    """

    thread: str
    graph: str
    status: str
    tenant: str
    priority: int
    aside: str
    at: int
    head: int
    created_at: datetime
    updated_at: datetime
    state: dict[str, Any]
    state_changes: tuple[Changes, ...]
    calls: tuple[Call, ...]
    totals: Totals
    decisions: tuple[DecisionReport, ...]
    reviews: tuple[ReviewReport, ...]
    replay: ReplayReport
    runs: tuple[RunReport, ...]
    steps: tuple[StepReport, ...]
    splits: tuple[SplitReport, ...]
    waits: tuple[Wait, ...]
    signals: tuple[SignalReport, ...]
    versions: tuple[VersionReport, ...]
    forks: tuple[ForkReport, ...]
    takeovers: tuple[TakeoverReport, ...]
    unknown_writes: tuple[Call, ...]
    labels: dict[str, list[str]]
    findings: tuple[FindingReport, ...]
    compensations: tuple[CompensationReport, ...]
    entries: tuple[EntryReport, ...] = field(repr=False)
