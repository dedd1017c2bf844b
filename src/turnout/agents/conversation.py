"""What a conversation says: which call comes next, what the model is shown, what it is answered. All pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from turnout.agents.state import PendingCall
from turnout.core import canon
from turnout.core.messages import Message, ToolCall
from turnout.core.tool import Tool
from turnout.errors import InputInvalid

CUT_OFF = "No answer: the run was stopped before this call was answered. It may or may not have happened."


def next_call(messages: Sequence[Message], tools: Mapping[str, Tool[Any, Any]]) -> PendingCall | None:
    """The first call of the model's last message that has no answer yet. Calls are answered in their order."""
    answered = 0
    for message in reversed(messages):
        if message.role == "assistant":
            left = message.tool_calls[answered:]
            return checked(left[0], tools) if left else None
        answered += message.role == "tool"
    return None


def checked(call: ToolCall, tools: Mapping[str, Tool[Any, Any]]) -> PendingCall:
    """The call as it would be made, or with the problem that the model is to be told."""
    tool = tools.get(call.name)
    if tool is None:
        known = ", ".join(tools) or "none"
        problem = f"there is no tool {call.name!r}; there is: {known}"
        return PendingCall(id=call.id, name=call.name, args=call.args, problem=problem)
    try:
        return PendingCall(id=call.id, name=call.name, args=tool.check(call.args))
    except InputInvalid as error:
        return PendingCall(id=call.id, name=call.name, args=call.args, problem=str(error))


def prompt(instructions: str, messages: Sequence[Message]) -> list[Message]:
    """What the model is shown: the instructions, then the conversation.

    A run that was cancelled or failed may have left calls without an answer, which no provider takes: they are
    answered here, with what is known of them.
    """
    shown = [Message(role="system", content=instructions)] if instructions else []
    unanswered: list[ToolCall] = []
    for message in messages:
        if message.role == "tool":
            unanswered = unanswered[1:]
        else:
            shown += [answer_to(call, CUT_OFF) for call in unanswered]
            unanswered = list(message.tool_calls)
        shown.append(message)
    return shown


def answer_to(call: ToolCall | PendingCall, content: str) -> Message:
    """The tool message that answers a call."""
    return Message(role="tool", content=content, tool_call_id=call.id, name=call.name)


def text_of(result: Any) -> str:
    """A tool's result as a model reads it: text as it is, all else as JSON."""
    data = canon.plain(result, "the tool's result")
    return data if isinstance(data, str) else canon.encode(data).decode()
