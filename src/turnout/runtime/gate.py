"""The gate: what is looked at before a request leaves, and before its answer is taken in.

A request goes out in this order: guardrails look at it (and may redact it), policy gives its verdict on what is then
asked, a budget has room for it, it is sent. What comes back is looked at by guardrails before it is on record. Every
word of theirs is an entry of the step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from turnout.core import entries as e
from turnout.core.effects import Effect, shortened
from turnout.core.tool import Tool
from turnout.core.view import StepView
from turnout.errors import GuardBlocked
from turnout.runtime.guarding import Guarding
from turnout.runtime.spending import Spending
from turnout.runtime.staging import Staging
from turnout.runtime.step import Ask, Scope, info_of
from turnout.runtime.verdicts import Verdicts
from turnout.runtime.world import World

B = TypeVar("B", bound=e.Body | None)


class Gate:
    """The gate of one thread's steps."""

    def __init__(self, staging: Staging, world: World) -> None:
        self.staging = staging
        self.world = world
        self.verdicts = Verdicts(staging, world)
        self.spending = Spending(staging, world)
        self._guarding = Guarding(staging, world) if world.guards else None

    async def admit(self, scope: Scope, ask: Ask) -> Ask:
        """The request as it may be sent. Raises what the node gets when it may not, or the halt of a step that waits
        for a person."""
        ask = self.verdicts.approved(scope, ask)  # guardrails look at what it was edited to, too
        if self._guarding is not None:
            ask = await self._guarding.admit(scope, ask)
        return self.verdicts.admit(scope, ask)

    async def taken_in(self, scope: Scope, ask: Ask, result: Any) -> Any:
        """What came back, as it is put on record and given to the node. Raises what the node gets instead."""
        return result if self._guarding is None else await self._guarding.taken_in(scope, ask, result)

    def held(self, scope: Scope, ask: Ask) -> e.ReviewRequested | None:
        """The question, if what is being put on record has to be let through by a person. It goes on record with it."""
        return None if self._guarding is None else self._guarding.held(scope, ask)

    def hold(self, scope: Scope, ask: Ask) -> bool:
        """Does what was put on record just now have to be let through by a person? Then it is asked for."""
        review = self.held(scope, ask)
        if review is not None:
            self.staging.put(scope, review)
        return review is not None

    def hold_again(self, scope: Scope, ask: Ask, effect: Effect) -> None:
        """Have a person asked about an answer that is held, if nobody is asked."""
        if not effect.review:
            (self._guarding or Guarding(self.staging, self.world)).hold_again(scope, ask, effect)

    async def left(
        self, step: StepView, effect: Effect, tool: Tool[Any, Any], result: Any
    ) -> tuple[Any, e.ErrorInfo | None]:
        """The result of a write, found when its step is over, as it is put on record; or why it isn't."""
        if self._guarding is None:
            return result, None
        return await self._guarding.left(step, effect, tool, result)

    def streamed(self, scope: Scope, ask: Ask) -> Callable[[Any], None]:
        """Where the pieces of a model's answer go."""
        return scope.emit if self._guarding is None else self._guarding.streamed(scope, ask)

    async def info_of(self, scope: Scope, ask: Ask, error: BaseException) -> e.ErrorInfo:
        """An error of a request as the journal has it and the node gets it."""
        info = info_of(error)
        if type(error) is GuardBlocked:  # a guardrail's own words
            return info
        return msgspec.structs.replace(info, message=await self.cleaned(scope, ask, info.message))

    async def recorded(
        self, scope: Scope, ask: Ask, error: BaseException, record: Callable[[e.ErrorInfo], None]
    ) -> e.ErrorInfo:
        """The same, put on record by `record`. Who is cancelled meanwhile leaves the error there without its text."""
        try:
            info = await self.info_of(scope, ask, error)
        except asyncio.CancelledError:
            record(e.ErrorInfo(type(error).__name__, "cut off while its text was looked at"))
            raise
        record(info)
        return info

    async def cleaned(self, scope: Scope, ask: Ask, text: str) -> str:
        """The text of an error of a request, without what a guardrail would keep from the node or from the record."""
        if self._guarding is None or not text:
            return text
        return await self._guarding.cleaned(self._guarding.place(scope, ask), text)

    def cleaned_now(self, scope: Scope, ask: Ask, text: str) -> str:
        """The same where nothing can be awaited."""
        if self._guarding is None or not text:
            return text
        return self._guarding.cleaned_now(self._guarding.place(scope, ask), text)

    async def as_recorded(self, body: B) -> B:
        """An entry about a divergence as the journal has it: it tells what the code asks for."""
        if not isinstance(body, e.RunDiverged):
            return body
        found = body.divergence
        if self._guarding is not None:
            found = await self._guarding.divergence(found)
        return msgspec.structs.replace(body, divergence=shortened(found))
