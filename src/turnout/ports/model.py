"""The model: one request in, one reply out. Providers, gateways and the scripted model of the tests implement it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from turnout.core.messages import ModelReply, ModelRequest

Emit = Callable[[Any], None]


class Model(Protocol):
    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        """Answer `request`. `emit` takes pieces of the answer for whoever streams. Raises any error on failure."""


class Retriever(Protocol):
    async def __call__(self, query: str, k: int) -> list[Any]:
        """Up to `k` plain JSON documents for `query`, the best first."""
