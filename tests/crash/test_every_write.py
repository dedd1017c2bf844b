"""Kill the process before and after every write to the store, start a new one, and find nothing lost, nothing twice."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.crash.spawner import Spawner
from tests.crash.stores import Stores
from tests.crash.world import Oracle

pytestmark = pytest.mark.crash
PARTS = 4
"""The sweep is cut into parts, so that xdist can share it out."""
KILLED = -9


@dataclass
class Uncrashed:
    """The run that all others are compared with."""

    threads: dict[str, Any]
    world: Oracle
    writes: list[str]


@pytest.fixture(scope="module")
def uncrashed(spawner: Spawner, stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Uncrashed:
    folder = tmp_path_factory.mktemp("uncrashed")
    child = spawner.start("tests.crash.desk", stores.fresh(folder), folder / "world", out=folder / "out")
    assert child.wait() == 0, child.said
    result = child.result
    return Uncrashed(result["threads"], Oracle(folder / "world"), result["writes"])


def compare(threads: dict[str, Any], world: Oracle, uncrashed: Uncrashed) -> None:
    """Journals, states and the world are those of the uncrashed run; nothing is left open or unknown."""
    assert threads.keys() == uncrashed.threads.keys()
    for name, found in threads.items():
        assert found["replay"] == "identical", (name, found["replay"])
        assert found["verify"] == [], name
        assert found == uncrashed.threads[name], name
    writes = world.count("write")
    assert writes == uncrashed.world.count("write")
    assert set(writes.values()) == {1}
    assert {what: len(keys) for what, keys in world.keys().items()} == dict.fromkeys(world.keys(), 1)


def extra(world: Oracle, uncrashed: Uncrashed, kind: str) -> Counter[str]:
    """What was asked more often than without the crash; nothing may have been asked less often."""
    assert not uncrashed.world.count(kind) - world.count(kind)
    return world.count(kind) - uncrashed.world.count(kind)


def crash_at(
    spawner: Spawner, stores: Stores, uncrashed: Uncrashed, folder: Path, at: int, when: str
) -> Counter[str]:
    """Die at write number `at`, finish in a second process, compare. Returns what it cost."""
    folder.mkdir()
    store, world = stores.fresh(folder), Oracle(folder / "world")
    first = spawner.start("tests.crash.desk", store, world.path, "--at", at, "--when", when, out=folder / "1")
    code = first.wait()
    assert code in (0, KILLED), first.said
    second = spawner.start("tests.crash.desk", store, world.path, out=folder / "2")
    assert second.wait() == 0, f"{when} write {at} ({uncrashed.writes[at - 1]}):\n{first.said}\n{second.said}"
    try:
        compare(second.result["threads"], world, uncrashed)
    except AssertionError as error:
        error.add_note(f"killed {when} write {at}; in {folder}")
        raise
    paid_twice = extra(world, uncrashed, "model")
    assert paid_twice.total() <= 1, paid_twice
    reads = extra(world, uncrashed, "read")
    assert reads.total() <= 1, reads
    stores.give_back(store)
    return Counter(killed=code == KILLED, models=paid_twice.total(), reads=reads.total(),
                   resent=(world.count("ask") - uncrashed.world.count("ask")).total())  # fmt: skip


@pytest.mark.parametrize("part", range(PARTS))
def test_a_kill_before_or_after_any_store_write_loses_nothing_and_repeats_nothing(
    spawner: Spawner, stores: Stores, uncrashed: Uncrashed, tmp_path: Path, part: int, everything: bool
) -> None:
    step = 1 if everything else {"sqlite": 9, "postgres": 27}[stores.engine]
    points = [(at, when) for at in range(1, len(uncrashed.writes) + 1) for when in ("before", "after")]
    chosen = points[::step][part::PARTS]
    with ThreadPoolExecutor(3) as pool:
        costs = list(
            pool.map(lambda p: crash_at(spawner, stores, uncrashed, tmp_path / f"{p[1]}-{p[0]}", *p), chosen)
        )
    total = sum(costs, Counter())
    print(f"\n{len(chosen)} of {len(points)} points, {total['killed']} killed; all like the uncrashed run. Paid twice: "
          f"{total['models']} model calls; read twice: {total['reads']}; sent again with its key: {total['resent']}")  # fmt: skip
    # Timing may end a run a write or two early; nearly all must really have died.
    assert total["killed"] >= len(chosen) - 2


def fail_at(
    spawner: Spawner, stores: Stores, uncrashed: Uncrashed, folder: Path, at: int, how: str
) -> Counter[str]:
    """The store fails once, at write number `at`; the same process goes on."""
    folder.mkdir()
    world = Oracle(folder / "world")
    store = stores.fresh(folder)
    child = spawner.start(
        "tests.crash.desk", store, world.path, "--at", at, "--when", how, out=folder / "out"
    )
    assert child.wait() == 0, f"{how} at write {at} ({uncrashed.writes[at - 1]}):\n{child.said}"
    try:
        compare(child.result["threads"], world, uncrashed)
    except AssertionError as error:
        error.add_note(f"{how} at write {at} ({uncrashed.writes[at - 1]}); in {folder}")
        raise
    paid_twice = extra(world, uncrashed, "model")
    assert paid_twice.total() <= 1, paid_twice
    stores.give_back(store)
    return Counter(failed="for once" in child.said, models=paid_twice.total())


@pytest.mark.parametrize("part", range(PARTS))
def test_a_store_that_fails_once_at_any_write_fails_no_run_and_repeats_nothing(
    spawner: Spawner, stores: Stores, uncrashed: Uncrashed, tmp_path: Path, part: int, everything: bool
) -> None:
    """Refused, or durable but answered with an error: what the code of a step makes of that must not be recorded."""
    points = [(at, how) for at in range(1, len(uncrashed.writes) + 1) for how in ("refuse", "doubt")]
    # Giving a child its input writes another journal than the step's own: always tried.
    child_inputs = {
        n for n in range(2, len(uncrashed.writes) + 1) if "child.started" in uncrashed.writes[n - 2]
    }
    step = {"sqlite": 7, "postgres": 35}[stores.engine]
    chosen = [p for n, p in enumerate(points) if everything or n % step == 0 or p[0] in child_inputs][
        part::PARTS
    ]
    with ThreadPoolExecutor(3) as pool:
        costs = list(
            pool.map(lambda p: fail_at(spawner, stores, uncrashed, tmp_path / f"{p[1]}-{p[0]}", *p), chosen)
        )
    total = sum(costs, Counter())
    print(
        f"\n{len(chosen)} of {len(points)} failures; all like the uncrashed run. Paid twice: {total['models']}"
    )


def test_the_workload_has_every_kind_of_store_write(uncrashed: Uncrashed) -> None:
    said = " ".join(uncrashed.writes)
    kinds = (
        "input.received run.started effect.recorded effect.intended effect.settled step.finished step.failed decision "
        "branches.joined review.requested review.decided timer.set timer.fired signal.awaited signal.received "
        "child.started child.ended cancel.requested step.cancelled run.cancelled run.finished claim renew append"
    )
    assert [kind for kind in kinds.split() if kind not in said] == []
    assert {found["replay"] for found in uncrashed.threads.values()} == {"identical"}
    assert set(uncrashed.world.count("write").values()) == {1}
