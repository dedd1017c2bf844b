"""Measure Turnout and its peers side by side: `make bench`, or `python bench/run.py --help`.

Every figure comes from a process of its own. The contenders take turns within each round (A B C, B C A, ...), so that
a slow minute of the machine hits all of them; the median of the rounds is shown. Nothing is asserted here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from places import Place, places
from plan import GROUPS, LANGGRAPH, SCRIPTS, TASKS, TURNOUT, Measurement, plan
from report import text, write_into

HERE = Path(__file__).resolve().parent
NEEDS = {TURNOUT: "turnout", LANGGRAPH: "langgraph.checkpoint.sqlite", TASKS: "langgraph.checkpoint.sqlite"}
Figures = dict[str, dict[str, list[float]]]  # contender -> figure -> one value a round


class Broken(Exception):
    """A contender's process failed."""


def interpreters(wanted: set[str]) -> tuple[dict[str, str], list[str]]:
    """The interpreter for each contender: this one, or the one of a venv beside it; and what to say of the missing."""
    candidates = [
        sys.executable,
        *(str(HERE.parent / venv / "bin/python") for venv in (".venv-peers", ".venv")),
    ]
    found, missing = {}, []
    for contender in SCRIPTS:
        if contender not in wanted:
            continue
        for python in candidates:
            if Path(python).exists() and has(python, NEEDS.get(contender, "sqlite3")):
                found[contender] = python
                break
        else:
            missing.append(f"{contender} is not installed: it is left out (`make bench` installs it)")
    return found, missing


def has(python: str, module: str) -> bool:
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def call(python: str, contender: str, asked: dict[str, Any], *, killed: bool = False) -> dict[str, Any]:
    """One contender, one measurement, in a new process. With `killed`, dying of SIGKILL is what is wanted."""
    done = subprocess.run(
        [python, str(HERE / "contenders" / SCRIPTS[contender]), json.dumps(asked)],
        capture_output=True, text=True, env={**os.environ, "LANGSMITH_TRACING": "false"},
    )  # fmt: skip
    if killed and done.returncode == -9:
        return {}
    if done.returncode != 0 or killed:
        raise Broken(f"{contender} {asked}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(m: Measurement, place: Place, pythons: dict[str, str], rounds: int) -> Figures:
    """All rounds of one measurement."""
    figures: Figures = defaultdict(lambda: defaultdict(list))
    contenders = [c for c in m.contenders if c in pythons]
    prepared: dict[str, Path] = {}
    base = Path(tempfile.mkdtemp(prefix="turnout-bench-", dir=place.folder))
    try:
        for number in range(1 if m.once else rounds):
            turn = number % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                folder = base / f"{contender}-{number}"
                if m.before and contender not in prepared:
                    prepared[contender] = base / contender
                    prepared[contender].mkdir()
                    for name, value in prepare(m, contender, pythons[contender], prepared[contender]).items():
                        figures[contender][name].append(value)
                if m.before:
                    shutil.copytree(prepared[contender], folder)
                else:
                    folder.mkdir()
                asked = {**m.asked(contender), "folder": str(folder)}
                for name, value in call(pythons[contender], contender, asked).items():
                    if value is not None:
                        figures[contender][name].append(value)
                shutil.rmtree(folder)
    finally:
        shutil.rmtree(base)
    return {contender: dict(values) for contender, values in figures.items()}


def prepare(m: Measurement, contender: str, python: str, folder: Path) -> dict[str, Any]:
    asked = {**m.asked(contender), "measure": m.before, "folder": str(folder)}
    if m.before == "killed":
        return call(python, contender, {**asked, "again": False}, killed=True)
    return call(python, contender, asked)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Turnout and its peers side by side.")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: does it run at all?")
    parser.add_argument(
        "--rounds", type=int, default=0, metavar="N", help="rounds of each measurement (5; quick: 1)"
    )
    parser.add_argument("--only", default="", metavar="A,B", help=f"some of: {', '.join(GROUPS)}")
    parser.add_argument("--contenders", default="", metavar="A,B", help=f"some of: {', '.join(SCRIPTS)}")
    parser.add_argument("--place", choices=["disk", "memory"], help="one of the two (default: both)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every round's figures there")
    parser.add_argument(
        "--write", metavar="FILE", type=Path, help="put the tables between that file's markers"
    )
    given = parser.parse_args()
    for name, value, known in (
        ("--only", given.only, GROUPS),
        ("--contenders", given.contenders, tuple(SCRIPTS)),
    ):
        unknown = {part for part in value.split(",") if part} - set(known)
        if unknown:
            parser.error(f"{name} doesn't know {', '.join(sorted(unknown))}; it knows {', '.join(known)}")
    if given.write and given.quick:
        parser.error("--write takes the figures of a full run, not of a quick one")
    if given.write and not given.write.exists():
        parser.error(f"there is no file {given.write}")
    return given


def main() -> int:
    given = arguments()
    rounds = given.rounds or (1 if given.quick else 5)
    pythons, notes = interpreters(set(given.contenders.split(",")) if given.contenders else set(SCRIPTS))
    found, missing = places()
    chosen = [m for m in plan(given.quick) if not given.only or m.group in given.only.split(",")]
    started = time.time()
    results: dict[str, dict[str, Figures]] = {}
    for place in [p for p in found if given.place in (None, p.name)]:
        results[place.name] = {}
        for m in chosen:
            if (m.only_memory and place.name != "memory") or not any(c in pythons for c in m.contenders):
                continue
            print(f"  {place.name}: {m.name} ...", file=sys.stderr, flush=True)
            try:
                results[place.name][m.name] = measure(m, place, pythons, rounds)
            except Broken as broken:
                print(f"bench: {broken}", file=sys.stderr)
                return 1
    record = {
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime(started)) + " UTC",
        "seconds": round(time.time() - started), "rounds": rounds, "quick": given.quick,
        "places": [str(p) for p in found], "notes": notes + missing, "load": list(os.getloadavg()),
        "cores": os.cpu_count(), "about": about(pythons), "results": results,
    }  # fmt: skip
    medians = {
        place: {
            name: {
                c: {f: statistics.median(v) for f, v in figures.items()}
                for c, figures in by_contender.items()
            }
            for name, by_contender in measured.items()
        }
        for place, measured in results.items()
    }
    tables = text(record, medians)
    print(tables)
    if given.json:
        given.json.write_text(json.dumps(record, indent=1))
    if given.write:
        write_into(given.write, tables)
    return 0


def about(pythons: dict[str, str]) -> dict[str, Any]:
    """Versions, and what the databases are set to."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            c: call(pythons[c], c, {"measure": "about", "folder": folder})
            for c in (TURNOUT, LANGGRAPH)
            if c in pythons
        }


if __name__ == "__main__":
    sys.exit(main())
