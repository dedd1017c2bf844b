"""Play schedules.

python -m tests.simulation SEED --trace          one seed, with all that happened in it
python -m tests.simulation --minutes 10          as many seeds as fit into that time
python -m tests.simulation --seeds 1000 --seed 0
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from tests.simulation.memory_store import MemoryStore
from tests.simulation.simulation import Result, Simulation

from turnout.stores.sqlite import SqliteStore

STORES = {"memory": MemoryStore, "sqlite": lambda: SqliteStore(":memory:")}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Play schedules.")
    parser.add_argument("again", metavar="SEED", nargs="*", type=int, help="play these seeds")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--seed", dest="first", type=int, help="the first seed (default: a random one)")
    parser.add_argument("--seeds", type=int, default=0, help="how many seeds")
    parser.add_argument("--minutes", type=float, default=0.0, help="how long to go on")
    parser.add_argument("--store", choices=STORES, default="memory", help="the store that all machines share")
    given = parser.parse_args(arguments)
    if given.again:
        results = [play(seed, given.store, trace=given.trace) for seed in given.again]
        return int(any(result.problems for result in results))
    first = given.first if given.first is not None else random.randrange(10**9)
    return many(first, given.seeds, given.minutes * 60, given.store)


def play(seed: int, store: str, *, trace: bool) -> Result:
    """Play one seed, and say what came of it."""
    simulation = Simulation(seed, STORES[store])
    if trace:
        print(f"seed {seed}: {simulation.weather}, graphs {', '.join(simulation.roots)}")
    result = simulation.run()
    if trace:
        print(*result.lines(), sep="\n")
    counts = ", ".join(f"{many} {what}" for what, many in result.counts.items())
    print(f"seed {seed}: {len(result.problems)} problems, {counts}, trace {result.digest[:16]}")
    tell(result)
    return result


def tell(result: Result) -> None:
    """The problems of a seed, and how to see it again."""
    for problem in result.problems:
        print(f"  {problem}")
    if result.problems:
        print(f"  again: python -m tests.simulation {result.seed} --trace", flush=True)


def many(first: int, seeds: int, seconds: float, store: str) -> int:
    """Play seed after seed, with a line of progress every ten seconds."""
    started = said = time.monotonic()
    seed, failed = first, 0
    while (seconds and time.monotonic() - started < seconds) or seed - first < seeds:
        result = Simulation(seed, STORES[store]).run()
        if result.problems:
            failed += 1
            print(f"seed {seed} fails")
            tell(result)
        seed += 1
        if time.monotonic() - said > 10:
            said = time.monotonic()
            rate = (seed - first) / (said - started) * 60
            print(f"{seed - first} schedules, {rate:.0f} a minute, {failed} failed", flush=True)
    took = time.monotonic() - started
    print(
        f"{seed - first} schedules from seed {first} in {took:.0f} s ({(seed - first) / took * 60:.0f} a minute), {failed} failed"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
