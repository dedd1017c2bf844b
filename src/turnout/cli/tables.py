"""What the tables of all nouns share."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

_COLOURS = {"finished": "green", "failed": "red", "diverged": "red", "waiting": "yellow", "open": "yellow"}


def table_of(*columns: str) -> Table:
    """An empty table; the first column is never broken."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    return table


def status_of(status: str) -> Text:
    """A status in its colour."""
    return Text(status, _COLOURS.get(status, ""))
