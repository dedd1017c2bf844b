"""The model: one request in, one reply out. Providers, gateways and the scripted model of the tests implement it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from turnout.core.amounts import Estimate
from turnout.core.attempts import Attempt
from turnout.core.messages import ModelReply, ModelRequest

Emit = Callable[[Any], None]


class Model(Protocol):
    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        """Answer `request`. `emit` takes pieces of the answer for whoever streams. Raises any error on failure."""


class Call(Protocol):
    """One model call of a step: what is on record of it, and how its attempts get there."""

    @property
    def made(self) -> Sequence[Attempt]:
        """The attempts on record, also those of a process that died, the oldest first."""

    def note(self, attempt: Attempt) -> None:
        """Put an attempt on record. Not durable yet: it rides in the next commit."""

    async def reserve(self, estimate: Callable[[], Estimate]) -> None:
        """Take the next attempt's place in the budgets; asked before it is sent. What it did cost is taken from the attempt
        when that is noted. Raises `BudgetExceeded`, or the halt of a step that waits for a person."""

    async def keep(self) -> None:
        """Make what was noted durable."""

    async def tenant(self) -> str:
        """Whose thread it is. Empty: nobody's in particular."""


@runtime_checkable
class AttemptingModel(Protocol):
    """A model that may need several attempts for one answer. The runtime calls `attempt`, not `complete`."""

    async def attempt(self, request: ModelRequest, emit: Emit, call: Call) -> ModelReply:
        """The same as `complete`. Every attempt is noted, and what was noted is kept before the next one is sent."""


class Retriever(Protocol):
    async def __call__(self, query: str, k: int) -> list[Any]:
        """Up to `k` plain JSON documents for `query`, the best first."""
