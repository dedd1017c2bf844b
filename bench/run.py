"""Measure Turnout and its peers side by side: `make bench`, or `python bench/run.py --help`.

Every figure comes from a process of its own. The contenders take turns within each round (A B C, B C A, ...), so that
a slow minute of the machine hits all of them; the median of the rounds is shown. Nothing is asserted here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from measuring import Broken, Figures, Pythons, about, interpreters, measure
from places import Place, places
from plan import CONTENDERS, GROUPS, POSTGRES, SQLITE, STORES, Measurement, plan
from report import Medians, parts, write_into
from server import Server, missing

ROUNDS = {SQLITE: 5, POSTGRES: 3}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Turnout and its peers side by side.")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: does it run at all?")
    parser.add_argument(
        "--rounds", type=int, default=0, metavar="N", help="rounds of each measurement (SQLite 5, Postgres 3; quick: 1)"
    )  # fmt: skip
    parser.add_argument("--only", default="", metavar="A,B", help=f"some of: {', '.join(GROUPS)}")
    parser.add_argument("--contenders", default="", metavar="A,B", help=f"some of: {', '.join(CONTENDERS)}")
    parser.add_argument("--store", choices=STORES, help="one of the two (default: both)")
    parser.add_argument("--place", choices=["disk", "memory"], help="one of the two (default: both)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every round's figures there")
    parser.add_argument(
        "--write", metavar="FILE", type=Path, help="put the tables between that file's markers"
    )
    given = parser.parse_args()
    for name, value, known in (
        ("--only", given.only, GROUPS),
        ("--contenders", given.contenders, CONTENDERS),
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the servers and the folders would stay
    found, notes = places()
    stores = [store for store in STORES if given.store in (None, store)]
    if POSTGRES in stores and (why := missing()):
        stores.remove(POSTGRES)
        notes.append(why)
    pythons, left_out = interpreters(stores, given.contenders.split(",") if given.contenders else CONTENDERS)
    chosen = [m for m in plan(given.quick) if not given.only or m.group in given.only.split(",")]
    rounds = {store: given.rounds or (1 if given.quick else ROUNDS[store]) for store in stores}
    started = time.time()
    record: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime(started)) + " UTC", "rounds": rounds, "quick": given.quick,
        "places": [str(p) for p in found], "notes": notes + left_out, "cores": os.cpu_count(), "results": {}, "plans": {},
    }  # fmt: skip
    try:
        record["about"] = about(pythons)
        for store in stores:
            wanted = [p for p in found if given.place in (None, p.name)]
            if given.quick and store == POSTGRES:
                wanted = wanted[-1:]  # starting servers and peers is most of a quick run
            for place in wanted:
                todo = [
                    m for m in chosen if m.store == store and (place.name == "memory" or not m.only_memory)
                ]
                measured = on_place(todo, place, pythons, rounds[store], record)
                record["results"].setdefault(store, {})[place.name] = measured
    except Broken as broken:
        print(f"bench: {broken}", file=sys.stderr)
        return 1
    record["seconds"], record["load"] = round(time.time() - started), list(os.getloadavg())
    said = parts(record, medians(record["results"]))
    print("\n".join(said.values()))
    if given.json:
        given.json.write_text(json.dumps(record, indent=1))
    if given.write:
        write_into(given.write, said)
    return 0


def on_place(
    todo: list[Measurement], place: Place, pythons: Pythons, rounds: int, record: dict[str, Any]
) -> dict[str, Figures]:
    """The figures of all measurements of one store in one place, with a server of its own if that store needs one."""
    found: dict[str, Figures] = {}
    with contextlib.ExitStack() as stack:
        server = None
        if any(m.store == POSTGRES for m in todo):
            server = stack.enter_context(Server(place))
            record["about"][POSTGRES] = server.about()
        for m in todo:
            if not any((m.store, c) in pythons for c in m.contenders):
                continue
            print(f"  {m.store}, {place.name}: {m.name} ...", file=sys.stderr, flush=True)
            measured = measure(m, place, pythons, rounds, server)
            found[m.name] = measured.figures
            if measured.plans:
                record["plans"][m.name] = measured.plans
    return found


def medians(results: dict[str, dict[str, dict[str, Figures]]]) -> Medians:
    return {
        store: {
            place: {
                name: {
                    contender: {figure: statistics.median(values) for figure, values in figures.items()}
                    for contender, figures in by_contender.items()
                }
                for name, by_contender in measured.items()
            }
            for place, measured in by_place.items()
        }
        for store, by_place in results.items()
    }


if __name__ == "__main__":
    sys.exit(main())
