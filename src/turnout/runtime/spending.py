"""Spending: a call takes its place in the budgets before it is sent, and is settled when it is known what it cost.

A reservation is an entry, durable before the call leaves; the ledger counts it in the same commit, or refuses it. The
entry that says how the call ended settles it. What was cut off, so that nobody can say what it cost, keeps its place
until the step asks again or the run ends; then all of it counts as spent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from turnout.core import entries as e
from turnout.core.amounts import MEASURES, NOTHING, Amount, Estimate, Reserved, Spent
from turnout.core.attempts import MIDDLE, Attempt
from turnout.core.budgets import Budget, question, topped_up
from turnout.core.effects import Effect, slot
from turnout.core.fold_budgets import CACHE, cost
from turnout.core.reviews import digest_of
from turnout.core.view import RunView
from turnout.errors import AnswerBroken, BudgetExceeded, CapReached, InputInvalid, StoreError
from turnout.ports.model import AttemptingModel
from turnout.runtime.calls import raised
from turnout.runtime.staging import Staging, review_id
from turnout.runtime.step import Ask, Lost, Paused, Scope
from turnout.runtime.world import World

UNLIMITED = 30.0
"""Seconds that are reserved for a call without a time limit."""
REFUSED = frozenset(
    (
        "ModelRateLimited", "ModelUnavailable", "ModelNotFound", "CredentialsRefused", "ModelRequestRefused",
        "ContextWindowExceeded", "SettingsInvalid",
    )
)  # fmt: skip
"""Failures by which an upstream says, or that show, that it did no work: no tokens, no money."""


def estimate(limit: float | None = None) -> Estimate:
    """What a call of a tool or a function may cost: one call, and its time limit."""
    return Estimate(Amount(calls=1, ms=int((UNLIMITED if limit is None else limit) * 1_000)))


class Spending:
    """The spending of one thread's steps."""

    def __init__(self, staging: Staging, world: World) -> None:
        self.staging = staging
        self.world = world

    # --- before a call -----------------------------------------------------------------------------------------

    async def reserve(
        self,
        scope: Scope,
        ask: Ask,
        estimated: Callable[[], Estimate],
        *,
        write: e.EffectIntended | None = None,
    ) -> None:
        """Take a call's place, durably, in one commit with its `write`, if it is one.

        Raises `BudgetExceeded`, or the halt of a step that waits for a person at the cap. Without a budget that counts
        the call, only the write is made durable.
        """
        budgets = await self._budgets(scope)
        if not budgets:
            self._let_go(scope, ask)
            if write is not None:
                self.staging.put(scope, write)
                await self.staging.commit(scope)
            return
        wanted = estimated()
        if any(wanted.amount.of(measure) < 0 for measure in MEASURES):
            raise InputInvalid(
                f"{ask.request.kind} {ask.request.name}: less than nothing can't be reserved: {wanted.amount}"
            )
        _check_price(budgets, wanted, ask)
        await self._top_up(scope, ask)
        self._let_go(scope, ask)
        body = e.BudgetReserved(
            effect=ask.request.kind, name=ask.request.name, key=ask.key, n=ask.n, amount=wanted.amount,
            deployment=wanted.deployment, model=wanted.model, retry=wanted.retry,
        )  # fmt: skip
        self.staging.put(scope, body)
        if write is not None:
            self.staging.put(scope, write)
        try:
            await self.staging.commit(scope)
            refused = self.staging.journal.refusals.pop(
                (scope.run, scope.step.id, slot(ask.key, ask.n)), None
            )
            if refused is None and write is None:
                scope.cancel_once()
        except asyncio.CancelledError:
            self.staging.journal.refusals.pop((scope.run, scope.step.id, slot(ask.key, ask.n)), None)
            if write is None:  # else what becomes of the write settles it
                self._let_go(scope, ask, NOTHING)
            raise
        if refused is not None:
            self._at_cap(scope, ask, refused)

    async def _budgets(self, scope: Scope) -> Sequence[Budget]:
        """Those that count calls of the run. A store that can't say ends the drive, not the call."""
        run = self.staging.journal.view.run
        if self.world.budgets is None or run is None:
            return ()
        try:
            return await self.world.budgets.of(run.graph, self.staging.journal.view.tenant)
        except StoreError as error:
            raise scope.stop(Lost(error)) from error

    def _at_cap(self, scope: Scope, ask: Ask, refused: CapReached) -> None:
        """There is no room: ask a person, or fail, as the budget says."""
        if refused.at_cap != "review":
            raise BudgetExceeded(str(refused))
        name, payload = question(refused)
        number = self.staging.journal.view.seq
        body = e.ReviewRequested(
            review=review_id(self.staging.thread, scope, ask, f"budget.{number}"), name=name, key=ask.key, n=ask.n,
            purpose="budget", payload=payload, allowed=["approve", "edit", "reject"], roles=list(refused.roles),
            requester=scope.requester, shown=digest_of(name, payload, "budget", slot(ask.key, ask.n)),
        )  # fmt: skip
        self.staging.put(scope, body)
        raise scope.stop(Paused())

    async def _top_up(self, scope: Scope, ask: Ask) -> None:
        """What a person has decided at the cap: raise it, or not. Still open: wait on."""
        found = self.staging.open_step(scope).topups.get(slot(ask.key, ask.n))
        if found is None:
            return
        if not found.outcome:
            raise scope.stop(Paused())
        account = str(found.payload.get("account", ""))
        if found.outcome not in ("approve", "edit"):
            raise BudgetExceeded(
                f"the cap of {account} was reached, and in review {found.review} it was not raised"
            )
        body = e.BudgetToppedUp(
            budget=str(found.payload.get("budget", "")), account=account, amount=topped_up(found.payload),
            review=found.review, key=ask.key, n=ask.n,
        )  # fmt: skip
        self.staging.put(scope, body)
        await self.staging.commit(scope)

    async def refused(self, scope: Scope, ask: Ask, info: e.ErrorInfo) -> None:
        """Put on record that a write was not sent, and why; raises what the node gets."""
        request = ask.request
        body = e.EffectRecorded(
            effect=request.kind, name=request.name, key=ask.key, n=ask.n, args=ask.args or None, error=info
        )
        self.staging.put(scope, body)
        await self.staging.commit(scope)
        raise raised(request.kind, request.name, info)

    # --- after it ----------------------------------------------------------------------------------------------

    def attempted(self, scope: Scope, ask: Ask, attempt: Attempt) -> Spent | None:
        """What an attempt of a model call has cost, if something was reserved for it."""
        held = self._held(scope, ask)
        if not held or attempt.why == CACHE:
            return None
        known, reserved = cost(attempt), held[-1].amount
        refused = attempt.error in REFUSED and not attempt.message.startswith(MIDDLE)
        unknown = attempt.usage is None and not refused
        tokens = reserved.tokens if unknown else known.tokens
        dear = unknown or (attempt.usage is not None and attempt.cost_micros is None)
        micros = reserved.micros if dear else known.micros
        return Spent(Amount(micros, tokens, 1, attempt.ms), held[-1].seq, unknown or (dear and micros > 0))

    def answered(
        self, scope: Scope, ask: Ask, result: Any, error: BaseException | None, ms: int
    ) -> Spent | None:
        """What a call has cost whose answer is about to be recorded, where no attempt of its own says so."""
        held = self._held(scope, ask)
        number = held[-1].seq if held else 0
        if ask.request.kind != "model":
            return Spent(Amount(calls=1, ms=ms), number) if held else None
        model = self.world.models.get(ask.request.name)
        if model is None or isinstance(model, AttemptingModel) or isinstance(error, BudgetExceeded):
            return self.settled(scope, ask, None)
        usage = result.get("usage", {}) if isinstance(result, dict) else {}
        tokens = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
        micros = result.get("cost_micros", 0) if isinstance(result, dict) else 0
        return Spent(Amount(micros, tokens, 1, ms), number, assumed=isinstance(error, AnswerBroken))

    def settled(self, scope: Scope, ask: Ask, amount: Amount | None) -> Spent | None:
        """What settles the reservation of a call, if there is one. `amount` None: nobody knows."""
        held = self._held(scope, ask)
        if not held:
            return None
        if amount is None:
            return Spent(held[-1].amount, held[-1].seq, assumed=True)
        return Spent(amount, held[-1].seq)

    def known(self, scope: Scope, ask: Ask, effect: Effect) -> None:
        """A write's outcome has become known from outside: a person has said so."""
        if effect.write and effect.status in ("done", "failed", "absent"):
            self._let_go(scope, ask)

    def _let_go(self, scope: Scope, ask: Ask, amount: Amount | None = None) -> None:
        """Settle what is still reserved for a call, of which nobody will say any more what it cost."""
        for held in self._held(scope, ask):
            spent = Spent(held.amount, held.seq, True) if amount is None else Spent(amount, held.seq)
            self.staging.put(scope, e.BudgetSettled(spent=spent))

    def _held(self, scope: Scope, ask: Ask) -> list[Reserved]:
        run, at = self._run(), slot(ask.key, ask.n)
        if run is None:
            return []
        return [x for x in run.reserved.values() if x.step == scope.step.id and x.slot == at]

    def _run(self) -> RunView | None:
        return self.staging.journal.view.run


def _check_price(budgets: Sequence[Budget], wanted: Estimate, ask: Ask) -> None:
    """A cap on money can't hold for what has no price."""
    capped = next((budget.name for budget in budgets if budget.micros is not None), "")
    if capped and not wanted.priced:
        raise BudgetExceeded(
            f"no price is known for deployment {wanted.deployment} ({wanted.model}), so budget {capped} can't hold its "
            f"cap on money; give the deployment a price in turnout.toml (0 if it is free)"
        )
