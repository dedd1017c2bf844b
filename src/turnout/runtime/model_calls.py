"""Model calls: how the attempts of one get into the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from turnout.core import entries as e
from turnout.core.amounts import Amount, Estimate
from turnout.core.attempts import MIDDLE, Attempt
from turnout.core.effects import slot
from turnout.core.messages import MOST_MICROS, MOST_TOKENS, ModelReply, ModelRequest
from turnout.errors import AnswerBroken
from turnout.ports.model import AttemptingModel, Model
from turnout.runtime.gate import Gate
from turnout.runtime.staging import Staging
from turnout.runtime.step import Ask, Scope

PLAIN = Amount(calls=1)
"""What a model that isn't of turnout.toml may cost is known when it has answered, not before."""


class RecordedCall:
    """One call, as the model that makes the attempts sees it (see `turnout.ports.model.Call`)."""

    def __init__(self, staging: Staging, scope: Scope, ask: Ask, gate: Gate) -> None:
        self._staging = staging
        self._gate = gate
        self._spending = gate.spending
        self._scope = scope
        self._ask = ask

    @property
    def made(self) -> Sequence[Attempt]:
        step = self._staging.step(self._scope)
        return tuple(step.attempts.get(slot(self._ask.key, self._ask.n), ())) if step is not None else ()

    def note(self, attempt: Attempt) -> None:
        if self._staging.step(self._scope) is None:  # it was left behind: its step has gone on without it
            return
        name = self._ask.request.name
        if attempt.message:
            message = self._gate.cleaned_now(self._scope, self._ask, attempt.message)
            if attempt.message.startswith(MIDDLE) and not message.startswith(MIDDLE):  # a fact, and no quote
                message = f"{MIDDLE}: {message}"
            attempt = msgspec.structs.replace(attempt, message=message)
        attempt = _possible(attempt)
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


def _possible(attempt: Attempt) -> Attempt:
    """The attempt; what nobody can have counted or paid isn't known. No budget could be kept with such numbers."""
    usage, cost = attempt.usage, attempt.cost_micros
    if usage is not None and not all(0 <= count <= MOST_TOKENS for count in usage.values()):
        return msgspec.structs.replace(attempt, usage=None, price=None, cost_micros=None)
    if cost is not None and not 0 <= cost <= MOST_MICROS:
        return msgspec.structs.replace(attempt, price=None, cost_micros=None)
    return attempt


async def answer(model: Model, scope: Scope, ask: Ask, staging: Staging, gate: Gate) -> dict[str, Any]:
    """The model's reply, as it is recorded. Raises whatever the model raises."""
    wanted: ModelRequest = ask.subject
    if ask.changed is not None:
        wanted = ModelRequest.model_validate({"alias": ask.request.name, **ask.changed})
    emit = gate.streamed(scope, ask)
    if isinstance(model, AttemptingModel):
        reply: ModelReply = await model.attempt(wanted, emit, RecordedCall(staging, scope, ask, gate))
    else:
        await gate.spending.reserve(scope, ask, lambda: Estimate(PLAIN))
        reply = await model.complete(wanted, emit)
    if not reply.possible:
        raise AnswerBroken(f"what it says it used can't be: {reply.usage!r}, {reply.cost_micros} millionths")
    return reply.model_dump(mode="json", exclude_defaults=True)
