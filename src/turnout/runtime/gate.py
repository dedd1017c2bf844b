"""The gate: what is looked at before a request leaves, and before its answer is taken in.

A request goes out in this order: guardrails look at it (and may redact it), policy gives its verdict on what is then
asked, a budget has room for it, it is sent. What comes back is looked at by guardrails before it is on record. Every
word of theirs is an entry of the step.
"""

from __future__ import annotations

from typing import Any

from turnout.runtime.staging import Staging
from turnout.runtime.step import Ask, Scope
from turnout.runtime.verdicts import Verdicts
from turnout.runtime.world import World


class Gate:
    """The gate of one thread's steps."""

    def __init__(self, staging: Staging, world: World) -> None:
        self.staging = staging
        self.world = world
        self.verdicts = Verdicts(staging, world)

    async def admit(self, scope: Scope, ask: Ask) -> Ask:
        """The request as it may be sent. Raises what the node gets when it may not, or the halt of a step that waits
        for a person."""
        ask = self.verdicts.approved(scope, ask)
        return self.verdicts.admit(scope, ask)

    async def taken_in(self, scope: Scope, ask: Ask, result: Any) -> Any:
        """What came back, as it is put on record and given to the node. Raises what the node gets instead."""
        return result
