"""What a field's annotation says: whether its values can be shared or are made anew, and how it reads."""

from __future__ import annotations

import types
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, SecretBytes, SecretStr, TypeAdapter
from pydantic.fields import FieldInfo

from turnout.core.frozen import FrozenDict

# What can be handed to many nodes without a copy, because nobody can change it.
_ATOMS = (
    str,
    int,
    float,
    bool,
    bytes,
    type(None),
    datetime,
    date,
    time,
    timedelta,
    Decimal,
    UUID,
    FrozenDict,
)


def hides_its_value(annotation: Any) -> bool:
    """Is it, or does it hold, a secret of Pydantic's, which is stored as asterisks and so could never be read back?"""
    if isinstance(annotation, type) and issubclass(annotation, SecretStr | SecretBytes):
        return True
    return any(hides_its_value(part) for part in get_args(annotation))


def unwrapped(annotation: Any) -> Any:
    """The annotation without Annotated and without `| None`."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [a for a in get_args(annotation) if a is not type(None)]
        if len(rest) == 1:
            return unwrapped(rest[0])
    return annotation


def item_adapter(annotation: Any) -> TypeAdapter[Any] | None:
    """For one item, if it is a list of a known type."""
    bare = unwrapped(annotation)
    if get_origin(bare) is list and get_args(bare):
        return TypeAdapter(get_args(bare)[0])
    return None


def sharing(annotation: Any) -> str:
    """What nodes may share of a value: itself ("value"), the items of the list that it is ("items"), or "none"."""
    if immutable(annotation):
        return "value"
    bare = unwrapped(annotation)
    if get_origin(bare) is list and get_args(bare) and immutable(get_args(bare)[0]):
        return "items"
    return "none"


def immutable(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Can nobody change a value of this type?"""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return immutable(args[0], seen)
    if origin in (Union, types.UnionType, tuple, frozenset):
        return all(a is Ellipsis or immutable(a, seen) for a in args)
    if origin is Literal or annotation in seen:
        return True
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            if not annotation.model_config.get("frozen", False):
                return False
            return _closed(annotation) and all(immutable(t, seen | {annotation}) for t in _types(annotation))
        return issubclass(annotation, _ATOMS) or issubclass(annotation, Enum)
    return False


def rebuilt(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Does Pydantic make every container of this type anew, or may it hand on the one it was given (as for Any)?"""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return rebuilt(args[0], seen)
    if origin in (Union, types.UnionType, tuple, frozenset, list, dict, set):
        return all(a is Ellipsis or rebuilt(a, seen) for a in args)
    if annotation in seen or immutable(annotation):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _closed(annotation) and all(rebuilt(t, seen | {annotation}) for t in _types(annotation))
    return False


def _closed(model: type[BaseModel]) -> bool:
    return model.model_config.get("extra") != "allow"


def _types(model: type[BaseModel]) -> list[Any]:
    return [info.annotation for info in model.model_fields.values()]


def type_text(info: FieldInfo) -> str:
    """The type of a field, for a message."""
    annotation = info.annotation
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
