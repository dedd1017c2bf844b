"""`turnout worker`: takes what is due, ends when it is told to, takes over from the dead."""

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.e2e.cli_desk import DESK, Folder


@pytest.mark.e2e
def test_a_worker_drives_until_it_is_told_to_stop_and_gives_its_threads_back(folder: Folder) -> None:
    review = folder.paused()
    program = str(Path(sys.executable).parent / "turnout")
    process = subprocess.Popen(
        [program, "worker", "desk:refunds"],
        cwd=folder.path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "working on refunds" in process.stderr.readline()
        folder.run("approve", review, "--by", "dana", "--role", "finance")
        end = time.monotonic() + 30
        while not folder.ledger() and time.monotonic() < end:
            time.sleep(0.05)
        while folder.json("threads")[0]["status"] != "finished" and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in err
    assert out == "stopped: nothing to give back\n"
    assert folder.json("threads")[0]["owner"] == ""


def test_a_worker_takes_over_what_a_dead_one_held_before_it_calls_itself_idle(folder: Folder) -> None:
    review = folder.paused()
    folder.run("approve", review, "--by", "dana", "--role", "finance")
    store = sqlite3.connect(folder.path / "turnout.db")
    until = int((time.time() + 2) * 1_000_000)
    store.execute("UPDATE threads SET owner = 'dead:1', lease_until = ?, epoch = epoch + 1", (until,))
    store.commit()
    store.close()
    said = folder.run("worker", "desk:refunds", "--until-idle")
    assert "1 finished" in said.stdout
    assert said.stderr.count("case-17 is held by worker dead:1; waiting") == 1
    assert len(folder.ledger()) == 1


def test_a_worker_with_the_old_code_takes_a_diverged_thread_to_its_end_before_it_calls_itself_idle(
    folder: Folder,
) -> None:
    review = folder.paused()
    (folder.path / "changed.py").write_text(DESK.replace("Refund this order?", "Really refund this order?"))
    said = folder.run("approve", review, "--by", "d", "--role", "finance", "-g", "changed:refunds").stdout
    assert "expected review Refund this order?\n" in said
    assert "turnout check --in-flight" in said
    page = folder.run("explain", "case-17").stdout
    assert "run 1 was not adopted" in page
    assert "waits for review" not in page  # it was decided
    assert "1 diverged" in folder.run("worker", "changed:refunds", "--until-idle").stdout
    assert "idle: 1 finished" in folder.run("worker", "desk:refunds", "--until-idle").stdout
    assert len(folder.ledger()) == 1


@pytest.mark.e2e
def test_a_run_that_is_interrupted_says_how_it_goes_on_and_does(folder: Folder) -> None:
    begin = "async def look_up(state: Refund, ctx: Context) -> dict:"
    slow = f"{begin}\n    await __import__('asyncio').sleep(60)"
    (folder.path / "slow.py").write_text(DESK.replace(begin, slow))
    program = str(Path(sys.executable).parent / "turnout")
    process = subprocess.Popen(
        # What was started in the background by a script ignores Ctrl-C, and so does all that it starts.
        [
            "env",
            "--default-signal=INT",
            program,
            "run",
            "slow:refunds",
            "--thread",
            "case-17",
            "--input",
            '{"order": "A-1"}',
        ],
        cwd=folder.path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 30
        while not (folder.path / "turnout.db").exists() and time.monotonic() < end:
            time.sleep(0.05)
        while time.monotonic() < end and not [t for t in folder.json("threads") if t["owner"]]:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == 1
    assert err.startswith("error: interrupted; what was begun is on record")
    assert len(err.splitlines()) == 1
    assert folder.json("threads")[0]["owner"] == ""
    said = folder.run("worker", "desk:refunds", "--until-idle")
    assert "1 finished" in said.stdout
    assert len(folder.ledger()) == 1
