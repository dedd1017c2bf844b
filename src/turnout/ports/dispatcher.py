"""The dispatcher tells whoever is near that a thread has changed. A hint, never the truth: a lost one only costs time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Dispatcher(Protocol):
    def notify(self, thread: str) -> None:
        """Something was appended to this thread, or it is to be looked at. "": it may be any thread, or a schedule."""

    def listen(self, hear: Callable[[str], None], thread: str = "") -> Callable[[], None]:
        """Call `hear(thread)` on every notice, or on those of one thread; returns what ends it."""

    def emit(self, thread: str, event: Any) -> None:
        """Pass a streamed event (see `ctx.emit`) to who watches the thread."""

    def watch(self, hear: Callable[[str, Any], None], thread: str = "") -> Callable[[], None]:
        """Call `hear(thread, event)` on every streamed event, or on those of one thread; returns what ends it."""
