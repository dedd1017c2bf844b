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
import difflib
import functools
import inspect
import json
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, Union, final, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, TypeAdapter, ValidationError

from turnout.errors import RouteFailed

Kind = frozenset[str] | None  # what sort of value to expect; None: not known before the run
BOOL: Final = frozenset({"bool", "number"})
NUMBER: Final = frozenset({"number"})
TEXT: Final = frozenset({"text"})
SIZED: Final = frozenset({"text", "list", "dict"})


@final
class Missing:
    """The value of a path that doesn't exist in this state."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
FAILS: Final = object()  # (what a call gives for a missing path:) nothing, it fails

_Method = Callable[[Any, object], "Expr"]


def _comparison(op: str) -> _Method:
    return lambda self, other: Compare(op, self, other)


def _arithmetic(op: str) -> tuple[_Method, _Method]:
    return lambda self, other: Arithmetic(op, self, other), lambda self, other: Arithmetic(op, other, self)


def _logic(op: Literal["and", "or"]) -> tuple[_Method, _Method]:
    return lambda self, other: Logic(op, self, other), lambda self, other: Logic(op, other, self)


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
        return Not(self)

    def __neg__(self) -> Expr:
        return Call("-{}", operator.neg, self, needs=[NUMBER], gives=NUMBER, missing=FAILS, level=2)

    def __abs__(self) -> Expr:
        return Call("abs({})", abs, self, needs=[NUMBER], gives=NUMBER, missing=FAILS, level=3)

    def matches(self, regex: str | re.Pattern[str]) -> Expr:
        """The text contains a match of the regular expression (as `re.search`)."""
        pattern = compiled(regex)
        settings = (repr(pattern.pattern), str(int(pattern.flags)))
        return Call("{} matches {}", lambda v: bool(pattern.search(v)), self, needs=[TEXT], settings=settings)

    def is_none(self) -> Expr:
        """The value is None, or the path doesn't exist."""
        return Call("{} is none", lambda value: value is None, self, missing=True)

    def is_in(self, collection: object) -> Expr:
        """The value is one of these: a collection of plain values, or an expression that gives one."""
        if isinstance(collection, Expr):
            return Call("{} in {}", lambda v, box: _contains(box, v), self, collection, needs=[None, SIZED])
        return IsIn(self, collection)

    def contains(self, item: object) -> Expr:
        """The list, set or dict (its keys) has this item; the text has this part."""
        return Call("{} contains {}", _contains, self, expression(item), needs=[SIZED])

    def length(self) -> Expr:
        """How many items, or characters; 0 if the path doesn't exist."""
        return Length("{}.length()", len, self, needs=[SIZED], gives=NUMBER, missing=0, level=3)

    def lower(self) -> Expr:
        """The text in lower case."""
        return Call("{}.lower()", str.lower, self, needs=[TEXT], gives=TEXT, missing=MISSING, level=3)

    def startswith(self, start: object) -> Expr:
        """The text begins with this one."""
        return Call("{} starts with {}", str.startswith, self, expression(start), needs=[TEXT, TEXT])

    def is_valid(self, schema: Any) -> Expr:
        """The value fits a Pydantic model, or any other type."""
        try:
            adapter = TypeAdapter[Any](schema)
        except Exception as error:
            what = f"is_valid takes a model or a type, not {schema!r} ({error})"
            raise TypeError(f"`{self.text()}`: {what}") from error
        name = schema.__name__ if isinstance(schema, type) else str(schema).replace("typing.", "")
        name = re.sub(r" at 0x[0-9a-fA-F]+", "", name)  # a validator's; it differs between processes
        settings = (name, _schema(adapter))
        return Call("{} is a valid {}", lambda value: _fits(adapter, value), self, settings=settings)

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


class Step(NamedTuple):
    """One part of a path: `.key`, or `[key]`."""

    key: str | int
    attribute: bool


class Field(Expr):
    """The value under a path of the state: `order.lines[0].sku`, `meta['k']`."""

    __slots__ = ("getters", "path", "steps")
    level = 3

    def __init__(self, steps: Iterable[Step]) -> None:
        super().__init__()
        self.steps = tuple(steps)
        shown = (f".{step.key}" if step.attribute else f"[{step.key!r}]" for step in self.steps)
        self.path = "".join(shown).removeprefix(".")
        self.getters = tuple(_getter(step) for step in self.steps)

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


