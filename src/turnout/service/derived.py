"""What a thread's journal says of the rows that the store keeps beside it: its status, runs, reviews, and what it cost.

The store's rows are made append by append, these are folded from the entries alone: so a verifier can compare the
two, and an export can give the rows as they were at the entry where it ends, though workers have gone on.
"""

from __future__ import annotations

from turnout.core import entries as e
from turnout.core import project
from turnout.core.booking import Booking
from turnout.core.budgets import ChargeRow
from turnout.core.charges import charge
from turnout.core.fold import apply
from turnout.core.view import ThreadView
from turnout.ports.rows import ReviewRow, RunRow


class Derived:
    """Rows of one thread, taken from its entries one by one. A fork is given those that it shares, too.

    When a review was withdrawn isn't in the journal to the microsecond; here it is the entry that withdrew it.
    """

    def __init__(self, thread: str) -> None:
        self.thread = thread
        self.view = ThreadView(thread=thread)
        self.runs: dict[int, RunRow] = {}
        self.reviews: dict[str, ReviewRow] = {}
        self._booking = Booking(())

    @property
    def charges(self) -> dict[int, ChargeRow]:
        """The calls that the ledger should have of this thread, by entry; in which accounts is the ledger's own business."""
        return {seq: row for (_, seq), row in self._booking.rows.items()}

    @property
    def fingerprint(self) -> str:
        """The version of the graph that the active run is pinned to."""
        return self.view.run.fingerprint if self.view.run else ""

    @property
    def parent(self) -> str:
        """The thread that waits for the end of this one's active or last run; "" when it isn't a child."""
        view = self.view
        run = view.run or (view.queue[0] if view.queue else view.last)
        return run.parent if run is not None else ""

    @property
    def children(self) -> list[str]:
        """The threads whose ends this one waits for, by name."""
        steps = self.view.run.steps.values() if self.view.run else ()
        waiting = (x for step in steps for x in step.effects.values() if x.status == "waiting")
        return sorted(x.child for x in waiting if x.kind == "child")

    def take(self, entry: e.Entry) -> None:
        """Fold one entry, which must be nobody else's. Raises `JournalDamaged` when it doesn't fit."""
        view = self.view
        before = dict(view.reviews) if view.reviews else {}
        apply(view, entry, private=True)
        if entry.thread != self.thread:  # the parent's
            return
        if isinstance(entry.body, e.ThreadForked):  # the parent's runs go on here, its reviews don't
            for run in project.taken_over(view, entry.at):
                self._put(run, entry.at)
            return
        charged = charge(view, entry)
        if charged is not None:
            self._booking.book(charged)
        for run in project.runs((entry,), view.graph):
            had = self.runs.get(run.run)
            self._put(run, had.started_at if had is not None else run.at)
        if before or view.reviews or isinstance(entry.body, e.ReviewRequested):
            for change in project.reviews(before, view.reviews, [entry]):
                review, roles = change.review, ",".join(change.review.roles)
                self.reviews[review.id] = ReviewRow(
                    review.id, self.thread, review.run, change.status, roles, review.due_at, review.asked_at,
                    change.closed_at, change.about,
                )  # fmt: skip

    def _put(self, run: project.RunChange, started_at: e.Micros) -> None:
        ended_at = run.at if run.end_seq else None
        self.runs[run.run] = RunRow(
            self.thread, run.run, run.graph, run.status, started_at, ended_at, run.end_seq, run.error
        )
