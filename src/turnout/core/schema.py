"""What a state's schema says of a path and of kinds of values, before any value is there."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence, Set
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from turnout.core.paths import MISSING, Step

Kind = frozenset[str] | None  # what sort of value to expect; None: not known before the run
BOOL: Final = frozenset({"bool", "number"})
NUMBER: Final = frozenset({"number"})
TEXT: Final = frozenset({"text"})
SIZED: Final = frozenset({"text", "list", "dict"})

_SCALARS: Final = (int, float, bool, str, bytes, Decimal)
_KINDS: Final[list[tuple[tuple[type, ...], frozenset[str]]]] = [
    ((bool,), BOOL), ((int, float, Decimal), NUMBER), ((str,), TEXT), ((Enum,), frozenset({"enum"})),
    ((list, tuple, Set), frozenset({"list"})), ((dict,), frozenset({"dict"})),
    ((BaseModel,), frozenset({"model"})),
]  # fmt: skip


def kinds_of(types: Iterable[object]) -> Kind:
    """What sort of values these types have; None if one of them isn't known."""
    found: set[str] = set()
    for one in types:
        plain: object = get_origin(one) or one
        for kind in [type(value) for value in get_args(one)] if plain is Literal else [plain]:
            fitting = [name for known, name in _KINDS if isinstance(kind, type) and issubclass(kind, known)]
            if not fitting and kind is not NoneType:
                return None
            found.update(*fitting[:1])
    return frozenset(found) or None


def types_at(model: type[BaseModel], steps: Iterable[Step]) -> tuple[tuple[object, ...], str | None]:
    """The types that the value under a path can have (without None), or what is wrong with the path."""
    types: tuple[object, ...] = (model,)
    for step in steps:
        outcomes = [_follow(one, step) for one in types]
        problems = [problem for _, problem in outcomes if problem is not None]
        if outcomes and len(problems) == len(outcomes):
            return (Any,), problems[0]
        types = tuple(one for found, problem in outcomes if problem is None for one in found) or (Any,)
    return types, None


def _alternatives(annotation: object) -> tuple[object, ...]:
    """The types in an annotation, without None, Annotated and aliases."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__value__"):  # type X = ...
        return _alternatives(annotation.__value__)
    if hasattr(annotation, "__supertype__"):  # NewType
        return _alternatives(annotation.__supertype__)
    if origin is Annotated:
        return _alternatives(arguments[0])
    if origin is Union or origin is UnionType:
        return tuple(one for argument in arguments for one in _alternatives(argument))
    return () if annotation is None or annotation is NoneType else (annotation,)


def _follow(one: object, step: Step) -> tuple[tuple[object, ...], str | None]:
    """The types behind one step of a path, from a value of this type; or what is wrong with the step."""
    unknown: tuple[object, ...] = (Any,)
    kind, arguments = get_origin(one) or one, get_args(one)
    if not isinstance(kind, type):
        return unknown, None
    if issubclass(kind, BaseModel):
        if step.attribute:
            return _follow_model(kind, str(step.key))
        return unknown, f"{kind.__name__} is a model; write .{step.key} instead of [{step.key!r}]"
    if issubclass(kind, Mapping):
        return (_alternatives(arguments[1]) if len(arguments) == 2 else unknown), None
    found = getattr(kind, str(step.key), MISSING) if step.attribute else MISSING
    if found is not MISSING and not callable(found):
        return unknown, None
    if issubclass(kind, Sequence) and not issubclass(kind, str | bytes):
        if not isinstance(step.key, int):
            return unknown, f"{kind.__name__} has no {step.key!r}; look an item up by its number, as in [0]"
        if issubclass(kind, tuple) and arguments and arguments[-1] is not Ellipsis:
            if not -len(arguments) <= step.key < len(arguments):
                return unknown, f"the tuple has {len(arguments)} items, and no [{step.key}]"
            return _alternatives(arguments[step.key]), None
        return (_alternatives(arguments[0]) if arguments else unknown), None
    if kind in _SCALARS or issubclass(kind, Set):
        return unknown, f"{kind.__name__} has no {f'.{step.key}' if step.attribute else f'[{step.key!r}]'}"
    return unknown, None


def _follow_model(model: type[BaseModel], name: str) -> tuple[tuple[object, ...], str | None]:
    if name in model.model_fields:
        types = _alternatives(model.model_fields[name].annotation)
        raw = model.model_config.get("use_enum_values") and any(is_enum(one) for one in types)
        return ((Any,) if raw else types), None
    if name in model.model_computed_fields:
        return _alternatives(model.model_computed_fields[name].return_type), None
    found = inspect.getattr_static(model, name, MISSING)
    if isinstance(found, property | functools.cached_property) or model.model_config.get("extra") == "allow":
        return (Any,), None
    return (Any,), f"{model.__name__} has no field {name!r}{nearest(name, model.model_fields)}"


def is_enum(one: object) -> bool:
    """Is it an enum class?"""
    return isinstance(one, type) and issubclass(one, Enum)


def names(kinds: frozenset[str]) -> str:
    """Kinds in words: "a list or a text"."""
    return " or ".join(f"a {kind}" for kind in sorted(kinds - {"number"} if "bool" in kinds else kinds))


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
