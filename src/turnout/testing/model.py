"""A model that plays a script: no network, no surprise, and a log of what it was asked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from turnout.core.messages import ModelReply, ModelRequest
from turnout.errors import ModelFailed
from turnout.ports.model import Emit

Line = ModelReply | str | Exception


class ScriptedModel:
    """Plays `lines` in order, or asks a function `(request) -> line` each time.

    A line is a `ModelReply`, a string (its text), or an exception to raise. `requests` is what was asked. When the
    script is at its end a further request fails, and says so.
    """

    def __init__(self, lines: Iterable[Line] | Callable[[ModelRequest], Any]) -> None:
        self.requests: list[ModelRequest] = []
        self._play = lines if callable(lines) else None
        self._lines = [] if callable(lines) else list(lines)

    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        self.requests.append(request)
        line = await self._next(request)
        if isinstance(line, Exception):
            raise line
        reply = ModelReply(text=line) if isinstance(line, str) else line
        if reply.text:
            emit({"text": reply.text})
        return reply

    async def _next(self, request: ModelRequest) -> Any:
        if self._play is not None:
            line = self._play(request)
            return await line if inspect.isawaitable(line) else line
        if not self._lines:
            raise ModelFailed(
                f"the script of model {request.alias!r} is at its end after {len(self.requests) - 1} lines"
            )
        return self._lines.pop(0)
