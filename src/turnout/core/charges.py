"""What an entry says to the ledger. All of the ledger can be made again by asking this of every entry."""

from __future__ import annotations

from turnout.core import entries as e
from turnout.core.amounts import UNSENT, Spent
from turnout.core.budgets import Charge, Label
from turnout.core.fold_budgets import CACHE, cost
from turnout.core.view import StepView, ThreadView, root_of


def charge(view: ThreadView, entry: e.Entry) -> Charge | None:
    """The charge of an entry; `view` is the thread after it. None: it costs nothing that is counted.

    A fork shares its parent's entries, and is not charged for them: those are to be left out.
    """
    body = entry.body
    if isinstance(body, e.BudgetReserved):
        label = _label(view, entry, body.effect, body.name, body.model, body.deployment, body.retry)
        return Charge(entry.thread, entry.seq, "reserve", body.amount, label)
    if isinstance(body, e.BudgetSettled):
        return _settle(entry, body.spent)
    if isinstance(body, e.BudgetToppedUp):
        return Charge(
            entry.thread, entry.seq, "top_up", body.amount, account=body.account, budget=body.budget
        )
    if isinstance(body, e.ModelAttempted):
        return _attempt(view, entry, body)
    if isinstance(body, e.EffectRecorded | e.EffectSettled) and body.spent not in (None, UNSENT):
        answered = (
            isinstance(body, e.EffectRecorded) and body.effect == "model" and isinstance(body.result, dict)
        )
        model = body.result.get("model", "") if answered else ""
        if body.spent.reserved:
            return _settle(entry, body.spent, model)
        if isinstance(body, e.EffectRecorded):
            label = _label(view, entry, body.effect, body.name, model, "", False)
            return Charge(entry.thread, entry.seq, "spend", body.spent.amount, label)
    return None


def _attempt(view: ThreadView, entry: e.Entry, body: e.ModelAttempted) -> Charge | None:
    attempt = body.attempt
    if body.spent is not None:
        return _settle(entry, body.spent, attempt.model)
    if attempt.why == CACHE:
        return None
    label = _label(view, entry, "model", body.name, attempt.model, attempt.deployment, attempt.why != "first")
    return Charge(entry.thread, entry.seq, "spend", cost(attempt), label)


def _settle(entry: e.Entry, spent: Spent, model: str = "") -> Charge:
    return Charge(
        entry.thread, entry.seq, "settle", spent.amount, of=spent.reserved, assumed=spent.assumed, model=model
    )


def _label(
    view: ThreadView, entry: e.Entry, kind: str, name: str, model: str, deployment: str, retry: bool
) -> Label:
    run = view.run
    assert run is not None
    step: StepView = run.steps[entry.step]
    return Label(
        thread=entry.thread, run=entry.run, step=entry.step, node=step.node, branch=step.branch, graph=run.graph,
        tenant=view.tenant, root=root_of(view), kind=kind, name=name, model=model,
        deployment=deployment, retry=retry or step.attempt > 1, at=entry.at,
    )  # fmt: skip
