"""Budgets and costs as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from turnout.cli.output import console, count, lasted, words
from turnout.errors import dollars

if TYPE_CHECKING:
    from turnout.service.budgets import AccountReport, BudgetReport, Cost

MEASURES = {"micros": "money", "tokens": "tokens", "calls": "calls", "ms": "time"}


def amount(measure: str, number: int) -> str:
    """An amount of one measure."""
    if measure == "micros":
        return dollars(number)
    return f"{'-' if number < 0 else ''}{lasted(abs(number))}" if measure == "ms" else f"{number}"


def budget_table(found: list[BudgetReport]) -> None:
    """Budgets, and how their accounts stand, a measure a line."""
    out = console()
    if not found:
        out.print("no budgets")
        return
    for budget in found:
        out.print(Text.assemble((words(budget.name), "bold"), f"  {_said(budget)}"), soft_wrap=True)
        if not budget.accounts:
            out.print("  nothing was spent yet")
            continue
        table = _table("account", "", "cap", "spent", "reserved", "left")
        for row in budget.accounts:
            table.add_row(words(row.account), MEASURES[row.measure], *_numbers(row))
        out.print(table)


def _said(budget: BudgetReport) -> str:
    caps = ", ".join(_cap(name, cap) for name, cap in budget.caps.items())
    whose = "all calls" if budget.per == "all" else f"each {budget.per}"
    only = "".join(
        f" of {kind} {words(n)}" for kind, n in (("graph", budget.graph), ("tenant", budget.tenant)) if n
    )
    then = "fails" if budget.at_cap == "fail" else f"asks {' or '.join(budget.roles) or 'anybody'}"
    return f"{caps} for {whose}{only}{' a day' if budget.day else ''}; {then} at the cap"


def _cap(measure: str, cap: int) -> str:
    return count(cap, measure.removesuffix("s")) if measure in ("tokens", "calls") else amount(measure, cap)


def _numbers(row: AccountReport) -> list[str]:
    numbers = (row.cap + row.topped_up, row.spent, row.reserved, row.left)
    return [amount(row.measure, number) for number in numbers]


def cost_table(by: str, found: list[Cost]) -> None:
    """Costs, and their sum."""
    out = console()
    if not found:
        out.print("no calls")
        return
    table = _table(by, "money", "tokens", "calls", "time", "assumed")
    for row in found:
        table.add_row(words(row.what) or "-", *_costs(row))
    if len(found) > 1:
        table.add_row("all", *_costs(_sum(found)), style="bold")
    out.print(table)


def _costs(row: Cost) -> list[str]:
    assumed = dollars(row.assumed_micros) if row.assumed_calls else ""
    return [dollars(row.micros), f"{row.tokens}", f"{row.calls}", lasted(row.ms), assumed]


def _sum(found: list[Cost]) -> Cost:
    numbers = [list(vars(row).values())[1:] for row in found]
    return type(found[0])("all", *(sum(column) for column in zip(*numbers, strict=True)))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number == 0 or not name else "right", overflow="fold")
    return table
