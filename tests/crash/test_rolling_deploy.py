"""Old and new code work on one store at once: a run is finished by its own version, or adopted by proof, and none is
stuck while the version that it needs is there."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.crash import versions
from tests.crash.spawner import Child, Spawner
from tests.crash.stores import Stores
from tests.crash.world import Oracle

from turnout import App, Finished, Paused, approve

pytestmark = pytest.mark.crash
RUNS = 24


class Deploy:
    """A store, and workers of several versions on it."""

    def __init__(self, spawner: Spawner, store: str, folder: Path) -> None:
        self._spawner = spawner
        self._folder = folder
        self.store = store
        self.world = Oracle(folder / "world")
        self._workers: dict[str, Child] = {}

    def begin(self, version: str) -> None:
        worker = self._spawner.start(
            "tests.crash.versions", self.store, self.world.path, version, out=self._folder / version
        )
        end = time.monotonic() + 10
        while str(worker.pid) not in self.world.count("ready"):
            assert time.monotonic() < end, worker.said
            time.sleep(0.005)
        self._workers[version] = worker

    def end(self, version: str) -> None:
        worker = self._workers.pop(version)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.said
        assert "Traceback" not in worker.said, worker.said

    def app(self) -> App:
        return versions.open_version(self.store, "old", self.world)

    async def start(self, app: App, count: int = RUNS, first: int = 0) -> list[str]:
        """Runs that wait for a person."""
        names = [f"r{n:02}" for n in range(first, first + count)]
        for name in names:
            await app.start("desk", {"order": name}, thread=name)
        await until_waiting(app, names)
        return names

    def paid_by(self) -> dict[str, str]:
        """Which version paid each order; each was paid once."""
        assert set(self.world.count("write").values()) <= {1}
        return {
            line["what"].removeprefix("pay "): line["key"]
            for line in self.world.lines()
            if line["kind"] == "write"
        }


@pytest.fixture
def deploy(spawner: Spawner, stores: Stores, tmp_path: Path) -> Deploy:
    return Deploy(spawner, stores.fresh(tmp_path), tmp_path)


async def until_waiting(app: App, names: list[str]) -> None:
    async with asyncio.timeout(20):
        for name in names:
            while not isinstance(await app.wait(f"{name}/1"), Paused):
                await asyncio.sleep(0.01)


async def decide_all(app: App) -> None:
    for review in await app.reviews():
        await app.resolve(review.id, approve(by="dana"))


async def finished(app: App, name: str) -> Finished:
    """To the end, through times in which it waits for another version."""
    async with asyncio.timeout(20):
        while not isinstance(outcome := await app.wait(f"{name}/1"), Finished):
            await asyncio.sleep(0.02)
    return outcome


async def started_by(app: App, name: str) -> str:
    """The version that the run was begun with."""
    [begun] = [entry.body for entry in await app.entries(name) if entry.kind == "run.started"]
    marks = {versions.graph(v, Oracle("none")).fingerprint: v for v in versions.VERSIONS}
    return marks[begun.fingerprint]


async def test_while_old_and_new_that_do_not_fit_work_at_once_each_run_is_finished_by_its_own_version(
    deploy: Deploy,
) -> None:
    deploy.begin("old")
    deploy.begin("apart")
    async with deploy.app() as app:
        names: list[str] = []
        begun: dict[str, str] = {}
        async with asyncio.timeout(
            60
        ):  # on a busy machine one of them may be quicker than the other for a while
            while set(begun.values()) != {"old", "apart"}:
                names += await deploy.start(app, first=len(names))
                begun = {name: await started_by(app, name) for name in names}
        await decide_all(app)
        for name in names:
            await finished(app, name)
        assert deploy.paid_by() == begun
        assert (await app.verify()).ok
    deploy.end("old")
    deploy.end("apart")


async def test_runs_of_a_version_that_is_gone_wait_for_it_and_go_on_when_it_is_back(deploy: Deploy) -> None:
    deploy.begin("old")
    async with deploy.app() as app:
        names = await deploy.start(app, 6)
        deploy.end("old")
        deploy.begin("apart")
        await decide_all(app)
        async with asyncio.timeout(20):
            while {row.status for row in await app.threads()} != {"diverged"}:
                await asyncio.sleep(0.02)
        assert deploy.paid_by() == {}
        await asyncio.sleep(0.5)  # they are not tried again and again
        kinds = Counter([entry.kind for name in names for entry in await app.entries(name)])
        assert kinds["run.diverged"] == len(names)
        deploy.begin("old")  # beside the new one, which must not keep them from it
        for name in names:
            await finished(app, name)
        assert set(deploy.paid_by().values()) == {"old"}
    deploy.end("old")
    deploy.end("apart")


async def test_a_new_version_that_fits_adopts_by_proof_while_the_old_one_still_works(deploy: Deploy) -> None:
    deploy.begin("old")
    async with deploy.app() as app:
        names = await deploy.start(app)
        deploy.begin("fits")
        await decide_all(app)
        for name in names:
            outcome = await finished(app, name)
            by = deploy.paid_by()[name]
            assert outcome.state.receipt == f"{name} 70 {by}"
            adopted = [e.body.proof for e in await app.entries(name) if e.kind == "run.adopted"]
            assert bool(adopted) == (by == "fits")
            assert all("ask.1" in " ".join(proof) for proof in adopted)
        assert "fits" in deploy.paid_by().values()
        assert deploy.world.count("read") == {f"price {name}": 1 for name in names}
    deploy.end("old")
    deploy.end("fits")
