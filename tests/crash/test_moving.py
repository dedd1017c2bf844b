"""Kill an export or an import before or after every write: run again, it comes to the end it would have come to."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.crash.spawner import Spawner

pytestmark = pytest.mark.crash
KILLED = -9


@dataclass
class Unkilled:
    """A household, the file that it moved in, and how it looked."""

    store: Path
    file: Path
    picture: Any
    exports: int
    imports: int


def run(
    spawner: Spawner, do: str, store: Path, file: Path, out: Path, *more: object, kill: bool = False
) -> Any:
    child = spawner.start("tests.crash.mover", do, store, file, *more, out=out)
    code = child.wait(60)
    assert code == (KILLED if kill else 0), child.said
    return None if kill else child.result


@pytest.fixture(scope="module")
def unkilled(spawner: Spawner, tmp_path_factory: pytest.TempPathFactory) -> Unkilled:
    folder = tmp_path_factory.mktemp("unkilled")
    old, moved, new, file = folder / "old", folder / "moved", folder / "new", folder / "house.jsonl"
    for place in (old, new):
        place.mkdir()
    run(spawner, "furnish", old, file, folder / "out")
    picture = run(spawner, "picture", old, file, folder / "out")
    shutil.copytree(old, moved)
    exports = run(spawner, "move", moved, file, folder / "out")["writes"]
    imports = run(spawner, "import", new, file, folder / "out")["writes"]
    assert run(spawner, "picture", new, file, folder / "out") == picture
    return Unkilled(old, file, picture, exports, imports)


def chosen(writes: int, everything: bool) -> list[tuple[int, str]]:
    points = [(at, when) for at in range(1, writes + 1) for when in ("before", "after")]
    return points if everything else points[::11]


def test_an_import_that_is_killed_at_any_write_is_finished_by_the_next(
    spawner: Spawner, unkilled: Unkilled, tmp_path: Path, everything: bool
) -> None:
    def kill(point: tuple[int, str]) -> None:
        at, when = point
        store = tmp_path / f"{at}-{when}"
        store.mkdir()
        out = tmp_path / f"{at}-{when}.out"
        run(spawner, "import", store, unkilled.file, out, "--at", at, "--when", when, kill=True)
        run(spawner, "import", store, unkilled.file, out)
        assert run(spawner, "picture", store, unkilled.file, out) == unkilled.picture, point

    assert unkilled.imports > 40
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(kill, chosen(unkilled.imports, everything)))


def test_a_move_that_is_killed_at_any_write_is_finished_by_the_next(
    spawner: Spawner, unkilled: Unkilled, tmp_path: Path, everything: bool
) -> None:
    """Only when a thread is due may be lost, of the one that was on its way: then it is due at once."""

    def kill(point: tuple[int, str]) -> None:
        at, when = point
        place = tmp_path / f"{at}-{when}"
        old, new, file, out = place / "old", place / "new", place / "house.jsonl", place / "out"
        shutil.copytree(unkilled.store, old)
        new.mkdir()
        run(spawner, "move", old, file, out, "--at", at, "--when", when, kill=True)
        run(spawner, "move", old, file, out)
        run(spawner, "import", new, file, out)
        found = run(spawner, "picture", new, file, out)
        at_once = [
            name
            for name, had in unkilled.picture.items()
            if found[name]["row"]["wake_at"] != had["row"]["wake_at"]
        ]
        assert len(at_once) <= 1, point
        for name in at_once:
            assert found[name]["row"]["wake_at"] == found[name]["row"]["updated_at"]
            found[name]["row"]["wake_at"] = unkilled.picture[name]["row"]["wake_at"]
        assert found == unkilled.picture, point
        for moved in run(spawner, "picture", old, file, out).values():
            assert moved["row"]["aside"].startswith("moved to ")

    assert unkilled.exports > 40
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(kill, chosen(unkilled.exports, everything)))
