"""Paths into a state: their steps, and what is found on them. What isn't there is `MISSING`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, final


@final
class Missing:
    """The value of a path that doesn't exist in this state."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


class Step(NamedTuple):
    """One part of a path: `.key`, or `[key]`."""

    key: str | int
    attribute: bool


def getter(step: Step) -> Callable[[Any], object]:
    """What looks this step up in a value; it gives `MISSING` where there is nothing."""
    key, name = step.key, str(step.key)

    def attribute(value: Any) -> object:
        if isinstance(value, dict):
            return value.get(key, MISSING)
        found = getattr(value, name, MISSING)
        if found is MISSING and isinstance(value, Mapping):
            return value.get(key, MISSING)
        return MISSING if callable(found) else found

    def item(value: Any) -> object:
        if isinstance(value, Mapping):
            return value.get(key, MISSING)
        if isinstance(key, int) and isinstance(value, Sequence) and not isinstance(value, str | bytes):
            return value[key] if -len(value) <= key < len(value) else MISSING
        return MISSING

    return attribute if step.attribute else item


_SEGMENT = re.compile(
    r"\.?(?P<name>[^\W\d]\w*)|\[(?P<index>-?\d+)\]|\[(?P<quote>['\"])(?P<key>.*?)(?P=quote)\]"
)


def steps_in(path: str) -> list[Step]:
    """The steps of a dotted path, `order.lines[0].sku`. Raises `ValueError`."""
    steps: list[Step] = []
    at = 0
    while at < len(path) or not steps:
        part = _SEGMENT.match(path, at)
        name = part["name"] if part else None
        if not part or (not steps and not name) or (name and (not steps) is part[0].startswith(".")):
            raise ValueError(f"field({path!r}) is not a path at {path[at:]!r}; write 'order.lines[0].sku'")
        if name and name.startswith("_"):
            raise ValueError(f"field({path!r}): {name!r} is private; a key of a dict is written ['{name}']")
        if name:
            steps.append(Step(name, attribute=True))
        else:
            steps.append(Step(int(part["index"]) if part["index"] else part["key"], attribute=False))
        at = part.end()
    return steps
