"""What is said of `turnout serve`, as tables."""

from __future__ import annotations

import statistics
from typing import Any

from report import heading
from report import text as joined
from serving import APART, BARE, TOGETHER
from tables import named, number, table, times

READS = {
    "a page of 100 threads": "/api/v1/threads?limit=100",
    "threads found by a part of their name": "/api/v1/threads?limit=20&search={thread}",
    "one thread": "/api/v1/threads/{thread}",
    "explain": "/api/v1/threads/{thread}/explain",
    "the console's page of a thread": "/threads/{thread}",
    "the console's list of threads": "/threads",
}
"""What is read, and where."""
Figures = dict[str, dict[str, dict[str, float]]]  # measurement -> contender -> figure


def text(record: dict[str, Any], store: str) -> str:
    """All tables of one store."""
    sections = [heading(record, store)]
    for place, results in record["results"].items():
        medians: Figures = {
            name: {
                contender: {figure: statistics.median(values) for figure, values in figures.items()}
                for contender, figures in by.items()
            }
            for name, by in results.items()
        }
        sections += [
            ["", *part(medians, place)]
            for part in (starts, decisions, reads, streams, slow, memory)
            if part(medians, place)
        ]
    return joined(sections)


def spread(of: dict[str, float], before: str = "") -> list[str]:
    return [number(of.get(f"{before}{figure}")) for figure in ("per_s", "p50_ms", "p99_ms")]


def starts(found: Figures, place: str) -> list[str]:
    """Starts beside the bare insert, and those that are answered at the run's end."""
    rows = []
    for name, by in named(found, "starts "):
        k = int(name.rpartition(" ")[2])
        for contender in (BARE, APART, TOGETHER):
            if contender in by:
                of = by[contender]
                floor = times(by.get(BARE, {}).get("per_s"), of["per_s"]) if contender != BARE else "-"
                rows.append(
                    [
                        f"{k} clients: {contender}",
                        *spread(of),
                        number(of.get("cpu_ms")),
                        number(of.get("ended_per_s")),
                        floor,
                    ]
                )
        for of in found.get(f"waited {k}", {}).values():
            rows.append(
                [
                    f"{k} clients: Turnout, answered at the run's end",
                    *spread(of),
                    number(of.get("cpu_ms")),
                    "-",
                    "-",
                ]
            )
    return table(
        [
            f"starts, {place}",
            "a second",
            "p50, ms",
            "p99, ms",
            "of a core, ms",
            "runs ended a second",
            "bare / this",
        ],
        rows,
    )


def decisions(found: Figures, place: str) -> list[str]:
    rows = [
        [f"{int(name.rpartition(' ')[2])} clients", *spread(by[TOGETHER])]
        for name, by in named(found, "decisions ")
    ]
    return table([f"decisions, {place}", "a second", "p50, ms", "p99, ms"], rows)


def reads(found: Figures, place: str) -> list[str]:
    rows = []
    for name in READS:
        alone, many = (found.get(f"reads {name} {k}", {}).get(TOGETHER) for k in (1, 16))
        if alone and many:
            rows.append([name, *spread(alone), *spread(many)])
    head = ["1: a second", "p50, ms", "p99, ms", "16: a second", "p50, ms", "p99, ms"]
    return table([f"reads with 1 and 16 clients, {place}", *head], rows)


def streams(found: Figures, place: str) -> list[str]:
    said = {
        "nobody": "nobody listens",
        "thread": "streams of a thread each",
        "tenant": "streams of all threads",
    }
    rows = []
    for name, words in said.items():
        of = found.get(f"streams {name}", {}).get(TOGETHER)
        if of:
            rows.append(
                [
                    words,
                    *spread(of, "paced_")[1:],
                    *(number(of.get(f"delivery_{p}_ms")) for p in ("p50", "p99")),
                    number(of["per_s"]),
                    *(number(of.get(f"full_delivery_{p}_ms")) for p in ("p50", "p99")),
                ]
            )
    head = [
        "calm: a start, p50 ms", "p99", "an event, p50 ms", "p99",
        "full: starts a second", "an event, p50 ms", "p99",
    ]  # fmt: skip
    return table([f"open streams, {place}", *head], rows)


def slow(found: Figures, place: str) -> list[str]:
    rows = []
    for name in ("without", "with"):
        of = found.get(f"slow {name}", {}).get(TOGETHER)
        if of:
            events = [number(of[f"delivery_{p}_ms"]) for p in ("p50", "p99")]
            rows.append([f"{name} one who reads nothing", *events, *spread(of)[1:]])
    return table([f"those who read, {place}", "an event, p50 ms", "p99", "a start, p50 ms", "p99"], rows)


def memory(found: Figures, place: str) -> list[str]:
    of = found.get("memory", {}).get(TOGETHER)
    if not of:
        return []
    figures = {
        "first_mb": "first quarter, median, MB", "last_mb": "last quarter, median, MB", "most_mb": "most, MB",
        "mb_an_hour": "slope of the second half, MB an hour", "minutes": "minutes", "count": "requests",
        "p99_ms": "a request, p99 ms",
    }  # fmt: skip
    return table(
        [f"memory of the server, {place}", "Turnout"],
        [[said, number(of[figure])] for figure, said in figures.items()],
    )
