"""A policy matrix: a rule table written as a table, one column per question, one row per outcome.

    matrix(
        {"amount": field("amount"), "country": field("country")},
        [
            row({"amount": at_most(5_000), "country": ["DE", "FR"]}, to=pay),
            row("large", {"amount": above(100_000)}, to=board),
        ],
        default=ask,
    )

A row matches when all its cells do; a cell that is left out, or `...`, matches anything. The first row wins.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from types import EllipsisType
from typing import Any, Final, overload

from pydantic import BaseModel

from turnout.core.expr import Const, Expr, expression, show
from turnout.core.routing import Choice, Rule, RuleTable, rule, target_name
from turnout.core.schema import nearest
from turnout.core.values import compiled


class Cell:
    """A condition on the value of a column."""

    __slots__ = ("text", "when")

    def __init__(self, text: str, when: Callable[[Expr], Expr]) -> None:
        self.text = text
        self.when = when

    def __repr__(self) -> str:
        return f"<cell {self.text}>"


def at_most(limit: object) -> Cell:
    """The value is `limit` or less."""
    return Cell(f"<= {_text(limit)}", lambda column: column <= limit)


def at_least(limit: object) -> Cell:
    """The value is `limit` or more."""
    return Cell(f">= {_text(limit)}", lambda column: column >= limit)


def below(limit: object) -> Cell:
    """The value is less than `limit`."""
    return Cell(f"< {_text(limit)}", lambda column: column < limit)


def above(limit: object) -> Cell:
    """The value is more than `limit`."""
    return Cell(f"> {_text(limit)}", lambda column: column > limit)


def between(low: Any, high: Any) -> Cell:
    """The value is from `low` to `high`, both included."""
    if not isinstance(low, Expr) and not isinstance(high, Expr) and not low <= high:
        raise ValueError(f"between({low!r}, {high!r}) holds nothing; give the lower one first")
    return Cell(f"{_text(low)} to {_text(high)}", lambda column: (column >= low) & (column <= high))


def matching(regex: str) -> Cell:
    """The text contains a match of the regular expression."""
    pattern = compiled(regex)
    return Cell(f"matches {pattern.pattern!r}", lambda column: column.matches(pattern))


def missing() -> Cell:
    """There is no value."""
    return Cell("missing", lambda column: column.is_none())


ANY: Final = Cell("any", lambda column: Const(True))


class Row:
    """One line of a matrix: its cells by column, and where to go. Without a name it is named by its cells."""

    __slots__ = ("cells", "name", "to")

    def __init__(self, name: str | None, cells: Mapping[str, object], to: object) -> None:
        self.name = name
        self.cells = {column: _cell(value) for column, value in cells.items()}
        self.to = to


@overload
def row(cells: Mapping[str, object], /, *, to: object) -> Row: ...
@overload
def row(name: str, cells: Mapping[str, object], /, *, to: object) -> Row: ...
def row(first: object, second: object = None, /, *, to: object) -> Row:
    """`row({...}, to=node)` or `row("name", {...}, to=node)`.

    A cell is a plain value (equal to it), a list, tuple or set (one of these), `...` (anything), or one of
    `at_most`, `at_least`, `below`, `above`, `between`, `matching`, `missing`.
    """
    name, cells = (None, first) if second is None else (first, second)
    if not isinstance(cells, Mapping) or not isinstance(name, str | None):
        raise TypeError(
            'a row is written row({"column": cell}, to=...) or row("name", {"column": cell}, to=...)'
        )
    return Row(name, cells, to)


class Matrix:
    """A route: rows from top to bottom, the first whose cells all match wins, and the default if none does."""

    def __init__(self, columns: Mapping[str, Expr], rows: Iterable[Row], default: object) -> None:
        self.columns = dict(columns)
        self.rows = tuple(rows)
        rules: list[Rule] = []
        for number, one in enumerate(self.rows, 1):
            made = self._rule(one)
            twice = one.name is None and any(made.name == other.name for other in rules)
            rules.append(replace(made, name=f"{made.name} (row {number})") if twice else made)
        self.table = RuleTable(rules, default, noun="row")

    def _rule(self, one: Row) -> Rule:
        asked = {n: one.cells[n] for n in self.columns if n in one.cells and one.cells[n] is not ANY}
        conditions = [cell.when(self.columns[name]) for name, cell in asked.items()]
        when = functools.reduce(operator.and_, conditions) if conditions else Const(True)
        text = ", ".join(f"{name} {cell.text}" for name, cell in asked.items())
        return rule(one.name if one.name is not None else text or "anything", when, to=one.to)

    def targets(self) -> tuple[object, ...]:
        return self.table.targets()

    def problems(self, model: type[BaseModel]) -> list[str]:
        found = [] if self.columns else ["the matrix has no columns"]
        found += [] if self.rows else ["the matrix has no rows; for a fixed target say graph.edge(node, to)"]
        in_columns = [text for column in self.columns.values() for text in column.check(model)]
        found += [f"column {text}" for text in dict.fromkeys(in_columns)]
        for one, made in zip(self.rows, self.table.rules, strict=True):
            for name in one.cells:
                if name not in self.columns:
                    hint = nearest(name, self.columns) or f"; there are {', '.join(map(repr, self.columns))}"
                    found.append(f"row {made.name!r} names {name!r}, which is not a column{hint}")
        if any(name not in self.columns for one in self.rows for name in one.cells):
            return found  # what the rows would do without those cells says nothing
        said = {f"row {made.name!r}: {text}" for made in self.table.rules for text in in_columns}
        return found + [text for text in self.table.problems(model) if text not in said]

    def choose(self, state: BaseModel) -> Choice:
        return self.table.choose(state)

    def code(self) -> str:
        columns = [f"{name!r}: {column.code()}" for name, column in self.columns.items()]
        return f"Matrix({{{', '.join(columns)}}}, {self.table.code()})"

    def text(self) -> str:
        """The matrix as a table, one line per row."""
        lines = [["", *self.columns, "goes to"]]
        for one, made in zip(self.rows, self.table.rules, strict=True):
            cells = [one.cells.get(name, ANY).text for name in self.columns]
            lines.append([made.name, *cells, target_name(made.to)])
        lines.append(["default", *("any" for _ in self.columns), target_name(self.table.default)])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(" | ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def labels(self) -> list[tuple[str, object]]:
        return self.table.labels()


def matrix(
    columns: Mapping[str, Expr] | Iterable[Expr], rows: Iterable[Row], *, default: object = None
) -> Matrix:
    """A policy table. Columns have names, or are named by their expressions."""
    named = columns if isinstance(columns, Mapping) else {_title(column): column for column in columns}
    for name, column in named.items():
        if not isinstance(column, Expr):
            raise TypeError(f"column {name!r} is {column!r}; write an expression, field('amount')")
    rows = tuple(rows)
    for one in rows:
        if not isinstance(one, Row):
            raise TypeError(f"a matrix has rows made with row(...), not {one!r}")
    return Matrix(named, rows, default)


def _cell(value: object) -> Cell:
    if isinstance(value, Cell):
        return value
    if isinstance(value, EllipsisType):
        return ANY
    if value is None:
        return missing()
    if isinstance(value, list | tuple | Set):
        values = sorted(value, key=show) if isinstance(value, Set) else list(value)
        return Cell(f"in {show(values)}", lambda column: column.is_in(values))
    return Cell(f"= {_text(value)}", lambda column: column == value)


def _title(column: object) -> str:
    return column.text() if isinstance(column, Expr) else repr(column)


def _text(value: object) -> str:
    return expression(value).text()