class Compare(Expr):
    """`==` and `!=` (they never fail), `<`, `<=`, `>`, `>=`."""

    __slots__ = ("compare", "op")
    OPS: ClassVar[dict[str, Callable[[Any, Any], Any]]] = {
        "==": operator.eq, "!=": operator.ne,
        "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    }  # fmt: skip

    def __init__(self, op: str, left: object, right: object) -> None:
        super().__init__(expression(left), expression(right))
        self.op, self.compare = op, self.OPS[op]

    def evaluate(self, state: object, reads: dict[str, object]) -> object:
        left, right = self.parts
        a, b = left.evaluate(state, reads), right.evaluate(state, reads)
        if a is MISSING or b is MISSING:
            return False
        try:
            return bool(self.compare(a, b))
        except Exception as error:
            if self.op in ("==", "!="):
                return self.op == "!="
            raise _failed(self, [a, b], "these have no order") from error

    def text(self) -> str:
        return f"{_inner(self.parts[0], 2)} {self.op} {_inner(self.parts[1], 2)}"

    def _settings(self) -> tuple[str, ...]:
        return (self.op,)

    def _problems(self, model: type[BaseModel]) -> list[str]:
        left, right = self.parts
        equality = self.op in ("==", "!=")
        if any(isinstance(part, Const) and part.value is None for part in self.parts):
            return [] if equality else ["None has no order; use .is_none()"]
        for one, other in ((left, right), (right, left)):
            if equality and isinstance(other, Const) and (problem := _not_a_choice(one, other.value, model)):
                return [problem]
        a, b = left.kind(model), right.kind(model)
        if a is None or b is None or a & b:
            return []
        return [f"{_names(a)} and {_names(b)} {'are never equal' if equality else 'have no order'}"]


class Arithmetic(Expr):
    """`+ - * / // %` on numbers (and times); `+` also joins two texts or two lists."""

    __slots__ = ("compute", "op")
    level = 2
    OPS: ClassVar[dict[str, Callable[[Any, Any], Any]]] = {
        "+": operator.add, "-": operator.sub, "*": operator.mul,
        "/": operator.truediv, "//": operator.floordiv, "%": operator.mod,
    }  # fmt: skip
    REFUSED: ClassVar = (str, bytes, list, tuple, dict, set, frozenset)

    def __init__(self, op: str, left: object, right: object) -> None:
        super().__init__(expression(left), expression(right))
        self.op, self.compute = op, self.OPS[op]

    def evaluate(self, state: object, reads: dict[str, object]) -> object:
        a, b = values = [part.evaluate(state, reads) for part in self.parts]
        joins = self.op == "+" and type(a) is type(b)
        if not joins and (isinstance(a, self.REFUSED) or isinstance(b, self.REFUSED)):
            raise _failed(self, values, f"`{self.op}` needs numbers")
        try:
            return self.compute(a, b)
        except ZeroDivisionError as error:
            raise _failed(
                self, values, "division by zero; put a rule for that case before this one"
            ) from error
        except Exception as error:
            raise _failed(self, values, f"`{self.op}` needs numbers ({error})") from error

    def text(self) -> str:
        return f"{_inner(self.parts[0], 3)} {self.op} {_inner(self.parts[1], 3)}"

    def kind(self, model: type[BaseModel]) -> Kind:
        return NUMBER if all("number" in (part.kind(model) or ()) for part in self.parts) else None

    def _settings(self) -> tuple[str, ...]:
        return (self.op,)

    def _problems(self, model: type[BaseModel]) -> list[str]:
        needed = NUMBER | {"text", "list"} if self.op == "+" else NUMBER
        found = [problem for part in self.parts for problem in _lacks(part, needed, model)]
        a, b = (part.kind(model) for part in self.parts)
        return found or ([f"{_names(a)} and {_names(b)} don't add up"] if a and b and not a & b else [])


class Logic(Expr):
    """`&` and `|`: from left to right, and no further than needed."""

    __slots__ = ("op",)
    level = 3  # its text brings its own parentheses
    op: str

    def __init__(self, op: Literal["and", "or"], left: object, right: object) -> None:
        parts: list[Expr] = []
        for side in (left, right):
            if not isinstance(side, Expr | bool):
                sign = "&" if op == "and" else "|"
                raise TypeError(
                    f"{sign} joins conditions, and {side!r} is not a condition: put every comparison in "
                    f"parentheses, (a == 1) {sign} (b == 2)"
                )
            parts.extend(side.parts if isinstance(side, Logic) and side.op == op else [expression(side)])
        super().__init__(*parts)
        self.op = op

    def evaluate(self, state: object, reads: dict[str, object]) -> object:
        stop = self.op == "or"
        for part in self.parts:
            if condition(part, state, reads) is stop:
                return stop
        return not stop

    def text(self) -> str:
        return f"({f' {self.op} '.join(part.text() for part in self.parts)})"

    def constant(self) -> bool | None:
        stop, known = self.op == "or", [part.constant() for part in self.parts]
        return stop if stop in known else None if None in known else not stop

    def _settings(self) -> tuple[str, ...]:
        return (self.op,)

    def _problems(self, model: type[BaseModel]) -> list[str]:
        return [problem for part in self.parts for problem in not_a_condition(part, model)]


class Not(Expr):
    """`~`."""

    __slots__ = ()

    def evaluate(self, state: object, reads: dict[str, object]) -> object:
        return not condition(self.parts[0], state, reads)

    def text(self) -> str:
        return f"not {_inner(self.parts[0], 3)}"

    def constant(self) -> bool | None:
        known = self.parts[0].constant()
        return None if known is None else not known

    def _problems(self, model: type[BaseModel]) -> list[str]:
        return not_a_condition(self.parts[0], model)


class Call(Expr):
    """A method: its text with holes for the parts and settings, and the function of the parts' values."""

    __slots__ = ("gives", "level", "missing", "needs", "run", "settings", "shape")

    def __init__(
        self,
        shape: str,
        run: Callable[..., object],
        *parts: Expr,
        needs: Sequence[Kind] = (),
        gives: Kind = BOOL,
        missing: object = False,
        level: int = 1,
        settings: tuple[str, ...] = (),
    ) -> None:
        super().__init__(*parts)
        self.shape, self.run, self.settings, self.level = shape, run, settings, level
        self.needs, self.gives, self.missing = needs, gives, missing

    def evaluate(self, state: object, reads: dict[str, object]) -> object:
        values = [part.evaluate(state, reads) for part in self.parts]
        for value in values:
            if value is MISSING and self.missing is not FAILS:
                return self.missing
        return self._run(values)

    def _run(self, values: list[object]) -> object:
        try:
            return self.run(*values)
        except Exception as error:
            needs = " and ".join(_names(kind) for kind in self.needs if kind)
            why = f"this needs {needs}" if needs else f"{type(error).__name__}: {error}"
            raise _failed(self, values, why) from error

    def text(self) -> str:
        inner = 2 if self.level == 1 else 0 if self.shape.startswith("abs") else 3
        return self.shape.format(*(_inner(part, inner) for part in self.parts), *self.settings)

    def kind(self, model: type[BaseModel]) -> Kind:
        return self.gives

    def _settings(self) -> tuple[str, ...]:
        return (repr(self.shape), *self.settings)

    def _problems(self, model: type[BaseModel]) -> list[str]:
        pairs = zip(self.parts, self.needs, strict=False)
        return [problem for part, needed in pairs if needed for problem in _lacks(part, needed, model)]


class Length(Call):
    """Of a field only the length is recorded, as `notes.length()`: the list itself may be long, and grow."""

    __slots__ = ()

    def evaluate(self, state: object, reads: dict[str, object]) -> object:
        part = self.parts[0]
        if not isinstance(part, Field):
            return super().evaluate(state, reads)
        value = part.look(state)
        length = self.missing if value is MISSING else self._run([value])
        reads[self.text()] = length
        return length

    def paths(self) -> frozenset[str]:
        return super().paths() | ({self.text()} if isinstance(self.parts[0], Field) else set())


class IsIn(Call):
    """One of some plain values."""

    __slots__ = ("values",)

    def __init__(self, part: Expr, collection: object) -> None:
        if isinstance(collection, str | bytes) or not isinstance(collection, Iterable):
            raise TypeError(f"`{part.text()}`: is_in takes a list of values, not {collection!r}")
        values = collection if isinstance(collection, range) else copy.deepcopy(list(collection))
        if isinstance(collection, Set) and isinstance(values, list):
            values.sort(key=show)
        settings = (show(values), show(values, full=True))
        try:
            lookup: Collection[object] = values if isinstance(values, range) else frozenset(values)
        except TypeError:
            lookup = values
        super().__init__("{} in {}", lambda value: _has(lookup, value), part, settings=settings)
        self.values = values

    def _problems(self, model: type[BaseModel]) -> list[str]:
        values = [] if isinstance(self.values, range) else self.values
        found = (_not_a_choice(self.parts[0], value, model) for value in values if value is not None)
        return [problem for problem in found if problem]


_SEGMENT = re.compile(
    r"\.?(?P<name>[^\W\d]\w*)|\[(?P<index>-?\d+)\]|\[(?P<quote>['\"])(?P<key>.*?)(?P=quote)\]"
)


def field(path: str) -> Field:
    """The value under a dotted path of the state: `field("order.lines[0].sku")`, `field("meta")["k"]`."""
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
    return Field(steps)


def expression(value: object) -> Expr:
    """The value itself if it is an expression, otherwise a constant."""
    return value if isinstance(value, Expr) else Const(value)


def condition(expr: Expr, state: object, reads: dict[str, object]) -> bool:
    """The expression as yes or no. A path that doesn't exist is no; anything but a bool is refused."""
    value = expr.evaluate(state, reads)
    if value is True:
        return True
    if value is False or value is MISSING:
        return False
    raise _failed(expr, [value], "a condition is True or False, so compare the value", of=[expr])


def conjuncts(expr: Expr) -> frozenset[str]:
    """The codes of the conditions that must all hold: an expression with more of them matches less."""
    parts = expr.parts if isinstance(expr, Logic) and expr.op == "and" else (expr,)
    return frozenset(part.code() for part in parts)


def compiled(regex: str | re.Pattern[str]) -> re.Pattern[str]:
    """The regular expression, compiled."""
    try:
        pattern = re.compile(regex)
    except (re.error, TypeError) as error:
        raise ValueError(f"{regex!r} is not a regular expression: {error}") from error
    if not isinstance(pattern.pattern, str):
        raise ValueError(f"{regex!r} is a pattern of bytes; matches works on text")
    return pattern


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


def _inner(expr: Expr, level: int) -> str:
    return expr.text() if expr.level >= level else f"({expr.text()})"


def _failed(expr: Expr, values: Sequence[object], why: str, of: Sequence[Expr] | None = None) -> RouteFailed:
    """The error for values that the expression can't work with."""
    facts, advice = [], ""
    for part, value in zip(expr.parts if of is None else of, values, strict=True):
        name = "a path that doesn't exist" if value is MISSING else type(value).__name__
        facts.append(f"`{part.text()}` is {'None' if value is None else name}")
        if (value is None or value is MISSING) and not isinstance(part, Const):
            advice = f". Use .is_none() first, in a rule for the case that `{part.text()}` has no value"
    return RouteFailed(f"`{expr.text()}` can't be evaluated: {', '.join(facts)}; {why}{advice}")


def _equal(a: object, b: object) -> bool:
    try:
        return bool(a == b)
    except Exception:
        return False


def _has(box: Collection[object], item: object) -> bool:
    try:
        return item in box
    except Exception:  # unhashable, or it can't be compared
        return any(_equal(item, other) for other in box)


def _contains(box: object, item: object) -> bool:
    if not isinstance(box, Collection) or (isinstance(box, str | bytes) and type(item) is not type(box)):
        raise TypeError
    return _has(box, item)


def _fits(adapter: TypeAdapter[Any], value: object) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def _schema(adapter: TypeAdapter[Any]) -> str:
    try:
        return json.dumps(adapter.json_schema(), sort_keys=True)
    except Exception:  # not every type has a JSON schema
        return "no schema"


def _getter(step: Step) -> Callable[[Any], object]:
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


# ---- what the schema says, before any value is there

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
        raw = model.model_config.get("use_enum_values") and any(_is_enum(one) for one in types)
        return ((Any,) if raw else types), None
    if name in model.model_computed_fields:
        return _alternatives(model.model_computed_fields[name].return_type), None
    found = inspect.getattr_static(model, name, MISSING)
    if isinstance(found, property | functools.cached_property) or model.model_config.get("extra") == "allow":
        return (Any,), None
    return (Any,), f"{model.__name__} has no field {name!r}{nearest(name, model.model_fields)}"


def _is_enum(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, Enum)


def _names(kinds: frozenset[str]) -> str:
    return " or ".join(f"a {kind}" for kind in sorted(kinds - {"number"} if "bool" in kinds else kinds))


def _lacks(part: Expr, needed: frozenset[str], model: type[BaseModel]) -> list[str]:
    kind = part.kind(model)
    fits = kind is None or kind & needed
    return [] if kind is None or fits else [f"`{part.text()}` is {_names(kind)}, not {_names(needed)}"]


def not_a_condition(expr: Expr, model: type[BaseModel]) -> list[str]:
    """A problem if the expression plainly gives something else than True or False."""
    return [f"{problem}; compare it" for problem in _lacks(expr, frozenset({"bool"}), model)]


def _not_a_choice(part: Expr, value: object, model: type[BaseModel]) -> str | None:
    """Why an enum or a `Literal` can never have this value."""
    choices: list[Any] = []
    for one in types_at(model, part.steps)[0] if isinstance(part, Field) else ():
        if get_origin(one) is not Literal and not _is_enum(one):
            return None
        choices.extend(get_args(one) or list[Any](one))  # type: ignore[call-overload]
    if not choices or any(_equal(choice, value) for choice in choices):
        return None
    known = [choice for choice in choices if isinstance(choice, str)]
    hint = nearest(value, known) if isinstance(value, str) else ""
    return f"`{part.text()}` is never {show(value)}, only one of {show(choices)}{hint}"


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
