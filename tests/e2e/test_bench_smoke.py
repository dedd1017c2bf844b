"""The benchmark runs: every measurement of Turnout and of raw SQLite, small. Its figures are judged by people."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "bench" / "run.py"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(RUN), *arguments], capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    done = bench("--quick", "--contenders", "raw,turnout", "--json", str(file))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


@pytest.mark.e2e
@pytest.mark.slow
def test_a_quick_bench_measures_and_prints_every_figure(quick: tuple[str, dict[str, Any]]) -> None:
    shown, record = quick
    place, *_ = record["results"]
    steps = record["results"][place]["step n=50"]
    assert set(steps) == {"raw", "turnout"}
    assert all(value > 0 for figures in steps.values() for values in figures.values() for value in values)
    assert f"µs a step, {place}" in shown
    assert f"bytes a step, {place}" in shown


@pytest.mark.e2e
@pytest.mark.slow
def test_no_model_call_is_paid_twice_in_the_bench(quick: tuple[str, dict[str, Any]]) -> None:
    """A count, not a speed: so it may be asserted."""
    _, record = quick
    if "memory" not in record["results"]:
        pytest.skip("no memory file system here: the benchmark says so, and kills nothing")
    assert record["results"]["memory"]["killed after 2"]["turnout"]["paid"] == [5]


@pytest.mark.e2e
def test_the_bench_refuses_what_it_does_not_know() -> None:
    done = bench("--only", "speed")
    assert done.returncode == 2
    assert "--only doesn't know speed" in done.stderr
