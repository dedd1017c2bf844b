"""The dispatcher of one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

H = TypeVar("H")


class LocalHub:
    def __init__(self) -> None:
        # By thread, so that a thousand who wait for a thread each aren't all called for every notice; "" hear of all.
        self._listeners: dict[str, list[Callable[[str], None]]] = {}
        self._watchers: dict[str, list[Callable[[str, Any], None]]] = {}

    def notify(self, thread: str) -> None:
        for hear in _of(self._listeners, thread):
            hear(thread)

    def listen(self, hear: Callable[[str], None], thread: str = "") -> Callable[[], None]:
        return _add(self._listeners, thread, hear)

    def emit(self, thread: str, event: Any) -> None:
        for hear in _of(self._watchers, thread):
            hear(thread, event)

    def watch(self, hear: Callable[[str, Any], None], thread: str = "") -> Callable[[], None]:
        return _add(self._watchers, thread, hear)


def _of(those: dict[str, list[H]], thread: str) -> tuple[H, ...]:
    return (*those.get("", ()), *(those.get(thread, ()) if thread else ()))


def _add(those: dict[str, list[H]], thread: str, hear: H) -> Callable[[], None]:
    those.setdefault(thread, []).append(hear)

    def end() -> None:
        those[thread].remove(hear)
        if not those[thread]:
            del those[thread]

    return end
