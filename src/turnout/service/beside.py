"""What runs beside an app's worker until the app is closed: the sending of notices, and of telemetry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from turnout.errors import TurnoutError

log = logging.getLogger("turnout.beside")
ENDED = "it has ended; the log says why"


class Helper(Protocol):
    """One of them. That a receiver is down is no trouble of the helper's."""

    @property
    def trouble(self) -> Exception | None:
        """Why it can't do its work now."""

    async def run(self) -> None:
        """Do it until cancelled. What it raises ends it for good."""


class Beside:
    """The helpers of an app, by what they are for."""

    def __init__(self, helpers: Mapping[str, Helper]) -> None:
        self._helpers = dict(helpers)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self) -> None:
        """Have them run."""
        self._tasks = {name: asyncio.ensure_future(self._run(name)) for name in self._helpers}

    async def end(self) -> None:
        """Have them end: each may take the few seconds that it needs for it."""
        tasks, self._tasks = self._tasks, {}
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    def parts(self) -> dict[str, str]:
        """How each is: "ok", or what is wrong with it."""
        return {name: self._part(name, task) for name, task in self._tasks.items()}

    def ended(self) -> dict[str, str]:
        """Whether each still runs: "ok", or that it has ended, which only another start of this process mends."""
        return {name: ENDED if task.done() else "ok" for name, task in self._tasks.items()}

    def _part(self, name: str, task: asyncio.Task[None]) -> str:
        trouble = self._helpers[name].trouble
        if task.done():
            return ENDED
        if trouble is None:
            return "ok"
        return (
            str(trouble)
            if isinstance(trouble, TurnoutError)
            else f"{type(trouble).__name__}; the log says where"
        )

    async def _run(self, name: str) -> None:
        try:
            await self._helpers[name].run()
        except Exception:
            log.exception("%s: it has ended, and begins again with the next start of this process", name)
