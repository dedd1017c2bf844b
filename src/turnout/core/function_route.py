"""A route that is a plain function: its targets are declared, and what it reads is recorded."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from turnout.core import source
from turnout.core.recording import plain, recording
from turnout.core.routing import END, Choice, End, each_once, reference, target_name
from turnout.errors import RouteFailed


class FunctionRoute:
    """A plain function of the state; its targets are the `Literal` values of its return annotation."""

    def __init__(self, fn: Callable[[Any], object]) -> None:
        self.fn = fn
        self.name = str(getattr(fn, "__name__", None) or type(fn).__name__)
        self._ways: dict[str, object] = {}
        self._problems: list[str] = []
        for value in self._values():
            if isinstance(value, str) and not isinstance(value, Enum):
                self._ways[value] = reference(value)
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
        return each_once(self._ways.values())

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
