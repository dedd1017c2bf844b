"""Cut off anywhere and run again, a move comes to the same end as one that was never cut off."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.moving.desk import furnish, graphs, picture, sound
from tests.moving.homes import KINDS, File, Home
from tests.property.crashing import CrashingStore

from turnout.errors import ExportFailed, ExportInvalid, StoreUnavailable
from turnout.ports.rows import Append
from turnout.service.moving import house, incoming
from turnout.service.moving.output import Output
from turnout.testing import VirtualClock


@pytest.fixture(scope="module", params=[False, True], ids=["copy", "move"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good export."""
    folder = tmp_path_factory.mktemp("written")

    async def write() -> None:
        home = File(folder, VirtualClock())
        await furnish(home)
        async with home.app() as app:
            await app.export_to(str(folder / "good.jsonl"), move=request.param)

    asyncio.run(write())
    return folder / "good.jsonl"


@asynccontextmanager
async def target(kind: str, folder: Path) -> AsyncIterator[Home]:
    folder.mkdir()
    home = KINDS[kind](folder, VirtualClock())
    yield home
    await home.close()


async def into(home: Home, file: Path, store: Any = None) -> Any:
    async with home.app(store=store) as app:
        return await app.import_from(str(file))


# --- import -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_an_import_that_dies_before_or_after_any_append_is_finished_by_the_next(
    kind: str, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "BATCH", 4)  # so that most threads take several appends
    async with target(kind, tmp_path / "whole") as home:
        store = CrashingStore(await home.open(), 0, after=False)
        await into(home, written, store)
        appends = store.appends
        async with home.app() as app:
            before = await app.export_to(str(tmp_path / "whole.jsonl"))
        costs = await booked(home)
        await sound(home)
    assert appends > 40
    assert costs["talk"]
    expected = (tmp_path / "whole.jsonl").read_bytes().splitlines()[1:-1]
    for at in range(1, appends + 1, 1 if kind == "memory" else 9):
        for after in (False, True):
            name = f"{at}-{after}"
            async with target(kind, tmp_path / name) as home:
                dying = CrashingStore(await home.open(), at, after=after)
                importing = asyncio.ensure_future(into(home, written, dying))
                await dying.crashed.wait()
                assert not importing.done()
                importing.cancel()
                await asyncio.gather(importing, return_exceptions=True)
                await closed(dying)
                found = await into(home, written)
                assert found.new + found.continued + found.same == before.threads
                async with home.app() as app:
                    await app.export_to(str(tmp_path / f"{name}.jsonl"))
                assert (tmp_path / f"{name}.jsonl").read_bytes().splitlines()[1:-1] == expected, name
                assert await booked(home) == costs, name
                if at % 10 == 0:
                    await sound(home)


async def booked(home: Home) -> dict[str, Any]:
    """What the ledger has of each thread."""
    async with home.app() as app:
        return {row.thread: await app.store.charges(row.thread) for row in await app.threads(limit=1000)}


async def test_what_a_thread_has_cost_is_booked_before_anybody_can_claim_it(
    written: Path, tmp_path: Path
) -> None:
    async with target("file", tmp_path / "new") as home:
        store: Any = await home.open()
        really, seen = store.book, []

        async def book(rows: Any) -> None:
            seen.append((await store.thread(rows[0].thread)).aside.partition(";")[0])
            await really(rows)

        store.book = book
        await into(home, written, store)
        assert seen == ["being imported"]


async def closed(dying: CrashingStore) -> None:
    await dying.inner.close()


async def test_a_store_that_is_full_half_way_says_so_and_is_finished_later(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "BATCH", 4)
    async with target("file", tmp_path / "new") as home:
        store: Any = await home.open()
        really, left = store.append, 20

        async def append(change: Append) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise StoreUnavailable("the disk of the store is full; free some space, nothing was lost")
            await really(change)

        store.append = append
        with pytest.raises(StoreUnavailable, match="is full"):
            await into(home, written, store)
        async with home.app(*graphs()) as app:
            for row in await app.threads():  # each is whole, or shut
                whole = (await app.verify(row.thread)).ok
                assert whole == (row.status != "importing")
                assert whole or row.aside.startswith("being imported")
        found = await into(home, written)
        assert found.ok
        await sound(home)


