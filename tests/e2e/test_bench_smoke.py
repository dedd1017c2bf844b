"""The benchmark runs: every measurement, small; on Postgres beside its peers, where those are installed. Its figures are
judged by people."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "bench" / "run.py"
PEERS = ROOT / ".venv-peers" / "bin" / "python"


def bench(*arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, str(RUN), *arguments], capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    done = bench("--quick", "--store", "sqlite", "--contenders", "raw,turnout", "--json", str(file))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


@pytest.mark.e2e
@pytest.mark.slow
def test_a_quick_bench_measures_and_prints_every_figure(quick: tuple[str, dict[str, Any]]) -> None:
    shown, record = quick
    place, *_ = record["results"]["sqlite"]
    steps = record["results"]["sqlite"][place]["step n=50"]
    assert set(steps) == {"raw", "turnout"}
    assert all(value > 0 for figures in steps.values() for values in figures.values() for value in values)
    assert f"µs a step, {place}" in shown
    assert f"bytes a step, {place}" in shown


@pytest.mark.e2e
@pytest.mark.slow
def test_no_model_call_is_paid_twice_in_the_bench(quick: tuple[str, dict[str, Any]]) -> None:
    """A count, not a speed: so it may be asserted."""
    _, record = quick
    if "memory" not in record["results"]["sqlite"]:
        pytest.skip("no memory file system here: the benchmark says so, and kills nothing")
    assert record["results"]["sqlite"]["memory"]["killed after 2"]["turnout"]["paid"] == [5]


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.skipif(not PEERS.exists(), reason="the peers aren't installed: `make bench` installs them")
def test_a_quick_bench_on_postgres_measures_the_peers_on_one_server(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = bench("--quick", "--store", "postgres", "--json", str(file), python=str(PEERS))
    assert done.returncode == 0, done.stderr
    record = json.loads(file.read_text())
    [measured] = record["results"]["postgres"].values()
    peers = {"raw", "langgraph", "dbos", "absurd"}
    for name in ("step n=20", "threads 8", "workers 8 threads in 2"):
        assert peers <= set(measured[name])
    assert all(
        figure > 0
        for by in measured.values()
        for of in by.values()
        for values in of.values()
        for figure in values
    )
    assert record["about"]["postgres"]["fsync"] == record["about"]["postgres"]["synchronous_commit"] == "on"
    assert "ms from a decision to the step in another process" in done.stdout
    if "turnout" in measured["step n=20"]:
        assert any("Index Scan" in plan for plan in record["plans"]["crowd 200"].values())


@pytest.mark.e2e
def test_tables_are_written_between_the_markers_of_their_part_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- bench:sqlite:begin -->\nold\n<!-- bench:sqlite:end -->\nb\n<!-- bench:postgres:begin -->\nkept\n<!-- bench:postgres:end -->\n"
    )
    done = bench(
        "--store", "sqlite", "--only", "step", "--rounds", "1", "--contenders", "raw", "--write", str(page)
    )
    assert done.returncode == 0, done.stderr
    written = page.read_text()
    assert "old" not in written
    assert "raw SQLite" in written
    assert written.startswith("a\n<!-- bench:sqlite:begin -->\n")
    assert written.endswith(
        "<!-- bench:sqlite:end -->\nb\n<!-- bench:postgres:begin -->\nkept\n<!-- bench:postgres:end -->\n"
    )


@pytest.mark.e2e
def test_the_bench_refuses_what_it_does_not_know() -> None:
    done = bench("--only", "speed")
    assert done.returncode == 2
    assert "--only doesn't know speed" in done.stderr
