"""A store that crashes: before or after its k-th append the process is as good as dead."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from turnout.ports.rows import Append
from turnout.ports.store import Store, Transaction


class Crash(BaseException):
    """The process ends here: nothing that runs may see this and go on."""


class CrashingStore:
    """Hands everything to `inner`, until its `at`-th append; from then on nothing gets through, in or out."""

    def __init__(self, inner: Store, at: int, *, after: bool) -> None:
        self.inner = inner
        self.at, self.after = at, after
        self.appends = 0
        self.crashed = asyncio.Event()

    async def append(self, change: Append) -> None:
        await self._alive()
        self.appends += 1
        if self.appends != self.at:
            return await self.inner.append(change)
        if self.after:
            await self.inner.append(change)
        self.crashed.set()
        return await self._alive()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Its commit counts as an append."""
        await self._alive()
        async with self.inner.transaction() as inner:
            yield inner
            self.appends += 1
            crash = self.appends == self.at
            if crash and not self.after:
                self.crashed.set()
            await self._alive()
        if crash:
            self.crashed.set()
        await self._alive()

    async def _alive(self) -> None:
        """Who is dead waits for ever."""
        if self.crashed.is_set():
            await asyncio.get_running_loop().create_future()

    def changed(self) -> Any:
        return self.inner.changed()

    async def close(self) -> None:
        """The file outlives the process."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not callable(value):
            return value

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._alive()
            return await value(*args, **kwargs)

        return call
