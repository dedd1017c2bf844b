"""Callers: who asks, what they may do, and how that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from turnout.core.entries import Micros
from turnout.errors import RightMissing

Right = Literal["view", "operate", "decide", "administer"]

ROLES: dict[str, frozenset[Right]] = {
    "viewer": frozenset({"view"}),
    "operator": frozenset({"view", "operate"}),
    "reviewer": frozenset({"view", "decide"}),
    "admin": frozenset({"view", "operate", "decide", "administer"}),
}
"""What each role may do: *view* reads, *operate* starts, signals, cancels, forks and sets aside, *decide* resolves
reviews, *administer* sets limits and makes tokens."""


@dataclass(frozen=True)
class Caller:
    """Who asks.

    `review_roles` are those that a decision may be made in; None: any that are named (only where nobody has to sign
    in). `tenant` None: all that is in the store. `how` they signed in goes on record with what they decide. `key` tells
    one caller from another, for counting. `named` is whether the caller's name is known: else it is what they say. `until` is
    when what they came in with ends, if that is known.
    """

    who: str
    roles: tuple[str, ...]
    review_roles: tuple[str, ...] | None
    tenant: str | None
    how: str
    key: str
    named: bool = True
    until: Micros | None = None

    @property
    def rights(self) -> frozenset[Right]:
        """What the roles add up to. A role that isn't known gives none."""
        return frozenset().union(*(ROLES.get(role, frozenset()) for role in self.roles))

    def need(self, right: Right) -> None:
        """Raises `RightMissing` when the caller may not do that."""
        if right in self.rights:
            return
        able = [role for role, rights in ROLES.items() if right in rights]
        has = ", ".join(self.roles) or "no role"
        raise RightMissing(
            f"{self.who} has {has}, and this needs {' or '.join(able)}; ask an admin for a token with it"
        )


ANYBODY = Caller(
    who="local", roles=("admin",), review_roles=None, tenant=None, how="open", key="open", named=False
)
"""Who comes in where no token was ever made: only on a loopback address, for a first try."""
