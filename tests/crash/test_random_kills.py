"""`kill -9` at moments nobody chose, several times over, on a batch of threads."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from tests.crash.spawner import Spawner
from tests.crash.stores import Stores
from tests.crash.test_every_write import Uncrashed, compare, extra
from tests.crash.world import Oracle

pytestmark = pytest.mark.crash
CASES = 6
BATCH = ("--cases", CASES, "--rounds", 1)
SEEDS = 15
DEFAULT_SEEDS = 3


@pytest.fixture(scope="module")
def batch(spawner: Spawner, stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Uncrashed:
    folder = tmp_path_factory.mktemp("batch")
    child = spawner.start(
        "tests.crash.desk", stores.fresh(folder), folder / "world", *BATCH, out=folder / "out"
    )
    assert child.wait(30) == 0, child.said
    return Uncrashed(child.result["threads"], Oracle(folder / "world"), child.result["writes"])


@pytest.mark.parametrize("first", range(DEFAULT_SEEDS))
def test_a_batch_survives_kills_at_random_moments(
    spawner: Spawner, stores: Stores, batch: Uncrashed, tmp_path: Path, first: int, everything: bool
) -> None:
    if stores.engine == "postgres" and not everything:
        pytest.skip("on Postgres test_many_kills has kills at random moments; `make crash` does both")
    for seed in range(first, SEEDS if everything else DEFAULT_SEEDS, DEFAULT_SEEDS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        kill_often(spawner, stores.fresh(folder), batch, folder, seed)


def kill_often(spawner: Spawner, store: str, batch: Uncrashed, folder: Path, seed: int) -> None:
    """Start and kill the batch eight times, then let it finish, and compare."""
    chance = random.Random(seed)
    world, kills = Oracle(folder / "world"), 0
    for attempt in range(8):
        out = folder / str(attempt)
        child = spawner.start("tests.crash.desk", store, world.path, *BATCH, out=out)
        time.sleep(chance.uniform(0.02, 0.9))
        child.signal(signal.SIGKILL)
        kills += child.wait() == -9
    last = spawner.start("tests.crash.desk", store, world.path, *BATCH, out=folder / "last")
    assert last.wait(60) == 0, last.said
    compare(last.result["threads"], world, batch)
    writes, paid_twice = sum(world.count("write").values()), extra(world, batch, "model").total()
    print(f"\nseed {seed}: {kills} kills, {writes} writes once each, {paid_twice} model calls paid twice")
    assert kills >= 2
    assert paid_twice <= kills * CASES
