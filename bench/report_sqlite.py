"""What was measured on SQLite, as tables; and each target of the design: met or short."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from plan import LANGGRAPH, RAW, TASKS, TURNOUT
from tables import DASH, Measured, crowd_table, named, number, ratio, table, times

Medians = dict[str, Measured]  # place -> ...


def sections(record: dict[str, Any], medians: Medians) -> Iterator[list[str]]:
    about = record["about"]
    yield [*versions(about.get("turnout_sqlite.py"), about.get("langgraph_sqlite.py")), ""]
    for place, measured in medians.items():
        yield from (steps(place, measured), sizes(place, measured), others(place, measured))
    yield crowd(medians.get("memory", {}))
    yield policy(medians.get("memory", {}))
    yield killed(medians.get("memory", {}))
    if not record["quick"]:
        yield targets(medians)


def versions(turnout: dict[str, Any] | None, langgraph: dict[str, Any] | None) -> Iterator[str]:
    if turnout:
        yield f"Turnout {turnout['turnout']}, Python {turnout['python']}, SQLite {turnout['sqlite']}."
    if langgraph:
        yield (
            f"LangGraph {langgraph['langgraph']}, langgraph-checkpoint-sqlite {langgraph['langgraph-checkpoint-sqlite']} "
            f"(journal_mode {langgraph['journal_mode']}, synchronous {langgraph['synchronous']}), durability sync."
        )


def steps(place: str, measured: dict[str, Any]) -> list[str]:
    rows = []
    for name, by in named(measured, "step"):
        us = {c: by.get(c, {}).get("us") for c in (RAW, LANGGRAPH, TURNOUT)}
        rows.append(
            [
                name,
                *(number(us[c]) for c in us),
                times(us[TURNOUT], us[RAW]),
                times(us[LANGGRAPH], us[TURNOUT]),
            ]
        )
    for _, by in named(measured, "agent"):
        rows.append(
            [
                f"five model calls ({number(by.get(TURNOUT, {}).get('commits'))} commits by Turnout)", DASH,
                number(by.get(LANGGRAPH, {}).get("us")), number(by.get(TURNOUT, {}).get("us")), DASH,
                times(by.get(LANGGRAPH, {}).get("us"), by.get(TURNOUT, {}).get("us")),
            ]
        )  # fmt: skip
    head = [
        f"µs a step, {place}",
        "raw SQLite",
        "LangGraph",
        "Turnout",
        "Turnout / raw",
        "LangGraph / Turnout",
    ]
    return table(head, rows)


def sizes(place: str, measured: dict[str, Any]) -> list[str]:
    rows = []
    for name, by in named(measured, "step"):
        for figure, what in (("bytes", "closed"), ("bytes_open", "open, log included")):
            values = {c: by.get(c, {}).get(figure) for c in (RAW, LANGGRAPH, TURNOUT)}
            rows.append(
                [
                    f"{name}, {what}",
                    *(number(v) for v in values.values()),
                    times(values[LANGGRAPH], values[TURNOUT]),
                ]
            )
    return table(
        [f"bytes a step, {place}", "raw SQLite", "LangGraph", "Turnout", "LangGraph / Turnout"], rows
    )


def others(place: str, measured: dict[str, Any]) -> list[str]:
    rows = []
    for name, by in named(measured, "threads"):
        peer, ours = (by.get(c, {}).get("steps_per_s") for c in (LANGGRAPH, TURNOUT))
        rows.append(
            [
                f"{name.removeprefix('threads ')} threads at once, steps/s",
                number(peer),
                number(ours),
                times(ours, peer),
            ]
        )
    for _, by in named(measured, "resume"):
        peer, ours = by.get(LANGGRAPH, {}), by.get(TURNOUT, {})
        rows.append(
            [
                "resume a long thread: open to next step, ms",
                f"{number(peer.get('ms'))} (a tenth as long)",
                number(ours.get("ms")),
                DASH,
            ]
        )
        rows.append(["of which reading its journal once, ms", DASH, number(ours.get("load_ms")), DASH])
    for _, by in named(measured, "replay"):
        rows.append(["replay, steps/s", DASH, number(by.get(TURNOUT, {}).get("steps_per_s")), DASH])
    empty = measured.get("empty worker", {}).get(TURNOUT, {}).get("resident")
    for _, by in named(measured, "paused"):
        ours = by.get(TURNOUT, {})
        rows.append(["a worker's memory over an empty store, MB", DASH, number(empty and empty / 1e6), DASH])
        rows.append(["the same over the paused threads, MB", DASH, number(ours["resident"] / 1e6), DASH])
        rows.append(
            ["the process that paused them all, growth in MB", DASH, number(ours["growth"] / 1e6), DASH]
        )
        rows.append(["decision on one of them to its next step, ms", DASH, number(ours.get("wake_ms")), DASH])
    return table([f"others, {place}", "LangGraph", "Turnout", "Turnout / LangGraph"], rows)


def crowd(memory: dict[str, Any]) -> list[str]:
    """The same verbs of the store among few and among many paused threads."""
    found = {name.removeprefix("crowd "): by[TURNOUT] for name, by in named(memory, "crowd")}
    return crowd_table(found, "memory")


def policy(memory: dict[str, Any]) -> list[str]:
    """What rules cost a call, and a decision alone."""
    ours = memory.get("policy", {}).get(TURNOUT)
    if not ours:
        return []
    rows = [
        [what, number(ours[name]), number(ours[name] - ours["none"]), number(ours[f"decide {name}"])]
        for name, what in (("narrow", "one of them about the call"), ("wide", "all of them about the call"))
    ]
    head = ["policy, 50 rules, µs", "a call", "more than without", "a decision alone"]
    return table(head, [["none", number(ours["none"]), DASH, DASH], *rows])


def killed(memory: dict[str, Any]) -> list[str]:
    """An agent node of five calls, killed between two of them and started again."""
    rows = []
    for name, by in named(memory, "killed"):
        paid = (by.get(c, {}).get("paid") for c in (LANGGRAPH, TASKS, TURNOUT))
        rows.append(
            [name.removeprefix("killed after "), *(DASH if p is None else f"{p - 5:.0f}" for p in paid)]
        )
    return table(
        ["killed after call", "LangGraph: calls paid twice", "LangGraph, each call a @task", "Turnout"], rows
    )


def targets(medians: Medians) -> list[str]:
    rows = [[name, shown, "met" if met else "short"] for name, shown, met in reached(medians)]
    return table(["target", "measured", ""], rows)


def reached(medians: Medians) -> Iterator[tuple[str, str, bool]]:
    """Every target of the design's section 6 that this run has figures for: what it asks, what was measured, met?"""
    memory, disk = medians.get("memory", {}), medians.get("disk", {})
    for place, measured, most in (("memory", memory, 4), ("disk", disk, 1.5)):
        ratios = [r for _, by in named(measured, "step") if (r := ratio(by, TURNOUT, RAW, "us"))]
        if ratios:
            yield f"a step within {most}x of raw SQLite, {place}", f"{max(ratios):.1f}x", max(ratios) <= most
    for n, least in ((100, 5), (1600, 20)):
        for place, measured in (("memory", memory), ("disk", disk)):
            r = ratio(measured.get(f"step n={n}", {}), LANGGRAPH, TURNOUT, "us")
            if r:
                yield f"at least {least}x LangGraph's speed at n={n}, {place}", f"{r:.1f}x", r >= least
    r = ratio(disk.get("threads 32", {}), TURNOUT, LANGGRAPH, "steps_per_s")
    if r:
        yield "at least 15x LangGraph with 32 threads at once, disk", f"{r:.1f}x", r >= 15
    sizes = [by[TURNOUT]["bytes"] for _, by in named(memory or disk, "step") if TURNOUT in by]
    if sizes:
        shown = ", ".join(number(s) for s in sizes)
        yield "bytes a step under 1.5 KB", shown, max(sizes) <= 1_500
        yield "bytes a step flat in n", shown, sizes[-1] <= 1.1 * sizes[0]
    long = (memory or disk).get("resume", {}).get(TURNOUT)
    if long:
        yield "resuming a 10,000-step thread in under 50 ms", f"{long['ms']:.0f} ms", long["ms"] < 50
    speed = memory.get("replay", {}).get(TURNOUT)
    if speed:
        yield "replaying over 5,000 steps/s", number(speed["steps_per_s"]), speed["steps_per_s"] > 5_000
    rules = memory.get("policy", {}).get(TURNOUT)
    if rules:
        more, decision = rules["narrow"] - rules["none"], max(rules["decide narrow"], rules["decide wide"])
        yield "policy adds under 150 µs to a call with 50 rules", f"{more:.0f} µs", more < 150
        yield "a decision of 50 rules under 250 µs", f"{decision:.0f} µs", decision < 250
    many, empty = memory.get("paused threads", {}).get(TURNOUT), memory.get("empty worker", {}).get(TURNOUT)
    if many and empty:
        grown = (many["resident"] - empty["resident"]) / 1e6
        yield "10,000 paused threads cost a worker no memory (under 5 MB)", f"{grown:.1f} MB", grown < 5
