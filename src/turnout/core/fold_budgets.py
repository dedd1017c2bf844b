"""What the cost of calls does to a view: what a run has spent, and what is reserved for its calls under way.

A call that no budget counts has no reservation; what it cost is in what the entries say of it anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from turnout.core import entries as e
from turnout.core.amounts import Amount, Reserved, Spent
from turnout.core.attempts import Attempt
from turnout.core.effects import slot
from turnout.core.view import RunView, ThreadView, run_of

CACHE = "cache"
"""The reason for an attempt that was answered without asking anybody."""
COUNTED = ("tool", "retrieve", "once")


def recorded(run: RunView, body: e.EffectRecorded) -> None:
    """A call was asked and answered."""
    if body.spent is not None:
        _spend(run, body.spent)
    elif body.effect in COUNTED and not refused(body.error):
        run.spent += Amount(calls=1, ms=body.ms)


def attempted(run: RunView, body: e.ModelAttempted) -> None:
    """A model was asked once."""
    if body.spent is not None:
        _spend(run, body.spent)
    else:
        run.spent += cost(body.attempt)


def intended(run: RunView, step: str, at: str) -> None:
    """A write is about to be sent. If something is reserved for it, that counts when it is settled."""
    if not any((x.step, x.slot) == (step, at) for x in run.reserved.values()):
        run.spent += Amount(calls=1)


def settled(run: RunView, body: e.EffectSettled) -> None:
    """It is known what became of a write, or still not."""
    if body.spent is not None:
        _spend(run, body.spent)
    else:
        run.spent += Amount(ms=body.ms)


def refused(error: e.ErrorInfo | None) -> bool:
    """Was the call never sent, since a budget had no room for it?"""
    return error is not None and error.type == "BudgetExceeded"


def cost(attempt: Attempt) -> Amount:
    """What an attempt has cost, as far as is known."""
    if attempt.why == CACHE:
        return Amount()
    usage = attempt.usage or {}
    tokens = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
    return Amount(attempt.cost_micros or 0, tokens, 1, attempt.ms)


def _spend(run: RunView, spent: Spent) -> None:
    run.reserved.pop(str(spent.reserved), None)
    run.spent += spent.amount


def _reserved(view: ThreadView, entry: e.Entry, body: e.BudgetReserved) -> None:
    held = Reserved(seq=entry.seq, step=entry.step, slot=slot(body.key, body.n), amount=body.amount)
    run = run_of(view, entry)
    run.reserved[str(entry.seq)] = held
    run.steps[entry.step].topups.pop(held.slot, None)


def _settled(view: ThreadView, entry: e.Entry, body: e.BudgetSettled) -> None:
    _spend(run_of(view, entry), body.spent)


def _topped_up(view: ThreadView, entry: e.Entry, body: e.BudgetToppedUp) -> None:
    run_of(view, entry).steps[entry.step].topups.pop(slot(body.key, body.n), None)


BUDGETS: dict[str, Callable[[ThreadView, e.Entry, Any], None]] = {
    "budget.reserved": _reserved,
    "budget.settled": _settled,
    "budget.topped_up": _topped_up,
}
