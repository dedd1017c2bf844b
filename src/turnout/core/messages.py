"""Messages, requests and replies of models, in the shape that every provider can be translated to."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from turnout.core.frozen import FrozenDict


class ToolCall(BaseModel):
    """A model's wish that a tool be called. It is a wish: whether it happens is decided in code."""

    model_config = ConfigDict(frozen=True)
    id: str
    name: str
    args: FrozenDict = FrozenDict()


class Message(BaseModel):
    """One message of a conversation. `content` is text; `tool_call_id` says which call a tool message answers."""

    model_config = ConfigDict(frozen=True)
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""


class Usage(BaseModel):
    """Tokens of one call."""

    model_config = ConfigDict(frozen=True)
    input_tokens: int = 0
    output_tokens: int = 0


class ModelRequest(BaseModel):
    """What a model is asked. `tools` are name, description and JSON schema; `output` is a JSON schema or None."""

    model_config = ConfigDict(frozen=True)
    alias: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    output: dict[str, Any] | None = None
    options: dict[str, Any] = {}


class ModelReply(BaseModel):
    """What a model answered. `output` is the validated object when the request asked for a type.

    `cost_micros` is in millionths of the account's currency unit.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    output: Any = None
    usage: Usage = Usage()
    finish: str = "stop"
    model: str = ""
    cost_micros: int = 0

    @property
    def message(self) -> Message:
        """The reply as the assistant's message, to be put into the history."""
        return Message(role="assistant", content=self.text, tool_calls=self.tool_calls)
