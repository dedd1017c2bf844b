"""Break each promise on purpose: the tests named for it must go red. `make mutants`, or

    python -m tests.mutants.run [--only NAME]... [--list] [--jobs N]

First the named tests run on the code as it is, and must be green. Then each mutant gets a process of its own, in which
the running code is patched (no file is touched), and each of its tests must be red. Exit code 0: all mutants were
found. 1: one lives, or a test is red without any mutant. 2: a mutant no longer fits the code.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.plugin import MARK

ROOT = Path(__file__).parents[2]
SECONDS = 12
"""How long a test may take under a mutant. One that hangs has not found it."""


@dataclass(frozen=True)
class Result:
    """What became of one mutant. `verdict` is found, lives or broken."""

    mutant: Mutant
    verdict: str
    detail: str
    seconds: float


def run_tests(tests: Iterable[str], mutant: str = "", seconds: int = SECONDS) -> tuple[dict[str, str], str]:
    """Outcomes by test id (red, green, hung, skipped), and what pytest printed."""
    options = [
        "-q",
        "-n",
        "0",
        "-p",
        "tests.mutants.plugin",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=",
        "--tb=line",
    ]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--import-mode=importlib",
        *options,
        f"--timeout={seconds}",
        *tests,
    ]
    environment = {**os.environ, "TURNOUT_MUTANT": mutant}
    environment.pop(
        "PYTEST_XDIST_TESTRUNUID", None
    )  # its Postgres goes with it, and is not that of the run around it
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    said = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    return (json.loads(said[-1].removeprefix(MARK)) if said else {}), done.stdout + done.stderr


def judge(mutant: Mutant) -> Result:
    """Run a mutant's tests with it on."""
    started = time.monotonic()
    outcomes, output = run_tests(mutant.tests, mutant.name)
    took = time.monotonic() - started
    if not outcomes:
        return Result(mutant, "broken", output.strip()[-600:] or "no test ran", took)
    # Of a parametrized test one red case is enough, unless the mutant names the case.
    alive = [test for test in mutant.tests if "red" not in _of(test, outcomes)]
    if alive:
        return Result(mutant, "lives", "not red: " + ", ".join(alive), took)
    return Result(mutant, "found", "", took)


def _of(test: str, outcomes: dict[str, str]) -> set[str]:
    return {outcome for name, outcome in outcomes.items() if name == test or name.startswith(test + "[")}


def green_without(mutants: list[Mutant]) -> list[str]:
    """The named tests that are not green on the code as it is."""
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    outcomes, output = run_tests(tests, seconds=120)
    if not outcomes:
        return [f"no test ran: {output.strip()[-600:]}"]
    missing = [test for test in tests if not _of(test, outcomes)]
    return [f"{test} doesn't exist" for test in missing] + [t for t, o in outcomes.items() if o != "green"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description="Break each promise on purpose.")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="only this mutant (again for more)"
    )
    parser.add_argument("--list", action="store_true", help="list the mutants and leave")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    given = parser.parse_args(arguments)
    unknown = set(given.only) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}; --list shows them")
    chosen = [mutant for mutant in MUTANTS if not given.only or mutant.name in given.only]
    if given.list:
        for mutant in chosen:
            print(f"{mutant.promise:2}  {mutant.name:45} {mutant.breaks}")
        return 0
    started = time.monotonic()
    red = green_without(chosen)
    if red:
        print("Without any mutant these tests are not green:", *red, sep="\n  ")
        return 1
    print(f"{'':2}  {'mutant':45} {'verdict':8} {'s':>5}  breaks")
    results = []
    with ThreadPoolExecutor(given.jobs) as pool:
        for result in pool.map(judge, chosen):
            results.append(result)
            mutant = result.mutant
            print(
                f"{mutant.promise:2}  {mutant.name:45} {result.verdict:8} {result.seconds:5.1f}  {mutant.breaks}",
                flush=True,
            )
            if result.detail:
                print(f"      {result.detail}")
    found = sum(result.verdict == "found" for result in results)
    print(f"{found} of {len(results)} mutants were found, in {time.monotonic() - started:.0f} s")
    return 2 if any(r.verdict == "broken" for r in results) else int(found < len(results))


if __name__ == "__main__":
    sys.exit(main())
