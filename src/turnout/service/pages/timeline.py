"""What took how long in a thread: its steps, and in each of them the calls, reviews and waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from turnout.service.effects import Call
from turnout.service.report import Report, StepReport


@dataclass(frozen=True)
class Bar:
    """One thing that took time. `kind` is step, or the call's kind, or review, timer, signal, child.

    `ended_at` None: it goes on. `waits`: somebody or something outside was waited for. `status` is that of the step, the
    outcome of the call or of the review; a wait has "came" when it is over. `seq` is the entry that tells most of it.
    """

    seq: int
    kind: str
    label: str
    run: int
    step: str
    begun_at: datetime
    ended_at: datetime | None
    status: str
    waits: bool = False
    write: bool = False
    ms: int = 0
    cost_micros: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    attempts: int = 0


def bars(report: Report) -> list[Bar]:
    """All bars: each step in the order in which they began, followed by what happened in it."""
    inside: dict[tuple[int, str], list[Bar]] = {}
    for bar in [*map(_call, report.calls), *_reviews(report), *_waits(report)]:
        inside.setdefault((bar.run, bar.step), []).append(bar)
    found = []
    for step in sorted(report.steps, key=lambda step: step.started_seq):
        within = sorted(inside.pop((step.run, step.id), []), key=lambda bar: bar.seq)
        found += [_step(step, within), *within]
    return found


def _step(step: StepReport, within: list[Bar]) -> Bar:
    calls = [bar for bar in within if bar.ms or bar.cost_micros]
    return Bar(
        seq=step.ended_seq or step.started_seq, kind="step", label=step.node, run=step.run, step=step.id,
        begun_at=step.started_at, ended_at=step.ended_at, status=step.status,
        ms=sum(bar.ms for bar in calls), cost_micros=sum(bar.cost_micros for bar in calls),
        input_tokens=sum(bar.input_tokens for bar in calls), output_tokens=sum(bar.output_tokens for bar in calls),
        attempts=step.attempt,
    )  # fmt: skip


def _call(call: Call) -> Bar:
    """A call is recorded when it was answered; a write when it is about to be sent, too."""
    begun, ended = call.at - timedelta(milliseconds=call.ms), call.at
    over: datetime | None = ended
    if call.write:
        begun = call.at
        over = call.settled[-1].at if call.settled and call.outcome != "unknown" else None
    elif call.outcome == "unanswered":
        begun, over = call.at, None
    return Bar(
        seq=call.seq, kind=call.kind, label=call.name, run=call.run, step=call.step, begun_at=begun, ended_at=over,
        status=call.outcome, write=call.write, ms=call.ms, cost_micros=call.cost_micros,
        input_tokens=call.input_tokens, output_tokens=call.output_tokens, attempts=len(call.attempts),
    )  # fmt: skip


def _reviews(report: Report) -> list[Bar]:
    return [
        Bar(
            seq=review.seq, kind="review", label=review.question, run=review.run, step=review.step,
            begun_at=review.at, ended_at=review.closed_at, status=review.status, waits=True,
        )
        for review in report.reviews
    ]  # fmt: skip


def _waits(report: Report) -> list[Bar]:
    return [
        Bar(
            seq=wait.seq, kind=wait.kind, label=wait.name or wait.kind, run=wait.run, step=wait.step,
            begun_at=wait.at, ended_at=wait.ended_at, status="came" if wait.ended_seq else "open", waits=True,
        )
        for wait in report.waits
    ]  # fmt: skip
