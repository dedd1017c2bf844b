"""Budgets: caps on money, tokens, calls and time, and the accounts in which they are kept. Pure: no store, no clock.

A *budget* caps the calls of each run, thread, graph or tenant, or of all, for ever or day by day. Each of those has an
*account*: what was spent, what is reserved by calls under way, and by how much the cap was topped up. A call is
*reserved* before it is sent, at the most that it may cost as far as can be known, and *settled* at what it did cost.
What is spent, reserved and wanted together never goes over a cap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from turnout.core.amounts import MEASURES, NOTHING, Amount
from turnout.errors import CapReached, InputInvalid

PER = ("run", "thread", "graph", "tenant", "all")
AT_CAP = ("fail", "review")
LONGEST = 200
"""Characters of a name."""
LARGEST = 2**53
"""Of caps and top-ups: up to here every program that reads JSON has the same number."""
UNITS = {
    "micros": "millionths of a US dollar",
    "tokens": "tokens",
    "calls": "calls",
    "ms": "milliseconds of calls",
}
USED_UP = {"micros": "money is", "tokens": "tokens are", "calls": "calls are", "ms": "time is"}


class Budget(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A declared cap, or several: a measure that is None isn't capped.

    `per` says whose calls are counted together: those of each run or thread (its child threads counted in), of each
    graph or tenant, or all. With `day` each UTC day has an account of its own. `graph` and `tenant` narrow it down to
    the calls of that graph or tenant. `micros` is money in millionths of a US dollar, `ms` time in milliseconds. At
    the cap a call fails, or waits for a `review` that may top the cap up; `roles` may decide it.
    """

    name: str
    per: str
    day: bool = False
    graph: str = ""
    tenant: str = ""
    micros: int | None = None
    tokens: int | None = None
    calls: int | None = None
    ms: int | None = None
    at_cap: str = "fail"
    roles: tuple[str, ...] = ()

    def cap(self, measure: str) -> int | None:
        """The cap of one of `MEASURES`."""
        found: int | None = getattr(self, measure)
        return found

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that are capped."""
        return tuple(measure for measure in MEASURES if self.cap(measure) is not None)

    def check(self) -> Budget:
        """The budget itself. Raises `InputInvalid` when it says nothing, or what can't be."""
        problem = ""
        if not _name(self.name) or not self.name or "/" in self.name:
            problem = f"a budget needs a name without '/': 1 to {LONGEST} printable characters"
        elif not _name(self.graph) or not _name(self.tenant):
            problem = f"graph and tenant are names: up to {LONGEST} printable characters"
        elif not isinstance(self.day, bool):
            problem = "day is True or False"
        elif self.per not in PER:
            problem = f"per must be one of {', '.join(PER)}"
        elif self.at_cap not in AT_CAP:
            problem = f"at_cap must be one of {', '.join(AT_CAP)}"
        elif not self.measures:
            problem = "it caps nothing; give it money, tokens, calls or time"
        elif not all(map(_amount, (self.cap(measure) for measure in self.measures))):
            problem = f"a cap is a whole number, not below 0 and not above {LARGEST}"
        elif not _roles(self.roles):
            problem = f"roles are names without commas: 1 to {LONGEST} printable characters each"
        elif self.roles and self.at_cap != "review":
            problem = 'roles are for the review at the cap: at_cap = "review"'
        if problem:
            raise InputInvalid(f"budget {self.name!r}: {problem}")
        return self


def _name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST and value.isprintable()


def _roles(value: object) -> bool:
    return isinstance(value, tuple) and all(_name(role) and role and "," not in role for role in value)


