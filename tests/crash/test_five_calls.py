"""Five model calls in one step: a kill costs at most the one call whose answer was not on record yet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.crash.five import CALLS
from tests.crash.spawner import Spawner
from tests.crash.stores import Stores
from tests.crash.world import Oracle

pytestmark = pytest.mark.crash


def killed_at(spawner: Spawner, stores: Stores, folder: Path, at: int, when: str) -> list[str]:
    """Die there, finish in a new process. Returns the calls that were paid twice."""
    folder.mkdir()
    store, world = stores.fresh(folder), Oracle(folder / "world")
    first = spawner.start("tests.crash.five", store, world.path, "--at", at, "--when", when, out=folder / "1")
    assert first.wait() == -9, first.said
    second = spawner.start("tests.crash.five", store, world.path, out=folder / "2")
    assert second.wait() == 0, second.said
    found = second.result
    assert found["identical"]
    assert found["verify"] == []
    assert found["recorded"] == CALLS
    assert found["state"]["said"] == [f"answer to call {n} after {n - 1}" for n in range(1, CALLS + 1)]
    paid = world.count("model")
    assert sorted(paid) == [f"call {n} after {n - 1}" for n in range(1, CALLS + 1)]
    assert max(paid.values()) <= 2
    stores.give_back(store)
    return sorted(what[:6] for what, times in paid.items() if times > 1)


def test_only_the_model_call_in_flight_is_ever_paid_twice(
    spawner: Spawner, stores: Stores, tmp_path: Path
) -> None:
    child = spawner.start(
        "tests.crash.five", stores.fresh(tmp_path), tmp_path / "world", out=tmp_path / "out"
    )
    assert child.wait() == 0, child.said
    writes = child.result["writes"]
    points = [(at, when) for at in range(1, len(writes) + 1) for when in ("before", "after")]
    with ThreadPoolExecutor(3) as pool:
        twice = dict(
            zip(
                points,
                pool.map(lambda p: killed_at(spawner, stores, tmp_path / f"{p[0]}{p[1]}", *p), points),
                strict=True,
            )
        )
    print("\n| killed | at the commit of | paid twice |\n|---|---|---|")
    number = 0
    for at, when in points:
        name = writes[at - 1].removeprefix("append ")
        number += name.startswith("effect.recorded") and when == "before"
        label = f"the answer of call {number}" if name.startswith("effect.recorded") else name
        print(f"| {when} | {label} | {', '.join(twice[at, when]) or 'none'} |")
        in_flight = [f"call {number}"] if name.startswith("effect.recorded") and when == "before" else []
        assert twice[at, when] == in_flight, (at, when, name)
    assert number == CALLS
    total = sum(map(len, twice.values()))
    print(f"{len(points)} kills, {total} calls paid twice of {len(points) * CALLS}")
