"""Kill the process before and after every store write of transactional tools: each row is there once, as its entry is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.crash.books import rows
from tests.crash.spawner import Spawner
from tests.crash.stores import Stores
from tests.crash.world import Oracle

pytestmark = pytest.mark.crash
KILLED = -9
SPARING = {"sqlite": 1, "postgres": 4}
"""Of the selected points every so-manieth is tried, unless all are."""


@dataclass
class Uncrashed:
    """The run that all others are compared with."""

    result: dict[str, Any]
    mails: dict[str, int]
    ordered: bool  # whether what a step gathers is always written in one order: on SQLite one transaction holds up others

    @property
    def writes(self) -> list[str]:
        found: list[str] = self.result["writes"]
        return found


@pytest.fixture(scope="module")
def uncrashed(spawner: Spawner, stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Uncrashed:
    folder = tmp_path_factory.mktemp("uncrashed")
    child = spawner.start("tests.crash.books", stores.fresh(folder), folder / "world", out=folder / "out")
    assert child.wait() == 0, child.said
    return Uncrashed(child.result, Oracle(folder / "world").count("write"), stores.engine == "sqlite")


def compare(result: dict[str, Any], world: Oracle, uncrashed: Uncrashed) -> None:
    """Rows, journals and states are those of the uncrashed run, and every row has its entry."""
    assert result["rows"] == result["landed"]
    assert result["rows"] == uncrashed.result["rows"]
    assert world.count("write") == uncrashed.mails
    for name, found in result["threads"].items():
        expected = uncrashed.result["threads"][name]
        if uncrashed.ordered:
            assert found == expected, name
        else:
            assert in_any_order(found) == in_any_order(expected), name
        assert (found["replay"], found["verify"], found["unsettled"]) == ("identical", [], 0), name


def in_any_order(thread: dict[str, Any]) -> dict[str, Any]:
    """A thread's report with the lines of each step sorted."""
    shape = {step: sorted(lines) for step, lines in thread["shape"].items()}
    state = {**thread["state"], "done": sorted(thread["state"]["done"])}
    return {**thread, "shape": shape, "state": state}


def points(writes: list[str], whens: tuple[str, ...], everything: bool) -> list[tuple[int, str]]:
    """Where to fail: at every write of a transaction, and at a selection of the others."""
    found = []
    for at, what in enumerate(writes, 1):
        if everything or at % 6 == 0 or what.startswith("transaction") or what == "commit":
            found += [(at, when) for when in whens]
    return found


def test_the_workload_is_made_of_transactions(uncrashed: Uncrashed) -> None:
    whats = [what for what, _ in uncrashed.result["rows"]]
    assert len(whats) == len(set(whats)) == 12
    assert not any("spilled" in what for what in whats)
    assert uncrashed.result["landed"] == uncrashed.result["rows"]
    assert uncrashed.writes.count("commit") == 12
    assert sum(what.startswith("transaction") for what in uncrashed.writes) == 12
    assert any(what.startswith("transaction effect.recorded") for what in uncrashed.writes)  # rides along


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_write_leaves_every_row_once(
    spawner: Spawner, stores: Stores, uncrashed: Uncrashed, tmp_path: Path, everything: bool, when: str
) -> None:
    def crash(point: tuple[int, str]) -> bool:
        at, _ = point
        folder = tmp_path / f"{when}-{at}"
        folder.mkdir()
        store, world = stores.fresh(folder), Oracle(folder / "world")
        first = spawner.start(
            "tests.crash.books", store, world.path, "--at", at, "--when", when, out=folder / "1"
        )
        code = first.wait()
        assert code in (0, KILLED), first.said
        left = [what for what, _ in rows(store)]
        assert len(left) == len(set(left))
        second = spawner.start("tests.crash.books", store, world.path, out=folder / "2")
        assert second.wait() == 0, (
            f"{when} write {at} ({uncrashed.writes[at - 1]}):\n{first.said}\n{second.said}"
        )
        try:
            compare(second.result, world, uncrashed)
        except AssertionError as error:
            error.add_note(f"killed {when} write {at} ({uncrashed.writes[at - 1]}); in {folder}")
            raise
        return code == KILLED

    chosen = points(uncrashed.writes, (when,), everything)[:: 1 if everything else SPARING[stores.engine]]
    with ThreadPoolExecutor(3) as pool:
        killed = sum(pool.map(crash, chosen))
    print(f"\n{len(chosen)} points, {killed} killed; every row is there once, and has its entry")
    assert killed >= len(chosen) - 2  # timing may end a run a write or two early


@pytest.mark.parametrize("how", ["refuse", "doubt"])
def test_a_store_that_fails_once_at_any_write_leaves_every_row_once(
    spawner: Spawner, stores: Stores, uncrashed: Uncrashed, tmp_path: Path, everything: bool, how: str
) -> None:
    """Refused, or (a commit in doubt) durable but answered with an error: the same process goes on."""

    def fail(point: tuple[int, str]) -> bool:
        at, _ = point
        folder = tmp_path / f"{how}-{at}"
        folder.mkdir()
        world = Oracle(folder / "world")
        child = spawner.start(
            "tests.crash.books",
            stores.fresh(folder),
            world.path,
            "--at",
            at,
            "--when",
            how,
            out=folder / "out",
        )
        assert child.wait() == 0, f"{how} at write {at} ({uncrashed.writes[at - 1]}):\n{child.said}"
        try:
            compare(child.result, world, uncrashed)
        except AssertionError as error:
            error.add_note(f"{how} at write {at} ({uncrashed.writes[at - 1]}); in {folder}")
            raise
        return "for once" in child.said

    chosen = points(uncrashed.writes, (how,), everything)[:: 1 if everything else SPARING[stores.engine]]
    with ThreadPoolExecutor(3) as pool:
        failed = sum(pool.map(fail, chosen))
    print(f"\n{len(chosen)} points, {failed} failed; every row is there once, and has its entry")
