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


class SystemChance:
    def random(self) -> float:
        return random.random()  # noqa: S311 - for users' dice; ids and keys come from hex()

    def hex(self, length: int) -> str:
        return secrets.token_hex((length + 1) // 2)[:length]
