"""What calls have cost, by day, graph and model, and how the budgets stand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from turnout.service.app import App
from turnout.service.budgets import BudgetReport, Cost


@dataclass(frozen=True)
class Spending:
    """Costs since then: one of each day (also those on which nothing was called), and those of each graph, model and node,
    the most expensive first. Money is in millionths of a US dollar. `budgets` are told to who sees all tenants."""

    since: datetime
    days: tuple[Cost, ...]
    graphs: tuple[Cost, ...]
    models: tuple[Cost, ...]
    nodes: tuple[Cost, ...]
    budgets: tuple[BudgetReport, ...]

    @property
    def micros(self) -> int:
        """All of it."""
        return sum(day.micros for day in self.days)

    @property
    def calls(self) -> int:
        """How many calls that were."""
        return sum(day.calls for day in self.days)

    @property
    def tokens(self) -> int:
        """How many tokens were read and written."""
        return sum(day.tokens for day in self.days)


async def spending(app: App, now: datetime, days: int, graph: str = "") -> Spending:
    """What the calls of these last days have cost: of a graph, or of all. Days are those of UTC."""
    first = (now - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    by = {what: await app.costs(what, since=first, graph=graph) for what in ("day", "graph", "model", "node")}
    told = {cost.what: cost for cost in by["day"]}
    names = [f"{first + timedelta(days=n):%Y-%m-%d}" for n in range(days)]
    return Spending(
        first, tuple(told.get(name, Cost(name, 0, 0, 0, 0, 0, 0, 0, 0)) for name in names), tuple(by["graph"]),
        tuple(cost for cost in by["model"] if cost.what), tuple(by["node"][:20]),
        tuple(await app.budgets()) if app.tenant is None else (),
    )  # fmt: skip
