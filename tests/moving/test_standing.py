"""A thread that is here already is left, continued, taken over, or refused; and always as a whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.moving.desk import furnish, graphs, ledger, models, picture, sound
from tests.moving.homes import Home
from tests.property.crashing import CrashingStore
from tests.unit.runs import Work, chain

from turnout import Context, Finished, Paused, approve
from turnout.errors import ThreadDiffers, ThreadMoved
from turnout.ports.rows import Append
from turnout.service.moving import incoming


async def out(home: Home, file: str, *threads: str, **options: Any) -> Any:
    async with home.app() as app:
        return await app.export_to(file, threads, **options)


async def into(home: Home, file: str, **options: Any) -> Any:
    async with home.app() as app:
        return await app.import_from(file, **options)


async def test_what_is_here_already_is_left(old: Home, new: Home, file: str) -> None:
    await furnish(old)
    exported = await out(old, file)
    first = await into(new, file)
    assert (first.new, first.same, first.continued, first.entries) == (
        exported.threads,
        0,
        0,
        exported.entries,
    )
    before = await picture(new)
    again = await into(new, file)
    assert (again.new, again.same, again.continued, again.entries) == (0, exported.threads, 0, 0)
    assert await picture(new) == before


async def test_a_file_that_is_imported_late_leaves_what_has_gone_on(old: Home, new: Home, file: str) -> None:
    await furnish(old)
    await out(old, file, move=True)
    await into(new, file)
    async with new.app(*graphs(), models=models(), work=True) as app:
        [review] = await app.reviews(thread="asking")
        await app.resolve(review, approve(by="dana"))
        await app.wait("asking/1")
        await app.wait("asking/2")
    before = await picture(new)
    again = await into(new, file)
    assert (again.new, again.continued, again.entries) == (0, 0, 0)
    assert await picture(new) == before


async def test_what_is_here_up_to_an_entry_is_continued(old: Home, new: Home, file: str) -> None:
    talk = models()
    async with old.app(*graphs(), models=talk, work=True) as app:
        for n in range(3):
            await app.wait(
                await app.start("talks", {"log": [f"q{n}"]}, thread="talk", idempotency_key=f"q{n}")
            )
    await out(old, file)
    await into(new, file)
    async with old.app(*graphs(), models=talk, work=True) as app:
        for n in range(3, 6):
            await app.wait(
                await app.start("talks", {"log": [f"q{n}"]}, thread="talk", idempotency_key=f"q{n}")
            )
    await out(old, f"{file}.2")
    found = await into(new, f"{file}.2")
    assert (found.new, found.continued) == (0, 1)
    assert await picture(new) == await picture(old)
    await sound(new)


async def test_two_that_went_on_by_themselves_are_told_apart(old: Home, new: Home, file: str) -> None:
    await furnish(old)
    await out(old, file, "talk", "asked")
    await into(new, file)
    async with new.app(*graphs(), models=models(), work=True) as app:
        head = (await app.store.thread("talk")).head
        await app.wait(await app.start("talks", {"log": ["here"]}, thread="talk"))
    async with old.app(*graphs(), models=models(), work=True) as app:
        await app.wait(await app.start("talks", {"log": ["there"]}, thread="talk"))
        await app.wait(await app.start("talks", {"log": ["there"]}, thread="talk"))
        await app.wait(await app.start("talks", {"log": ["new"]}, thread="talk-2"))
    before = await picture(new)
    for longer in (f"{file}.2", f"{file}.3"):
        await out(old, longer, "talk", "talk-2")
        with pytest.raises(
            ThreadDiffers,
            match=rf"'talk' is here already and differs from entry {head + 1} on: here it is input.received of 2026-01-\d\d "
            r"[\d:]+Z, in the file input.received of .*; nothing was imported",
        ):
            await into(new, longer)
        assert await picture(new) == before
        async with new.app(
            *graphs(), models=models(), work=True
        ) as app:  # longer here than in the file, next time
            for _ in range(3):
                await app.wait(await app.start("talks", {"log": ["more"]}, thread="talk"))
        before = await picture(new)
    found = await into(new, longer, keep_going=True)
    assert (found.new, list(found.refused), found.ok) == (1, ["talk"], False)
    after = await picture(new)
    assert {name: after[name] for name in before} == before
    await sound(new)


async def test_a_fork_of_a_refused_thread_is_refused_with_it(old: Home, new: Home, file: str) -> None:
    await furnish(old)
    async with new.app(*graphs(), models=models(), work=True) as app:
        await app.wait(await app.start("talks", {"log": ["mine"]}, thread="asking"))
    await out(old, file, "fork", "asked")
    with pytest.raises(
        ThreadDiffers, match=r"'asking' is here already.* \(and 1 more\); nothing was imported"
    ):
        await into(new, file)
    found = await into(new, file, keep_going=True)
    assert set(found.refused) == {"asking", "fork"}
    assert "it is a fork" in found.refused["fork"] or "is a fork of 'asking'" in found.refused["fork"]
    async with new.app() as app:
        assert [row.thread for row in await app.threads()] == ["asked", "asking"]


async def test_values_that_came_with_a_refused_thread_are_there_for_the_others(
    old: Home, new: Home, file: str
) -> None:
    async def ask(state: Work, ctx: Context) -> Any:
        return {"data": await ctx.once("letter", lambda: "the same letter " * 100)}

    graph = chain(ask)
    async with old.app(graph, work=True) as app:
        for name in ("a", "b"):
            assert isinstance(await app.run("g", {}, thread=name), Finished)
    async with new.app(graph, work=True) as app:
        await app.run("g", {"n": 5}, thread="a")
    assert (await out(old, file)).values == 1
    await into(new, file, keep_going=True)
    await sound_of(new, graph)


async def sound_of(home: Home, *some: Any) -> None:
    async with home.app(*some) as app:
        found = await app.verify()
        assert found.ok, found.problems
        for row in await app.threads():
            assert (await app.replay(row.thread)).identical


async def test_a_key_that_was_used_here_for_another_run_refuses_the_thread(
    old: Home, new: Home, file: str
) -> None:
    async with old.app(*graphs(), models=models(), work=True) as app:
        await app.wait(await app.start("fails", {}, thread="a", idempotency_key="k"))
    async with new.app(*graphs(), models=models(), work=True) as app:
        await app.wait(await app.start("fails", {}, thread="b", idempotency_key="k"))
    await out(old, file)
    with pytest.raises(
        ThreadDiffers, match=r"its idempotency key 'start:fails:k' was used here for run 1 of thread 'b'"
    ):
        await into(new, file)
    async with new.app() as app:
        assert [row.thread for row in await app.threads()] == ["b"]


async def test_a_thread_that_a_worker_holds_is_not_written(
    old: Home, new: Home, file: str, clock: Any
) -> None:
    await furnish(old)
    await out(old, file, "rung")
    await into(new, file)
    async with old.app(*graphs(), models=models(), work=True) as app:
        await app.signal("rung", "bell", "again")
    await out(old, f"{file}.2", "rung")
    async with new.app() as app:
        await app.take_back("rung")
        [lease] = await app.store.claim("w", clock.now(), clock.now() + 5_000_000, 1)
    with pytest.raises(ThreadDiffers, match="'rung' is held by the worker w here"):
        await into(new, f"{file}.2")
    async with new.app() as app:
        row = await app.store.thread("rung")
        assert await app.store.release(lease, row.head, None)
    assert (await into(new, f"{file}.2")).continued == 1


async def test_a_thread_that_moved_away_comes_back_only_when_somebody_vouches_that_nobody_has_imported_it(
    old: Home, new: Home, file: str
) -> None:
    await furnish(old)
    await out(old, file, "asking", "asked", move=True)
    async with old.app() as app:
        for name in ("asking", "asked"):  # also one that is finished
            with pytest.raises(
                ThreadMoved, match=rf"'{name}' was moved to .*take-back {name} --not-imported"
            ):
                await app.take_back(name)
            assert (await app.store.thread(name)).aside.startswith("moved to ")
            assert await app.take_back(name, not_imported=True)
            assert not (await app.store.thread(name)).aside
    await sound(old)


async def test_what_somebody_here_has_set_aside_stays_so(old: Home, new: Home, file: str) -> None:
    await furnish(old)
    await out(old, file, "rung", "sleeper", move=True)
    await into(new, file)
    async with new.app() as app:
        await app.set_aside("rung", "it rings", by="eve")
        mine = (await app.store.thread("rung")).aside
    async with old.app(*graphs(), models=models(), work=True) as app:
        await app.take_back("rung", not_imported=True)  # in two minds
        await app.signal("rung", "bell", "again")
    await out(old, f"{file}.2", "rung", move=True)
    assert (await into(new, f"{file}.2")).continued == 1
    async with new.app() as app:
        assert (await app.store.thread("rung")).aside == mine


async def test_why_a_thread_was_set_aside_moves_along(old: Home, new: Home, file: str, clock: Any) -> None:
    await furnish(old)
    async with old.app() as app:
        await app.set_aside("sleeper", "it never wakes", by="eve")
        why = (await app.store.thread("sleeper")).aside
    await out(old, file, "sleeper", move=True)
    async with old.app() as app:
        moved = (await app.store.thread("sleeper")).aside
        assert moved.startswith("moved to ")
        assert why in moved
    await into(new, file)
    async with new.app(*graphs(), models=models(), work=True) as app:
        assert (await app.store.thread("sleeper")).aside == why
        await clock.advance(days=2)
        assert (await app.store.thread("sleeper")).status == "waiting"
        await app.take_back("sleeper")
        assert isinstance(await app.wait("sleeper/1"), Paused)


async def test_a_thread_that_is_half_here_is_shut(old: Home, new: Home, file: str, clock: Any) -> None:
    """An import that was cut off has left it; nobody may go on with half a journal."""
    await furnish(old)
    await out(old, file, "asking", move=True)
    store: Any = await new.open()
    whole = store.append

    async def once(change: Append) -> None:
        await whole(change)
        store.append = never

    async def never(change: Append) -> None:
        raise AssertionError("cut off")

    store.append = once
    with pytest.raises(AssertionError, match="cut off"):
        async with new.app(store=store) as app:
            await app.import_from(file)
    store.append = whole
    async with new.app(*graphs(), models=models(), work=True) as app:
        row = await app.store.thread("asking")
        assert (row.status, row.head, row.wake_at) == ("importing", 1, None)
        assert row.aside.startswith("being imported")
        for refused in (
            app.start("asks", {}, thread="asking"),
            app.cancel("asking"),
            app.take_back("asking"),
        ):
            with pytest.raises(ThreadMoved, match="run `turnout import` again"):
                await refused
        await app.store.wake(["asking"], clock.now())
        await asyncio.sleep(0.05)
        await clock.settle()
        assert (await app.store.thread("asking")).head == 1
        verified = await app.verify("asking")
        assert "importing" in verified.problems[0]
        with pytest.raises(ThreadMoved, match="'asking' isn't whole in this store: being imported"):
            await app.export_to(f"{file}.half")
    found = await into(new, file)
    assert (found.new, found.continued) == (0, 1)
    await sound(new)
    ledger.clear()
    async with new.app(*graphs(), models=models(), work=True) as app:
        [review] = await app.reviews(thread="asking")
        await app.resolve(review, approve(by="dana"))
        assert isinstance(await app.wait("asking/1"), Finished)
    assert ledger == ["b approve"]


async def moved_away(old: Home, new: Home, file: str) -> str:
    """Have a conversation that had come to rest move from `old` to `new`. Returns what `old` says of it then."""
    async with old.app(*graphs(), models=models(), work=True) as app:
        await app.wait(await app.start("talks", {"log": ["q0"]}, thread="talk"))
    await out(old, file, move=True)
    await into(new, file)
    async with old.app() as app:
        return str((await app.store.thread("talk")).aside)


async def talk_again(home: Home) -> None:
    async with home.app(*graphs(), models=models(), work=True) as app:
        await app.wait(await app.start("talks", {"log": ["again"]}, thread="talk"))


@pytest.mark.parametrize("gone_on", [False, True], ids=["same", "longer"])
async def test_a_copy_brings_back_nothing_that_was_moved_away(
    old: Home, new: Home, file: str, gone_on: bool
) -> None:
    left = await moved_away(old, new, file)
    if gone_on:
        await talk_again(new)
    await out(new, f"{file}.backup")
    found = await into(old, f"{file}.backup")
    assert (found.same, found.continued, found.aside) == (not gone_on, gone_on, 0)
    async with old.app(*graphs()) as app:
        assert (await app.store.thread("talk")).aside == left
        with pytest.raises(ThreadMoved):
            await app.start("talks", {"log": ["here"]}, thread="talk")
    await talk_again(new)
    await out(new, f"{file}.back", move=True)
    await into(old, f"{file}.back")
    await talk_again(old)
    await sound(old)


async def test_a_copy_that_is_cut_off_does_not_forget_that_the_thread_was_moved_away(
    old: Home, new: Home, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "BATCH", 2)
    left = await moved_away(old, new, file)
    await talk_again(new)
    await out(new, f"{file}.backup")
    store: Any = await old.open()
    dying = CrashingStore(store, 1, after=True)
    async with old.app(store=dying) as app:
        importing = asyncio.ensure_future(app.import_from(f"{file}.backup"))
        await dying.crashed.wait()
        importing.cancel()
        await asyncio.gather(importing, return_exceptions=True)
    await store.close()
    async with old.app() as app:
        assert (await app.store.thread("talk")).aside.startswith("being imported")
    await into(old, f"{file}.backup")
    async with old.app() as app:
        assert (await app.store.thread("talk")).aside == left


async def test_a_thread_that_moves_back_is_set_aside_here_if_it_was_there(
    old: Home, new: Home, file: str
) -> None:
    await moved_away(old, new, file)
    async with new.app() as app:
        await app.set_aside("talk", "it never stops", by="eve")
        why = (await app.store.thread("talk")).aside
    await out(new, f"{file}.back", move=True)
    await into(old, f"{file}.back")
    async with old.app() as app:
        assert (await app.store.thread("talk")).aside == why
