"""Budgets: what turnout.toml says of them, and how they stand; and what calls have cost."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from turnout.core.amounts import Amount
from turnout.core.budgets import LARGEST, Account, Budget
from turnout.core.entries import Micros
from turnout.errors import InputInvalid
from turnout.ports.clock import at as moment
from turnout.ports.clock import micros
from turnout.ports.rows import COSTS_BY
from turnout.ports.store import Store
from turnout.settings_file import Section

Whole = Annotated[int, Field(ge=0)]
Measured = Annotated[Decimal, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
"""The cap itself, in its own unit, is checked by `Budget`; this is so that it can be reckoned at all."""


class BudgetTable(Section):
    """A table `[budgets.NAME]` of turnout.toml; see `Budget`. Money is in US dollars, time in seconds."""

    per: Literal["run", "thread", "graph", "tenant", "all"]
    day: bool = False
    graph: str = ""
    tenant: str = ""
    dollars: Measured | None = None
    tokens: Whole | None = None
    calls: Whole | None = None
    seconds: Measured | None = None
    at_cap: Literal["fail", "review"] = "fail"
    roles: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> BudgetTable:
        try:
            self.budget("it")
        except InputInvalid as problem:
            raise ValueError(str(problem).partition(": ")[2]) from None
        return self

    def budget(self, name: str) -> Budget:
        """The budget of that name. Raises `InputInvalid`."""
        return Budget(
            name=name, per=self.per, day=self.day, graph=self.graph, tenant=self.tenant, micros=_scaled(self.dollars, 1_000_000),
            tokens=self.tokens, calls=self.calls, ms=_scaled(self.seconds, 1_000), at_cap=self.at_cap, roles=self.roles,
        ).check()  # fmt: skip


class BudgetSettings(Section):
    """The tables `budgets` of turnout.toml."""

    budgets: dict[Annotated[str, Field(pattern=r"^[^/]+$")], BudgetTable] = {}

    def declared(self) -> list[Budget]:
        """The budgets of the file."""
        return [table.budget(name) for name, table in self.budgets.items()]


def _scaled(value: Decimal | None, by: int) -> int | None:
    """In whole units, rounded down: a cap is never set too high."""
    return None if value is None else int(value * by)


async def declare(store: Store, budgets: Iterable[Budget], at: Micros) -> None:
    """Have the store know these. Others stay: a cap never goes because a process doesn't know of it."""
    wanted = list(budgets)
    known = {budget.name: budget for budget in await store.budgets()} if wanted else {}
    for budget in wanted:
        if known.get(budget.name) != budget:
            await store.put_budget(budget, at)


@dataclass(frozen=True)
class AccountReport:
    """How one account of a budget stands in one measure; `left` may be below 0 when a call has cost more than was
    reserved for it. Money is in millionths of a US dollar, time in milliseconds."""

    account: str
    measure: str
    cap: int
    topped_up: int
    spent: int
    reserved: int
    left: int
    changed_at: datetime


@dataclass(frozen=True)
class BudgetReport:
    """A budget, and the accounts of it that changed last."""

    name: str
    per: str
    day: bool
    graph: str
    tenant: str
    caps: dict[str, int]
    at_cap: str
    roles: tuple[str, ...]
    accounts: tuple[AccountReport, ...]


async def listed(store: Store, name: str = "", limit: int = 20) -> list[BudgetReport]:
    """The budgets, or the one of that name, each with up to `limit` accounts."""
    found = [budget for budget in await store.budgets() if name in ("", budget.name)]
    return [_report(budget, await store.accounts(budget.name, limit=limit)) for budget in found]


def _report(budget: Budget, accounts: Iterable[Account]) -> BudgetReport:
    caps = {measure: budget.cap(measure) or 0 for measure in budget.measures}
    rows = tuple(_stands(one, measure, caps[measure]) for one in accounts for measure in caps)
    return BudgetReport(
        budget.name,
        budget.per,
        budget.day,
        budget.graph,
        budget.tenant,
        caps,
        budget.at_cap,
        budget.roles,
        rows,
    )


def _stands(account: Account, measure: str, cap: int) -> AccountReport:
    spent, reserved, topped = (x.of(measure) for x in (account.spent, account.reserved, account.topped))
    left = cap + topped - spent - reserved
    return AccountReport(account.account, measure, cap, topped, spent, reserved, left, moment(account.at))


# --- costs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What the calls of one `what` have cost: a graph, a day, a model, ... Money is in millionths of a US dollar, time
    in milliseconds. The `assumed` part was reserved for calls that were cut off; `reserved` is for calls under way."""

    what: str
    micros: int
    tokens: int
    calls: int
    ms: int
    assumed_micros: int
    assumed_calls: int
    reserved_micros: int
    reserved_calls: int


async def costs(
    store: Store, by: str, since: datetime | None, graph: str, tenant: str, thread: str
) -> list[Cost]:
    """What calls have cost, the most expensive first. Raises `InputInvalid`."""
    if by not in COSTS_BY:
        raise InputInvalid(f"costs can't be told by {by!r}; there is {', '.join(COSTS_BY)}")
    if since is not None and since.tzinfo is None:
        raise InputInvalid("since needs a time zone: datetime(..., tzinfo=UTC)")
    begin = micros(since) if since is not None else 0
    rows = await store.costs(by, begin, graph=graph, tenant=tenant, thread=thread)
    return [_cost(row.what, row.spent, row.assumed, row.reserved) for row in rows]


def _cost(what: str, spent: Amount, assumed: Amount, reserved: Amount) -> Cost:
    return Cost(
        what, spent.micros, spent.tokens, spent.calls, spent.ms, assumed.micros, assumed.calls, reserved.micros,
        reserved.calls,
    )  # fmt: skip


def since(text: str, now: datetime) -> datetime:
    """A moment as people write it: `7d`, `12h`, `30m` ago, or a date, or a date with a time. Raises `InputInvalid`."""
    ago = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if ago:
        return (
            now
            - int(ago[1]) * {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(1)}[ago[2]]
        )
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputInvalid(f"{text!r} is no moment; it looks like 7d, 12h, 30m or 2026-11-26") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
