"""Limits, tenants and threads that are set aside, from the command line; and how a worker leaves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.e2e.cli_desk import Folder

SLOW = """
import asyncio, time
from contextlib import suppress
from pydantic import BaseModel
from turnout import END, Context, Graph


class Job(BaseModel):
    how: str
    seconds: float = 0


slow = Graph("slow", state=Job)


@slow.node
async def work(state: Job, ctx: Context) -> dict:
    open(f"{state.how}.begun", "w").close()
    end = time.monotonic() + state.seconds
    if state.how == "block":
        time.sleep(state.seconds)
    while state.how == "stubborn" and time.monotonic() < end:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
    while not state.seconds and not __import__("os").path.exists("gate"):
        await asyncio.sleep(0.02)
    await asyncio.sleep(end - time.monotonic())
    return {}


@slow.node
async def end(state: Job, ctx: Context) -> dict:
    return {}


slow.start(work)
slow.edge(work, end)
slow.edge(end, END)
"""
FEED = """
import asyncio, sys
from turnout import open_app
from slow import slow

async def main():
    async with open_app("sqlite:///turnout.db", graphs=[slow], work=False) as app:
        for given in sys.argv[1:]:
            how, seconds = given.split(":")
            await app.start("slow", {"how": how, "seconds": float(seconds)}, thread=how)

