"""Leases: who is dead is taken over in bounded time, who is slow is not robbed by itself, who closes gives back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.crash import clerks
from tests.crash.failpoint import FailpointStore
from tests.crash.spawner import Child, Spawner
from tests.crash.stores import Stores
from tests.crash.world import Oracle

from turnout import END, Context, Finished, Graph, open_app, tool
from turnout.ports.rows import Append, Lease
from turnout.wiring import open_store

pytestmark = pytest.mark.crash


class SlowRenewals(FailpointStore):
    """Renewing takes longer than a lease, as on a disk that hangs for a while."""

    async def renew(self, worker: str, threads: Sequence[Lease], until: int) -> list[Lease]:
        await asyncio.sleep(3 * clerks.LEASE)
        return await super().renew(worker, threads, until)


async def test_a_worker_that_renews_late_does_not_take_its_own_thread_from_itself(tmp_path: Path) -> None:
    sent: list[str] = []

    @tool(effect="write")
    async def act(name: str) -> str:
        sent.append(name)
        await asyncio.sleep(4 * clerks.LEASE)
        return "done"

    slow = Graph("slow", state=clerks.Job, tools=[act])

    @slow.node
    async def go(state: clerks.Job, ctx: Context) -> dict[str, Any]:
        return {"notes": [await ctx.call(act, name=state.name)]}

    slow.start(go)
    slow.edge(go, END)
    store = SlowRenewals(open_store(f"sqlite:///{tmp_path / 's.db'}"))
    async with open_app(store, graphs=[slow], settings=clerks.SETTINGS) as app:
        run = await app.start("slow", {"name": "x"}, thread="x")
        assert isinstance(await app.wait(run, timeout=10), Finished)
        entries = await app.entries("x")
    assert sent == ["x"]
    assert [entry.kind for entry in entries].count("effect.intended") == 1
    assert {entry.epoch for entry in entries} == {0, 1}


class ChildEndsFirst(FailpointStore):
    """Holds the parent's parking back until the child has ended: the narrowest moment for a wake-up to get lost."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.child_ended = asyncio.Event()

    async def append(self, change: Append) -> None:
        if change.thread == "p" and change.release and change.status == "waiting":
            async with asyncio.timeout(5):
                await self.child_ended.wait()
        await super().append(change)
        if change.thread != "p" and any(row.kind == "run.finished" for row in change.rows):
            self.child_ended.set()


async def test_a_child_that_ends_while_its_parent_parks_wakes_it(tmp_path: Path) -> None:
    quick = Graph("quick", state=clerks.Job)

    @quick.node
    async def nothing(state: clerks.Job, ctx: Context) -> dict[str, Any]:
        return {"notes": ["child"]}

    quick.start(nothing)
    quick.edge(nothing, END)
    parent = Graph("parent", state=clerks.Job)

    @parent.node
    async def hand_on(state: clerks.Job, ctx: Context) -> dict[str, Any]:
        return {"notes": (await ctx.run(quick, {"name": state.name}))["notes"]}

    parent.start(hand_on)
    parent.edge(hand_on, END)
    store = ChildEndsFirst(open_store(f"sqlite:///{tmp_path / 's.db'}"))
    async with open_app(store, graphs=[quick, parent], settings=clerks.SETTINGS) as app:
        run = await app.start("parent", {"name": "p"}, thread="p")
        outcome = await app.wait(run, timeout=5)
    assert isinstance(outcome, Finished)
    assert store.child_ended.is_set()


# --- real processes ------------------------------------------------------------------------------------------


def start_worker(spawner: Spawner, folder: Path, name: str, *more: object, store: object = "") -> Child:
    """A worker on the store (by default the file s.db of the folder) that is ready."""
    found = spawner.start(
        "tests.crash.clerks", "work", store or folder / "s.db", folder / "world", *more, out=folder / name
    )
    end = time.monotonic() + 10
    while str(found.pid) not in Oracle(folder / "world").count("ready"):
        assert time.monotonic() < end, found.said
        time.sleep(0.005)
    return found


async def began(world: Oracle, what: str) -> None:
    async with asyncio.timeout(10):
        while not world.done(what):
            await asyncio.sleep(0.005)


async def test_a_dead_worker_s_threads_are_taken_over_within_two_leases(
    spawner: Spawner, stores: Stores, tmp_path: Path
) -> None:
    store, world = stores.fresh(tmp_path), Oracle(tmp_path / "world")
    took = []
    async with clerks.open_shared(store, work=False) as app:
        for n in range(4):
            doomed = start_worker(spawner, tmp_path, f"doomed-{n}", "--busy", 30, store=store)
            run = await app.start("jobs", {"name": f"d{n}"}, thread=f"d{n}")
            await began(world, f"act d{n}")
            doomed.signal(signal.SIGKILL)
            assert doomed.wait() == -9
            killed = time.monotonic()
            heir = start_worker(spawner, tmp_path, f"heir-{n}", store=store)
            assert isinstance(await app.wait(run, timeout=10), Finished)
            took.append((time.monotonic() - killed) / clerks.LEASE)
            heir.signal(signal.SIGTERM)
            assert heir.wait() == 0, heir.said
    assert set(world.count("write").values()) == {1}
    print(f"\ntaken over and finished, in leases after the kill: {', '.join(f'{x:.2f}' for x in took)}")
    assert max(took) < 2.0


async def test_a_worker_that_closes_finishes_its_steps_and_gives_its_threads_back(
    spawner: Spawner, stores: Stores, tmp_path: Path
) -> None:
    store, world = stores.fresh(tmp_path), Oracle(tmp_path / "world")
    worker = start_worker(spawner, tmp_path, "worker", "--busy", 1.0, store=store)
    async with clerks.open_shared(store, work=False) as app:
        for n in range(5):
            await app.start("jobs", {"name": f"c{n}"}, thread=f"c{n}")
        for n in range(5):
            await began(world, f"act c{n}")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.said
        assert worker.result["closing"] < 2.0
        for row in await app.threads():
            assert (row.owner, row.lease_until) == ("", 0)
            kinds = [entry.kind for entry in await app.entries(row.thread)]
            assert kinds.count("effect.settled") == kinds.count("step.finished") == 1
            assert "run.finished" not in kinds, "it went on instead of closing"
        begun = time.monotonic()
        heir = start_worker(spawner, tmp_path, "heir", store=store)
        for n in range(5):
            assert isinstance(await app.wait(f"c{n}/1", timeout=10), Finished)
        assert time.monotonic() - begun < clerks.LEASE, "nothing was to be waited for"
        heir.signal(signal.SIGTERM)
        assert heir.wait() == 0, heir.said
    assert set(world.count("write").values()) == {1}


async def test_a_step_that_never_ends_does_not_keep_a_worker_from_closing(
    spawner: Spawner, stores: Stores, tmp_path: Path
) -> None:
    store, world = stores.fresh(tmp_path), Oracle(tmp_path / "world")
    worker = start_worker(spawner, tmp_path, "worker", "--busy", 600, store=store)
    async with clerks.open_shared(store, work=False) as app:
        run = await app.start("jobs", {"name": "z"}, thread="z")
        await began(world, "act z")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.said
        assert worker.result["closing"] < 2 * clerks.SETTINGS.grace + 1
        heir = start_worker(spawner, tmp_path, "heir", store=store)
        assert isinstance(await app.wait(run, timeout=10), Finished)
        heir.signal(signal.SIGTERM)
        assert heir.wait() == 0, heir.said
    assert world.count("write") == {"act z": 1}
