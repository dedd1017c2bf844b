"""How the commands print: JSON, text for people, progress on stderr."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, cast

import click

from turnout.core.unseen import written_out
from turnout.service.report import as_data

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Rich text on stdout: colours only on a terminal, and never wider than it (80 columns when piped)."""
    from rich.console import Console

    out = sys.stdout if sys.stdout.isatty() else cast("IO[str]", _Trimmed(sys.stdout))
    return Console(file=out, highlight=False, markup=False, emoji=False)


class _Trimmed:
    """Text output without the blanks that tables put at the ends of lines."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def write(self, text: str) -> int:
        return self._out.write(re.sub(r" +(?=\n)", "", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


def print_json(data: Any) -> None:
    """Plain JSON data, indented."""
    click.echo(json.dumps(as_data(data), indent=2, ensure_ascii=False))


def value(data: Any, limit: int = 0) -> str:
    """A value of the journal in one line of JSON (so nothing in it reaches the terminal raw); cut to `limit`."""
    text = written_out(json.dumps(as_data(data), ensure_ascii=False))
    if limit and len(text) > limit:
        return f"{text[: max(limit - 12, 8)]}... ({len(text)})"
    return text


def words(text: str) -> str:
    """Free text of the journal in one line, without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def count(number: int, what: str, several: str = "") -> str:
    """How many there are of something."""
    return f"{number} {what}" if number == 1 else f"{number} {several or f'{what}s'}"


def when(moment: datetime | None) -> str:
    """A time, to the second, UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S}Z" if moment is not None else "-"


def lasted(ms: int) -> str:
    """A duration for people."""
    if ms < 1000:
        return f"{ms} ms"
    seconds = ms / 1000
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return (
        f"{minutes:.0f} min"
        if minutes < 120
        else f"{hours:.0f} h"
        if hours < 72
        else f"{hours / 24:.0f} days"
    )


@contextlib.contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None] | None]:
    """A bar on stderr while something takes long; nothing at all when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