asyncio.run(main())
"""


@pytest.fixture
def slow(folder: Folder) -> Folder:
    (folder.path / "slow.py").write_text(SLOW)
    (folder.path / "feed.py").write_text(FEED)
    return folder


def start(folder: Folder, *threads: str, options: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    """A worker that is in the middle of a step of each of these threads, which are `how:seconds`."""
    fed = folder.shell(f"python feed.py {' '.join(threads)}")
    assert fed.returncode == 0, fed.stderr
    command = [str(Path(sys.executable).parent / "turnout"), "worker", "slow:slow", *options]
    process = subprocess.Popen(
        command, cwd=folder.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 30
    while not all((folder.path / f"{name.split(':')[0]}.begun").exists() for name in threads):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    return process


def ended(process: "subprocess.Popen[str]", begun: float) -> tuple[int, str, str, float]:
    """Exit code, output, and how long it took."""
    try:
        out, err = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
    return process.returncode, out, err, time.monotonic() - begun


def held(folder: Folder) -> dict[str, str]:
    return {row["thread"]: row["owner"] for row in folder.json("threads")}


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_finishes_its_step_and_says_what_it_gave_back(
    slow: Folder, number: signal.Signals
) -> None:
    process = start(slow, "gated:0")
    begun = time.monotonic()
    process.send_signal(number)
    time.sleep(0.3)
    assert process.poll() is None, "its step isn't finished"
    (slow.path / "gate").touch()
    code, out, err, took = ended(process, begun)
    assert (code, out) == (0, "stopped: 1 given back after a step (gated)\n")
    assert "Traceback" not in err
    assert took < 10
    assert held(slow) == {"gated": ""}
    kinds = [entry["kind"] for entry in slow.json("show", "gated", "--entries")["entries"]]
    assert kinds.count("step.finished") == 1
    assert "run.finished" not in kinds
    assert "1 finished" in slow.run("worker", "slow:slow", "--until-idle").stdout


@pytest.mark.e2e
def test_steps_that_take_too_long_are_cut_off_and_the_bound_holds(slow: Folder) -> None:
    process = start(slow, "long:600", "stubborn:600", options=("--grace", "2"))
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code, out, err, took = ended(process, begun)
    assert (code, out) == (0, "stopped: 2 given back in the middle of a step (long, stubborn)\n")
    assert "Traceback" not in err
    assert took < 4
    assert held(slow) == {"long": "", "stubborn": ""}


@pytest.mark.e2e
def test_the_bound_holds_even_when_a_node_holds_up_the_event_loop(slow: Folder) -> None:
    process = start(slow, "block:600", options=("--grace", "1"))
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code, _, err, took = ended(process, begun)
    assert code == 1
    assert "not done within 1 s; what is held is taken over when its leases run out" in err
    assert took < 4


@pytest.mark.e2e
def test_a_second_signal_ends_a_worker_at_once(slow: Folder) -> None:
    process = start(slow, "long:600", options=("--grace", "600"))
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    code, _, err, took = ended(process, begun)
    assert code == 128 + signal.SIGTERM
    assert "ended at once" in err
    assert took < 5


@pytest.mark.e2e
def test_a_signal_that_is_sent_twice_by_one_who_stops_it_is_one(slow: Folder) -> None:
    process = start(slow, "long:600", options=("--grace", "2"))
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)  # another one, for two of the same might reach it as one
    code, out, err, _ = ended(process, begun)
    assert (code, out) == (0, "stopped: 1 given back in the middle of a step (long)\n"), err


def test_a_worker_leaves_the_signals_of_its_process_as_they_were(folder: Folder) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    folder.run("worker", "desk:refunds", "--until-idle", "--store", "sqlite://")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_limits_are_set_listed_and_dropped(folder: Folder) -> None:
    assert (
        folder.run("limits", "set", "graph=refunds", "10").stdout
        == "at most 10 threads of graph refunds at once\n"
    )
    assert folder.run("limits").stdout.split() == [
        "of",
        "name",
        "threads",
        "at",
        "once",
        "graph",
        "refunds",
        "10",
    ]
    folder.run("limits", "set", "tenant=acme", "5")
    assert folder.json("limits") == [
        {"kind": "graph", "name": "refunds", "at_once": 10}, {"kind": "tenant", "name": "acme", "at_once": 5},
    ]  # fmt: skip
    assert "no limit for graph refunds any more" in folder.run("limits", "drop", "graph=refunds").stdout
    assert "had no limit" in folder.run("limits", "drop", "graph=refunds").stdout
    folder.run("limits", "drop", "tenant=acme")
    assert folder.run("limits").stdout == "no limits\n"


def test_a_limit_is_set_in_the_store_that_is_named_wherever_it_is_named(folder: Folder) -> None:
    folder.run("limits", "set", "graph=a", "1", "--store", "sqlite:///one.db")
    folder.run("limits", "--store", "sqlite:///one.db", "set", "graph=b", "2")
    assert [row["name"] for row in folder.json("limits", "--store", "sqlite:///one.db")] == ["a", "b"]
    assert not (folder.path / "turnout.db").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["limits", "set", "refunds", "10"], "it looks like graph=refunds or tenant=acme"),
        (["limits", "set", "node=x", "10"], "a limit is of a graph or of a tenant, not of 'node'"),
        (["limits", "set", "graph=x", "-1"], "-1"),
        (["aside", "case-17"], "say why with --reason"),
        (["aside", "--reason", "x"], "go with a thread"),
        (["aside", "case-71", "--reason", "x"], "did you mean 'case-17'?"),
        (["take-back", "case-71"], "did you mean 'case-17'?"),
        (["run", "desk:refunds", "--input", '{"order": "A-1"}', "--priority", "900"], "from -100 to 100"),
        (["run", "desk:refunds", "--input", '{"order": "A-1"}', "--tenant", "a b"], "can't be a tenant"),
        (["run", "desk:refunds", "--input", "{}", "--thread", "case-17", "--tenant", "x"], "belongs to no tenant"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(folder: Folder, words: list[str], said: str) -> None:
    folder.paused()
    result = folder.run(*words, ok=False)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_thread_is_set_aside_shown_and_taken_back(folder: Folder) -> None:
    review = folder.paused()
    assert folder.run("aside").stdout == "no thread is set aside\n"
    said = folder.run("aside", "case-17", "--reason", "fills the disk", "--by", "dana").stdout
    assert said == "case-17 is set aside; back again: turnout take-back case-17\n"
    assert (
        "was set aside before: fills the disk (by dana)"
        in folder.run("aside", "case-17", "--reason", "x").stdout
    )
    assert "fills the disk (by dana)" in folder.run("aside").stdout
    assert [row["aside"] for row in folder.json("aside")] == ["fills the disk (by dana)"]
    assert "waiting, set aside" in folder.run("threads").stdout
    assert [row["thread"] for row in folder.json("threads", "--aside")] == ["case-17"]
    for command in ("show", "explain"):
        page = folder.run(command, "case-17").stdout
        assert "set aside: fills the disk (by dana)" in page
        assert "turnout take-back case-17" in page
        assert command == "show" or "in the middle of ask.1" in page
        assert folder.json(command, "case-17")["aside"] == "fills the disk (by dana)"
    approved = folder.run("approve", review, "--by", "d", "--role", "finance", "-g", "desk:refunds").stdout
    assert "set aside: fills the disk" in approved, "the decision is on record, and nobody goes on with it"
    assert folder.ledger() == []
    assert "idle: 1 set aside" in folder.run("worker", "desk:refunds", "--until-idle").stdout
    assert folder.run("take-back", "case-17").stdout == "case-17 is due; a running worker takes it\n"
    assert folder.run("take-back", "case-17").stdout == "case-17 was not set aside\n"
    assert "idle: 1 finished" in folder.run("worker", "desk:refunds", "--until-idle").stdout
    assert len(folder.ledger()) == 1


def test_a_run_has_a_tenant_and_a_priority(folder: Folder) -> None:
    given = ["run", "desk:refunds", "--input", '{"order": "A-17"}']
    folder.run(*given, "--thread", "a", "--tenant", "acme", "--priority", "7")
    folder.run(*given, "--thread", "b")
    page = folder.run("threads").stdout
    assert "tenant" in page.splitlines()[0]
    assert "acme" in page
    assert [row["thread"] for row in folder.json("threads", "--tenant", "acme")] == ["a"]
    assert [(row["tenant"], row["priority"]) for row in folder.json("threads")] == [("acme", 7), ("", 0)]
    assert "tenant acme, priority 7" in folder.run("show", "a").stdout
    assert "tenant" not in folder.run("threads", "--search", "b").stdout


def test_a_worker_that_waits_for_a_limit_says_so(folder: Folder) -> None:
    folder.run("limits", "set", "graph=refunds", "0")
    program = str(Path(sys.executable).parent / "turnout")
    feed = "import asyncio; from turnout import open_app; from desk import refunds; \nasync def main():\n" \
        "    async with open_app(graphs=[refunds], work=False) as app: await app.start('refunds', {'order': 'A-1'}, thread='t')\n" \
        "asyncio.run(main())"  # fmt: skip
    subprocess.run([sys.executable, "-c", feed], cwd=folder.path, check=True)
    process = subprocess.Popen(
        [program, "worker", "desk:refunds", "--until-idle"], cwd=folder.path, env={**os.environ},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert "t is due, but its graph or its tenant is at its limit" in process.stderr.readline()
        folder.run("limits", "drop", "graph=refunds")
        out, _ = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
    assert "idle: 1 finished" in out
