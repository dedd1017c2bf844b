"""Measure `turnout serve` beside a bare endpoint: `make bench-serve`, or `python bench/serve.py --help`.

The server, those who ask it, and those who listen to its events are processes of their own, on the loopback address.
The contenders take turns within each round, each time with a new server over a new store; the median of the rounds is
shown. Nothing is asserted here.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import report_serving
from measuring import Broken
from places import Place, places
from plan import POSTGRES, SQLITE, STORES
from report import write_into
from server import Server, missing
from serving import APART, BARE, TOGETHER, Served, served

GROUPS = ("starts", "waited", "decisions", "reads", "streams", "slow", "memory")
ROUNDS = 5
Found = dict[str, dict[str, dict[str, float]]]  # measurement -> contender -> figure


@dataclass(frozen=True)
class Sizes:
    """How much of everything. `seconds` of one measurement; `listening`: streams; `pace`: starts a second, steadily."""

    clients: tuple[int, ...] = (1, 16, 64)
    seconds: float = 5.0
    decisions: int = 1000
    threads: int = 10_000
    listening: int = 200
    pace: float = 10.0
    paced: float = 20.0
    steady: float = 20.0
    minutes: float = 20.0


QUICK = Sizes(
    clients=(4,), seconds=0.3, decisions=40, threads=100, listening=20, pace=10, paced=1.5, minutes=0.1
)


class Bench:
    """All measurements of one store in one place."""

    def __init__(
        self, store: str, place: Place, sizes: Sizes, server: Server | None, profile: Path | None
    ) -> None:
        self.place = place
        self.sizes = sizes
        self._store = store
        self._server = server
        self._profile = profile

    @contextlib.contextmanager
    def up(self, contender: str = TOGETHER) -> Iterator[Served]:
        """A new server over a new store."""
        with contextlib.ExitStack() as stack:
            url = stack.enter_context(self._server.database()) if self._server is not None else ""
            yield stack.enter_context(served(self.place, contender, url, self._profile))

    def starts(self, turn: int) -> Found:
        found: Found = {}
        contenders = [BARE, APART, TOGETHER] if self._store == SQLITE else [APART, TOGETHER]
        turn %= len(contenders)
        for k in self.sizes.clients:
            of = found.setdefault(f"starts {k}", {})
            for contender in contenders[turn:] + contenders[:turn]:
                with self.up(contender) as server:
                    asked: dict[str, Any] = {"k": k, "seconds": self.sizes.seconds}
                    if contender == BARE:
                        of[contender] = server.ask("bare", **asked)
                    else:
                        of[contender] = server.ask("starts", **asked, worked=contender == TOGETHER)
        return found

    def waited(self, turn: int) -> Found:
        found: Found = {}
        for k in self.sizes.clients:
            with self.up() as server:
                found[f"waited {k}"] = {TOGETHER: server.ask("waited", k=k, seconds=self.sizes.seconds)}
        return found

    def decisions(self, turn: int) -> Found:
        found: Found = {}
        for k in self.sizes.clients:
            with self.up() as server:
                found[f"decisions {k}"] = {TOGETHER: server.ask("decisions", k=k, n=self.sizes.decisions)}
        return found

    def reads(self, turn: int) -> Found:
        """All in one round: reading changes nothing, and 10,000 threads take a while to make."""
        found: Found = {}
        with self.up() as server:
            server.ask("fill", n=self.sizes.threads)
            for name, path in report_serving.READS.items():
                for k in (1, 16):
                    asked = {"k": k, "seconds": self.sizes.seconds, "path": path, "n": self.sizes.threads}
                    found[f"reads {name} {k}"] = {TOGETHER: server.ask("reads", **asked)}
        return found

    def streams(self, turn: int) -> Found:
        """Starts, with nobody listening, and with streams of a thread each or of all threads."""
        found: Found = {}
        size = self.sizes
        for name, threads, wide in (
            ("nobody", 0, 0), ("thread", size.listening, 0), ("tenant", 0, size.listening),
        ):  # fmt: skip
            with self.up() as server:
                server.ask("watched", threads=size.listening)
                listening = {"threads": threads, "wide": wide, "timed": 10 if wide else 1}
                calm = {"rate": size.pace, "seconds": size.paced, "threads": size.listening}
                full = {"k": 16, "seconds": size.seconds, "threads": size.listening}
                if name == "nobody":
                    of = {f"paced_{key}": value for key, value in server.ask("paced_starts", **calm).items()}
                    of |= server.ask("full_starts", **full)
                else:
                    with server.heard(**listening) as heard:
                        said = server.ask("paced_starts", **calm)
                    of = heard | {f"paced_{key}": value for key, value in said.items()}
                    with server.heard(**listening) as heard:
                        of |= server.ask("full_starts", **full)
                    of |= {f"full_{key}": value for key, value in heard.items()}
            found[f"streams {name}"] = {TOGETHER: of}
        return found

    def slow(self, turn: int) -> Found:
        """Some who listen, with and without one more who reads nothing, and whose buffers are full by then."""
        found: Found = {}
        size = self.sizes
        for name in ("without", "with"):
            with self.up() as server, server.unread() if name == "with" else contextlib.nullcontext():
                server.ask("full_starts", k=16, seconds=2 * size.seconds, threads=0)
                with server.heard(threads=0, wide=size.listening // 10, timed=1) as heard:
                    said = server.ask("paced_starts", rate=size.pace * 3, seconds=size.paced, threads=0)
                found[f"slow {name}"] = {TOGETHER: {**heard, **said}}
        return found

    def memory(self, turn: int) -> Found:
        with self.up() as server:
            seconds = self.sizes.minutes * 60
            with server.weighed(every=min(1.0, seconds / 40)):
                said = server.ask("steady", rate=self.sizes.steady, seconds=seconds)
            return {"memory": {TOGETHER: said | weights(server.rss)}}


def weights(seen: list[tuple[float, int]]) -> dict[str, float]:
    """The memory in MB: medians of the first and the last quarter of the time, the most, and the slope of the second
    half (the first one fills what is kept), in MB an hour."""
    quarter = max(1, len(seen) // 4)
    mb = [(at, size / 1e6) for at, size in seen]
    half = mb[len(mb) // 2 :]
    slope = statistics.linear_regression([at for at, _ in half], [size for _, size in half]).slope
    return {
        "first_mb": statistics.median(size for _, size in mb[:quarter]),
        "last_mb": statistics.median(size for _, size in mb[-quarter:]),
        "most_mb": max(size for _, size in mb), "mb_an_hour": slope * 3600, "minutes": seen[-1][0] / 60,
    }  # fmt: skip


ONCE = ("reads", "memory")
"""These are measured in one round: they take long, and have their own medians."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure `turnout serve` beside a bare endpoint.")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: does it run at all?")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help=f"rounds ({ROUNDS}; quick: 1)")
    parser.add_argument("--only", default="", metavar="A,B", help=f"some of: {', '.join(GROUPS)}")
    parser.add_argument("--store", choices=STORES, default=SQLITE, help=f"default: {SQLITE}")
    parser.add_argument("--place", choices=["disk", "memory"], help="one of the two (default: both)")
    parser.add_argument(
        "--minutes", type=float, metavar="N", help=f"of steady load, for `memory` ({Sizes().minutes:g})"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every round's figures there")
    parser.add_argument(
        "--write", metavar="FILE", type=Path, help="put the tables between that file's markers"
    )
    parser.add_argument(
        "--profile",
        metavar="FILE",
        type=Path,
        help="run the server under cProfile (the last server's is kept)",
    )
    given = parser.parse_args()
    if unknown := {part for part in given.only.split(",") if part} - set(GROUPS):
        parser.error(f"--only doesn't know {', '.join(sorted(unknown))}; it knows {', '.join(GROUPS)}")
    if given.write and (given.quick or given.profile):
        parser.error("--write takes the figures of a full run, not of a quick or a profiled one")
    if given.write and not given.write.exists():
        parser.error(f"there is no file {given.write}")
    return given


def main() -> int:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the servers and the folders would stay
    found, notes = places()
    if given.store == POSTGRES and (why := missing()):
        print(f"bench: {why}", file=sys.stderr)
        return 1
    sizes = QUICK if given.quick else Sizes()
    if given.minutes is not None:
        sizes = Sizes(**{**vars(sizes), "minutes": given.minutes})
    groups = [group for group in GROUPS if not given.only or group in given.only.split(",")]
    rounds = given.rounds or (1 if given.quick else ROUNDS)
    started = time.time()
    record: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime(started)) + " UTC", "rounds": {given.store: rounds},
        "quick": given.quick, "places": [str(p) for p in found], "notes": notes, "cores": os.cpu_count(),
        "sizes": vars(sizes), "results": {},
    }  # fmt: skip
    try:
        for place in [p for p in found if given.place in (None, p.name)]:
            with contextlib.ExitStack() as stack:
                server = stack.enter_context(Server(place)) if given.store == POSTGRES else None
                bench = Bench(given.store, place, sizes, server, given.profile and given.profile.resolve())
                record["results"][place.name] = on_place(bench, groups, rounds)
    except Broken as broken:
        print(f"bench: {broken}", file=sys.stderr)
        return 1
    record["seconds"], record["load"] = round(time.time() - started), list(os.getloadavg())
    said = report_serving.text(record, given.store)
    print(said)
    if given.json:
        given.json.write_text(json.dumps(record, indent=1))
    if given.write:
        write_into(given.write, {f"serving-{given.store}": said})
    return 0


def on_place(bench: Bench, groups: list[str], rounds: int) -> dict[str, dict[str, dict[str, list[float]]]]:
    """measurement -> contender -> figure -> one value a round"""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for group in groups:
        for turn in range(1 if group in ONCE else rounds):
            print(f"  {bench.place.name}: {group}, round {turn + 1} ...", file=sys.stderr, flush=True)
            for name, by in getattr(bench, group)(turn).items():
                for contender, figures in by.items():
                    of = found.setdefault(name, {}).setdefault(contender, {})
                    for figure, value in figures.items():
                        of.setdefault(figure, []).append(value)
    return found


if __name__ == "__main__":
    sys.exit(main())
