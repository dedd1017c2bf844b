"""Time and chance that a test is master of."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from datetime import timedelta

from turnout.core.entries import Micros


class _Timer:
    def __init__(self, do: Callable[[], object]) -> None:
        self.do: Callable[[], object] | None = do

    def cancel(self) -> None:
        self.do = None


class VirtualClock:
    """A clock that moves only when it is told to: `await clock.advance(days=3)` fires what falls due, in order."""

    def __init__(self, start: Micros = 1_767_225_600_000_000) -> None:
        """`start` is in microseconds since 1970; the default is 2026-01-01 00:00 UTC."""
        self._now = start
        self._timers: list[tuple[Micros, int, _Timer]] = []
        self._count = 0

    def now(self) -> Micros:
        return self._now

    def call_at(self, moment: Micros, do: Callable[[], object]) -> _Timer:
        timer = _Timer(do)
        if moment <= self._now:
            asyncio.get_running_loop().call_soon(lambda: timer.do() if timer.do else None)
            return timer
        self._count += 1
        heapq.heappush(self._timers, (moment, self._count, timer))
        return timer

    async def advance(self, seconds: float = 0, *, days: float = 0) -> None:
        """Let time pass, and let everything that falls due do its work in between."""
        end = self._now + int(timedelta(days=days, seconds=seconds).total_seconds() * 1_000_000)
        await self.settle()
        while self._timers and self._timers[0][0] <= end:
            moment, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, moment)
            if timer.do is not None:
                timer.do()
                await self.settle()
        self._now = end
        await self.settle()

    async def settle(self, turns: int = 50) -> None:
        """Let the event loop run until what can be done at this moment should be done."""
        for _ in range(turns):
            await asyncio.sleep(0)


class SeededChance:
    """Chance from a seed: the same seed gives the same ids and numbers."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - that it can be foreseen is what it is for

    def random(self) -> float:
        return self._random.random()

    def hex(self, length: int) -> str:
        return f"{self._random.getrandbits(4 * length):0{length}x}"