async def test_a_long_thread_comes_in_pieces(old: Home, new: Home, file: str) -> None:
    from tests.moving.test_selection import busy

    graph = busy()
    async with old.app(graph, work=True) as app:
        await app.start("busy", {}, thread="long")
        while (await app.store.thread("long")).head < 1800:
            await asyncio.sleep(0.01)
        await app.cancel("long")
        await app.wait("long/1")
        exported = await app.export_to(file)
    store: Any = await new.open()
    really, sizes = store.append, []

    async def append(change: Append) -> None:
        sizes.append((len(change.rows), sum(len(row.stored) for row in change.rows)))
        await really(change)

    store.append = append
    async with new.app(graph, store=store) as app:
        await app.import_from(file)
        store.append = really
    assert sum(count for count, _ in sizes) == exported.entries
    assert len(sizes) >= 5
    assert max(count for count, _ in sizes) <= incoming.BATCH
    async with new.app(graph) as app:
        assert (await app.verify()).ok
        assert (await app.replay("long")).identical


# --- export -----------------------------------------------------------------------------------------------------


async def test_an_export_that_was_cut_off_anywhere_is_the_same_file_when_it_is_resumed(
    old: Home, tmp_path: Path
) -> None:
    await furnish(old)
    whole = tmp_path / "whole.jsonl"
    async with old.app() as app:
        await app.export_to(str(whole))
    data = whole.read_bytes()
    ends = [n + 1 for n, byte in enumerate(data) if byte == 10]
    cuts = {0, *ends[:-1:4], ends[-2], *random.Random(3).sample(range(len(data)), 25)}
    cut = tmp_path / "cut.jsonl"
    for at in sorted(cuts):
        cut.write_bytes(data[:at])
        async with old.app() as app:
            found = await app.export_to(str(cut), resume=True)
        again = cut.read_bytes()
        if at <= ends[0] - 1:  # the header itself was cut: it is another export
            assert again.splitlines()[1:-1] == data.splitlines()[1:-1]
        else:
            assert again == data, at
        assert found.sha256 == json.loads(again.splitlines()[-1])["sha256"]
        assert found.bytes == len(again)
        assert (await house.check(str(cut))).threads == found.threads


async def test_a_whole_file_is_left_as_it_is(old: Home, tmp_path: Path) -> None:
    await furnish(old)
    file = tmp_path / "house.jsonl"
    said: list[str] = []
    async with old.app() as app:
        first = await app.export_to(str(file))
        data = file.read_bytes()
        again = await app.export_to(str(file), resume=True, say=said.append)
    assert file.read_bytes() == data
    assert (again.threads, again.entries, again.values) == (first.threads, first.entries, first.values)
    assert said == [f"{file} is whole already; nothing was done"]


@pytest.mark.parametrize(
    "other", [{"move": True}, {"graph": "asks"}, {"status": "waiting"}, {"threads": ["rung"]}]
)
async def test_a_file_is_not_resumed_with_other_options(
    old: Home, tmp_path: Path, other: dict[str, Any]
) -> None:
    await furnish(old)
    file = tmp_path / "house.jsonl"
    async with old.app() as app:
        await app.export_to(str(file))
        file.write_bytes(file.read_bytes()[:-40])
        with pytest.raises(ExportInvalid, match="was begun with other options"):
            await app.export_to(str(file), resume=True, **other)


async def test_a_file_is_not_resumed_from_another_store(old: Home, new: Home, tmp_path: Path) -> None:
    await furnish(old)
    file = tmp_path / "house.jsonl"
    async with old.app() as app:
        await app.export_to(str(file))
        file.write_bytes(file.read_bytes()[:-40])
    async with new.app() as app:
        with pytest.raises(ExportInvalid, match="was begun from another store"):
            await app.export_to(str(file), resume=True)


