"""Field expressions: conditions on the state that can be evaluated, explained, and checked before a run.

    (field("amount") <= 5_000) & field("country").is_in(["DE", "FR"])
    field("order.lines[0].sku").matches(r"^A-") | field("meta")["vip"].is_none()

An expression is a small tree that never changes. `evaluate` records every value that it looks at; `check`
finds, against the state's schema, what can't work; `text` is for people and `code` for fingerprints.

Closed by default: what can't be decided raises `RouteFailed`, and never counts as "no". Two things never
fail: `==` and `!=`, and a path that doesn't exist. It is `MISSING`, and every comparison with it is false.
"""

from __future__ import annotations

import copy
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Set
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, TypeAdapter

from turnout.core.paths import MISSING, Step, getter, steps_in
from turnout.core.schema import BOOL, NUMBER, SIZED, TEXT, Kind, kinds_of, types_at
from turnout.core.values import compiled, contains, fits, json_schema
from turnout.errors import RouteFailed

_Method = Callable[[Any, object], "Expr"]


def _comparison(op: str) -> _Method:
    return lambda self, other: operations.Compare(op, self, other)


def _arithmetic(op: str) -> tuple[_Method, _Method]:
    return (
        lambda self, other: operations.Arithmetic(op, self, other),
        lambda self, other: operations.Arithmetic(op, other, self),
    )


def _logic(op: Literal["and", "or"]) -> tuple[_Method, _Method]:
    return (
        lambda self, other: operations.Logic(op, self, other),
        lambda self, other: operations.Logic(op, other, self),
    )


class Expr:
    """A condition on the state, or a value computed from it."""

    __slots__ = ("parts",)
    level: int = 1  # how tightly its text binds: 1 a condition, 2 arithmetic, 3 a name or a call
    parts: tuple[Expr, ...]

    def __init__(self, *parts: Expr) -> None:
        self.parts = parts

    def evaluate(self, state: object, reads: dict[str, object]) -> object:
        """The value in this state. Every value looked at is put into `reads` under its path."""
        raise NotImplementedError

    def text(self) -> str:
        """The expression as a person would write it."""
        raise NotImplementedError

    def code(self) -> str:
        """A canonical text: expressions with the same code do the same."""
        return (
            f"{type(self).__name__}({', '.join([*self._settings(), *(part.code() for part in self.parts)])})"
        )

    def paths(self) -> frozenset[str]:
        """The fields, and the whole paths, that it may read."""
        return frozenset[str]().union(*(part.paths() for part in self.parts))

    def check(self, model: type[BaseModel]) -> list[str]:
        """What can't work with states of this model, each in one sentence."""
        found = [problem for part in self.parts for problem in part.check(model)]
        found += [f"`{self.text()}`: {problem}" for problem in self._problems(model)]
        return list(dict.fromkeys(found))

    def constant(self) -> bool | None:
        """True or False if it is that in every state, otherwise None."""
        return None

    def kind(self, model: type[BaseModel]) -> Kind:
        """What sort of value it gives."""
        return BOOL

    def _settings(self) -> tuple[str, ...]:
        return ()

    def _problems(self, model: type[BaseModel]) -> list[str]:
        return []

    # ---- building

    __eq__ = _comparison("==")  # type: ignore[assignment]
    __ne__ = _comparison("!=")  # type: ignore[assignment]
    __lt__, __le__ = _comparison("<"), _comparison("<=")
    __gt__, __ge__ = _comparison(">"), _comparison(">=")
    __add__, __radd__ = _arithmetic("+")
    __sub__, __rsub__ = _arithmetic("-")
    __mul__, __rmul__ = _arithmetic("*")
    __truediv__, __rtruediv__ = _arithmetic("/")
    __floordiv__, __rfloordiv__ = _arithmetic("//")
    __mod__, __rmod__ = _arithmetic("%")
    __and__, __rand__ = _logic("and")
    __or__, __ror__ = _logic("or")

    def __invert__(self) -> Expr:
        return operations.Not(self)

    def __neg__(self) -> Expr:
        return operations.Call(
            "-{}", operator.neg, self, needs=[NUMBER], gives=NUMBER, missing=operations.FAILS, level=2
        )

    def __abs__(self) -> Expr:
        return operations.Call(
            "abs({})", abs, self, needs=[NUMBER], gives=NUMBER, missing=operations.FAILS, level=3
        )

    def matches(self, regex: str | re.Pattern[str]) -> Expr:
        """The text contains a match of the regular expression (as `re.search`)."""
        pattern = compiled(regex)
        settings = (repr(pattern.pattern), str(int(pattern.flags)))
        return operations.Call(
            "{} matches {}", lambda v: bool(pattern.search(v)), self, needs=[TEXT], settings=settings
        )

    def is_none(self) -> Expr:
        """The value is None, or the path doesn't exist."""
        return operations.Call("{} is none", lambda value: value is None, self, missing=True)

    def is_in(self, collection: object) -> Expr:
        """The value is one of these: a collection of plain values, or an expression that gives one."""
        if isinstance(collection, Expr):
            return operations.Call(
                "{} in {}", lambda v, box: contains(box, v), self, collection, needs=[None, SIZED]
            )
        return operations.IsIn(self, collection)

    def contains(self, item: object) -> Expr:
        """The list, set or dict (its keys) has this item; the text has this part."""
        return operations.Call("{} contains {}", contains, self, expression(item), needs=[SIZED])

    def length(self) -> Expr:
        """How many items, or characters; 0 if the path doesn't exist."""
        return operations.Length("{}.length()", len, self, needs=[SIZED], gives=NUMBER, missing=0, level=3)

    def lower(self) -> Expr:
        """The text in lower case."""
        return operations.Call(
            "{}.lower()", str.lower, self, needs=[TEXT], gives=TEXT, missing=MISSING, level=3
        )

    def startswith(self, start: object) -> Expr:
        """The text begins with this one."""
        return operations.Call(
            "{} starts with {}", str.startswith, self, expression(start), needs=[TEXT, TEXT]
        )

    def is_valid(self, schema: Any) -> Expr:
        """The value fits a Pydantic model, or any other type."""
        try:
            adapter = TypeAdapter[Any](schema)
        except Exception as error:
            what = f"is_valid takes a model or a type, not {schema!r} ({error})"
            raise TypeError(f"`{self.text()}`: {what}") from error
        name = schema.__name__ if isinstance(schema, type) else str(schema).replace("typing.", "")
        name = re.sub(r" at 0x[0-9a-fA-F]+", "", name)  # a validator's; it differs between processes
        settings = (name, json_schema(adapter))
        return operations.Call(
            "{} is a valid {}", lambda value: fits(adapter, value), self, settings=settings
        )

    # ---- as a key it is only itself; and refusing what Python can't overload

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError(
            f"`{self.text()}` is an expression: it has no value before the graph runs. Use & instead of and, "
            "| instead of or, ~ instead of not; write a < x < b as (a < x) & (x < b)"
        )

    def __contains__(self, item: object) -> bool:
        raise TypeError(f"use field(...).contains(x) instead of: x in `{self.text()}`")

    __iter__: ClassVar[None] = None  # `for x in field("lines")` is a TypeError, not an endless loop

    def __repr__(self) -> str:
        return f"<{self.text()}>"


