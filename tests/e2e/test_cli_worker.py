"""`turnout worker`: takes what is due, ends when it is told to, takes over from the dead."""

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.e2e.cli_desk import Folder


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
    assert "stopped: 1 finished" in out
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
