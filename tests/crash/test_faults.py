"""The store fails under a running worker: clear errors, nothing lost, nothing twice, and it goes on by itself after."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash import clerks
from tests.crash.spawner import Child, Spawner
from tests.crash.test_leases import began, start_worker
from tests.crash.world import Oracle

from turnout import App, Finished, open_app
from turnout.errors import SettingsInvalid, StoreDamaged, StoreNewer, StoreUnavailable
from turnout.stores.sqlite_opening import SCHEMA

pytestmark = pytest.mark.crash


async def told(child: Child, text: str) -> None:
    """Until the process has logged it."""
    async with asyncio.timeout(10):
        while text not in child.said:
            await asyncio.sleep(0.01)


async def finishes(app: App, world: Oracle, *names: str) -> None:
    """The runs of these threads end as if nothing had been, each write made once."""
    for name in names:
        assert isinstance(await app.wait(f"{name}/1", timeout=20), Finished)
        assert (await app.replay(name)).identical
    assert (await app.verify()).ok
    assert world.count("write") == {f"act {name}": 1 for name in names}


def end(worker: Child) -> None:
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.said
    assert "Traceback" not in worker.said, worker.said


# --- a full disk ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "turnout-test", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as out:
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    out.write(b"." * size)
            except OSError:
                continue


async def test_a_full_disk_fails_no_run_and_repeats_no_write(
    spawner: Spawner, small_disk: Path, tmp_path: Path
) -> None:
    """The disk fills up while a write is in flight: its outcome can't be recorded, and is found out afterwards."""
    world = Oracle(tmp_path / "world")
    (small_disk / "world").symlink_to(world.path)
    worker = start_worker(spawner, small_disk, "worker", "--busy", 0.4, "--bulk", 1_000_000)
    (tmp_path / "out").symlink_to(worker.out)
    async with clerks.open_shared(str(small_disk / "s.db"), work=False) as app:
        await app.start("jobs", {"name": "x"}, thread="x")
        await began(world, "act x")
        fill(small_disk)
        with pytest.raises(
            StoreUnavailable, match=r"disk of the store .* is full; free some space, nothing was lost"
        ):
            await app.start("jobs", {"name": "y" * 500_000}, thread="y")
        assert await app.store.thread("y") is None
        await asyncio.sleep(3 * clerks.LEASE)
        assert [row.status for row in await app.threads()] == ["running"]
        (small_disk / "filler").unlink()
        await finishes(app, world, "x")
        outcomes = [e.body.how for e in await app.entries("x") if e.kind == "effect.settled"]
        assert outcomes == ["reconcile"]
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.said


