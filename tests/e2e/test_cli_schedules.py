"""Schedules from the command line, and three real workers that fire each of them once."""

import json
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.e2e.cli_desk import Folder

INPUT = ("--input", '{"order": "A-1"}')


def test_a_schedule_is_declared_listed_paused_resumed_and_dropped(folder: Folder) -> None:
    said = folder.run(
        "schedule", "nightly", "desk:refunds", "--cron", "0 2 * * *", "--timezone", "Europe/Berlin", *INPUT
    ).stdout
    assert re.search(
        r"nightly +refunds +0 2 \* \* \* Europe/Berlin +\d{4}-\d\d-\d\d 02:00 \+0[12]:00 +-", said
    )
    assert "next: turnout worker desk:refunds" in said
    at = (datetime.now(UTC) + timedelta(days=400)).replace(microsecond=0)
    said = folder.run(
        "schedule", "once", "desk:refunds", "--at", at.isoformat(), *INPUT, "--by", "dana"
    ).stdout
    assert f"once  {at:%Y-%m-%d %H:%M}" in said.replace("   ", "  ")
    rows = folder.json("schedules")
    assert [row["name"] for row in rows] == ["nightly", "once"]
    assert (rows[1]["at"], rows[1]["by"], rows[1]["input"]) == (
        at.isoformat().replace("+00:00", "Z"), "dana", {"order": "A-1"},
    )  # fmt: skip
    assert folder.json("schedules", "--graph", "waits") == []
    assert folder.run("schedule-pause", "nightly").stdout == "schedule nightly is paused\n"
    assert re.search(r"nightly .* paused", folder.run("schedules").stdout)
    assert "schedule nightly is resumed, next " in folder.run("schedule-resume", "nightly").stdout
    assert folder.run("schedule-drop", "nightly").stdout == "schedule nightly is dropped\n"
    assert [row["name"] for row in folder.json("schedules")] == ["once"]
    folder.run("schedule-drop", "once")
    assert folder.run("schedules").stdout == "no schedules\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--cron", "0 25 * * *"), "the hour can't be '25'"),
        (("--cron", "@daily", "--timezone", "Europe/Berln"), "did you mean 'Europe/Berlin'?"),
        (("--at", "tomorrow"), "--at 'tomorrow' is not a time; it looks like 2026-12-01T09:00+01:00"),
        (("--at", "2126-12-01T09:00"), "doesn't say in which zone"),
        ((), "has to say when"),
        (("--cron", "@daily", "--input", '{"ordr": "A"}'), "did you mean 'order'?"),
        (("--cron", "@daily", "--input", "[]"), "--input must be a JSON object"),
    ],
)
def test_what_can_not_be_a_schedule_is_told_in_one_line(
    folder: Folder, words: tuple[str, ...], says: str
) -> None:
    result = folder.run("schedule", "s", "desk:refunds", *INPUT, *words, ok=False)
    assert result.exit_code == 1
    assert says in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert not folder.run("schedules", ok=False).stdout.count("s ")


def test_a_time_without_an_offset_is_one_of_the_zone_that_is_named(folder: Folder) -> None:
    made = folder.json(
        "schedule", "s", "desk:refunds", *INPUT, "--at", "2126-07-01T09:00", "--timezone", "America/New_York"
    )
    assert made["next_at"] == "2126-07-01T13:00:00Z"
    assert "2126-07-01 09:00 -04:00" in folder.run("schedules").stdout


def test_a_schedule_that_is_not_there_is_told_with_the_nearest(folder: Folder) -> None:
    folder.run("schedule", "nightly", "desk:refunds", *INPUT, "--cron", "@daily")
    for command in ("schedule-pause", "schedule-resume", "schedule-drop"):
        result = folder.run(command, "nigthly", ok=False)
        assert result.exit_code == 1
        assert "did you mean 'nightly'?" in result.stderr


def test_a_worker_that_ends_when_idle_fires_what_is_due_first(folder: Folder) -> None:
    folder.run(
        "schedule",
        "s",
        "desk:refunds",
        *INPUT,
        "--at",
        (datetime.now(UTC) - timedelta(seconds=5)).isoformat(),
    )
    assert "idle: 1 finished" in folder.run("worker", "desk:refunds", "--until-idle").stdout
    assert len(folder.ledger()) == 1
    [row] = folder.json("schedules")
    assert row["next_at"] is None
    assert folder.json("threads")[0]["thread"] == row["last_thread"]


def test_a_run_can_be_started_for_later_and_cancelled_before(folder: Folder) -> None:
    at = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    said = folder.run("run", "desk:refunds", *INPUT, "--thread", "t", "--at", at.isoformat()).stdout
    assert "t/1 waits" in said
    assert f"until {at:%Y-%m-%d %H:%M:%S}Z; a worker goes on then" in said
    assert f"for {at:%Y-%m-%d %H:%M:%S}Z" in folder.run("explain", "t").stdout
    assert "t/1 was cancelled" in folder.run("cancel", "t", "-g", "desk:refunds").stdout
    assert folder.ledger() == []


def test_a_run_that_is_to_start_in_a_moment_is_followed(folder: Folder) -> None:
    at = datetime.now(UTC) + timedelta(seconds=0.7)
    assert "t/1 finished" in folder.run(
        "run", "desk:refunds", *INPUT, "--thread", "t", "--at", at.isoformat()
    ).stdout  # fmt: skip
    assert datetime.now(UTC) >= at


@pytest.mark.e2e
def test_three_workers_on_one_file_fire_each_schedule_once(folder: Folder) -> None:
    """Real processes and real time: twelve moments a half second apart, each due for all three in the same instant."""
    program = str(Path(sys.executable).parent / "turnout")
    first = datetime.now(UTC) + timedelta(seconds=8)
    moments = [first + timedelta(seconds=0.5) * n for n in range(12)]
    for n, at in enumerate(moments):
        folder.run("schedule", f"s{n:02}", "desk:refunds", *INPUT, "--at", at.isoformat())
    workers = [
        subprocess.Popen(
            [program, "worker", "desk:refunds"], cwd=folder.path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]  # fmt: skip
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            rows = folder.json("threads")
            if len(rows) == 12 and all(row["status"] == "finished" for row in rows):
                break
            time.sleep(0.2)
        for worker in workers:
            worker.send_signal(signal.SIGINT)
        said = [worker.communicate(timeout=30) for worker in workers]
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0, 0], said
    assert not any("Traceback" in err for _, err in said)
    assert len(folder.ledger()) == 12
    late = []
    for row, at in zip(folder.json("schedules"), moments, strict=True):
        assert (row["next_at"], row["note"]) == (None, "")
        shown = json.loads(folder.run("show", row["last_thread"], "--entries", "--json").stdout)
        inputs = [entry for entry in shown["entries"] if entry["kind"] == "input.received"]
        assert len(inputs) == 1
        late.append((datetime.fromisoformat(inputs[0]["at"]) - at).total_seconds())
    assert all(0 <= seconds < 30 for seconds in late), late  # well under a second on a quiet machine
