"""Errors as the command line shows them."""

from __future__ import annotations

from turnout.errors import GraphInvalid, SettingsInvalid


def lines(error: object) -> list[str]:
    """What happened and what to do: one line, or one for each mistake in settings."""
    if not isinstance(error, SettingsInvalid):
        return [one_line(error)]
    return [" ".join(line.split()) for line in str(error).splitlines() if line.strip()] or [one_line(error)]


def one_line(error: object) -> str:
    """What happened and what to do, on one line."""
    if isinstance(error, GraphInvalid) and error.problems:
        more = len(error.problems) - 1
        rest = f" (and {more} more; `turnout check MODULE:GRAPH` lists them)" if more else ""
        return f"graph {error.graph!r} can't be built: {' '.join(error.problems[0].split())}{rest}"
    return " ".join(str(error).split()) or type(error).__name__
