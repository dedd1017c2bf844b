"""The dispatcher of one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class LocalHub:
    def __init__(self) -> None:
        self._listeners: list[Callable[[str], None]] = []
        self._watchers: list[Callable[[str, Any], None]] = []

    def notify(self, thread: str) -> None:
        for hear in tuple(self._listeners):
            hear(thread)

    def listen(self, hear: Callable[[str], None]) -> Callable[[], None]:
        self._listeners.append(hear)
        return lambda: self._listeners.remove(hear)

    def emit(self, thread: str, event: Any) -> None:
        for hear in tuple(self._watchers):
            hear(thread, event)

    def watch(self, hear: Callable[[str, Any], None]) -> Callable[[], None]:
        self._watchers.append(hear)
        return lambda: self._watchers.remove(hear)
