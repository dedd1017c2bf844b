"""A thread that kills its worker again and again is set aside, and the others get their work done."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from tests.crash import poison
from tests.crash.spawner import Child, Spawner

from turnout import App, Finished, Paused, open_app

pytestmark = pytest.mark.crash
TRIES = 5
WORKERS = 2
INNOCENT = 20


class Supervisor:
    """Keeps so many workers running, as systemd or Kubernetes would, and counts those that died."""

    def __init__(self, spawner: Spawner, folder: Path) -> None:
        self.spawner = spawner
        self.folder = folder
        self.workers: list[Child] = []
        self.deaths: list[int] = []
        self.begun = 0

    def look(self) -> None:
        for worker in list(self.workers):
            worker.code = self.spawner.ask({"do": "wait", "pid": worker.pid})
            if worker.code is not None:
                self.workers.remove(worker)
                self.deaths.append(worker.code)
        while len(self.workers) < WORKERS:
            self.begun += 1
            store = f"sqlite:///{self.folder / 's.db'}"
            self.workers.append(
                self.spawner.start(
                    "tests.crash.poison", "worker", "tests.crash.poison:graphs", "--store", store, "--lease", 0.6,
                    "--tries", TRIES, "--concurrency", 30, out=self.folder / f"worker-{self.begun}",
                )
            )  # fmt: skip

    def stop(self) -> list[int]:
        for worker in self.workers:
            worker.signal(signal.SIGTERM)
        return [worker.wait() for worker in self.workers]


async def settled(app: App) -> bool:
    rows = await app.threads(limit=1000)
    return all(row.status == "finished" or row.aside for row in rows)


async def test_a_thread_that_kills_its_workers_is_set_aside_and_only_that_one(
    spawner: Spawner, tmp_path: Path
) -> None:
    supervisor = Supervisor(spawner, tmp_path)
    async with open_app(f"sqlite:///{tmp_path / 's.db'}", graphs=poison.graphs, work=False) as app:
        for n in range(INNOCENT // 2):
            await app.start("innocent", {}, thread=f"before-{n}")
        bad = await app.start("poisoned", {}, thread="bad")
        for n in range(INNOCENT // 2):
            await app.start("innocent", {}, thread=f"after-{n}")
        async with asyncio.timeout(60):
            while not await settled(app):
                supervisor.look()
                await asyncio.sleep(0.02)
        assert supervisor.deaths == [-9] * TRIES
        outcome = await app.wait(bad, timeout=10)
        assert isinstance(outcome, Paused)
        assert f"its worker stopped {TRIES} times in a row before a step came to its end" in outcome.aside
        assert [row.thread for row in await app.threads(aside=True)] == ["bad"]
        for row in await app.threads(graph="innocent", limit=1000):
            finished = await app.wait(f"{row.thread}/1", timeout=10)
            assert isinstance(finished, Finished)
            assert finished.state.notes == ["first", "second"]  # type: ignore[attr-defined]
            assert (row.tries, row.owner) == (0, "")
        said = await app.verify()
        assert said.ok, said.problems
        assert supervisor.stop() == [0] * WORKERS
