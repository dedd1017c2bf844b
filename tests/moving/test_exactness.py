"""What comes out of the file is what went in: everything that can be asked of a thread has the same answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.moving.desk import NAMES, furnish, graphs, ledger, models, outline, picture, sound
from tests.moving.homes import Home

from turnout import Finished, Paused, Run, approve
from turnout.errors import KeyReused, ThreadMoved


async def move(old: Home, new: Home, file: str, **options: Any) -> None:
    async with old.app(*graphs()) as app:
        await app.export_to(file, **options)
    async with new.app(*graphs()) as app:
        await app.import_from(file)


@pytest.fixture
async def furnished(old: Home) -> Home:
    await furnish(old)
    return old


async def test_everything_is_as_it_was_after_a_move(furnished: Home, new: Home, file: str) -> None:
    before = await picture(furnished)
    async with furnished.app() as app:
        head = await app.head()
    await move(furnished, new, file, move=True)
    after = await picture(new)
    assert set(NAMES) <= after.keys()
    assert after == before
    await sound(new)
    async with new.app() as app:
        found = await app.verify(against=head)
        assert found.ok, found.problems


async def test_a_copy_is_the_same_but_that_the_unfinished_are_set_aside(
    furnished: Home, new: Home, file: str
) -> None:
    before = await picture(furnished)
    await move(furnished, new, file)
    assert await picture(furnished) == before
    after = await picture(new)
    for name, found in after.items():
        row = found["row"]
        unfinished = row["status"] in ("running", "waiting", "diverged")
        assert unfinished == row["aside"].startswith("imported from a copy"), name
        if unfinished:
            assert f"`turnout take-back {name}`" in row["aside"]
            row["aside"], row["wake_at"] = "", before[name]["row"]["wake_at"]
            found["explain"]["aside"] = ""
    assert after == before
    await sound(new)


async def test_the_second_file_is_the_first_but_for_the_header(furnished: Home, new: Home, file: str) -> None:
    await move(furnished, new, file, move=True)
    async with new.app() as app:
        await app.export_to(f"{file}.2", move=True)
    first, second = (Path(name).read_text().splitlines() for name in (file, f"{file}.2"))
    assert second[1:-1] == first[1:-1]
    headers = [json.loads(lines[0]) for lines in (first, second)]
    for header in headers:
        del header["export"], header["at"], header["store"]
    assert headers[0] == headers[1]


async def test_a_moved_household_goes_on_where_it_was(
    furnished: Home, new: Home, file: str, clock: Any
) -> None:
    await move(furnished, new, file, move=True)
    ledger.clear()
    async with new.app(*graphs(), models=models(), work=True) as app:
        again = await app.start("asks", {"data": "a"}, thread="asked", idempotency_key="key asked")
        assert (again, again.new) == (Run("asked", 1, new=False), False)
        with pytest.raises(KeyReused):
            await app.start("asks", {"data": "other"}, thread="asked", idempotency_key="key asked")
        assert not await app.signal("rung", "bell", "early", idempotency_key="bell")
        [review] = await app.reviews(thread="asking")
        await app.resolve(review, approve(by="dana"))
        done = await app.wait("asking/1")
        assert isinstance(done, Finished)
        assert ledger == ["b approve"]
        paused = await app.wait("asking/2")  # it stood in the queue
        assert isinstance(paused, Paused)
        waits = await app.wait("parent/1")
        assert isinstance(waits, Paused)
        child = next(row.thread for row in await app.threads() if row.thread.startswith("parent/"))
        await app.signal(child, "word", "hello")
        done = await app.wait("parent/1")
        assert isinstance(done, Finished)
        assert done.state.log == ["heard ['hello']"]
        await app.start("talks", {"log": ["q7"]}, thread="talk")
        assert isinstance(await app.wait("talk/7"), Finished)
        assert (await app.store.thread("rung")).status == "waiting"
        await clock.advance(days=1)
        done = await app.wait("rung/1")
        assert isinstance(done, Finished)
        assert done.state.log == ["slept", "early"]
    await sound(new)


async def test_nobody_goes_on_in_the_old_store_with_what_was_moved(
    furnished: Home, new: Home, file: str, clock: Any
) -> None:
    before = await picture(furnished)
    await move(furnished, new, file, move=True)
    async with furnished.app(*graphs(), models=models(), work=True) as app:
        [review] = await app.reviews(thread="asking")
        with pytest.raises(ThreadMoved, match=r"moved to /.*house\.jsonl \(export [0-9a-f]{12}\)"):
            await app.resolve(review, approve(by="dana"))
        for refused in (
            app.signal("rung", "bell"), app.cancel("parent"), app.start("talks", {"log": ["more"]}, thread="talk"),
        ):  # fmt: skip
            with pytest.raises(ThreadMoved):
                await refused
        await clock.advance(days=3)
    after = await picture(furnished)
    for name, found in after.items():
        assert found["row"]["aside"].startswith("moved to "), name
        assert {**found, "row": 0, "explain": 0} == {**before[name], "row": 0, "explain": 0}


async def test_a_copy_is_driven_only_when_it_is_taken_back(
    furnished: Home, new: Home, file: str, clock: Any
) -> None:
    await move(furnished, new, file)
    async with new.app(*graphs(), models=models(), work=True) as app:
        [review] = await app.reviews(thread="asking")
        with pytest.raises(ThreadMoved, match="imported from a copy"):
            await app.resolve(review, approve(by="dana"))
        await clock.advance(days=3)
        assert (await app.store.thread("sleeper")).status == "waiting"
        assert await app.store.take_back(["sleeper", "asking"], clock.now()) == ["sleeper", "asking"]
        await app.resolve(review, approve(by="dana"))
        assert isinstance(await app.wait("asking/1"), Finished)
        await clock.advance(seconds=1)
        assert isinstance(await app.wait("sleeper/1"), Paused)  # it slept, and waits for the bell
        assert (await app.store.thread("rung")).status == "waiting"
    await sound(new)


async def test_a_household_that_moves_out_and_back_is_as_if_it_had_stayed(
    furnished: Home, new: Home, file: str
) -> None:
    await move(furnished, new, file, move=True)
    async with new.app(*graphs(), models=models(), work=True) as app:
        [review] = await app.reviews(thread="asking")
        await app.resolve(review, approve(by="dana"))
        await app.wait("asking/1")
        await app.wait("asking/2")
        await app.start("talks", {"log": ["q7"]}, thread="talk")
        await app.wait("talk/7")
    away = await picture(new)
    await move(new, furnished, f"{file}.back", move=True)
    back = await picture(furnished)
    assert back == away
    await sound(furnished)
    async with furnished.app(*graphs(), models=models(), work=True) as app:
        [review] = await app.reviews(thread="asking")
        await app.resolve(review, approve(by="dana"))
        assert isinstance(await app.wait("asking/2"), Finished)


async def test_a_copy_becomes_the_thread_once_it_is_moved(
    furnished: Home, new: Home, file: str, clock: Any
) -> None:
    await move(furnished, new, file)
    async with furnished.app(*graphs(), models=models(), work=True) as app:
        [review] = await app.reviews(thread="asking")
        await app.resolve(review, approve(by="dana"))
        await app.wait("asking/1")
        await app.wait("asking/2")
        before = {row.thread: outline(row) for row in await app.threads(limit=1000)}
    await move(furnished, new, f"{file}.2", move=True)
    async with new.app() as app:
        assert {row.thread: outline(row) for row in await app.threads(limit=1000)} == before
    await sound(new)


async def test_who_sends_an_input_again_finds_its_run_whoever_has_named_the_thread(
    old: Home, new: Home, file: str, clock: Any
) -> None:
    async def send(app: Any) -> list[Run]:
        return [
            await app.start("fails", {"data": "ü", "n": 7}, idempotency_key="k"),
            await app.start("fails", {}, idempotency_key="schedule:nightly:1"),
            await app.start("fails", {}, idempotency_key="k", tenant="acme"),
            await app.start("fails", {"log": ["x" * 5000]}, thread="mine", idempotency_key="k", tenant="b:c"),
        ]

    async with old.app(*graphs(), work=True) as app:
        await app.schedule("hourly", "fails", {}, cron="@hourly")
        runs = await send(app)
        await clock.advance(seconds=3600)
        while len(await app.threads()) < len(runs) + 1:
            await clock.settle()
        for row in await app.threads():
            await app.wait(f"{row.thread}/1")
    await move(old, new, file, move=True)
    async with new.app(*graphs()) as app:
        again = await send(app)
        assert [(run.thread, run.number, run.new) for run in again] == [
            (run.thread, run.number, False) for run in runs
        ]
        keys = [key.key for row in await app.threads() for key in await app.store.keys(row.thread)]
        assert len(keys) == len(runs) + 1
        assert any(key.startswith("schedule:hourly:") for key in keys)


async def test_whatever_was_sent_with_a_key_is_known_again_after_a_move(
    old: Home, new: Home, file: str
) -> None:
    async with old.app(*graphs(), work=True) as app:
        await app.start("asks", {"data": "a"}, thread="first", idempotency_key="k")
        await app.wait("first/1")
        review = (await app.reviews(thread="first"))[0].id
        await app.fork("first", idempotency_key="k")
        assert await app.signal("first", "bell", idempotency_key="k")
        await app.resolve(review, approve(by="dana", roles=["boss"]), idempotency_key="k")
        await app.start("asks", {"data": "b"}, thread="second")
        await app.wait("second/1")
        await app.cancel("second", idempotency_key="k")
        await app.wait("second/1")
        before = [key for row in await app.threads() for key in await app.store.keys(row.thread)]
    assert {key.key.partition(":")[0] for key in before} == {"start", "fork", "signal", "decide", "cancel"}
    await move(old, new, file, move=True)
    async with new.app(*graphs()) as app:
        assert [key for row in await app.threads() for key in await app.store.keys(row.thread)] == before
        assert not await app.signal("first", "bell", idempotency_key="k")
        await app.resolve(review, approve(by="dana", roles=["boss"]), idempotency_key="k")  # it is closed
        assert not (await app.fork("first", idempotency_key="k")).new
        assert (await app.cancel("second", idempotency_key="k")).number == 1  # though it has ended
