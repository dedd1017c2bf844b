"""The real clock and real chance."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable

from turnout.core.entries import Micros


class SystemClock:
    def now(self) -> Micros:
        return time.time_ns() // 1000

    def call_at(self, moment: Micros, do: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(max(0.0, (moment - self.now()) / 1e6), do)


class SteadyClock(SystemClock):
    """Time as a server tells it, carried on by this machine's steady clock: setting the machine's clock changes nothing."""

    def __init__(self) -> None:
        self._ahead = time.time_ns() - time.monotonic_ns()  # until a server has been asked

    def settle(self, now: Micros, steady: int) -> None:
        """It was `now` (microseconds since 1970) when the steady clock stood at `steady` (nanoseconds)."""
        self._ahead = now * 1000 - steady

    def now(self) -> Micros:
        return (time.monotonic_ns() + self._ahead) // 1000


class SystemChance:
    def random(self) -> float:
        return random.random()  # noqa: S311 - for users' dice; ids and keys come from hex()

    def hex(self, length: int) -> str:
        return secrets.token_hex((length + 1) // 2)[:length]
