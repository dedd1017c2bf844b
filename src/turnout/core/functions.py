"""Where a function's source is, and what the function can see: shared by `source` and `warnings`.

The whole file is parsed, and the definition looked up in it by the line of the code object. Cutting the lines
out, as `inspect.getsource` does, loses the line numbers, can't tell two lambdas on one line apart, and gives
text that doesn't parse when a lambda stands in the middle of a call.
"""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import TypeAlias

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Cached = type(functools.lru_cache(lambda: None))
MISSING = object()


@dataclass(frozen=True, slots=True)
class Source:
    """A function's definition, and the module and file that it stands in."""

    definition: Definition
    module: ast.Module
    file: str
    text: str


def source_of(fn: FunctionType) -> Source | None:
    """Where `fn` is defined, or None when there is no source or the definition can't be told from another."""
    code = fn.__code__
    try:
        lines, _ = inspect.findsource(code)
        text = "".join(lines)
        module, definitions = _parsed(text)
    except (OSError, TypeError, ValueError, SyntaxError):
        return None
    there = definitions.get(code.co_firstlineno, [])
    same = [d for d in there if getattr(d, "name", "<lambda>") == code.co_name]
    if len(same) > 1:
        same = [*_around(code, [d for d in same if isinstance(d, ast.Lambda)])]
    return Source(same[0], module, code.co_filename, text) if same else None


@functools.lru_cache(maxsize=32)
def _parsed(text: str) -> tuple[ast.Module, dict[int, list[Definition]]]:
    """The parsed file and its definitions by first line, which is a decorator's, as in a code object."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python has said it when it imported the file
        module = ast.parse(text)
    definitions: dict[int, list[Definition]] = {}
    for node in ast.walk(module):
        if isinstance(node, Definition):
            lines = [decorator.lineno for decorator in getattr(node, "decorator_list", [])]
            definitions.setdefault(min([*lines, node.lineno]), []).append(node)
    return module, definitions


def _around(code: CodeType, lambdas: list[ast.Lambda]) -> list[ast.Lambda]:
    """The lambda whose body holds every instruction of `code`; of two nested ones, the inner one."""
    spans = [
        ((line, column), (end_line, end_column))
        for line, end_line, column, end_column in code.co_positions()
        if line and end_line and column is not None and end_column  # (0, 0) are the columns of bookkeeping
    ]
    if not spans:
        # Python was told to leave the columns out, or the body is a constant, which has none in 3.12.
        returned = [ascii(i.argval) for i in dis.get_instructions(code) if i.opname == "RETURN_CONST"]
        same = [d for d in lambdas if [ascii(getattr(d.body, "value", MISSING))] == returned]
        return same if len(same) == 1 else []
    holding = [d for d in lambdas if all(_start(d.body) <= a and b <= _end(d.body) for a, b in spans)]
    return sorted(holding, key=lambda d: _start(d.body))[-1:]


def _start(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def layers(value: object) -> list[FunctionType]:
    """The plain functions that `value` is made of: itself, then what its decorators wrapped.

    Of these only the ones of the innermost function's module: a library's wrapper is the library's business,
    and the decorator's line says which one it is. Empty when `value` is no plain (or cached) function.
    """
    found: list[FunctionType] = []
    while isinstance(value, (FunctionType, Cached)) and value not in found:
        if isinstance(value, FunctionType):
            found.append(value)
        value = getattr(value, "__wrapped__", None)
    return [fn for fn in found if fn.__globals__ is found[-1].__globals__]


def closure(fn: FunctionType) -> dict[str, object]:
    """The closure variables of `fn` that have a value by now."""
    values: dict[str, object] = {}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # still empty: a function that refers to a name bound later
            continue
    return values


def globals_read(code: CodeType) -> set[str]:
    """Names that `code`, or a function inside it, looks up in the module."""
    loads = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
    names = {str(i.argval) for i in dis.get_instructions(code) if i.opname in loads}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= globals_read(constant)
    return names


def top_level(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when the module is imported, also those inside `if`, `try` and `with`."""
    for statement in statements:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With):
            for name in ("body", "orelse", "finalbody"):
                yield from top_level(getattr(statement, name, []))
            for handler in getattr(statement, "handlers", []):
                yield from top_level(handler.body)


@dataclass(frozen=True, slots=True)
class Opened:
    """A callable taken apart: `fn` is what runs in the end, `bound` the values of its first parameters."""

    fn: object
    bound: tuple[object, ...]
    keywords: dict[str, object]
    receiver: object = MISSING


def opened(fn: Callable[..., object]) -> Opened:
    """See through partials, bound methods and callable objects, to the function that they call."""
    value: object = fn
    bound: tuple[object, ...] = ()
    keywords: dict[str, object] = {}
    receiver = MISSING
    while True:
        if isinstance(value, functools.partial):
            bound, keywords, value = (*value.args, *bound), {**value.keywords, **keywords}, value.func
        elif inspect.ismethod(value):
            receiver, bound, value = value.__self__, (value.__self__, *bound), value.__func__
        elif not isinstance(value, (type, FunctionType, Cached)) and isinstance(
            inspect.getattr_static(type(value), "__call__", None), FunctionType
        ):
            receiver, bound, value = value, (value, *bound), inspect.getattr_static(type(value), "__call__")
        else:
            return Opened(value, bound, keywords, receiver)
