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
DEEPEST, TIMES, MOST = 40, 2, 5_000
"""The types of arguments are written out so deep, each within itself so many times, and of one tool no more than so many."""
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
    return _Types(schema.get("$defs")).record(schema)


class _Types:
    """The types of one tool's arguments, written out. A server's schema may hold true or a list where others have a
    schema, and a type may hold itself: what can't be told, or goes on and on, has none."""

    def __init__(self, defs: Any) -> None:
        self._defs = _dict(defs)
        self._left = MOST

    def record(self, schema: Mapping[str, Any], within: tuple[str, ...] = ()) -> str:
        fields = []
        wanted = _list(schema.get("required"))
        for name, given in _dict(schema.get("properties")).items():
            kind, nullable = self._type(given, within)
            if kind:
                plain = _NAME.fullmatch(name) and name not in _RESERVED
                fields.append(
                    f"{name if plain else _quoted(name)}{'?' if nullable or name not in wanted else ''}: {kind}"
                )
        return f"{{ {', '.join(fields)} }}" if fields else "{}"

    def _type(self, schema: Any, within: tuple[str, ...]) -> tuple[str, bool]:
        """The type of a value and whether it may be missing; "" when Cedar has none. `within`: what it is part of."""
        self._left -= 1
        if self._left < 0 or len(within) > DEEPEST or not isinstance(schema, dict):
            return "", False
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            again = within.count(name) >= TIMES
            return ("", False) if again else self._type(self._defs.get(name), (*within, name))
        deeper = (*within, "")
        options = _list(schema.get("anyOf") or schema.get("oneOf"))
        if options:
            found = {self._type(option, deeper)[0] for option in options if not _is_null(option)}
            kind = found.pop() if len(found) == 1 else ""
            return kind, any(map(_is_null, options))
        if "enum" in schema or "const" in schema:
            values = _list(schema["enum"]) if "enum" in schema else [schema["const"]]
            return ("String" if all(isinstance(value, str) for value in values) else ""), False
        kind = schema.get("type", "")
        if kind == "array":
            inner = self._type(schema.get("items"), deeper)[0]
            return (f"Set<{inner}>" if inner else ""), False
        if kind == "object":
            return (self.record(schema, deeper) if schema.get("properties") else ""), False
        return _PLAIN.get(kind, "") if isinstance(kind, str) else "", False


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"


def _dict(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _list(data: Any) -> list[Any]:
    return data if isinstance(data, list) else []


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _type_name(name: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9_]', '_', name)}_arguments"
