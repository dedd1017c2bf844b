"""The offline model: it plays a list of tool calls, here the ground truth that AgentDojo publishes for each task.

It keeps nothing in memory: which call comes next follows from the conversation alone. So it goes on where it was,
also in a process that was started after the last one was killed; as a real model would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from agentdojo.base_tasks import BaseInjectionTask, BaseUserTask
from agentdojo.functions_runtime import FunctionCall

from turnout import ModelReply, ModelRequest, ToolCall
from turnout.ports.model import Emit


class Player:
    """Wants `calls` one after the other, then says `output`. `pace` is how long it thinks, in seconds a reply."""

    def __init__(self, calls: Sequence[FunctionCall], output: str, pace: float = 0.0) -> None:
        self.calls = list(calls)
        self.output = output
        self.pace = pace

    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        """The next call, or the output when all calls were made."""
        await asyncio.sleep(self.pace)
        made = sum(len(message.tool_calls) for message in request.messages)
        if made >= len(self.calls):
            return ModelReply(text=self.output, model="ground-truth")
        call = self.calls[made]
        wanted = ToolCall(id=f"call-{made + 1}", name=call.function, args=dict(call.args))
        return ModelReply(tool_calls=(wanted,), finish="tool_calls", model="ground-truth")


def ground_truth(
    task: BaseUserTask[Any] | BaseInjectionTask[Any], environment: Any, pace: float = 0.0
) -> Player:
    """A player of the task's published solution in this environment."""
    return Player(task.ground_truth(environment), task.GROUND_TRUTH_OUTPUT, pace)
