"""JSON schemas as upstreams take them, and the answers that come back for them."""

from __future__ import annotations

import json
from typing import Any

from turnout.core.messages import Message
from turnout.core.output import Misfit, json_in

WRAPPED = "value"
_SCHEMAS = {"items", "prefixItems", "anyOf", "oneOf", "allOf", "not"}
"""The words of a schema that hold a schema, or a list of them."""
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
    return _closed(schema) if _can_be_closed(schema) else None


def _can_be_closed(schema: Any) -> bool:
    """Does it say everywhere what may be there?"""
    if isinstance(schema, list):
        return all(map(_can_be_closed, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        if schema.get("additionalProperties", False) is not False or "properties" not in schema:
            return False
    elif not schema.keys() & {"type", "$ref", "anyOf", "enum", "const", "allOf"}:
        return False  # anything at all
    named = [inner for key in ("properties", "$defs") for inner in schema.get(key, {}).values()]
    return all(map(_can_be_closed, [*named, *(schema[key] for key in schema.keys() & _SCHEMAS)]))


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            found[key] = {name: _closed(inner) for name, inner in value.items()}
        elif key in _SCHEMAS:
            found[key] = _closed(value)
        elif key not in ("default", "title", "examples"):
            found[key] = value
    if found.get("type") == "object":
        found["additionalProperties"] = False
        found["required"] = list(found["properties"])
    return found


def told(messages: tuple[Message, ...], schema: dict[str, Any]) -> tuple[Message, ...]:
    """The messages with the schema in words, for upstreams that don't take one."""
    return (*messages, Message(role="user", content=_TOLD + json.dumps(schema, ensure_ascii=False)))
