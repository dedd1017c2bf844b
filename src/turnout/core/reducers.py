"""Reducers: how a field's old value and an update make the new value, and the deltas that keep it.

A *document* is a state as plain JSON data. A *delta* is what an update does to it, written so that it can be applied
later without any of the user's code: it pairs an operation (set, extend, add, merge, drop, reduce) with fields.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_origin

from turnout.core.annotations import unwrapped

Doc = dict[str, Any]
Delta = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Reducer:
    """How a field's old value and an update make the new value. Put one into `Annotated[...]`."""

    name: str
    combine: Callable[[Any, Any], Any]


replace = Reducer("replace", lambda old, new: new)
"""The default: the update is the new value. Two parallel steps may not both write such a field."""
append = Reducer("append", lambda old, new: [*(old or []), *new])
"""For lists: the items of the update are put behind the old ones."""
add = Reducer("add", lambda old, new: (old or 0) + new)
"""For numbers: the update is added."""
merge = Reducer("merge", lambda old, new: {**(old or {}), **new})
"""For dicts: the keys of the update are put over the old ones (one level deep)."""

# How a delta names what each of them does.
OPERATION = {"replace": "set", "append": "extend", "add": "add", "merge": "merge"}


def apply_delta(doc: Doc, delta: Delta, *, private: bool = False) -> Doc:
    """The document after `delta`. `doc` is left as it was; unchanged values are shared.

    `private` says that nobody else holds anything of `doc`: then a long list is extended where it is.
    """
    new = dict(doc)
    for operation, fields in delta.items():
        for name, value in fields.items():
            if operation == "set":
                new[name] = value
            elif operation == "extend":
                old = new.get(name) or []
                if private:
                    old.extend(value)
                new[name] = old if private else old + value
            elif operation == "add":
                new[name] = (new.get(name) or 0) + value
            elif operation == "merge":
                new[name] = {**(new.get(name) or {}), **value}
            elif operation == "drop":
                new.pop(name, None)
            else:  # "reduce": a user's reducer; its outcome was recorded
                new[name] = value["to"]
    return new


def as_reducer(mark: Any) -> Reducer | None:
    """The reducer that a mark in `Annotated[...]` stands for: itself, or a plain function."""
    if isinstance(mark, Reducer):
        return mark
    if isinstance(mark, types.FunctionType | types.BuiltinFunctionType):
        return Reducer(mark.__name__, mark)
    return None


def reducer_problem(name: str, annotation: Any, reducer: Reducer) -> str | None:
    """Why the reducer can't work on such a field."""
    bare = unwrapped(annotation)
    origin = get_origin(bare) or bare
    if reducer is append and origin is not list:
        return f"state field {name!r} uses append but isn't a list"
    if reducer is merge and origin is not dict:
        return f"state field {name!r} uses merge but isn't a dict"
    if reducer is add and origin not in (int, float):
        return f"state field {name!r} uses add but isn't an int or a float (money: whole minor units)"
    return None
