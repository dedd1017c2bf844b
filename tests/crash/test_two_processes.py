"""Two real processes on one store: one writer, one decision, one run, and no effect twice.

`make crash` lets two who are first at the same thing meet a thousand times, the usual run a few times.
"""

from __future__ import annotations

import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.crash import clerks
from tests.crash.spawner import Child, Spawner
from tests.crash.stores import Stores
from tests.crash.world import Oracle

from turnout import App, Finished

pytestmark = pytest.mark.crash
MODULE = "tests.crash.clerks"


class Place:
    """A store, its world, and the processes on it. The test's own process only asks and starts, it never works."""

    def __init__(self, spawner: Spawner, folder: Path, store: str) -> None:
        self.spawner = spawner
        self.folder = folder
        self.store = store
        self.world = Oracle(folder / "world")
        self._count = 0

    def run(self, command: str, *more: object) -> Child:
        self._count += 1
        out = self.folder / f"{self._count}-{command}"
        return self.spawner.start(MODULE, command, self.store, self.world.path, *more, out=out)

    def both(self, command: str, *more: object, delay: float = 0.3) -> tuple[Child, Child]:
        """The same command twice, as ann and as bob, beginning in the same moment."""
        moment = time.time() + delay
        first = self.run(command, "--who", "ann", "--moment", moment, *more)
        second = self.run(command, "--who", "bob", "--moment", moment, *more)
        assert first.wait(200) == 0, first.said
        assert second.wait(200) == 0, second.said
        return first, second

    def worker(self, *more: object) -> Child:
        found = self.run("work", *more)
        until(lambda: str(found.pid) in self.world.count("ready"), f"worker {found.pid} is ready", found)
        return found

    def app(self) -> App:
        return clerks.open_shared(self.store, work=False)