async def test_a_limit_on_file_size_is_a_clear_error_too(tmp_path: Path) -> None:
    """The same where nothing may be mounted: the process may not write beyond a limit."""
    program = (
        "import asyncio, resource, sys\n"
        "from tests.crash import clerks\n"
        "async def main():\n"
        "    async with clerks.open_shared(sys.argv[1], work=False) as app:\n"
        "        await app.start('jobs', {'name': 'a'}, thread='a')\n"
        "        limits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))\n"
        "        try:\n"
        "            await app.start('jobs', {'name': 'b' * 600_000}, thread='b')\n"
        "        except Exception as error:\n"
        "            print(type(error).__name__)\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, limits)\n"
        "        await app.start('jobs', {'name': 'b' * 600_000}, thread='b')\n"
        "        print([row.thread for row in await app.threads()], (await app.verify()).ok)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "s.db"], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["StoreUnavailable", "['a', 'b'] True"], done.stdout + done.stderr


# --- the file goes away, or is another -----------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["deleted", "replaced"])
async def test_a_store_file_that_is_gone_is_noticed_and_nothing_is_written_into_the_void(
    spawner: Spawner, tmp_path: Path, fault: str
) -> None:
    world, store, aside = Oracle(tmp_path / "world"), tmp_path / "s.db", tmp_path / "aside"
    worker = start_worker(spawner, tmp_path, "worker", "--busy", 0.3)
    async with clerks.open_shared(str(store), work=False) as app:
        await app.start("jobs", {"name": "x"}, thread="x")
        await began(world, "act x")
        store.rename(aside)
        if fault == "replaced":
            store.write_bytes(aside.read_bytes())
        with pytest.raises(
            StoreUnavailable, match=r"deleted or replaced while it was open.* put the file back"
        ):
            await app.start("jobs", {"name": "y"}, thread="y")
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            await app.wait("x/1", timeout=5)
        await told(worker, "was deleted or replaced while it was open")
        aside.rename(store)
        await app.start("jobs", {"name": "y"}, thread="y")
        await finishes(app, world, "x", "y")
    end(worker)


async def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"this is not a database, whatever its name says\n" * 100)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    newer = tmp_path / "newer.db"
    async with open_app(f"sqlite:///{newer}", graphs=clerks.GRAPHS, work=False):
        pass
    with sqlite3.connect(newer) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    db.close()
    for path, error, says in (
        (garbage, StoreDamaged, "not a SQLite database or is damaged"),
        (other, StoreDamaged, "not a Turnout store; name another file"),
        (newer, StoreNewer, "upgrade"),
        (tmp_path, StoreUnavailable, "can't be opened"),
        (tmp_path / "no" / "such.db", StoreUnavailable, "doesn't exist"),
    ):
        before = path.read_bytes() if path.is_file() else b""
        with pytest.raises(error, match=says):
            open_app(f"sqlite:///{path}", graphs=clerks.GRAPHS)
        assert not path.is_file() or path.read_bytes() == before


async def test_damaged_pages_are_reported_as_damage(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with clerks.open_shared(str(path), work=False) as app:
        for n in range(50):
            await app.start("jobs", {"name": "n" * 900}, thread=f"t{n}")
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    with pytest.raises(StoreDamaged, match="restore it from a backup"):
        async with clerks.open_shared(str(path), work=False) as app:
            await app.start("jobs", {"name": "x"}, thread="x")


@pytest.mark.parametrize("rights", [0o555, 0o000])
def test_a_store_that_may_not_be_written_or_not_be_seen_says_so(rights: int) -> None:
    """As a user who owns nothing: root may write everywhere."""
    program = (
        "import asyncio, os, sys\n"
        "from tests.crash import clerks\n"
        "from turnout.errors import StoreError\n"
        "if os.getuid() == 0:\n"
        "    os.setgid(65534), os.setuid(65534)\n"
        "async def main():\n"
        "    async with clerks.open_shared(sys.argv[1], work=False) as app:\n"
        "        await app.start('jobs', {'name': 'x'}, thread='x')\n"
        "try:\n"
        "    asyncio.run(main())\n"
        "except StoreError as error:\n"
        "    print(type(error).__name__, error)\n"
    )

    async def make(path: Path) -> None:
        async with clerks.open_shared(str(path), work=False) as app:
            await app.start("jobs", {"name": "a"}, thread="a")

    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        asyncio.run(make(folder / "s.db"))
        (folder / "s.db").chmod(0o444)
        folder.chmod(rights)
        done = subprocess.run(
            [sys.executable, "-c", program, folder / "s.db"], capture_output=True, text=True, check=False
        )
        folder.chmod(0o755)
    assert done.stdout.startswith("StoreUnavailable"), done.stdout + done.stderr
    assert "check path and permissions" in done.stdout


def test_an_empty_key_file_is_an_error_and_not_a_passing_key(tmp_path: Path) -> None:
    """What a crash in the moment of its making used to leave behind."""
    (tmp_path / "s.db.key").write_text("")
    with pytest.raises(SettingsInvalid, match="key"):
        open_app(f"sqlite:///{tmp_path / 's.db'}", graphs=clerks.GRAPHS)
