"""Structured output: does an answer fit the type that was asked for, and what to say to the model when it doesn't."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from turnout.core.messages import Message, ModelReply, ModelRequest
from turnout.core.state import first_problem

_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(?P<json>.*?)\n\s*```\s*\Z", re.S)
PROBLEMS = 8
"""How many problems a repair turn names: enough to mend most answers, short enough for a small model to read."""


@dataclass(frozen=True)
class Misfit:
    """Why an answer doesn't fit: the first problem in short, and all that the model is told."""

    short: str
    told: str


def fit(adapter: TypeAdapter[Any], reply: ModelReply) -> Any | Misfit:
    """The answer as the type, or why not. The answer is `reply.output`, or else the JSON in its text."""
    data = reply.output
    if data is None:
        data = json_in(reply.text)
        if isinstance(data, Misfit):
            return data
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [f"- {_place(one['loc'])}: {one['msg']}" for one in found[:PROBLEMS]]
        if len(found) > PROBLEMS:
            lines.append(f"- and {len(found) - PROBLEMS} more")
        return Misfit(first_problem(error), "\n".join(lines))


def json_in(text: str) -> Any | Misfit:
    """The JSON value in a text, which may stand in a code fence. Prose around it is not looked through: an answer
    that is guessed out of prose could be the wrong one."""
    fenced = _FENCED.match(text)
    try:
        return json.loads(fenced["json"] if fenced else text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        short = f"it is not JSON ({error})" if text.strip() else "it is empty"
        return Misfit(short, f"- {short}")


def repair(request: ModelRequest, reply: ModelReply, misfit: Misfit) -> ModelRequest:
    """The request for a repair turn: the conversation, the answer, and what is wrong with it."""
    said = reply.text if reply.text or reply.output is None else json.dumps(reply.output, ensure_ascii=False)
    complaint = (
        f"That answer doesn't fit the required JSON schema:\n{misfit.told}\n"
        "Answer again, with the corrected JSON value alone."
    )
    more = (Message(role="assistant", content=said), Message(role="user", content=complaint))
    return request.model_copy(update={"messages": (*request.messages, *more)})


def _place(loc: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in loc) or "the value"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
