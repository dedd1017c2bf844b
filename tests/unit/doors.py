"""A store whose appends can be held."""

from collections.abc import Callable
from typing import Any

from turnout.ports.rows import Append


class Door:
    """A real store behind a door: `before` and `after` see every append, and may hold it or its answer back."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.before: Callable[[Append], Any] | None = None
        self.after: Callable[[Append], Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def append(self, change: Append) -> None:
        if self.before is not None:
            await self.before(change)
        await self.inner.append(change)
        if self.after is not None:
            await self.after(change)

    async def close(self) -> None:
        """Others have it, too."""
