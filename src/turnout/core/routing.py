"""Routes: how the next node is chosen after a node, and why.

    Edge           always the same target
    RuleTable      rules from top to bottom, the first that matches wins; a default is a must
    Matrix         a rule table written as a policy table (in `matrix`)
    FunctionRoute  a plain function `(state) -> Literal["pay", "ask", "END"]`

Every route knows its targets before anything runs. `choose` gives a `Choice`: the target, the rule, the values
that were read, and what else could have been chosen. Targets are kept as they were given (a name, a node
function, a subgraph, END, `parallel(...)`); the graph knows which node each of them means.
"""

from __future__ import annotations

import functools
import inspect
import math
import types
import typing
from abc import ABCMeta
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    Protocol,
    Union,
    cast,
    final,
    get_args,
    get_origin,
    runtime_checkable,
)

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from turnout.core import source
from turnout.core.expr import Expr, condition, conjuncts, not_a_condition
from turnout.errors import RouteFailed


@final
class End:
    """The type of END: the run, or the branch, ends here."""

    name: Final = "END"

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name  # copies and pickles are END itself


END: Final = End()


@dataclass(frozen=True)
class Parallel:
    """A target: branches that run side by side and meet at `join`."""

    targets: tuple[object, ...]
    join: object = END


def parallel(*targets: object, join: object = END) -> Parallel:
    """Go on with several branches at once; when all have arrived at `join`, go on from there."""
    return Parallel(tuple(map(_reference, targets)), _reference(join))


@dataclass(frozen=True, eq=False)
class Rule:
    """One line of a rule table."""

    name: str
    when: Expr
    to: object


