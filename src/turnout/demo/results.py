"""What happened to each request, told from the journal; and the proof that it is true, from the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from turnout.core import entries as e
from turnout.demo import ledger
from turnout.demo.batch import Batch
from turnout.demo.desk import ACCOUNT_CURRENCY
from turnout.demo.place import Place
from turnout.demo.watch import Seen
from turnout.service.app import App

BOOKED, UNBOOKED = "booked, unknown", "sent, not booked"
HALF_WAY, UNREAD = "half-way", "not read yet"


@dataclass(frozen=True)
class Result:
    """One request. `outcome` is paid, waiting, rejected or failed; `why` the rule; `at_kill` one of the words above, or ""."""

    request: str
    beneficiary: str
    amount: str
    outcome: str
    why: str
    at_kill: str
    sent_again: bool


@dataclass(frozen=True)
class Proof:
    """Turnout's record beside the world's. `different` are threads that don't replay identically."""

    said_paid: list[str]
    audit: ledger.Audit
    threads: int
    different: list[str]
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
        return not [*self.audit.twice, *self.lost, *self.unknown, *self.different, *self.problems]


async def results(app: App, batch: Batch, killed: Seen) -> list[Result]:
    """The batch, request by request, in the order of the inbox."""
    waiting = {review.thread for review in await app.reviews()}
    found = []
    for request in batch.requests:
        state, entries = await app.state(request.id), await app.entries(request.id)
        outcome, why = _outcome(state, entries, request.id in waiting)
        found.append(
            Result(
                request.id,
                request.beneficiary,
                request.amount
                if request.currency == ACCOUNT_CURRENCY
                else f"{request.currency} {request.amount}",
                outcome,
                why,
                _at_kill(request.id, killed),
                _sent_again(entries),
            )
        )
    return found


async def prove(app: App, place: Place, progress: Callable[[int], None]) -> Proof:
    """Hold Turnout's record against the ledger's, replay every thread, and verify the store."""
    rows = await app.threads()
    said_paid, different = [], []
    for n, row in enumerate(rows, 1):
        if (await app.state(row.thread)).get("outcome") == "paid":
            said_paid.append(row.thread)
        if not (await app.replay(row.thread)).identical:
            different.append(row.thread)
        progress(n)
    verified = await app.verify()
    problems = [str(problem) for problem in verified.problems]
    return Proof(said_paid, ledger.audit(place.ledger), len(rows), different, problems)


def _outcome(state: dict[str, Any], entries: list[e.Entry], waits: bool) -> tuple[str, str]:
    """The outcome, and the rule by which it came to it."""
    rules = [x.body.rule for x in entries if isinstance(x.body, e.Decision) and x.body.target != "END"]
    why = "unusual" if rules[-1] == "default" else rules[-1]
    if waits:
        return "waiting", why
    if entries[-1].kind == "run.failed":
        return "failed", "register silent"
    refused = state["outcome"] == "rejected" and state["reason"].startswith("the bank refused")
    return state["outcome"], "refused by the bank" if refused else why


def _at_kill(request: str, killed: Seen) -> str:
    if request in killed.in_flight:
        return BOOKED if killed.in_flight[request] else UNBOOKED
    if request in killed.working:
        return HALF_WAY
    return "" if request in (*killed.paid, *killed.rejected, *killed.failed, *killed.waiting) else UNREAD


def _sent_again(entries: list[e.Entry]) -> bool:
    """Was the payment sent a second time?"""
    return sum(isinstance(x.body, e.EffectIntended) for x in entries) > 1
