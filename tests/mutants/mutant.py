"""What a mutant is, and how one is declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`breaks` says in words what is broken; `apply` does it, in the process of the tests that are to find it."""

    name: str
    promise: int
    breaks: str
    apply: Callable[[], None]
    tests: tuple[str, ...]


def mutant(promise: int, *tests: str) -> Callable[[Callable[[], None]], Mutant]:
    """Declare a mutant: its name is the function's, `breaks` its docstring."""

    def declare(apply: Callable[[], None]) -> Mutant:
        breaks = (apply.__doc__ or "").strip().rstrip(".")
        return Mutant(apply.__name__.replace("_", "-"), promise, breaks, apply, tests)

    return declare
