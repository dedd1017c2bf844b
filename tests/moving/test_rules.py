"""Limits and schedules go along when the whole of a store is exported; and a schedule fires in one store only."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.moving.desk import graphs
from tests.moving.homes import Home

from turnout.ports.rows import LimitRow, ScheduleRow
from turnout.service.moving import house
from turnout.stores.sqlite import SqliteStore

pytestmark = pytest.mark.skipif(
    not hasattr(SqliteStore, "put_schedule"), reason="this SqliteStore has no schedules"
)
T0 = 1_767_225_600_000_000
DAY = 86_400_000_000


def row(name: str, **more: Any) -> ScheduleRow:
    given = {
        "name": name, "graph": "asks", "input": b'{"data":"x"}', "cron": "0 6 * * *", "zone": "Europe/Vienna", "at": None,
        "missed": "once", "overlap": "skip", "paused": False, "next_at": T0 + DAY, "created_at": T0, "updated_at": T0,
        "last_at": T0 - DAY, "last_thread": f"{name}-1", "note": "", "by": "ada", "tenant": "", "priority": 3,
    }  # fmt: skip
    return ScheduleRow(**{**given, **more})


async def furnish(home: Home) -> None:
    async with home.app(*graphs()) as app:
        await app.store.put_schedule(row("daily"))
        await app.store.put_schedule(row("off", paused=True, note="holidays"))
        await app.store.put_schedule(row("once", cron="", at=T0 + 5 * DAY, last_at=None, last_thread=""))
        await app.store.put_limit("graph", "asks", 3)
        await app.store.put_limit("tenant", "acme", 1)


async def schedules(home: Home) -> dict[str, ScheduleRow]:
    async with home.app(*graphs()) as app:
        return {row.name: row for row in await app.store.schedules()}


async def limits(home: Home) -> list[LimitRow]:
    async with home.app() as app:
        return list(await app.store.limits())


async def out(home: Home, file: str, **options: Any) -> None:
    async with home.app() as app:
        await app.export_to(file, **options)


async def into(home: Home, file: str) -> list[str]:
    async with home.app() as app:
        return list((await app.import_from(file)).notes)


async def test_rules_move_with_the_store_and_the_old_one_fires_no_more(
    old: Home, new: Home, file: str
) -> None:
    await furnish(old)
    before = await schedules(old)
    await out(old, file, move=True)
    left = await schedules(old)
    assert [(name, one.paused) for name, one in left.items()] == [
        ("daily", True),
        ("off", True),
        ("once", True),
    ]
    assert left["daily"].note.startswith("moved to /")
    assert left["off"] == before["off"]
    assert await into(new, file) == []
    assert await schedules(new) == before
    assert await limits(new) == [LimitRow("graph", "asks", 3), LimitRow("tenant", "acme", 1)]
    assert await into(new, file) == []
    assert await schedules(new) == before


async def test_a_copy_of_a_schedule_is_paused(old: Home, new: Home, file: str) -> None:
    await furnish(old)
    before = await schedules(old)
    await out(old, file)
    assert await schedules(old) == before
    notes = await into(new, file)
    assert notes == [
        "the schedule daily is paused: it comes from a copy", "the schedule once is paused: it comes from a copy",
    ]  # fmt: skip
    after = await schedules(new)
    assert all(one.paused for one in after.values())
    assert after["daily"].note.startswith("imported from a copy")
    assert replace(after["daily"], paused=False, note="", updated_at=T0) == before["daily"]
    assert after["off"] == before["off"]


async def test_rules_stay_where_they_are_when_only_some_threads_go(old: Home, file: str) -> None:
    await furnish(old)
    async with old.app(*graphs()) as app:
        await app.start("asks", {}, thread="a")
    before = await schedules(old)
    await out(old, file, threads=["a"], move=True)
    await out(old, f"{file}.2", graph="asks")
    assert await schedules(old) == before
    for name in (file, f"{file}.2"):
        kinds = {json.loads(line)["turnout"] for line in Path(name).read_text().splitlines()}
        assert not kinds & {"limit", "schedule"}


async def test_what_is_here_already_stays_and_is_said(old: Home, new: Home, file: str) -> None:
    await furnish(old)
    async with new.app() as app:
        await app.store.put_schedule(row("daily", cron="0 7 * * *"))
        await app.store.put_schedule(row("once", cron="", at=T0 + 5 * DAY, next_at=None))
        await app.store.put_limit("graph", "asks", 9)
    mine = await schedules(new)
    await out(old, file, move=True)
    assert await into(new, file) == [
        "the limit of graph asks stays 9; in the file it is 3",
        "the schedule daily stays as it is here; in the file it is another one",
    ]
    after = await schedules(new)
    assert {name: after[name] for name in mine} == mine
    assert after["off"].note == "holidays"
    assert await limits(new) == [LimitRow("graph", "asks", 9), LimitRow("tenant", "acme", 1)]


async def test_a_move_that_was_cut_off_remembers_which_schedules_it_has_paused(
    old: Home, new: Home, file: str
) -> None:
    await furnish(old)
    before = await schedules(old)
    await out(old, file, move=True)
    path = Path(file)
    path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n" + b'{"turnout":"limit"')
    await out(old, file, move=True, resume=True)
    assert (await house.check(file)).threads == 0
    await into(new, file)
    after = await schedules(new)
    assert {name: replace(one, note="") for name, one in after.items()} == {
        name: replace(one, note="") for name, one in before.items()
    }


async def test_a_schedule_that_fires_while_it_is_paused_moves_as_it_is_then(
    old: Home, new: Home, file: str
) -> None:
    await furnish(old)
    store: Any = await old.open()
    really = store.move_schedule
    fired = row("daily", next_at=T0 + 2 * DAY, last_at=T0 + DAY, last_thread="daily-2", updated_at=T0 + DAY)

    async def move_schedule(to: ScheduleRow, was: ScheduleRow) -> bool:
        if was.name == "daily" and was.next_at == T0 + DAY:
            assert await really(fired, was)
        return bool(await really(to, was))

    store.move_schedule = move_schedule
    async with old.app(store=store) as app:
        await app.export_to(file, move=True)
        store.move_schedule = really
    assert (await schedules(old))["daily"].paused
    await into(new, file)
    assert (await schedules(new))["daily"] == fired


@pytest.mark.parametrize("way", ["back", "after a copy"])
async def test_a_schedule_fires_again_where_it_moves_to_though_it_was_there_before(
    old: Home, new: Home, file: str, way: str
) -> None:
    await furnish(old)
    before = await schedules(old)
    await out(old, file, move=way == "back")
    await into(new, file)
    leaving, staying = (new, old) if way == "back" else (old, new)
    await out(leaving, f"{file}.2", move=True)
    assert await into(staying, f"{file}.2") == []
    assert await schedules(staying) == before


async def test_a_stream_that_breaks_leaves_the_schedules_firing_here(old: Home) -> None:
    class Pipe(io.BytesIO):
        def __init__(self, breaks_at: bytes) -> None:
            super().__init__()
            self.breaks_at = breaks_at

        def write(self, data: Any) -> int:
            if self.breaks_at in bytes(data):
                raise BrokenPipeError
            return super().write(data)

    await furnish(old)
    before = await schedules(old)
    async with old.app(*graphs()) as app:
        await app.start("asks", {}, thread="a")
        with pytest.raises(BrokenPipeError):
            await app.export_to(Pipe(b'"turnout":"thread"'), move=True)
        after = await schedules(old)
        assert {name: replace(one, updated_at=T0) for name, one in after.items()} == before
        with pytest.raises(BrokenPipeError):
            await app.export_to(Pipe(b'"turnout":"whole"'), move=True)
    after = await schedules(old)  # the last line may have come through: so nobody fires twice
    assert all(one.paused for one in after.values())
