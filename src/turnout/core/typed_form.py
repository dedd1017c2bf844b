"""The form of a tool that is a Python function: its signature, checked by Pydantic."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError

from turnout.core import canon
from turnout.core.state import first_problem
from turnout.errors import InputInvalid


class _Whole(GenerateJsonSchema):
    """The schema of what was dumped whole: a field of a model is there, also one that has a default."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return field["type"] != "typed-dict-field" or super().field_is_required(field, total)


@dataclass(frozen=True)
class TypedForm:
    """A model of the arguments, and the type of the result."""

    arguments: type[BaseModel]
    result: TypeAdapter[Any]

    @classmethod
    def of(cls, label: str, fields: dict[str, Any], result: Any) -> TypedForm:
        """The form of a function with these fields (see `argument`) that returns a `result`."""
        model = create_model(f"{label}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
        return cls(model, TypeAdapter(result))

    def check(self, tool: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as plain JSON data, with defaults filled in. Raises `InputInvalid`."""
        what = f"tool {tool}: the arguments"
        model = self._validated(tool, given)
        data = {name: getattr(model, field) for field, name in self._names()}
        dumped = _dumped(model, lambda model: model.model_dump(mode="json", by_alias=True), what)
        plain: dict[str, Any] = canon.plain(canon.settle(data, dumped, what), what)
        # Pydantic trusts defaults, and not every type can be read back from its JSON form
        self._validated(tool, plain)
        return plain

    def typed(self, tool: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function wants them, from plain JSON data."""
        model = self._validated(tool, args)
        return {name: getattr(model, field) for field, name in self._names()}

    def dump(self, tool: str, value: Any) -> Any:
        """A result as plain JSON data. Raises `InputInvalid` when it isn't of the declared type."""
        try:
            typed = self.result.validate_python(value)
        except ValidationError as error:
            raise InputInvalid(
                f"tool {tool} returned something that isn't its declared type: {first_problem(error)}; "
                f"correct the tool or its return annotation"
            ) from None
        what = f"tool {tool}: the result"
        return canon.plain(
            _dumped(typed, lambda value: self.result.dump_python(value, mode="json"), what), what
        )

    def load(self, data: Any) -> Any:
        """A result from plain JSON data, as the declared type."""
        try:
            return self.result.validate_python(data)
        except ValidationError:
            return self.result.validate_json(canon.encode(data))

    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        parameters = self.arguments.model_json_schema()
        parameters.pop("title", None)
        return parameters

    def names(self) -> frozenset[str]:
        """The arguments' names."""
        return frozenset(name for _, name in self._names())

    def required(self) -> frozenset[str]:
        """Those that have no default."""
        fields = self.arguments.model_fields
        return frozenset(name for field, name in self._names() if fields[field].is_required())

    def recorded(self) -> dict[str, Any]:
        """The JSON schema of the arguments as they are on record."""
        return self.arguments.model_json_schema(mode="serialization", schema_generator=_Whole)

    def _validated(self, tool: str, given: Mapping[str, Any]) -> BaseModel:
        try:
            return self.arguments.model_validate(dict(given))
        except ValidationError as error:
            raise InputInvalid(
                f"tool {tool} can't be called like that: {first_problem(error)}; it takes "
                f"({', '.join(name for _, name in self._names())})"
            ) from None

    def _names(self) -> list[tuple[str, str]]:
        """The field of every argument, and the parameter that it is for."""
        return [(field, info.alias or field) for field, info in self.arguments.model_fields.items()]


def argument(label: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> dict[str, Any]:
    """The field for a parameter. Raises `InputInvalid` for one that has no name to be given by."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        raise InputInvalid(f"tool {label}: parameter {parameter} can't be used; give every argument a name")
    default = ... if parameter.default is parameter.empty else parameter.default
    return _field(parameter.name, hints.get(parameter.name, Any), default)


def _field(name: str, hint: Any, default: Any) -> dict[str, Any]:
    """The field for a parameter. Names that Pydantic has a use of its own for (schema, json, copy) get another."""
    if not name.startswith("_") and not name.startswith("model_") and not hasattr(BaseModel, name):
        return {name: (hint, default)}
    return {f"argument_{name.strip('_')}": (Annotated[hint, Field(alias=name)], default)}


def _dumped(value: Any, dump: Callable[[Any], Any], what: str) -> Any:
    """The JSON form of a typed value, sets in a settled order. Raises `InputInvalid`."""
    try:
        data = dump(value)
    except (PydanticSerializationError, ValueError) as error:
        raise InputInvalid(f"{what} can't be stored as JSON: {error}") from None
    return canon.settle(value, data, what)
