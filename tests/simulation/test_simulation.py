"""Whole systems under random schedules: every seed must keep what is promised, and can be played again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulation.__main__ import main
from tests.simulation.bugs import BUGS, broken
from tests.simulation.simulation import Result, Simulation

ROOT = Path(__file__).parents[2]
CHUNKS = 10
SCHEDULES = int(os.environ.get("TURNOUT_SCHEDULES", "900"))
"""About half a minute on one core; `make crash` plays more."""


def failed(results: list[Result]) -> str:
    """What went wrong, and how to see it again."""
    return "\n".join(
        f"seed {r.seed}: {problem}\n    again: python -m tests.simulation {r.seed} --trace"
        for r in results
        for problem in r.problems
    )


@pytest.mark.crash
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_schedule_keeps_what_is_promised(chunk: int) -> None:
    size = SCHEDULES // CHUNKS
    results = [Simulation(seed).run() for seed in range(chunk * size, (chunk + 1) * size)]
    assert not failed(results), failed(results)


def test_schedules_have_troubles_and_work_in_them() -> None:
    """The simulation itself: it could keep every promise by doing nothing."""
    results = [Simulation(seed).run() for seed in range(150)]
    for what, least in (("appends", 1500), ("sends", 150), ("asks", 150), ("troubles", 40), ("threads", 100)):
        assert sum(result.counts[what] for result in results) > least, what
    said = " ".join(what for result in results for _, _, what in result.trace)
    for word in ("dies", "freezes for", "is drained", "is rolled out", "can't be reached", "run.adopted", "run.diverged",
                 "ReviewClosed", "HeadMoved", "StaleWriter", "thread.forked", "run.cancelled", "child.ended"):  # fmt: skip
        assert word in said, word


def test_a_seed_gives_the_same_trace_to_the_byte_also_in_another_process() -> None:
    seeds = range(12)
    here = [Simulation(seed).run() for seed in seeds]
    again = [Simulation(seed).run() for seed in seeds]
    assert [r.lines() for r in here] == [r.lines() for r in again]
    program = (
        "from tests.simulation.simulation import Simulation\n"
        f"for seed in range({len(seeds)}): print(Simulation(seed).run().digest)"
    )
    for hashes in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.stdout.split() == [r.digest for r in here], done.stderr
    assert len({r.digest for r in here}) == len(seeds)


def test_a_failure_says_how_to_see_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    bug = next(bug for bug in BUGS if "before its intent" in bug.breaks)
    with broken(bug):
        assert main(["--from", "0", "--seeds", "3"]) == 1
    said = capsys.readouterr().out
    assert "again: python -m tests.simulation" in said
    assert "sent before it was on record" in said or "was done 2 times" in said
    assert main(["1", "--trace"]) == 0
    said = capsys.readouterr().out
    assert "m0.1      starts" in said
    assert "seed 1: 0 problems" in said
