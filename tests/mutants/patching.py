"""Patches to the running code: the function object stays, so that every module that imported it has the mutant."""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Callable
from typing import Any


class Stale(Exception):
    """The source that a mutant wants to change has changed itself: bring the mutant up to date."""


def rewrite(fn: Callable[..., Any], *changes: tuple[str, str]) -> None:
    """Give `fn` the code that it would have if each `old` in its source, which must be there once, were `new`."""
    source = textwrap.dedent(inspect.getsource(fn))
    for old, new in changes:
        if source.count(old) != 1:
            raise Stale(f"{fn.__qualname__} has {source.count(old)} times, not once: {old}")
        source = source.replace(old, new)
    if fn.__code__.co_freevars:
        raise Stale(f"{fn.__qualname__} is a closure and can't be rewritten")
    found: dict[str, Any] = {}
    flags = __future__.annotations.compiler_flag
    exec(compile(source, f"<mutant of {fn.__qualname__}>", "exec", flags, True), fn.__globals__, found)
    fn.__code__ = found[fn.__name__].__code__


def reword(statements: dict[str, str], names: tuple[str, ...], old: str, new: str) -> None:
    """The same for named SQL statements."""
    for name in names:
        if old not in statements[name]:
            raise Stale(f"statement {name!r} doesn't have {old!r}")
        statements[name] = statements[name].replace(old, new)
