"""Model calls: how the attempts of one get into the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from turnout.core import entries as e
from turnout.core.amounts import Amount, Estimate
from turnout.core.attempts import Attempt
from turnout.core.effects import slot
from turnout.core.messages import ModelReply
from turnout.core.view import StepView
from turnout.ports.model import AttemptingModel, Model
from turnout.runtime.spending import Spending
from turnout.runtime.staging import Staging
from turnout.runtime.step import Ask, Scope

PLAIN = Amount(calls=1)
"""What a model that isn't of turnout.toml may cost is known when it has answered, not before."""


class RecordedCall:
    """One call, as the model that makes the attempts sees it (see `turnout.ports.model.Call`)."""

    def __init__(self, staging: Staging, spending: Spending, scope: Scope, ask: Ask) -> None:
        self._staging = staging
        self._spending = spending
        self._scope = scope
        self._ask = ask

    @property
    def made(self) -> Sequence[Attempt]:
        step = self._step()
        return tuple(step.attempts.get(slot(self._ask.key, self._ask.n), ())) if step is not None else ()

    def _step(self) -> StepView | None:
        run = self._staging.journal.view.run
        return run.steps.get(self._scope.step.id) if run is not None else None

    def note(self, attempt: Attempt) -> None:
        if self._step() is None:  # it was left behind: its step has ended without it
            return
        name = self._ask.request.name
        spent = self._spending.attempted(self._scope, self._ask, attempt)
        body = e.ModelAttempted(name=name, key=self._ask.key, n=self._ask.n, attempt=attempt, spent=spent)
        self._staging.put(self._scope, body)

    async def reserve(self, estimate: Callable[[], Estimate]) -> None:
        await self._spending.reserve(self._scope, self._ask, estimate)

    async def keep(self) -> None:
        await self._staging.commit(self._scope)
        self._scope.cancel_once()

    async def tenant(self) -> str:
        return self._staging.journal.view.tenant


async def answer(
    model: Model, scope: Scope, ask: Ask, staging: Staging, spending: Spending
) -> dict[str, Any]:
    """The model's reply, as it is recorded. Raises whatever the model raises."""
    if isinstance(model, AttemptingModel):
        call = RecordedCall(staging, spending, scope, ask)
        reply: ModelReply = await model.attempt(ask.subject, scope.emit, call)
    else:
        await spending.reserve(scope, ask, lambda: Estimate(PLAIN))
        reply = await model.complete(ask.subject, scope.emit)
    return reply.model_dump(mode="json", exclude_defaults=True)
