"""Several workers on one store, and somebody who kills one of them all the time: every thread ends, nothing is lost and
nothing happens twice. `make crash` kills two hundred over three hundred threads, the usual run a few over a few."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.crash import desk
from tests.crash.spawner import Child, Spawner
from tests.crash.stores import Stores
from tests.crash.world import Oracle

from turnout import App, Finished, open_app
from turnout.service.outcome import Outcome

pytestmark = pytest.mark.crash
WORKERS = 3
CALLER = replace(desk.SETTINGS, poll=0.25)  # it asks about many threads


@dataclass(frozen=True)
class Size:
    threads: int
    kills: int
    at_once: int


SHORT, LONG = Size(24, 10, 24), Size(300, 200, 60)


class Killer:
    """Keeps `WORKERS` workers running, and kills one of them every now and then."""

    def __init__(self, spawner: Spawner, store: str, world: Oracle, folder: Path, seed: int) -> None:
        self._start = lambda n: spawner.start(
            "tests.crash.desk", store, world.path, "--serve", out=folder / f"worker-{n}"
        )
        self._chance = random.Random(seed)
        self._workers: list[Child] = [self._start(n) for n in range(WORKERS)]
        self.kills = 0

    async def go_on(self, kills: int) -> None:
        while self.kills < kills:
            await asyncio.sleep(self._chance.uniform(0.05, 0.5))
            place = self._chance.randrange(WORKERS)
            self._workers[place].signal(signal.SIGKILL)
            assert await asyncio.to_thread(self._workers[place].wait) == -9, self._workers[place].said
            self.kills += 1
            self._workers[place] = self._start(WORKERS + self.kills)

    def stop(self) -> None:
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
            assert worker.wait() in (0, -15), worker.said  # -15: it had just been started
            assert "Traceback" not in worker.said, worker.said


async def follow(app: App, case: str, gate: asyncio.Semaphore) -> Outcome:
    """What a caller does for one thread: its input, decisions, the bell."""
    async with gate:
        run = await desk.patiently(
            app.start, "desk", {"case": case, "round": 2}, thread=case, idempotency_key=case, by="sam"
        )
        return await desk.to_the_end(app, run, timeout=600)


async def one_case(store: str, world: Oracle) -> Counter[str]:
    """The writes of a case that nobody disturbs."""
    desk.world = world
    async with open_app(store, graphs=desk.GRAPHS, models=desk.models(), settings=desk.SETTINGS) as app:
        assert isinstance(await follow(app, "case-0", asyncio.Semaphore()), Finished)
    return world.count("write")


@pytest.mark.timeout(1500)
async def test_workers_that_are_killed_all_the_time_bring_every_thread_to_its_end(
    spawner: Spawner, stores: Stores, tmp_path: Path, everything: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = LONG if everything else SHORT
    (tmp_path / "calm").mkdir()
    monkeypatch.setattr(desk, "world", desk.world)  # is put back
    calm = await one_case(stores.fresh(tmp_path / "calm"), Oracle(tmp_path / "calm" / "world"))
    store, world = stores.fresh(tmp_path), Oracle(tmp_path / "world")
    desk.world = world
    names = [f"case-{n}" for n in range(1, size.threads + 1)]
    begun = time.monotonic()
    async with open_app(store, graphs=desk.GRAPHS, settings=CALLER, work=False) as app:
        killer = Killer(spawner, store, world, tmp_path, seed=size.threads)
        gate = asyncio.Semaphore(size.at_once)
        following = asyncio.ensure_future(asyncio.gather(*(follow(app, name, gate) for name in names)))
        judging = asyncio.ensure_future(judge(app, taken_back := []))
        try:
            await killer.go_on(size.kills)
            left = sum(row.status != "finished" for row in await app.threads(limit=10_000))
            outcomes = await following
            took = time.monotonic() - begun
        finally:
            following.cancel()
            judging.cancel()
            await asyncio.gather(following, judging, return_exceptions=True)
        killer.stop()
        assert all(isinstance(outcome, Finished) for outcome in outcomes)
        found = await desk.report(app, "")
        assert (await app.verify()).ok
        check(found, 2 * len(names))
        rows = await app.threads(limit=10_000)
        assert {row.status for row in rows} == {"finished"}
        assert len(rows) == 2 * size.threads  # each has a child
    expected = Counter({what.replace("case-0 ", f"{name} "): n for name in names for what, n in calm.items()})
    assert world.count("write") == expected
    assert set(expected.values()) == {1}
    assert {len(keys) for keys in world.keys().values()} == {1}
    looked = [e for e in await settled(store) if e != "call"]
    print(f"\n{stores.engine}: {killer.kills} kills over {size.threads} threads ({left} not ended at the last) in {took:.0f} s, {expected.total()} writes "
          f"once each; {len(looked)} of them were looked into or decided: {dict(Counter(looked))}; "
          f"{len(taken_back)} times a thread was set aside, and taken back")  # fmt: skip


async def judge(app: App, taken_back: list[str]) -> None:
    """What a person does who knows that it wasn't the threads that killed their workers: have them claimed again."""
    while True:
        await asyncio.sleep(0.5)
        aside = [row.thread for row in await app.store.threads(aside=True, limit=10_000)]
        taken_back += await app.store.take_back(aside, int(time.time() * 1_000_000)) if aside else []


def check(found: dict[str, Any], count: int) -> None:
    assert len(found) == count
    for name, said in found.items():
        assert said["replay"] == "identical", (name, said["replay"])
        assert said["verify"] == [], name
        assert (said["status"], said["unsettled"], said["open reviews"]) == ("finished", 0, 0), name


async def settled(store: str) -> list[str]:
    """How each write was settled: by its call, or by what was found out later."""
    async with open_app(store, graphs=desk.GRAPHS, settings=CALLER, work=False) as app:
        return [
            entry.body.how
            for row in await app.threads(limit=10_000)
            for entry in await app.entries(row.thread)
            if entry.kind == "effect.settled"
        ]
