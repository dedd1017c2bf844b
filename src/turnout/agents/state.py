"""The state of the agent loop."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict

from turnout.core.messages import Message
from turnout.core.reducers import append


class PendingCall(BaseModel):
    """The tool call that comes next, as it would be made.

    `args` are checked and have their defaults. `problem` says why it can't be made at all (then the model is told
    so), `approved` that a person has said yes to exactly these arguments.
    """

    model_config = ConfigDict(frozen=True)
    id: str
    name: str
    args: dict[str, Any] = {}
    problem: str = ""
    approved: bool = False


class AgentState(BaseModel):
    """What the agent loop reads and writes. Inherit from it to mount `agent(...)` in a graph with more state.

    A run is given its question as `messages=[{"role": "user", "content": "..."}]`; on a thread with earlier runs
    the new messages are put behind the old ones. At its end `stopped` says why it ended: `answered` (then `answer`
    holds the model's text) or `turns` (the model was asked as often as it may be). `turns` counts how often it was
    asked in this run; `call` is the tool call that comes next.
    """

    messages: Annotated[list[Message], append] = []
    answer: str = ""
    stopped: Literal["", "answered", "turns"] = ""
    turns: int = 0
    call: PendingCall | None = None