async def test_a_move_whose_disk_is_full_goes_on_where_it_was(
    old: Home, new: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await furnish(old)
    before = await picture(old)
    file = tmp_path / "house.jsonl"
    really = Output._write
    room = 20_000

    def write(self: Output, data: bytes) -> None:
        nonlocal room
        room -= len(data)
        if room < 0:
            raise self._failed(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        really(self, data)

    monkeypatch.setattr(Output, "_write", write)
    async with old.app(*graphs()) as app:
        with pytest.raises(
            ExportFailed, match="No space left on device; mend that, then run the same command with --resume"
        ):
            await app.export_to(str(file), move=True)
        aside = [row.thread for row in await app.threads(aside=True)]
        written = [
            json.loads(line)["thread"] for line in file.read_text().splitlines() if '"turnout":"end"' in line
        ]
        assert aside == written  # what didn't come into the file goes on here
        assert 0 < len(aside) < len(before)
        monkeypatch.setattr(Output, "_write", really)
        found = await app.export_to(str(file), move=True, resume=True)
        assert found.moved == len(before) - len(aside)
    await into(new, file)
    assert await picture(new) == before


@pytest.mark.parametrize("at", [1, 2])
async def test_a_move_whose_disk_is_full_at_the_end_of_a_thread_never_has_it_in_both_places(
    old: Home, new: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The write of the end fails before or behind the last byte: nobody can know which."""
    await furnish(old)
    before = await picture(old)
    file = tmp_path / "house.jsonl"
    really = Output._write

    def write(self: Output, data: bytes) -> None:
        if b'"turnout":"end","thread":"rung"' in data:
            really(self, data if at == 1 else data[:-1])
            raise self._failed(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        really(self, data)

    monkeypatch.setattr(Output, "_write", write)
    async with old.app(*graphs()) as app:
        with pytest.raises(ExportFailed):
            await app.export_to(str(file), move=True)
        assert (await app.store.thread("rung")).aside.startswith("moved to ")
        monkeypatch.setattr(Output, "_write", really)
        await app.export_to(str(file), move=True, resume=True)
    await into(new, file)
    after = await picture(new)
    assert at_once(after, before) == ([] if at == 1 else ["rung"])
    assert after == before


def at_once(after: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """The threads that are due at once, since nobody knows any more when they were; makes them as they were."""
    found = []
    for name, thread in after.items():
        row, had = thread["row"], before[name]["row"]
        if row["wake_at"] != had["wake_at"]:
            assert row["wake_at"] == row["updated_at"]
            row["wake_at"] = had["wake_at"]
            found.append(name)
    return found


async def test_a_stream_that_breaks_leaves_every_thread_where_it_was(old: Home, new: Home) -> None:
    """What came through is no whole file, so nobody can import it."""

    class Pipe(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 20_000:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            return super().write(data)

    await furnish(old)
    before = await picture(old)
    pipe = Pipe()
    async with old.app(*graphs()) as app:
        with pytest.raises(BrokenPipeError):
            await app.export_to(pipe, move=True)
    after = await picture(old)
    assert at_once(after, before)
    assert after == before
    async with new.app() as app:
        with pytest.raises(ExportInvalid, match="cut off"):
            await app.import_from(io.BytesIO(pipe.getvalue()))


async def test_a_thread_that_was_on_its_way_when_a_move_was_interrupted_goes_on_here(
    old: Home, tmp_path: Path
) -> None:
    await furnish(old)
    before = await picture(old)
    store: Any = await old.open()
    really = store.read
    there = asyncio.Event()

    async def read(thread: str, after: int = 0, upto: int | None = None) -> Any:
        if thread == "rung":
            there.set()
            await asyncio.get_running_loop().create_future()
        return await really(thread, after, upto)

    store.read = read
    async with old.app(*graphs(), store=store) as app:
        exporting = asyncio.ensure_future(app.export_to(str(tmp_path / "house.jsonl"), move=True))
        await there.wait()
        assert (await app.store.thread("rung")).aside.startswith("moved to ")
        exporting.cancel()
        await asyncio.gather(exporting, return_exceptions=True)
        store.read = really
    after = await picture(old)
    assert {name for name in after if not after[name]["row"]["aside"]} == {
        "rung",
        "sleeper",
        "talk",
        "zz-fork-of-fork",
    }
    for name in ("rung", "sleeper", "talk"):
        assert after[name] == before[name]
