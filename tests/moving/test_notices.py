"""Who is to hear of an open review hears of it where its thread goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.moving.homes import Home
from tests.notify.desk import refunds, toml
from tests.notify.receivers import SECRET

from turnout import Paused, approve
from turnout.testing import VirtualClock

CHANNEL = """
    [notify.hook]
    webhook = "http://127.0.0.1:1/"
    secret_env = "HOOK_SECRET"
    remind_after = [3600, 7200]
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options of an app whose receiver is down."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    return {"config": toml(tmp_path, CHANNEL)}


async def notices(home: Home, told: Any) -> dict[str, str]:
    """The events of the notices in the outbox, by their ids."""
    async with home.app(refunds(), **told) as app:
        return {row.id: row.event for row in await app.outbox(limit=100)}


async def ask(home: Home, told: Any, how: str = "ask") -> None:
    async with home.app(refunds(), work=True, **told) as app:
        assert isinstance(await app.run("refunds", {"order": "1", "how": how}, thread="asking"), Paused)
        done = await app.run("refunds", {"order": "2"}, thread="asked")
        assert isinstance(done, Paused)
        await app.resolve(done.reviews[0], approve(by="dana", roles=["finance"]))
        await app.wait("asked/1")


async def test_a_review_that_has_moved_is_told_of_in_the_new_store(
    old: Home, new: Home, file: str, told: dict[str, Any], clock: VirtualClock
) -> None:
    await ask(old, told)
    had = await notices(old, told)
    assert sorted(had.values()) == [
        "review.reminder", "review.reminder", "review.reminder", "review.reminder", "review.requested", "review.requested",
    ]  # fmt: skip
    await clock.advance(seconds=5400)
    async with old.app(refunds(), **told) as app:
        await app.export_to(file, move=True)
    async with new.app(refunds(), **told) as app:
        await app.import_from(file)
        found = await app.outbox(limit=100)
        assert sorted(row.event for row in found) == ["review.reminder", "review.requested"]
        assert {row.thread for row in found} == {"asking"}
        assert {row.id for row in found} < had.keys()
        await app.import_from(file)
        assert await app.outbox(limit=100) == found
        await app.resolve("asking", approve(by="dana", roles=["finance"]))
        assert {row.status for row in await app.outbox() if row.event == "review.reminder"} == {"withdrawn"}


async def test_an_escalated_review_is_told_of_to_those_whom_it_waits_for_now(
    old: Home, new: Home, file: str, told: dict[str, Any], clock: VirtualClock
) -> None:
    async with old.app(refunds(), work=True, **told) as app:
        await app.run("refunds", {"order": "1", "how": "escalate"}, thread="asking")
        await clock.advance(seconds=61)
        while not any(row.event == "review.escalated" for row in await app.outbox()):
            await clock.settle()
        await app.export_to(file, move=True)
    had = await notices(old, told)
    async with new.app(refunds(), **told) as app:
        await app.import_from(file)
    assert sorted((await notices(new, told)).values()) == [
        "review.escalated", "review.reminder", "review.reminder",
    ]  # fmt: skip
    assert (await notices(new, told)).keys() < had.keys()


async def test_a_copy_is_told_of_when_it_is_taken_back(
    old: Home, new: Home, file: str, told: dict[str, Any]
) -> None:
    await ask(old, told)
    async with old.app(refunds(), **told) as app:
        await app.export_to(file)
    async with new.app(refunds(), **told) as app:
        await app.import_from(file)
        assert await app.outbox() == []
        await app.take_back("asking")
        assert len(await app.outbox()) == 3


async def test_whom_nobody_told_of_channels_tells_nobody(old: Home, new: Home, file: str, told: Any) -> None:
    await ask(old, told)
    async with old.app(refunds(), **told) as app:
        await app.export_to(file, move=True)
    async with new.app(refunds()) as app:
        await app.import_from(file)
        assert await app.outbox() == []
