"""The world as steps can reach it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from turnout.core.entries import ErrorInfo, InputReceived
from turnout.ports.clock import Chance, Clock
from turnout.ports.guard import Guard
from turnout.ports.model import Model, Retriever
from turnout.ports.policy import Policy
from turnout.ports.tools import ToolServers
from turnout.runtime.known_budgets import KnownBudgets

Hold = Callable[[], Awaitable[None]]
"""Makes sure that a thread is still this process's to drive; raises `StaleWriter` when it isn't."""


async def always() -> None:
    """Nobody else can have the thread."""


@dataclass(frozen=True)
class World:
    """What steps can reach: models and retrieval sources by name, time, chance, and child threads."""

    clock: Clock
    chance: Chance
    models: Mapping[str, Model] = field(default_factory=dict)
    retrievers: Mapping[str, Retriever] = field(default_factory=dict)
    start_child: Callable[[str, InputReceived], Awaitable[ErrorInfo | None]] | None = (
        None  # why it can't have it
    )
    cancel_child: Callable[[str, InputReceived, str], Awaitable[None]] | None = None
    going_on: set[str] = field(default_factory=set)  # idempotency keys of sync writes whose thread runs still
    guards: Sequence[Guard] = ()
    budgets: KnownBudgets | None = None
    transaction: float = 5.0  # seconds for a transactional tool that has no time limit of its own
    servers: ToolServers | None = None  # of tools that aren't functions of ours
    policy: Policy | None = None  # None: what the graphs declare is all there is
