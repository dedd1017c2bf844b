"""The schema that Turnout publishes, and the arguments of a tool as Cedar's types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from turnout.core.tool import Tool

_NONE = "type Arguments = {};"
_PLAIN = {"integer": "Long", "number": "decimal", "string": "String", "boolean": "Bool"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = ("if", "then", "else", "true", "false", "in", "is", "like", "has")


def text() -> str:
    """The schema as it is published: in Cedar's own schema language."""
    return files("turnout.policy").joinpath("turnout.cedarschema").read_text(encoding="utf-8")


def with_tools(tools: Iterable[Tool[Any, Any]]) -> str:
    """The same, with a type for the arguments of each tool, to read."""
    types = [f"type {_type_name(tool.name)} = {arguments(tool)};" for tool in tools]
    return (
        "\n".join(
            [text().rstrip("\n"), *(["", "// The arguments of the tools at hand."] if types else []), *types]
        )
        + "\n"
    )


def for_tool(tool: Tool[Any, Any]) -> str:
    """The schema in which the tool that is called is this one."""
    return text().replace(_NONE, f"type Arguments = {arguments(tool)};")


def arguments(tool: Tool[Any, Any]) -> str:
    """The record of a tool's arguments. What Cedar has no type for is left out."""
    schema = tool.form.recorded()
    return _record(schema, schema.get("$defs", {}))


def _record(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    fields = []
    wanted = schema.get("required", ())
    for name, given in schema.get("properties", {}).items():
        kind, nullable = _type(given, defs)
        if kind:
            plain = _NAME.fullmatch(name) and name not in _RESERVED
            fields.append(
                f"{name if plain else _quoted(name)}{'?' if nullable or name not in wanted else ''}: {kind}"
            )
    return f"{{ {', '.join(fields)} }}" if fields else "{}"


def _type(schema: Mapping[str, Any], defs: Mapping[str, Any], depth: int = 0) -> tuple[str, bool]:
    """The type of a value and whether it may be missing; "" when Cedar has none."""
    if depth > 8:
        return "", False
    if "$ref" in schema:
        return _type(defs.get(schema["$ref"].rpartition("/")[2], {}), defs, depth + 1)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        found = {_type(option, defs, depth + 1)[0] for option in options if option.get("type") != "null"}
        kind = found.pop() if len(found) == 1 else ""
        return kind, any(option.get("type") == "null" for option in options)
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ("String" if all(isinstance(value, str) for value in values) else ""), False
    kind = schema.get("type", "")
    if kind == "array":
        inner = _type(schema.get("items", {}), defs, depth + 1)[0]
        return (f"Set<{inner}>" if inner else ""), False
    if kind == "object":
        return (_record(schema, defs) if schema.get("properties") and depth < 6 else ""), False
    return _PLAIN.get(kind, "") if isinstance(kind, str) else "", False


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _type_name(name: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9_]', '_', name)}_arguments"