def rule(name: str, when: Expr, *, to: object) -> Rule:
    """If `when` holds go to `to`: a node, its name, END, or `parallel(...)`."""
    if not isinstance(when, Expr):
        raise TypeError(
            f"rule {name!r}: the condition is {when!r}; write an expression, field('amount') <= 5_000"
        )
    return Rule(name, when, _reference(to))


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a route went, and why. `reads` is plain JSON data, `failed` the rules asked before and their texts."""

    target: object
    rule: str
    text: str
    reads: dict[str, object]
    alternatives: tuple[tuple[str, str], ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


@runtime_checkable
class Route(Protocol):
    """How the next node is chosen after a node."""

    def targets(self) -> tuple[object, ...]:
        """Everything that it can choose, each once; a `Parallel` stands for its branches and join."""
        ...

    def problems(self, model: type[BaseModel]) -> list[str]:
        """What is wrong with it for states of this model."""
        ...

    def choose(self, state: BaseModel) -> Choice:
        """The target in this state. Raises `RouteFailed`."""
        ...

    def code(self) -> str:
        """A canonical text for the fingerprint."""
        ...

    def text(self) -> str:
        """The route as lines for a person."""
        ...

    def labels(self) -> list[tuple[str, object]]:
        """A label for each way out, in order."""
        ...


class Edge:
    """A route that always goes to the same target."""

    def __init__(self, target: object) -> None:
        self.target = _reference(target)

    def targets(self) -> tuple[object, ...]:
        return (self.target,)

    def problems(self, model: type[BaseModel]) -> list[str]:
        return _target_problems("the edge", self.target)

    def choose(self, state: BaseModel) -> Choice:
        return Choice(self.target, "edge", "always", {})

    def code(self) -> str:
        return f"Edge({target_name(self.target)})"

    def text(self) -> str:
        return f"always -> {target_name(self.target)}"

    def labels(self) -> list[tuple[str, object]]:
        return [("", self.target)]


class RuleTable:
    """Rules from top to bottom: the first that matches wins, and the default if none does."""

    def __init__(self, rules: Iterable[Rule], default: object = None, noun: str = "rule") -> None:
        self.rules = tuple(rules)
        self.noun = noun
        self.default = _reference(default)
        self._texts = tuple((rule.name, rule.when.text()) for rule in self.rules)
        ways = [
            *((rule.name, target_name(rule.to)) for rule in self.rules),
            ("default", target_name(self.default)),
        ]
        self._others = [tuple(ways[:at] + ways[at + 1 :]) for at in range(len(ways))]
        self._failed = [self._texts[:at] for at in range(len(ways))]

    def targets(self) -> tuple[object, ...]:
        return _once([*(rule.to for rule in self.rules), self.default])

    def choose(self, state: BaseModel) -> Choice:
        reads: dict[str, object] = {}
        for at, rule in enumerate(self.rules):
            try:
                matches = condition(rule.when, state, reads)
            except RouteFailed as error:
                raise RouteFailed(f"{self.noun} {rule.name!r}: {error}") from error
            if matches:
                name, text = self._texts[at]
                return Choice(rule.to, name, text, plain(reads), self._others[at], self._failed[at])
        return Choice(
            self.default,
            "default",
            f"no {self.noun} matched",
            plain(reads),
            self._others[-1],
            self._failed[-1],
        )

    def problems(self, model: type[BaseModel]) -> list[str]:
        found = []
        for rule in self.rules:
            where = f"{self.noun} {rule.name!r}"
            found += [f"{where}: {text}" for text in rule.when.check(model)]
            found += [f"{where}: {text}" for text in not_a_condition(rule.when, model)]
            found += _target_problems(where, rule.to)
        if self.default is None:
            found.append(f"there is no default; say where to go when no {self.noun} matches, default=...")
        else:
            found += _target_problems("the default", self.default)
        return list(dict.fromkeys(found + self._name_problems() + self._shadow_problems()))

    def _name_problems(self) -> list[str]:
        found = []
        seen: set[str] = set()
        for rule in self.rules:
            if not rule.name or rule.name == "default":
                what = "say in a few words what it is about"
                found.append(f"a {self.noun} can't be named {rule.name!r}; {what}")
            elif rule.name in seen:
                found.append(f"two {self.noun}s are named {rule.name!r}; give one of them another name")
            seen.add(rule.name)
        return found

    def _shadow_problems(self) -> list[str]:
        """Rules that can never be chosen, and rules that leave nothing to those after them."""
        found: list[str] = []
        before: list[tuple[Rule, frozenset[str]]] = []
        for at, rule in enumerate(self.rules):
            where = f"{self.noun} {rule.name!r}"
            always, needs = rule.when.constant(), conjuncts(rule.when)
            if always is False:
                found.append(f"{where} never matches; remove it")
            elif always:
                after = [repr(later.name) for later in self.rules[at + 1 :]]
                what = " and ".join([*([", ".join(after)] if after else []), "the default"])
                found.append(f"{where} always matches, so {what} can't be reached; make it the default")
                break
            else:
                covering = [earlier.name for earlier, needed in before if needed <= needs]
                if covering:
                    found.append(
                        f"{where} can't be reached: {covering[0]!r} before it matches whenever it does"
                    )
                before.append((rule, needs))
        return found

    def code(self) -> str:
        rules = [f"({rule.name!r}, {rule.when.code()}, {target_name(rule.to)})" for rule in self.rules]
        return f"RuleTable([{', '.join(rules)}], {target_name(self.default)})"

    def text(self) -> str:
        lines = [f"{rule.name}: {rule.when.text()} -> {target_name(rule.to)}" for rule in self.rules]
        return "\n".join([*lines, f"default -> {target_name(self.default)}"])

    def labels(self) -> list[tuple[str, object]]:
        return [*((rule.name, rule.to) for rule in self.rules), ("default", self.default)]


class FunctionRoute:
    """A plain function of the state; its targets are the `Literal` values of its return annotation."""

    def __init__(self, fn: Callable[[Any], object]) -> None:
        self.fn = fn
        self.name = str(getattr(fn, "__name__", None) or type(fn).__name__)
        self._ways: dict[str, object] = {}
        self._problems: list[str] = []
        for value in self._values():
            if isinstance(value, str) and not isinstance(value, Enum):
                self._ways[value] = _reference(value)
            else:
                self._problems.append(
                    f"the function {self.name!r} may return {value!r}; only texts name a target"
                )
        ways = [(self.name, target_name(target)) for target in self._ways.values()]
        self._others = {value: tuple(ways[:at] + ways[at + 1 :]) for at, value in enumerate(self._ways)}

    def _values(self) -> list[object]:
        function = self.fn if inspect.isroutine(self.fn) else getattr(self.fn, "__call__", self.fn)  # noqa: B004
        function = inspect.unwrap(function)
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            self._problems.append(
                f"the function {self.name!r} is async; a route reads the state and nothing else, so make it a "
                "plain function, and let a node fetch what it needs"
            )
        try:
            inspect.signature(self.fn).bind(None)
        except (TypeError, ValueError):
            self._problems.append(f"the function {self.name!r} must take the state and nothing else")
        try:
            values = _literals(_returned(function))
        except Exception as error:
            self._problems.append(f"the return annotation of {self.name!r} can't be read: {error}")
            return []
        if any(isinstance(value, str) for value in values):
            return values
        self._problems.append(
            f"the targets of the function {self.name!r} aren't known; annotate what it returns, "
            'for example -> Literal["pay", "ask", "END"]'
        )
        return []

    def targets(self) -> tuple[object, ...]:
        return _once(self._ways.values())

    def problems(self, model: type[BaseModel]) -> list[str]:
        return list(self._problems)

    def choose(self, state: BaseModel) -> Choice:
        seen, reads = recording(state)
        try:
            value = self.fn(seen)
        except Exception as error:
            what = f"the route function {self.name!r} raised {type(error).__name__}: {error}"
            raise RouteFailed(f"{what}; a route has to answer in every state") from error
        if value is END:
            value = "END"
        if type(value) is not str or value not in self._ways:
            if inspect.iscoroutine(value):
                value.close()
            allowed = ", ".join(map(repr, self._ways))
            raise RouteFailed(f"the route function {self.name!r} returned {value!r}; it may return {allowed}")
        text = f"{self.name} returned {value!r}"
        return Choice(self._ways[value], self.name, text, plain(reads), self._others[value])

    def code(self) -> str:
        return f"FunctionRoute({', '.join(map(repr, self._ways))})\n{source.normalised(self.fn)}"

    def text(self) -> str:
        return f"{self.name}() -> {', '.join(map(target_name, self._ways.values()))}"

    def labels(self) -> list[tuple[str, object]]:
        return list(self._ways.items())


def target_name(target: object) -> str:
    """A target in words."""
    if isinstance(target, Parallel):
        return f"{' + '.join(map(target_name, target.targets))}, then {target_name(target.join)}"
    if isinstance(target, str):
        return target
    return str(getattr(target, "__name__", None) or getattr(target, "name", None) or target)


def plain(reads: dict[str, object]) -> dict[str, object]:
    """What was read, as plain JSON data that nothing can change any more. Never fails: it is an explanation."""
    return {path: value if type(value) in _PLAIN else _plain(value) for path, value in reads.items()}


_PLAIN: Final = (str, int, bool, types.NoneType)


def _plain(value: object) -> object:
    try:
        return _finite(to_jsonable_python(value, serialize_unknown=True))
    except Exception:  # a loop, or bytes that are no text
        return f"<{type(value).__name__}>"


def _finite(data: object) -> object:
    """JSON has no word for NaN and infinity: they become texts."""
    if isinstance(data, float):
        return data if math.isfinite(data) else str(data)
    if isinstance(data, list):
        return [_finite(item) for item in data]
    return {key: _finite(item) for key, item in data.items()} if isinstance(data, dict) else data


def _reference(target: object) -> object:
    return END if isinstance(target, str) and target == "END" else target


def _once(targets: Iterable[object]) -> tuple[object, ...]:
    unique = {
        target if isinstance(target, str) else id(target): target for target in targets if target is not None
    }
    return tuple(unique.values())


def _target_problems(where: str, target: object) -> list[str]:
    if isinstance(target, Parallel):
        inside = [*target.targets, target.join]
        if any(isinstance(part, Parallel) for part in inside):
            return [f"{where} goes to a parallel(...) in a parallel(...); put a node in between"]
        return [problem for part in inside for problem in _target_problems(where, part)]
    named = isinstance(target, str) or callable(target) or isinstance(getattr(target, "name", None), str)
    return [] if named and target != "" else [f"{where} goes to {target!r}, which is not a node"]


def _returned(function: Callable[..., object]) -> object:
    """The return annotation alone: the others may name what can't be looked up from here."""
    annotation = getattr(function, "__annotations__", {}).get("return")
    holder = types.SimpleNamespace(__annotations__={"return": annotation})
    code = getattr(function, "__func__", function)
    names = inspect.getclosurevars(code).nonlocals if inspect.isfunction(code) else {}
    names = {**getattr(code, "__globals__", {}), **names}
    return typing.get_type_hints(holder, names, names)["return"]


