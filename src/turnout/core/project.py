"""Rows that the store keeps beside the journal for lists and look-ups. All of it can be made again by folding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.fold_effects import asked
from turnout.core.view import ReviewView, ThreadView

RUN_ENDS = frozenset(("run.finished", "run.failed", "run.cancelled"))
_ENDS = RUN_ENDS | {"step.finished", "step.failed", "step.cancelled", "compensation.ended"}


@dataclass(frozen=True, slots=True)
class RunChange:
    """How a run stands after an entry."""

    run: int
    graph: str
    status: str
    at: e.Micros
    end_seq: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class ReviewChange:
    """How a review stands: open, or the outcome that closed it."""

    review: ReviewView
    status: str
    closed_at: e.Micros | None
    decisions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def about(self) -> bytes:
        return canon.encode({"review": self.review, "decisions": self.decisions})


def runs(entries: Iterable[e.Entry], graph: str) -> list[RunChange]:
    """What entries change about runs; the last change of a run stands."""
    found: dict[int, RunChange] = {}
    for entry in entries:
        body = entry.body
        if isinstance(body, e.InputReceived):
            found[entry.run] = RunChange(entry.run, body.graph, "queued", entry.at)
        elif isinstance(body, e.RunStarted):
            found[entry.run] = RunChange(entry.run, body.graph, "running", entry.at)
        elif isinstance(body, e.RunFinished | e.RunFailed | e.RunCancelled):
            error = f"{body.error.type}: {body.error.message}" if isinstance(body, e.RunFailed) else ""
            found[entry.run] = RunChange(
                entry.run, graph, entry.kind.removeprefix("run."), entry.at, entry.seq, error
            )
    return list(found.values())


def taken_over(view: ThreadView, at: e.Micros) -> list[RunChange]:
    """The runs that a fork has from its parent: what goes on in it, else the last one that ended."""
    found = [RunChange(queued.run, queued.graph, "queued", at) for queued in view.queue]
    if view.run is not None:
        found.insert(0, RunChange(view.run.number, view.graph, "running", at))
    elif view.last is not None and not found:
        last = view.last
        error = f"{last.error.type}: {last.error.message}" if last.error else ""
        found.append(RunChange(last.run, view.graph, last.status, at, last.seq, error))
    return found


def progress(entries: Iterable[e.Entry]) -> bool:
    """Did a step, or all of a run, come to its end?"""
    return any(entry.kind in _ENDS for entry in entries)


def _closes(body: e.Body) -> bool:
    if isinstance(body, e.ReviewLapsed):
        return body.action != "escalate"
    return isinstance(body, e.ReviewDecided) and bool(body.outcome)


def reviews(
    before: dict[str, ReviewView], after: dict[str, ReviewView], entries: list[e.Entry]
) -> list[ReviewChange]:
    """What `entries` change about reviews. `before` and `after` are the open ones."""
    decisions: dict[str, list[e.Entry]] = {}
    touched: dict[str, ReviewView] = {}
    for entry in entries:
        if isinstance(entry.body, e.ReviewDecided | e.ReviewLapsed):
            decisions.setdefault(entry.body.review, []).append(entry)
        elif isinstance(
            entry.body, e.ReviewRequested
        ):  # when it isn't open any more, its due time was past already
            touched[entry.body.review] = after.get(entry.body.review) or asked(entry, entry.body)
    changes = []
    for key, review in {**before, **touched}.items():
        said = decisions.get(key, [])
        if key in after:
            if said or key in touched:
                changes.append(ReviewChange(after[key], "open", None))
            continue
        last = next((entry for entry in reversed(said) if _closes(entry.body)), None)
        outcome = (
            "withdrawn"
            if last is None
            else getattr(last.body, "outcome", "") or getattr(last.body, "action", "")
        )
        closed_at = last.at if last else (entries[-1].at if entries else review.asked_at)
        shown = [{"at": entry.at, **canon.decode(canon.encode(entry.body))} for entry in said]
        changes.append(ReviewChange(review, outcome, closed_at, shown))
    return changes