def _amount(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


@dataclass(frozen=True, slots=True)
class Label:
    """Whose call it is, and what kind of call. `root` is `thread/run` of the run that all this is part of: a child's
    calls are its parent's. `retry`: it is another attempt at what was tried before. `at` is when it was reserved."""

    thread: str
    run: int
    step: str
    node: str
    branch: str
    graph: str
    tenant: str
    root: str
    kind: str
    name: str
    model: str
    deployment: str
    retry: bool
    at: int


@dataclass(frozen=True, slots=True)
class Charge:
    """What one entry says to the ledger. `what` is

    reserve  `amount` is taken for the call of `label`, if all caps allow it
    spend    `amount` was spent on the call of `label`, for which nothing was reserved
    settle   `amount` was spent of what entry `of` has reserved, the rest is free again; `assumed`: see `Spent`. `model` is
             what the upstream says that it was, if it does
    top_up   the cap of `account` is raised by `amount`
    """

    thread: str
    seq: int
    what: str
    amount: Amount
    label: Label | None = None
    of: int = 0
    assumed: bool = False
    account: str = ""
    budget: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """What one budget has of one run, thread, graph, tenant or day. `at`: when something of it changed last."""

    account: str
    budget: str
    spent: Amount = NOTHING
    reserved: Amount = NOTHING
    topped: Amount = NOTHING
    at: int = 0


@dataclass(frozen=True, slots=True)
class ChargeRow:
    """A call in the ledger. `state` is reserved, settled, assumed, or moved: it was reserved when its thread moved to another
    store, which counts it now. `accounts` are those that it was counted in."""

    thread: str
    seq: int
    label: Label
    state: str
    reserved: Amount
    spent: Amount
    accounts: tuple[str, ...]

    @property
    def held(self) -> Amount:
        """What is still reserved for it."""
        return self.reserved if self.state == "reserved" else NOTHING

    def is_behind(self, other: ChargeRow) -> bool:
        """Has its story gone on to what `other` says of the same call? What was settled stays so."""
        return self.state in ("reserved", "moved") and self.state != other.state


def applies(budget: Budget, graph: str, tenant: str) -> bool:
    """Does it count calls of this graph and tenant?"""
    return budget.graph in ("", graph) and budget.tenant in ("", tenant)


def day_of(at: int) -> str:
    """The UTC day of a time in microseconds since 1970."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%d")


def account_of(budget: Budget, label: Label) -> str:
    """The name of the account in which a budget counts a call, e.g. `daily/2026-11-26/tenant/acme`."""
    whose = {
        "run": label.root, "thread": label.root.rpartition("/")[0], "graph": label.graph, "tenant": label.tenant, "all": "",
    }[budget.per]  # fmt: skip
    parts = [
        budget.name,
        *([day_of(label.at)] if budget.day else []),
        budget.per,
        *([whose] if whose else []),
    ]
    return "/".join(parts)


def accounts_of(budgets: Iterable[Budget], label: Label) -> dict[str, Budget]:
    """The accounts in which a call is counted, and their budgets."""
    return {account_of(b, label): b for b in budgets if applies(b, label.graph, label.tenant)}


def room(budget: Budget, account: Account, wanted: Amount) -> str:
    """The first measure whose cap the wanted amount would go over; "" when there is room for all of it."""
    for measure in budget.measures:
        limit = (budget.cap(measure) or 0) + account.topped.of(measure)
        used = account.spent.of(measure) + account.reserved.of(measure)
        if wanted.of(measure) > 0 and used + wanted.of(measure) > limit:
            return measure
    return ""


def refusal(charge: Charge, budget: Budget, account: Account, measure: str) -> CapReached:
    """The error of a reservation for which there is no room."""
    base, topped = budget.cap(measure) or 0, account.topped.of(measure)
    spent, reserved, wanted = (
        account.spent.of(measure),
        account.reserved.of(measure),
        charge.amount.of(measure),
    )
    return CapReached(
        charge.seq, budget.name, account.account, measure, at_cap=budget.at_cap, roles=budget.roles, cap=base,
        topped=topped, spent=spent, reserved=reserved, wanted=wanted,
    )  # fmt: skip


def proposal(found: CapReached) -> int:
    """By how much to top a cap up: by as much again, and at least by what the call wants."""
    return max(found.cap, found.spent + found.reserved + found.wanted - found.cap - found.topped)


def question(found: CapReached) -> tuple[str, dict[str, Any]]:
    """What a person is asked at a cap: the question, and what is shown. `top_up` may be edited."""
    text = f"Top up budget {found.budget}? Its {USED_UP[found.measure]} used up"
    return text, {
        "budget": found.budget, "account": found.account, "measure": found.measure, "unit": UNITS[found.measure],
        "cap": found.cap + found.topped, "spent": found.spent, "reserved": found.reserved, "wanted": found.wanted,
        "top_up": proposal(found),
    }  # fmt: skip


def topped_up(payload: Mapping[str, Any]) -> Amount:
    """What a decided review raises the cap by. Raises `InputInvalid` when that is no amount."""
    by = payload.get("top_up")
    if not _amount(by) or not by:
        raise InputInvalid(
            f"top_up must be a whole number above 0 and not above {LARGEST}, in {payload.get('unit')}; it is {by!r}"
        )
    return Amount(**{str(payload["measure"]): by})