def _literals(annotation: object) -> list[object]:
    """The values of all Literals, also in unions and aliases. Anything else stays as it is."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__value__"):  # type Way = ...
        return _literals(annotation.__value__)
    if origin is Annotated:
        return _literals(arguments[0])
    if origin is Literal:
        return list(arguments)
    if origin is Union or origin is types.UnionType:
        return [value for argument in arguments for value in _literals(argument)]
    return ["END"] if annotation is End else [annotation]


# ---- a state that records what is read


def recording(state: BaseModel) -> tuple[BaseModel, dict[str, object]]:
    """A view of the state, and the dict that gets every field read through it, under its dotted path.

    The view is an instance of the state's class; its methods and properties work, and what they read is recorded
    too. Nested models are views as well, and of them only the fields read are recorded; lists and dicts are
    recorded whole, and so is everything when all of it is asked for (`model_dump`, iteration, `==`). Cached
    properties are computed anew, so that the record doesn't depend on who asked before. A view can't be changed.
    """
    seen = _Seen()
    return _view(state, "", seen), seen.reads


class _Seen:
    """What was read so far, and the views handed out, both by path."""

    __slots__ = ("reads", "views", "whole")

    def __init__(self) -> None:
        self.reads: dict[str, object] = {}
        self.views: dict[str, BaseModel] = {}
        self.whole: set[str] = set()

    def note(self, parent: str, name: str, value: object) -> object:
        path = f"{parent}.{name}" if parent else name
        if parent not in self.whole:
            self.reads.pop(parent, None)  # of a nested model, the fields read say more
        if not isinstance(value, BaseModel):
            self.reads[path] = value
            return value
        if path not in self.views:
            self.reads.setdefault(path, value)
            self.views[path] = _view(value, path, self)
        return self.views[path]

    def note_all(self, parent: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, BaseModel):
                path = f"{parent}.{name}" if parent else name
                self.reads[path] = value
                self.whole.add(path)
            else:
                self.note(parent, name, value)


class _View:
    """Stands first among a view class's bases, so that a model's hooks for its subclasses aren't called."""

    __slots__ = ()

    def __init_subclass__(cls, **settings: object) -> None:
        pass


