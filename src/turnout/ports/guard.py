"""Guardrails: what they are to the runtime. Checks of Turnout's own and of users implement `Check`."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol

from turnout.core.redaction import Hit

Where = Literal["input", "output"]
Action = Literal["block", "redact", "review", "flag"]
KINDS = ("model", "tool", "retrieve")
"""What a guardrail looks at unless it says otherwise. `once` can be named, too."""


class Answer(dict[str, Any]):
    """A model's answer: `text`, `output`, and the `args` of its `tool_calls`, as far as they are there."""


class Check(Protocol):
    """Looks at plain JSON data and says what it found. Not to be called again for the same data: it may cost."""

    def __call__(self, value: Any, /) -> Sequence[Hit] | Awaitable[Sequence[Hit]]: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the work a request is made."""

    graph: str
    node: str
    kind: str
    name: str


@dataclass(frozen=True)
class Guard:
    """A declared guardrail: a check, where it looks, and what comes of a finding.

    Empty `names`, `graphs` and `nodes` mean all; they may have wildcards (`send_*`). `about` says in words what is
    looked for. `secret`: what it finds is cut out of what people are shown. `roles` may decide on its reviews.
    `quick`: the check is a plain function, which needn't be awaited. `errors`: it is asked of error messages, too.
    """

    name: str
    check: Check
    action: Action
    about: str = ""
    where: frozenset[str] = frozenset(("input", "output"))
    kinds: frozenset[str] = frozenset(KINDS)
    names: tuple[str, ...] = ()
    graphs: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    secret: bool = True
    quick: bool = field(default=True, compare=False)
    errors: bool = field(default=True, compare=False)

    def looks_at(self, place: Place) -> bool:
        """Is a request made there any of its business?"""
        return (
            place.kind in self.kinds
            and _matches(self.names, place.name)
            and _matches(self.graphs, place.graph)
            and _matches(self.nodes, place.node)
        )


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
