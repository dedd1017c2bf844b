"""What expressions do: comparisons, arithmetic, logic and calls, and why one can't be evaluated."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from typing import Any, ClassVar, Final, Literal, get_args, get_origin

from pydantic import BaseModel

from turnout.core.expr import Const, Expr, Field, expression, show
from turnout.core.paths import MISSING
from turnout.core.schema import BOOL, NUMBER, Kind, is_enum, names, nearest, types_at
from turnout.core.values import equal, has
from turnout.errors import RouteFailed

FAILS: Final = object()  # (what a call gives for a missing path:) nothing, it fails


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
        return [f"{names(a)} and {names(b)} {'are never equal' if equality else 'have no order'}"]


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
        return found or ([f"{names(a)} and {names(b)} don't add up"] if a and b and not a & b else [])


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
            needs = " and ".join(names(kind) for kind in self.needs if kind)
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
        super().__init__("{} in {}", lambda value: has(lookup, value), part, settings=settings)
        self.values = values

    def _problems(self, model: type[BaseModel]) -> list[str]:
        values = [] if isinstance(self.values, range) else self.values
        found = (_not_a_choice(self.parts[0], value, model) for value in values if value is not None)
        return [problem for problem in found if problem]


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


def _lacks(part: Expr, needed: frozenset[str], model: type[BaseModel]) -> list[str]:
    kind = part.kind(model)
    fits = kind is None or kind & needed
    return [] if kind is None or fits else [f"`{part.text()}` is {names(kind)}, not {names(needed)}"]


def not_a_condition(expr: Expr, model: type[BaseModel]) -> list[str]:
    """A problem if the expression plainly gives something else than True or False."""
    return [f"{problem}; compare it" for problem in _lacks(expr, frozenset({"bool"}), model)]


def _not_a_choice(part: Expr, value: object, model: type[BaseModel]) -> str | None:
    """Why an enum or a `Literal` can never have this value."""
    choices: list[Any] = []
    for one in types_at(model, part.steps)[0] if isinstance(part, Field) else ():
        if get_origin(one) is not Literal and not is_enum(one):
            return None
        choices.extend(get_args(one) or list[Any](one))  # type: ignore[call-overload]
    if not choices or any(equal(choice, value) for choice in choices):
        return None
    known = [choice for choice in choices if isinstance(choice, str)]
    hint = nearest(value, known) if isinstance(value, str) else ""
    return f"`{part.text()}` is never {show(value)}, only one of {show(choices)}{hint}"
