"""What happened to each request, told from the journal; and the proof that it is true, from the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from turnout.core import entries as e
from turnout.demo import ledger
from turnout.demo.batch import Batch
from turnout.demo.place import Place
from turnout.demo.watch import Seen
from turnout.service.app import App
from turnout.service.outcome import Review


@dataclass(frozen=True)
class Result:
    """One request. `outcome` is paid, waiting or rejected; `recovered` says what the second process found of it."""

    request: str
    beneficiary: str
    amount: str
    outcome: str
    why: str
    recovered: str


@dataclass(frozen=True)
class Proof:
    """Turnout's record beside the world's. `lost` and `unknown` are requests that only one of the two calls paid."""

    said_paid: list[str]
    audit: ledger.Audit
    threads: int
    identical: int
    problems: list[str]

    @property
    def lost(self) -> list[str]:
        """Paid, says Turnout, and the ledger doesn't."""
        return sorted(set(self.said_paid) - set(self.audit.paid))

    @property
    def unknown(self) -> list[str]:
        """Paid, says the ledger, and Turnout doesn't."""
        return sorted(set(self.audit.paid) - set(self.said_paid))

    @property
    def holds(self) -> bool:
        """Is everything as it should be?"""
        wrong = [*self.audit.twice, *self.lost, *self.unknown, *self.problems]
        return not wrong and self.identical == self.threads


async def results(app: App, batch: Batch, killed: Seen) -> list[Result]:
    """The batch, request by request, in the order of the inbox."""
    reviews = {review.thread: review for review in await app.reviews()}
    found = []
    for request in batch.requests:
        state, entries = await app.state(request.id), await app.entries(request.id)
        outcome, why = _outcome(state, entries, reviews.get(request.id))
        found.append(
            Result(
                request.id,
                request.beneficiary,
                f"{request.amount} {request.currency}",
                outcome,
                why,
                _recovered(request.id, killed, entries),
            )
        )
    return found


async def prove(app: App, place: Place, progress: Callable[[int], None]) -> Proof:
    """Hold Turnout's record against the ledger's, replay every thread, and verify the store."""
    rows = await app.threads()
    said_paid, identical = [], 0
    for n, row in enumerate(rows, 1):
        if (await app.state(row.thread)).get("outcome") == "paid":
            said_paid.append(row.thread)
        identical += (await app.replay(row.thread)).identical
        progress(n)
    verified = await app.verify()
    problems = [str(problem) for problem in verified.problems]
    return Proof(said_paid, ledger.audit(place.ledger), len(rows), identical, problems)


def _outcome(state: dict[str, Any], entries: list[e.Entry], review: Review | None) -> tuple[str, str]:
    rule = _last_rule(entries)
    if review is not None:
        people = "two people" if review.quorum == 2 else "finance"
        return "waiting", f"{rule if rule != 'default' else 'unusual'}: {people} must decide"
    if state["outcome"] == "paid":
        return "paid", f"by rule: {rule}"
    return str(state["outcome"]), str(state["reason"])


def _last_rule(entries: list[e.Entry]) -> str:
    """The rule by which it went to where it is now, or was last."""
    rules = [x.body.rule for x in entries if isinstance(x.body, e.Decision) and x.body.target != "END"]
    return rules[-1]


def _recovered(request: str, killed: Seen, entries: list[e.Entry]) -> str:
    looked_into = [
        x.body.outcome for x in entries if isinstance(x.body, e.EffectSettled) and x.body.how == "reconcile"
    ]
    if "landed" in looked_into:
        return "in flight: found at the bank"
    if looked_into:
        return "in flight: not there, sent"
    if request in killed.working:
        return "half-way: went on"
    known = (*killed.paid, *killed.rejected, *killed.waiting)
    return "" if request in known else "not read yet: read"
