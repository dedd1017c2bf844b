"""The service's data as the OpenAPI document has it: a Pydantic model for every dataclass and struct, made from it.

What goes out is encoded from the data themselves: these models describe it and are not asked while a request runs.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo


@functools.cache
def shape(data: type) -> type[BaseModel]:
    """The model of a dataclass or a struct, with its docstring. Everything that always goes out is required."""
    hints = typing.get_type_hints(data, include_extras=True)
    fields: dict[str, Any] = {
        name: (_inner(hints[name]), _field(always, default)) for name, always, default in _fields(data)
    }
    return create_model(
        data.__name__.removesuffix("Item"),
        __config__=ConfigDict(extra="forbid"),
        __doc__=data.__doc__ or "",
        **fields,
    )


@functools.cache
def page(data: type) -> type[BaseModel]:
    """The model of a page of them."""
    doc = "A page of a list. `next` is the cursor of the page behind it; null: this is the last one."
    fields: dict[str, Any] = {"items": (many(data), ...), "next": (str | None, ...)}
    return create_model(f"{data.__name__.removesuffix('Item')}Page", __doc__=doc, **fields)


def many(data: type) -> Any:
    """A list of them."""
    made: Any = list
    return made[shape(data)]


def _fields(data: type) -> list[tuple[str, bool, Any]]:
    """Name, whether it always goes out, and the default if it doesn't."""
    if dataclasses.is_dataclass(data):
        return [(field.name, True, None) for field in dataclasses.fields(data)]
    found = []
    for field in msgspec.structs.fields(data):
        default = field.default_factory() if callable(field.default_factory) else field.default
        omits = data.__struct_config__.omit_defaults and not field.required  # type: ignore[attr-defined]
        found.append((field.encode_name, not omits, msgspec.to_builtins(default) if omits else None))
    return found


def _field(always: bool, default: Any) -> FieldInfo:
    made: FieldInfo = Field() if always else Field(default=default)
    return made


def _inner(hint: Any) -> Any:
    """The hint, with dataclasses and structs in it replaced by their models."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and origin is None:
        if issubclass(hint, BaseModel):
            return dict[str, Any]
        return shape(hint) if dataclasses.is_dataclass(hint) or issubclass(hint, msgspec.Struct) else hint
    if not args:
        return hint
    inner = tuple(_inner(arg) for arg in args)
    if origin is types.UnionType or origin is typing.Union:
        return typing.Union[inner]  # noqa: UP007 - made of what is found
    if origin in (tuple, list) and (origin is list or args[-1] is ...):
        return list[inner[0]]  # type: ignore[valid-type]
    return origin[inner] if origin is not None else hint
