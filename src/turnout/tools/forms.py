"""The form of a tool that comes with JSON schemas: arguments and results are checked against what was approved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from turnout.core import canon
from turnout.errors import InputInvalid, SettingsInvalid
from turnout.tools.numbers import settled
from turnout.tools.pins import Pin
from turnout.tools.schema_check import SchemaCheck, schema_problem


@dataclass(frozen=True)
class Answer:
    """What a server answered, as plain JSON data. `problem` says why it can't be taken in, if it can't: the call has
    been made all the same."""

    value: Any = None
    problem: str = ""


@dataclass(frozen=True)
class SchemaForm:
    """Two schemas. `name` is the tool's on its server; `filled` is an argument that Turnout fills: no argument of a
    call."""

    name: str
    input: Mapping[str, Any]
    output: Mapping[str, Any] | None
    filled: str = ""
    _checks: dict[str, SchemaCheck] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, pin: Pin, filled: str = "") -> SchemaForm:
        """The form of an approved tool. Raises `SettingsInvalid` for schemas that can't be used."""
        problem = schema_problem(pin.input) or (schema_problem(pin.output) if pin.output else "")
        if problem:
            raise SettingsInvalid(f"the tool {pin.name!r} can't be used: {problem}")
        known = pin.input.get("properties")
        if filled and (not isinstance(known, Mapping) or filled not in known):
            raise SettingsInvalid(f"the tool {pin.name!r} has no argument {filled!r}, which takes_key names")
        return cls(pin.name, pin.input, pin.output, filled)

    def check(self, tool: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as plain JSON data, numbers as the schema means them. Raises `InputInvalid`."""
        plain: dict[str, Any] = canon.plain(dict(given), f"tool {tool}: the arguments")
        parameters = self.parameters()
        kind = {"$schema": self.input["$schema"]} if "$schema" in self.input else {}
        problem = self._problem("input", {**parameters, **kind}, plain)
        if self.filled in plain:
            problem = f"{self.filled!r} is filled by Turnout"
        if problem:
            takes = ", ".join(parameters.get("properties") or {})
            raise InputInvalid(f"tool {tool} can't be called like that: {problem}; it takes ({takes})")
        return settled(parameters, plain)  # type: ignore[no-any-return]

    def typed(self, tool: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as they are sent. Raises `InputInvalid`."""
        return self.check(tool, args)

    def dump(self, tool: str, value: Any) -> Any:
        """A result as plain JSON data. Raises `InputInvalid` when it can't be taken in."""
        problem = ""
        if isinstance(value, Answer):
            value, problem = value.value, value.problem
        plain = canon.plain(value, f"tool {tool}: the result")
        if not problem and self.output is not None:
            problem = self._problem("output", self.output, plain)
        if problem:
            raise InputInvalid(f"tool {tool} returned something that can't be taken in: {problem}")
        return plain

    def load(self, data: Any) -> Any:
        """A result, which is plain JSON data."""
        return data

    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments, without the one that Turnout fills."""
        shown = {name: data for name, data in self.input.items() if name not in ("title", "$schema")}
        if not self.filled:
            return shown
        known = {name: data for name, data in self.input["properties"].items() if name != self.filled}
        wanted = [name for name in self.input.get("required", ()) if name != self.filled]
        return {**shown, "properties": known, "required": wanted}

    def names(self) -> frozenset[str]:
        """The arguments' names, as far as the schema tells them."""
        return frozenset(self.input.get("properties", ())) - {self.filled}

    def required(self) -> frozenset[str]:
        """Those that the server must be given."""
        return frozenset(self.input.get("required", ())) - {self.filled}

    def recorded(self) -> dict[str, Any]:
        """The JSON schema of the arguments as they are on record: no defaults are filled in."""
        return self.parameters()

    def _problem(self, which: str, schema: Mapping[str, Any], data: Any) -> str:
        """What is wrong with data, by a schema; empty when nothing is."""
        if which not in self._checks:
            self._checks[which] = SchemaCheck(schema)
        return self._checks[which].problem(data)
