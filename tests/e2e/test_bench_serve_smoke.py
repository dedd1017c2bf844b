"""The benchmark of `turnout serve` runs: every measurement, small. Its figures are judged by people."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SERVE = Path(__file__).resolve().parents[2] / "bench" / "serve.py"


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(SERVE), *arguments], capture_output=True, text=True, timeout=400
    )


@pytest.mark.e2e
@pytest.mark.slow
def test_a_quick_bench_of_the_server_measures_and_prints_every_figure(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    place = "memory" if Path("/dev/shm").is_dir() else "disk"
    done = bench("--quick", "--place", place, "--json", str(file))
    assert done.returncode == 0, done.stderr
    [measured] = json.loads(file.read_text())["results"].values()
    assert set(measured["starts 4"]) == {"a bare insert", "Turnout", "Turnout, API alone"}
    figures = {
        (name, figure): value
        for name, by in measured.items()
        for of in by.values()
        for figure, [value] in of.items()
    }
    assert all(value > 0 for (_, figure), value in figures.items() if figure != "mb_an_hour"), figures
    assert {name.split()[0] for name, _ in figures} == {
        "starts", "waited", "decisions", "reads", "streams", "slow", "memory",
    }  # fmt: skip
    for said in ("starts", "decisions", "open streams", "those who read", "memory of the server"):
        assert f"| {said}, {place}" in done.stdout
    assert f"reads with 1 and 16 clients, {place}" in done.stdout


@pytest.mark.e2e
@pytest.mark.slow
def test_the_bench_of_the_server_writes_its_tables_between_their_markers_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- bench:serving-sqlite:begin -->\nold\n<!-- bench:serving-sqlite:end -->\nb\n")
    done = bench("--only", "memory", "--minutes", "0.05", "--rounds", "1", "--write", str(page))
    assert done.returncode == 0, done.stderr
    written = page.read_text()
    assert "old" not in written
    assert "last quarter, median, MB" in written
    assert written.endswith("<!-- bench:serving-sqlite:end -->\nb\n")


@pytest.mark.e2e
def test_the_bench_of_the_server_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    done = bench("--only", "speed")
    assert done.returncode == 2
    assert "--only doesn't know speed" in done.stderr
    assert bench("--quick", "--write", str(tmp_path)).returncode == 2
