"""The clock of one worker's machine is set, an hour forward and an hour back, while it works with others.

On Postgres leases and due times are by the server's clock, carried on by a steady one: nothing happens at all. On SQLite
all processes have the one clock of their machine. Set forward, it ends every lease, and threads change hands in the
middle of a step: then what had been sent is found out, and nothing is done twice.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.crash import clerks
from tests.crash.spawner import Spawner
from tests.crash.stores import Stores
from tests.crash.test_leases import began, start_worker
from tests.crash.world import Oracle

from turnout import App, Finished

pytestmark = pytest.mark.crash
HOUR = 3600
SLOW = ("--busy", 1.2, "--lease", 20)  # so that no lease ends for any other reason


def set_clock(file: Path, seconds: float) -> None:
    draft = file.with_suffix(".new")
    draft.write_text(str(seconds))
    draft.replace(file)  # the workers read it all the time


async def during(app: App, world: Oracle, clock: Path, name: str, seconds: float) -> set[int]:
    """Set the clock while writes are under way. The epochs that the threads came to."""
    runs = [await app.start("jobs", {"name": f"{name}{n}"}, thread=f"{name}{n}") for n in range(6)]
    for run in runs:
        await began(world, f"act {run.thread}")
    set_clock(clock, seconds)
    for run in runs:
        assert isinstance(await app.wait(run, timeout=20), Finished)
        assert (await app.replay(run.thread)).identical
    return {row.epoch for row in await app.threads(search=name)}


async def test_setting_the_clock_of_one_worker_an_hour_forward_or_back_does_nothing_twice(
    spawner: Spawner, stores: Stores, tmp_path: Path
) -> None:
    store, world, clock = stores.fresh(tmp_path), Oracle(tmp_path / "world"), tmp_path / "clock"
    set_clock(clock, 0)
    wrong = start_worker(spawner, tmp_path, "wrong", *SLOW, "--clock", clock, store=store)
    right = start_worker(spawner, tmp_path, "right", *SLOW, store=store)
    async with clerks.open_shared(store, work=False) as app:
        epochs = [
            await during(app, world, clock, "forward", HOUR),
            await during(app, world, clock, "on", HOUR),
        ]
        if (
            stores.engine == "postgres"
        ):  # back: on SQLite what is to be done later waits for the clock, of course
            epochs += [
                await during(app, world, clock, "back", -HOUR),
                await during(app, world, clock, "again", 0),
            ]
            assert epochs == [{1}] * 4, "a thread was taken from its holder"
        assert (await app.verify()).ok
    writes = world.count("write")
    assert set(writes.values()) == {1}
    assert len(writes) == 6 * len(epochs)
    for worker in (wrong, right):
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.said
        assert "Traceback" not in worker.said, worker.said