def until(holds: Callable[[], object], what: str, *children: Child, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        said = "\n".join(child.said for child in children)
        assert time.monotonic() < end, f"waited {seconds:g} s until {what}\n{said}"
        time.sleep(0.005)


@pytest.fixture
def times(everything: bool) -> int:
    """How often two meet."""
    return 1000 if everything else 30


@pytest.fixture
def place(spawner: Spawner, stores: Stores, tmp_path: Path) -> Place:
    return Place(spawner, tmp_path, stores.fresh(tmp_path))


@pytest.fixture
def sqlite_place(spawner: Spawner, tmp_path: Path) -> Place:
    """For what only concerns a file."""
    return Place(spawner, tmp_path, str(tmp_path / "s.db"))


def stopped(child: Child) -> bool:
    """Does the kernel say that the process is stopped?"""
    return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_two_workers_share_threads_and_do_each_effect_once(place: Place) -> None:
    first, second = place.worker("--busy", 0.02), place.worker("--busy", 0.02)
    async with place.app() as app:
        runs = [await app.start("jobs", {"name": f"n{n}"}, thread=f"n{n}") for n in range(40)]
        for run in runs:
            assert isinstance(await app.wait(run, timeout=20), Finished)
            assert (await app.replay(run.thread)).identical
        assert (await app.verify()).ok
    assert place.world.count("write") == Counter(f"act n{n}" for n in range(40))
    assert place.world.count("model") == Counter(f"n{n}" for n in range(40))
    for child in (first, second):
        child.signal(signal.SIGTERM)
        assert child.wait() == 0, child.said
        assert "Traceback" not in child.said


@pytest.mark.parametrize("where", ["model", "write"])
async def test_a_stopped_worker_that_wakes_late_is_refused_and_repeats_nothing(
    place: Place, where: str
) -> None:
    """SIGSTOP inside a step, past the lease; another process finishes; SIGCONT: the late append is refused."""
    sleeper = place.worker("--stop-in", where)
    async with place.app() as app:
        run = await app.start("jobs", {"name": "x"}, thread="x")
        until(lambda: stopped(sleeper), "the worker has stopped", sleeper)
        helper = place.worker()
        begun = time.monotonic()
        assert isinstance(await app.wait(run, timeout=10), Finished)
        took = time.monotonic() - begun
        assert took < 2 * clerks.LEASE + 0.5, took
        before = await app.entries("x")

        sleeper.signal(signal.SIGCONT)
        until(lambda: "x to its new owner" in sleeper.said or "lost the lease of thread x" in sleeper.said,
              "the late worker sees that it lost the thread", sleeper)  # fmt: skip
        helper.signal(signal.SIGTERM)
        assert helper.wait() == 0, helper.said

        # The one that was stopped lives, and is the only one left to do this:
        other = await app.start("jobs", {"name": "y"}, thread="y")
        assert isinstance(await app.wait(other, timeout=10), Finished)
        assert [entry.digest for entry in await app.entries("x")] == [entry.digest for entry in before]
        assert (await app.replay("x")).identical
        assert (await app.verify()).ok
    assert place.world.count("write") == {"act x": 1, "act y": 1}
    assert place.world.count("model")["x"] == (2 if where == "model" else 1)
    assert {line["pid"] for line in place.world.lines() if line["what"] == "act y"} == {sleeper.pid}
    sleeper.signal(signal.SIGTERM)
    assert sleeper.wait() == 0, sleeper.said
    assert "Traceback" not in sleeper.said


async def test_a_stopped_worker_without_a_rival_goes_on_where_it_was(place: Place) -> None:
    """Nobody took the thread while it slept: its own claim must not start the step a second time beside the first."""
    sleeper = place.worker("--stop-in", "write", "--busy", 1.0)
    async with place.app() as app:
        run = await app.start("jobs", {"name": "x"}, thread="x")
        until(lambda: stopped(sleeper), "the worker has stopped", sleeper)
        time.sleep(2 * clerks.LEASE)
        sleeper.signal(signal.SIGCONT)
        assert isinstance(await app.wait(run, timeout=10), Finished)
        kinds = [entry.kind for entry in await app.entries("x")]
    assert place.world.count("write") == {"act x": 1}
    assert kinds.count("effect.intended") == kinds.count("effect.settled") == 1
    assert len({entry.epoch for entry in await entries(place, "x")} - {0}) == 1, (
        "it took its own thread away from itself"
    )


async def entries(place: Place, thread: str) -> list:
    async with place.app() as app:
        return await app.entries(thread)


async def test_a_review_resolved_twice_at_once_has_one_decision_and_one_effect(
    place: Place, times: int
) -> None:
    worker = place.worker()
    async with place.app() as app:
        runs = [await app.start("asks", {"name": f"r{n}"}, thread=f"r{n:04}") for n in range(times)]
        for run in runs:
            await app.wait(run, timeout=30)
        ann, bob = (child.result["said"] for child in place.both("resolve", delay=0.5 + times / 1000))
        assert len(ann) == len(bob) == times
        for review in ann:
            said = {"ann": ann[review], "bob": bob[review]}
            [winner] = [who for who in said if said[who] == "mine"]
            [refused] = [found for found in said.values() if found != "mine"]
            assert refused["error"] == "ReviewClosed"
            assert refused["first"] == winner
            assert f"by {winner}" in refused["text"]
        for run in runs:
            assert isinstance(await app.wait(run, timeout=30), Finished)
            assert [en.kind for en in await app.entries(run.thread)].count("review.decided") == 1
    writes = place.world.count("write")
    assert len(writes) == times
    assert set(writes.values()) == {1}
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.said


async def test_two_starters_with_one_idempotency_key_get_one_run(place: Place, times: int) -> None:
    async with place.app():
        pass
    first, second = place.both("start", "--count", times)
    assert first.result["runs"] == second.result["runs"]
    async with place.app() as app:
        rows = await app.threads(limit=times + 1)
        assert len(rows) == times
        for row in rows:
            assert [entry.kind for entry in await app.entries(row.thread)] == ["input.received"]


async def test_two_forkers_with_one_name_make_one_fork(place: Place, times: int) -> None:
    worker = place.worker()  # the forks are claimed at once: the loser finds a thread in a later epoch
    async with place.app() as app:
        await app.wait(await app.start("jobs", {"name": "p"}, thread="parent"), timeout=10)
        first, second = (child.result["said"] for child in place.both("fork", "--count", times))
        for mine, other in zip(first, second, strict=True):
            [lost] = [text for text in (mine, other) if text != "mine"]
            assert lost.startswith("ForkRefused: there is a thread 'branch-"), lost
            assert "another name" in lost
        for n in range(times):
            assert [e.kind for e in await app.entries(f"branch-{n}")].count("thread.forked") == 1
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.said


async def test_two_processes_that_open_new_stores_at_once_share_their_signing_keys(
    sqlite_place: Place,
) -> None:
    first, second = sqlite_place.both("first", "--count", 20)
    assert first.result["keys"] == second.result["keys"]
    assert len(set(first.result["keys"])) == 20
    assert sorted(file.name for file in sqlite_place.folder.glob("*.key*")) == sorted(
        f"s.db-{n}.key" for n in range(20)
    )


async def test_two_processes_that_write_heavily_lose_nothing_and_see_no_lock_error(
    place: Place, everything: bool
) -> None:
    each = 20 if everything or place.store.startswith("sqlite") else 5
    async with place.app():
        pass
    children = place.both("hammer", "--count", each)
    for child in children:
        assert "locked" not in child.said, child.said
        assert "Traceback" not in child.said, child.said
    async with place.app() as app:
        assert len(await app.threads(limit=1000)) == 2 * each
        for row in await app.threads(limit=1000):
            assert row.status == "finished"
            assert len((await app.state(row.thread))["notes"]) == 100
        assert (await app.verify()).ok
    steps = 2 * each * 100
    seconds = max(child.result["seconds"] for child in children)
    cpu = sum(child.result["cpu"] for child in children)
    print(f"\ntwo processes, {steps} durable steps in {seconds:.2f} s ({steps / seconds:.0f} steps/s), "
          f"{cpu / steps * 1e6:.0f} us of CPU a step")  # fmt: skip


async def test_waiting_for_another_process_s_lock_burns_no_cpu(sqlite_place: Place) -> None:
    async with sqlite_place.app():
        pass
    holder = sqlite3.connect(sqlite_place.store, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    child = sqlite_place.run("idle")
    time.sleep(2.0)
    assert child.code is None
    holder.execute("ROLLBACK")
    holder.close()
    assert child.wait() == 0, child.said
    found = child.result
    assert found["seconds"] > 1.0
    print(f"\nwaited {found['seconds']:.2f} s for the lock with {found['cpu'] * 1000:.0f} ms of CPU")
    assert found["cpu"] < 0.25 * found["seconds"]
