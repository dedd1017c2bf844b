"""Plain values in an expression: what contains what, what fits what. What can't be compared isn't equal."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from pydantic import TypeAdapter, ValidationError


def compiled(regex: str | re.Pattern[str]) -> re.Pattern[str]:
    """The regular expression, compiled."""
    try:
        pattern = re.compile(regex)
    except (re.error, TypeError) as error:
        raise ValueError(f"{regex!r} is not a regular expression: {error}") from error
    if not isinstance(pattern.pattern, str):
        raise ValueError(f"{regex!r} is a pattern of bytes; matches works on text")
    return pattern


def equal(a: object, b: object) -> bool:
    """Are they equal? What can't be compared isn't."""
    try:
        return bool(a == b)
    except Exception:
        return False


def has(box: Collection[object], item: object) -> bool:
    """Is the item in the collection?"""
    try:
        return item in box
    except Exception:  # unhashable, or it can't be compared
        return any(equal(item, other) for other in box)


def contains(box: object, item: object) -> bool:
    """`has`, for any value. Raises TypeError when it can't contain such an item."""
    if not isinstance(box, Collection) or (isinstance(box, str | bytes) and type(item) is not type(box)):
        raise TypeError
    return has(box, item)


def fits(adapter: TypeAdapter[Any], value: object) -> bool:
    """Is the value valid?"""
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def json_schema(adapter: TypeAdapter[Any]) -> str:
    """The type's JSON schema, as a canonical text."""
    try:
        return json.dumps(adapter.json_schema(), sort_keys=True)
    except Exception:  # not every type has a JSON schema
        return "no schema"
