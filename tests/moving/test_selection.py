"""Which threads go, who goes along with them, and that workers may go on meanwhile."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.moving.desk import furnish, graphs, models, picture, sound
from tests.moving.homes import Home
from tests.unit.runs import Work, chain

from turnout import END, Context, Finished, Graph, Paused, field, rule
from turnout.errors import ExportInvalid, ThreadMoved, UnknownThread
from turnout.service.moving import house


def threads(file: str) -> list[str]:
    """The threads of a file, in its order."""
    lines = map(json.loads, Path(file).read_text().splitlines())
    return [line["thread"] for line in lines if line["turnout"] == "thread"]


async def out(home: Home, file: Any, *names: str, **options: Any) -> tuple[Any, list[str]]:
    """What an export did, and what it said."""
    said: list[str] = []
    async with home.app(*graphs()) as app:
        return await app.export_to(file, names, say=said.append, **options), said


async def into(home: Home, file: Any) -> Any:
    async with home.app(*graphs()) as app:
        return await app.import_from(file)


async def aside(home: Home) -> list[str]:
    async with home.app() as app:
        return [row.thread for row in await app.threads(aside=True)]


async def test_threads_are_chosen_by_name_by_graph_and_by_status(old: Home, file: str) -> None:
    await furnish(old)
    await out(old, f"{file}.1", "rung", "asked", "rung")
    assert threads(f"{file}.1") == ["rung", "asked"]
    await out(old, f"{file}.2", graph="sleeps")
    assert threads(f"{file}.2") == ["gone", "rung", "sleeper"]
    await out(old, f"{file}.3", graph="sleeps", status="waiting")
    assert threads(f"{file}.3") == ["rung", "sleeper"]
    found, _ = await out(old, f"{file}.4", graph="nothing")
    assert (threads(f"{file}.4"), found.threads, found.entries) == ([], 0, 0)
    assert (await house.check(f"{file}.4")).threads == 0


async def test_a_base_stands_before_its_fork_and_is_taken_along(old: Home, new: Home, file: str) -> None:
    await furnish(old)
    await out(old, file)
    order = threads(file)
    assert order.index("asking") < order.index("fork") < order.index("zz-fork-of-fork")
    found, said = await out(old, f"{file}.2", "zz-fork-of-fork", move=True)
    assert threads(f"{file}.2") == ["asking", "fork", "zz-fork-of-fork"]
    assert said == [
        "thread asking is taken along: zz-fork-of-fork is a fork of it",
        "thread fork is taken along: zz-fork-of-fork is a fork of it",
    ]
    assert found.taken == ["asking", "fork"]
    assert await aside(old) == ["zz-fork-of-fork"]  # nobody asked for the others: here they go on
    await into(new, f"{file}.2")
    assert await aside(new) == ["asking", "fork"]
    await sound(new)


async def test_a_thread_that_is_not_there_leaves_no_file(old: Home, file: str) -> None:
    await furnish(old)
    with pytest.raises(UnknownThread, match="'nobody'"):
        await out(old, file, "asked", "nobody")
    assert not Path(file).exists()


async def test_a_file_that_is_there_is_not_written_over(old: Home, file: str) -> None:
    await furnish(old)
    Path(file).write_text("precious")
    with pytest.raises(ExportInvalid, match="is there already; --resume goes on"):
        await out(old, file)
    for precious in ("precious", "precious\n", '{"turnout"', '{"turnout":"whole"}\n', "{"):
        Path(file).write_text(precious)
        if not '{"turnout":"export"'.startswith(precious):
            with pytest.raises(ExportInvalid, match=r"house\.jsonl is not an export of Turnout"):
                await out(old, file, resume=True)
            assert Path(file).read_text() == precious
    with pytest.raises(ExportInvalid, match="can't be made: No such file or directory"):
        await out(old, "/nowhere/file.jsonl")


async def test_only_its_owner_may_read_the_file(old: Home, file: str) -> None:
    await furnish(old)
    await out(old, file)
    assert Path(file).stat().st_mode & 0o777 == 0o600


async def test_a_stream_is_as_good_as_a_file(old: Home, new: Home) -> None:
    await furnish(old)
    pipe = io.BytesIO()
    await out(old, pipe, move=True)
    await into(new, io.BytesIO(pipe.getvalue()))
    await sound(new)
    with pytest.raises(ExportInvalid, match="a stream can't be resumed"):
        await out(old, pipe, resume=True)


@pytest.mark.parametrize("which", ["parent", "child"])
async def test_a_parent_and_the_child_that_it_waits_for_move_together(
    old: Home, new: Home, file: str, which: str
) -> None:
    await furnish(old)
    async with old.app() as app:
        child = next(row.thread for row in await app.threads() if row.thread.startswith("parent/"))
    name, other = ("parent", child) if which == "parent" else (child, "parent")
    found, said = await out(old, file, name, move=True)
    assert threads(file) == [name, other]
    assert said == [
        f"thread {other} is taken along: {'parent waits for it' if which == 'parent' else f'it waits for {child}'}"
    ]
    assert found.taken == [other]
    assert await aside(old) == ["parent", child]
    await into(new, file)
    async with new.app(*graphs(), models=models(), work=True) as app:
        await app.signal(child, "word", "hello")
        assert isinstance(await app.wait("parent/1"), Finished)
    await sound(new)


async def test_a_copy_of_a_parent_says_that_its_child_is_missing(old: Home, file: str) -> None:
    await furnish(old)
    found, said = await out(old, file, "parent")
    assert threads(file) == ["parent"]
    assert said == found.notes
    assert "thread parent waits for parent/" in said[0]
    assert "which is not in the file" in said[0]


async def test_a_child_that_ended_just_before_it_was_moved_wakes_its_parent_there(
    old: Home, new: Home, file: str
) -> None:
    """The parent was exported waiting, then the child ends in the old store: there nobody can tell the parent."""
    await furnish(old)
    store: Any = await old.open()
    really = store.set_aside
    async with old.app(*graphs(), models=models(), work=True) as app:

        async def set_aside(names: Sequence[str], reason: str) -> list[str]:
            if names[0].startswith("parent/"):
                await app.signal(names[0], "word", "late")
                assert isinstance(await app.wait(f"{names[0]}/1"), Finished)
            return list(await really(names, reason))

        store.set_aside = set_aside
        async with old.app(*graphs(), store=store) as exporting:
            await exporting.export_to(file, ["parent"], move=True)
            store.set_aside = really
    await into(new, file)
    async with new.app(*graphs(), models=models(), work=True) as app:
        done = await asyncio.wait_for(app.wait("parent/1"), 10)
        assert isinstance(done, Finished)
        assert done.state.log == ["heard ['late']"]
    await sound(new)


async def test_what_moved_before_is_not_moved_again(old: Home, new: Home, file: str) -> None:
    await furnish(old)
    await out(old, file, "asking", "rung", move=True)
    with pytest.raises(
        ThreadMoved, match=r"'rung' was moved to .*; `turnout take-back rung --not-imported` first"
    ):
        await out(old, f"{file}.2", "rung", move=True)
    found, _ = await out(old, f"{file}.3", move=True)
    assert found.away == 2
    # The base of a fork is there all the same, as a copy: it was moved elsewhere.
    assert {"rung"} & set(threads(f"{file}.3")) == set()
    assert "asking" in threads(f"{file}.3")
    await into(new, file)
    await into(new, f"{file}.3")
    assert await aside(new) == []
    await sound(new)


async def test_a_copy_of_what_moved_away_stays_set_aside(old: Home, new: Home, file: str) -> None:
    await furnish(old)
    await out(old, file, "rung", move=True)
    await out(old, f"{file}.2", "rung")
    await into(new, f"{file}.2")
    async with new.app() as app:
        assert (await app.store.thread("rung")).aside.startswith("moved to ")
    await into(new, file)
    assert await aside(new) == []


# --- workers go on meanwhile ------------------------------------------------------------------------------------


def busy() -> Graph:
    """A graph that takes many small steps."""
    graph = Graph("busy", state=Work, step_limit=1_000_000)

    @graph.node
    async def turn(state: Work, ctx: Context) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"n": 1, "log": ["x" * 50]}

    graph.start(turn)
    graph.route(turn, [rule("again", field("n") < 100_000, to=turn)], default=END)
    return graph


@pytest.mark.parametrize("move", [False, True], ids=["copy", "move"])
async def test_a_thread_that_is_being_driven_is_exported_as_it_was_at_one_entry(
    old: Home, new: Home, file: str, move: bool
) -> None:
    graph = busy()
    async with old.app(graph, work=True) as app:
        for name in ("a", "b"):
            await app.start("busy", {}, thread=name)
        while (await app.store.thread("b")).head < 50:
            await asyncio.sleep(0.01)
        await app.export_to(file, move=move)
        heads = {row.thread: row.head for row in await app.threads()}
        await asyncio.sleep(0.1)
        after = {row.thread: row.head for row in await app.threads()}
        assert (after == heads) == move
        for name in () if move else ("a", "b"):
            await app.cancel(name)
            await app.wait(f"{name}/1")
    await into(new, file)
    async with new.app(graph) as app:
        assert (await app.verify()).ok
        for row in await app.threads():
            assert (await app.replay(row.thread)).identical
            assert (row.status, bool(row.aside)) == ("running", not move)
    async with new.app(graph, work=move) as app:
        if move:
            head = (await app.store.thread("a")).head
            while (await app.store.thread("a")).head < head + 20:
                await asyncio.sleep(0.01)
            for name in ("a", "b"):
                await app.cancel(name)
                await app.wait(f"{name}/1")
            assert (await app.verify()).ok


async def test_keys_and_inputs_that_come_meanwhile_go_together(old: Home, new: Home, file: str) -> None:
    """A key without its input would lose the input when it is sent again; an input without its key would run twice."""

    async def nothing(state: Work, ctx: Context) -> None:
        return None

    graph = chain(nothing)
    sent = 0
    async with old.app(graph, work=True) as app:

        async def send() -> None:
            nonlocal sent
            while True:
                await app.start("g", {}, thread="t", idempotency_key=f"k{sent}")
                sent += 1
                await asyncio.sleep(0)

        await app.start("g", {}, thread="t", idempotency_key="first")
        sending = asyncio.ensure_future(send())
        for number in range(8):
            before = sent
            while sent < before + 2:
                await asyncio.sleep(0.001)
            await app.export_to(f"{file}.{number}")
        sending.cancel()
    for number in range(8):
        lines = list(map(json.loads, Path(f"{file}.{number}").read_text().splitlines()))
        inputs = [json.loads(line["text"])["key"] for line in lines if line.get("kind") == "input.received"]
        keys = [line["key"].removeprefix("start:g:") for line in lines if line["turnout"] == "key"]
        assert sorted(keys) == sorted(inputs)
    assert sent >= 16


async def test_a_write_that_was_under_way_when_its_thread_moved_is_not_sent_again_on_a_guess(
    old: Home, new: Home, file: str
) -> None:
    from turnout import tool

    begun, sent = asyncio.Event(), []

    @tool(effect="write")
    async def send(what: str) -> str:
        sent.append(what)
        begun.set()
        await asyncio.sleep(30)
        return "sent"

    async def write(state: Work, ctx: Context) -> Any:
        return {"log": [await ctx.call(send, what="letter")]}

    graph = chain(write, tools=[send])
    async with old.app(graph, work=True) as app:
        await app.start("g", {}, thread="t")
        await begun.wait()
        await app.export_to(file, move=True)
    await into(new, file)
    async with new.app(graph, work=True) as app:
        outcome = await app.wait("t/1")
        assert isinstance(outcome, Paused)
        assert outcome.reviews[0].allowed == ("landed", "did_not_happen")
    assert sent == ["letter"]


async def test_the_picture_of_a_store_does_not_change_when_it_is_copied(old: Home, file: str) -> None:
    await furnish(old)
    before = await picture(old)
    await out(old, file)
    assert await picture(old) == before