class Const(Expr):
    """A plain value, copied when the expression is built."""

    __slots__ = ("value",)
    level = 3

    def __init__(self, value: object) -> None:
        super().__init__()
        show(value, full=True)  # refuses what has no lasting text
        self.value = copy.deepcopy(value)

    def evaluate(self, state: object, reads: dict[str, object]) -> object:
        return self.value

    def text(self) -> str:
        return show(self.value)

    def code(self) -> str:
        return show(self.value, full=True)

    def constant(self) -> bool | None:
        return self.value if isinstance(self.value, bool) else None

    def kind(self, model: type[BaseModel]) -> Kind:
        return None if self.value is None else kinds_of([type(self.value)])


class Field(Expr):
    """The value under a path of the state: `order.lines[0].sku`, `meta['k']`."""

    __slots__ = ("getters", "path", "steps")
    level = 3

    def __init__(self, steps: Iterable[Step]) -> None:
        super().__init__()
        self.steps = tuple(steps)
        shown = (f".{step.key}" if step.attribute else f"[{step.key!r}]" for step in self.steps)
        self.path = "".join(shown).removeprefix(".")
        self.getters = tuple(getter(step) for step in self.steps)

    def __getitem__(self, key: str | int) -> Field:
        if type(key) not in (str, int):
            raise TypeError(f"`{self.path}[{key!r}]`: look up by a text or a whole number")
        return Field((*self.steps, Step(key, attribute=False)))

    def look(self, state: object) -> object:
        """The value, unrecorded."""
        value = state
        try:
            for get in self.getters:
                value = get(value)
                if value is MISSING:
                    break
        except Exception as error:  # a property of the user's model raised
            raise RouteFailed(f"`{self.path}` can't be read: {type(error).__name__}: {error}") from error
        return value

    def evaluate(self, state: object, reads: dict[str, object]) -> object:
        value = self.look(state)
        reads[self.path] = None if value is MISSING else value
        return value

    def text(self) -> str:
        return self.path

    def code(self) -> str:
        return f"Field({self.path})"

    def paths(self) -> frozenset[str]:
        return frozenset({str(self.steps[0].key), self.path})

    def kind(self, model: type[BaseModel]) -> Kind:
        return kinds_of(types_at(model, self.steps)[0])

    def _problems(self, model: type[BaseModel]) -> list[str]:
        problem = types_at(model, self.steps)[1]
        return [] if problem is None else [problem]


def field(path: str) -> Field:
    """The value under a dotted path of the state: `field("order.lines[0].sku")`, `field("meta")["k"]`."""
    return Field(steps_in(path))


def expression(value: object) -> Expr:
    """The value itself if it is an expression, otherwise a constant."""
    return value if isinstance(value, Expr) else Const(value)


def show(value: object, full: bool = False) -> str:
    """A plain value as text. The full text tells types apart, and is the same in every process."""
    kind = type(value)
    if isinstance(value, Expr):
        raise TypeError(f"`{value.text()}` is inside a collection; join conditions with | instead")
    if isinstance(value, Enum):
        return f"{kind.__module__}.{kind.__qualname__}.{value.name}={value.value!r}" if full else str(value)
    if isinstance(value, list | tuple):
        inside = ", ".join(show(item, full) for item in value)
        return f"({inside},)" if full and isinstance(value, tuple) else f"[{inside}]"
    if isinstance(value, Set):
        return f"{{{', '.join(sorted(show(item, full) for item in value))}}}"
    if isinstance(value, Mapping):
        pairs = sorted(f"{show(key, full)}: {show(item, full)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, BaseModel):
        name = f"{kind.__module__}.{kind.__qualname__}" if full else kind.__name__
        return f"{name}({value.model_dump_json()})"
    if not full and isinstance(value, Decimal | date | time | timedelta | UUID):
        return str(value)
    text = repr(value)
    if " at 0x" in text and not isinstance(value, str | bytes):
        raise TypeError(f"{text} can't be in an expression: it has no lasting text; use plain values")
    return text


# At the end, because each is made of the other: expressions build operations, and an operation is an expression.
from turnout.core import operations  # noqa: E402
