"""JSON schemas as upstreams take them, and the answers that come back for them."""

from __future__ import annotations

import json
from typing import Any

from turnout.core.messages import Message
from turnout.core.output import Misfit, json_in

WRAPPED = "value"
_TOLD = "Answer with a JSON value that fits this JSON schema, and with nothing else:\n"


def wrapped(schema: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The schema as one of an object, which is all that upstreams take at the top; and whether that changed it."""
    if schema.get("type") == "object":
        return schema, False
    root = schema
    if "$ref" in schema and "$defs" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        if schema["$defs"].get(name, {}).get("type") == "object":
            return {**schema["$defs"][name], "$defs": schema["$defs"]}, False
    inner = {key: value for key, value in root.items() if key != "$defs"}
    outer: dict[str, Any] = {"type": "object", "properties": {WRAPPED: inner}, "required": [WRAPPED]}
    if "$defs" in root:
        outer["$defs"] = root["$defs"]
    return outer, True


def unwrapped(text: str, was_wrapped: bool) -> Any:
    """The answer in a text, without the wrap. None when it isn't there: whether it fits is for others to say."""
    data = json_in(text)
    if isinstance(data, Misfit):
        return None
    if was_wrapped and isinstance(data, dict) and data.keys() == {WRAPPED}:
        return data[WRAPPED]
    return data


def strict(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema under the rules of strict upstreams: every object closed, every field required. None: it can't be
    said so (an object with free names, say)."""
    try:
        closed = _closed(schema)
    except _Open:
        return None
    return closed if isinstance(closed, dict) else None


class _Open(Exception):
    """The schema leaves something open."""


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("default", "title", "examples"):
            continue
        if key in ("properties", "$defs"):
            found[key] = {name: _closed(inner) for name, inner in value.items()}
        elif key in ("enum", "const", "required"):
            found[key] = value
        else:
            found[key] = _closed(value)
    if found.get("type") == "object":
        if found.get("additionalProperties", False) is not False or "properties" not in found:
            raise _Open
        found["additionalProperties"] = False
        found["required"] = list(found["properties"])
    elif not found.keys() & {"type", "$ref", "anyOf", "enum", "const", "allOf"}:
        raise _Open  # anything at all
    return found


def told(messages: tuple[Message, ...], schema: dict[str, Any]) -> tuple[Message, ...]:
    """The messages with the schema in words, for upstreams that don't take one."""
    return (*messages, Message(role="user", content=_TOLD + json.dumps(schema, ensure_ascii=False)))
