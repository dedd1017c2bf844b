"""Answers from the record alone, for replays and proofs: nothing is called."""

from __future__ import annotations

import asyncio
from typing import Any

from turnout.core.compensation import found_out
from turnout.core.effects import slot
from turnout.runtime.calls import raised
from turnout.runtime.step import TURNS, Ask, Frontier, Paused, Scope


async def from_record(scope: Scope, ask: Ask) -> Any:
    """A `perform` that only knows the record. Where the record ends or waits, the execution halts; unless what it asks
    for there is broken off by the rest of the step, as it was then."""
    effect = ask.effect
    if effect is None:
        raise Frontier(ask.request)
    if effect.kind == "outcome" and (known := found_out(effect)) is not None:
        return known
    if effect.status == "done" and effect.error is None:
        return effect.result
    if effect.status in ("done", "failed"):
        raise raised(effect.kind, effect.name, effect.error)
    raise Paused()


Answered = dict[tuple[str, str], int]
"""By step and slot: the entry by which an effect was answered last."""


class InOrder:
    """The same, but what is asked at once is answered one after the other, in the order in which it was recorded.

    A step that has two calls under way takes another course when the second one fails first; code order doesn't tell.
    """

    def __init__(self, answered: Answered) -> None:
        self._answered = answered
        self._due: list[int] = []
        self._moves = 0

    async def __call__(self, scope: Scope, ask: Ask) -> Any:
        effect = ask.effect
        if effect is not None and effect.status in ("done", "failed"):
            await self._turn_of(self._answered.get((scope.step.id, slot(ask.key, ask.n)), effect.seq))
        return await from_record(scope, ask)

    async def _turn_of(self, place: int) -> None:
        """Wait until nobody is left who was answered earlier."""
        self._due.append(place)
        self._moves += 1
        try:
            while await self._moving() or place != min(self._due):
                pass
        finally:  # also of a call that is broken off
            self._due.remove(place)
            self._moves += 1

    async def _moving(self) -> bool:
        """Is there somebody who asks for more, or was answered, within a few turns of the loop?"""
        before = self._moves
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return self._moves != before