def _view(model: BaseModel, path: str, seen: _Seen) -> BaseModel:
    kind = _view_class(type(model))
    view = object.__new__(kind)
    fields = kind.__pydantic_fields__
    values = {name: value for name, value in model.__dict__.items() if name in fields}
    object.__setattr__(view, "__dict__", values)
    object.__setattr__(view, "__pydantic_fields_set__", model.__pydantic_fields_set__)
    object.__setattr__(view, "__pydantic_extra__", model.__pydantic_extra__)
    object.__setattr__(view, "__pydantic_private__", model.__pydantic_private__)
    object.__setattr__(view, "_turnout_view", (model, path, seen))
    return view


@functools.lru_cache(maxsize=1024)
def _view_class(model: type[BaseModel]) -> type[BaseModel]:
    """A subclass of the model whose instances record. Made without Pydantic's metaclass: nothing is rebuilt."""
    base = cast(Any, model)
    read: Callable[[object, str], Any] = base.__getattribute__
    fields = frozenset(base.model_fields)
    classes = reversed(model.__mro__)
    attributes = {name: value for cls in classes for name, value in vars(cls).items()}
    cached = {
        n: value.func for n, value in attributes.items() if isinstance(value, functools.cached_property)
    }

    def of(view: object) -> tuple[BaseModel, str, _Seen]:
        return cast(tuple[BaseModel, str, _Seen], object.__getattribute__(view, "_turnout_view"))

    def get(view: object, name: str) -> object:
        if name in fields:
            value = read(view, name)
            _, path, seen = of(view)
            return seen.note(path, name, value)
        if name in cached:
            return cached[name](view)
        if name == "__class__":
            return model
        value = read(view, name)
        if name in ("__dict__", "__pydantic_extra__") and value:
            _, path, seen = of(view)
            seen.note_all(path, value)
        return value

    def get_extra(view: object, name: str) -> object:
        value = base.__getattr__(view, name)
        extra = object.__getattribute__(view, "__pydantic_extra__")
        _, path, seen = of(view)
        return seen.note(path, name, value) if extra and name in extra else value

    def change(view: object, name: str, value: object = None) -> None:
        raise TypeError(f"a route can't change the state ({name!r}); return an update from a node")

    def original(view: object) -> Any:
        whole, path, seen = of(view)
        seen.note_all(path, {**read(view, "__dict__"), **(read(view, "__pydantic_extra__") or {})})
        return whole

    names: dict[str, object] = {
        "__slots__": ("_turnout_view",),
        "__module__": model.__module__,
        "__qualname__": model.__qualname__,
        "__doc__": model.__doc__,
        "__getattribute__": get,
        "__getattr__": get_extra,
        "__setattr__": change,
        "__delattr__": change,
        "__copy__": lambda view: original(view).__copy__(),
        "__deepcopy__": lambda view, memo=None: original(view).__deepcopy__(memo),
        "__reduce_ex__": lambda view, protocol: original(view).__reduce_ex__(protocol),
    }
    return ABCMeta.__new__(type(model), model.__name__, (_View, model), names)
