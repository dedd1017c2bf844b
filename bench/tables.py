"""Figures as text, and tables of them: Markdown, which reads well on a screen too."""

from __future__ import annotations

from typing import Any

Figures = dict[str, dict[str, float]]  # contender -> figure
Measured = dict[str, Figures]  # measurement -> contender -> figure
DASH = "-"


def ratio(by: dict[str, Any], over: str, under: str, figure: str) -> float | None:
    a, b = by.get(over, {}).get(figure), by.get(under, {}).get(figure)
    return a / b if a and b else None


def named(measured: Measured, group: str) -> list[tuple[str, dict[str, Any]]]:
    """The measurements whose name begins so."""
    return [(name, by) for name, by in measured.items() if name.startswith(group)]


def number(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def times(over: float | None, under: float | None) -> str:
    return f"{over / under:.1f}x" if over and under else DASH


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table with straight columns, or nothing."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        padded = [
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = (
        "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    )
    return [line(head), rule, *(line(row) for row in rows), ""]


def crowd_table(found: dict[str, dict[str, float]], place: str) -> list[str]:
    """Turnout among few and among many paused threads; `found` by their number."""
    figures = {
        "look_us": "a look when nothing is due, µs",
        "wake_us": "a wake-up, µs",
        "claim_us": "a claim, µs",
        "release_us": "giving a thread back, µs",
        "next_ms": "a decision to the next step, ms",
    }
    head = [f"Turnout among paused threads, {place}", *(f"{int(n):,}" for n in found)]
    rows = [[said, *(number(by[figure]) for by in found.values())] for figure, said in figures.items()]
    return table(head, rows) if found else []
