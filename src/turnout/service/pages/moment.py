"""One entry of a thread and everything that the record says around it: the state then, what changed, call, decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from turnout.core import entries as e
from turnout.ports.clock import at
from turnout.service.effects import Call, FindingReport, ReviewReport, VerdictReport
from turnout.service.report import (
    Changes,
    DecisionReport,
    EntryReport,
    Report,
    RunReport,
    StepReport,
    as_data,
)


@dataclass(frozen=True)
class Moment:
    """Entry `entry` of a thread. `says` is its body as it is in the journal, `state` the thread's state after it.

    `call` and `review` are told whole, as they stood at the end of the report: what was asked here may have been answered
    later.
    """

    entry: EntryReport
    says: dict[str, Any]
    state: dict[str, Any]
    changes: Changes | None
    call: Call | None
    verdict: VerdictReport | None
    finding: FindingReport | None
    decision: DecisionReport | None
    review: ReviewReport | None
    step: StepReport | None
    run: RunReport | None


def moment(report: Report, entry: e.Entry, state: dict[str, Any]) -> Moment:
    """The moment of an entry that the report has; `state` is the thread's after it."""
    seq = entry.seq
    return Moment(
        entry=next(x for x in report.entries if x.seq == seq),
        says=as_data(entry.body),
        state=state,
        changes=next((x for x in report.state_changes if x.seq == seq), None),
        call=next((call for call in report.calls if seq in _of_call(call)), None),
        verdict=verdict_in(entry),
        finding=next((x for x in report.findings if x.seq == seq), None),
        decision=next((x for x in report.decisions if x.seq == seq), None),
        review=next((review for review in report.reviews if seq in _of_review(review)), None),
        step=next((x for x in report.steps if x.id == entry.step and x.run == entry.run), None),
        run=next((x for x in report.runs if x.number == entry.run), None),
    )


def verdict_in(entry: e.Entry) -> VerdictReport | None:
    """What policy said, if the entry tells that."""
    if not isinstance(entry.body, e.VerdictGiven):
        return None
    said = entry.body.verdict
    return VerdictReport(
        entry.seq,
        at(entry.at),
        said.decision,
        tuple(said.policies),
        said.digest,
        said.reason,
        tuple(said.errors),
    )


def _of_call(call: Call) -> set[int]:
    """The entries that tell of a call, or of what was said of it before it was sent."""
    seqs = {call.seq, *call.sent, *(known.seq for known in call.settled)}
    return seqs | {said.seq for said in call.verdicts} | {said.seq for said in call.consents}


def _of_review(review: ReviewReport) -> set[int]:
    """The entries that tell of a review."""
    return {review.seq, *(said.seq for said in review.opinions), *(lapse.seq for lapse in review.lapses)}
