"""Appends from outside at the worst moment: just before a commit, or while the journal is read again."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import END, App, Cancelled, Context, Finished, Graph, Paused, Settings, approve, tool
from turnout.ports.rows import Append
from turnout.testing import VirtualClock, open_test_app


def before_append(app: App, kind: str, do: Callable[[], Any]) -> list[str]:
    """Do something once, just before an entry of that kind would become durable. Returns where it is noted."""
    real, done = app.store.append, []

    async def append_(change: Append) -> None:
        if not done and any(row.kind == kind for row in change.rows):
            done.append(kind)
            await do()
        elif done:  # nobody is lucky
            await asyncio.sleep(0.005)
        await real(change)

    app.store.append = append_  # type: ignore[method-assign]
    return done


def slow_reads(app: App) -> None:
    """A store whose reads take a turn of the event loop, as those of a server do."""
    for name in ("thread", "read", "snapshot", "values"):
        real = getattr(app.store, name)

        async def read(*args: Any, _real: Any = real, **options: Any) -> Any:
            await asyncio.sleep(0.002)
            return await _real(*args, **options)

        setattr(app.store, name, read)


async def test_a_write_is_not_sent_before_its_intent_is_durable_even_when_a_signal_comes_in_between() -> None:
    seen: list[bool] = []

    @tool(effect="write")
    async def send() -> str:
        seen.append("effect.intended" in await kinds(app))
        return "sent"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    async with open_test_app(graphs=[chain(node, tools=[send])]) as app:
        done = before_append(app, "effect.intended", lambda: app.signal("t", "hello"))
        assert isinstance(await app.wait(await app.start("g", {}, thread="t"), timeout=5), Finished)
        assert done
        assert seen == [True]
        await proven(app)


async def test_what_steps_record_while_the_journal_is_read_again_is_kept() -> None:
    calls: list[int] = []

    @tool(effect="read")
    async def look(i: int) -> int:
        calls.append(i)
        await asyncio.sleep(0.001 * i)
        return i

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        found = await asyncio.gather(*(ctx.call(look, i=i) for i in range(12)))
        await ctx.signal("go")
        return {"data": list(found)}

    async with open_test_app(graphs=[chain(node, tools=[look])]) as app:
        slow_reads(app)
        run = await app.start("g", {}, thread="t")
        for i in range(6):
            await app.signal("t", f"other-{i}", "x" * 5_000)
            await asyncio.sleep(0.002)
        await app.signal("t", "go")
        ended = await app.wait(run, timeout=10)
        assert isinstance(ended, Finished)
        assert ended.state.data == list(range(12))
        assert sorted(calls) == list(range(12)), "nothing is asked twice"
        await proven(app)


async def test_a_divergence_is_shown_even_when_a_signal_comes_in_between() -> None:
    version: list[str] = []

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        if not version:
            await ctx.once("first", lambda: 1)
        await ctx.review("ok?")
        return {}

    async with open_test_app(graphs=[chain(node)]) as app:
        run = await app.start("g", {}, thread="t")
        paused = await app.wait(run, timeout=5)
        assert isinstance(paused, Paused)
        version.append("changed behind the fingerprint's back")
        done = before_append(app, "run.diverged", lambda: app.signal("t", "hello"))
        await app.resolve(paused.reviews[0].id, approve(by="dana"))
        await until(lambda: done)
        await asyncio.sleep(0.05)
        assert (await app.view("t")).status == "diverged"


class Other(BaseModel):
    """A state that `Work` doesn't fit."""

    n: list[str] = []


async def test_new_code_that_does_not_fit_parks_the_run_even_when_a_signal_comes_in_between(
    tmp_path: Path,
) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"

    async def node(state: Any, ctx: Context) -> dict[str, Any]:
        await ctx.review("ok?")
        return {}

    async with open_test_app(store, graphs=[chain(node)]) as app:
        assert isinstance(await app.wait(await app.start("g", {}, thread="t"), timeout=5), Paused)

    graph = Graph("g", state=Other)
    graph.node(node)
    graph.start(node)
    graph.edge(node, END)
    app = open_test_app(store, graphs=[graph])
    done = before_append(app, "run.diverged", lambda: app.signal("t", "hello"))
    async with app:
        await app.signal("t", "wake")
        await until(lambda: done)
        await asyncio.sleep(0.1)
        assert (await app.view("t")).status == "diverged"


async def test_the_end_of_a_child_is_not_lost_when_another_process_sends_a_signal_in_between(
    tmp_path: Path,
) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"

    async def child(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.sleep(0.05)
        return {"n": 7}

    async def parent(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": (await ctx.run("child", {}))["n"]}

    other = open_test_app(store, graphs=[], work=False)
    async with open_test_app(store, graphs=[chain(child, name="child"), chain(parent)]) as app:
        done = before_append(app, "child.ended", lambda: other.signal("t", "hello"))
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert done
        assert isinstance(ended, Finished)
        assert ended.state.n == 7
        await proven(app)
    await other.close()


async def test_a_cancel_from_another_process_that_a_commit_runs_into_is_heard_at_once(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.once("first", lambda: 1)
        await asyncio.sleep(60)
        return {}

    other = open_test_app(store, graphs=[], work=False)
    async with open_test_app(store, graphs=[chain(node)]) as app:
        done = before_append(app, "effect.recorded", lambda: other.cancel("t"))
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=3)
        assert done
        assert isinstance(ended, Cancelled)
    await other.close()


async def test_a_node_that_will_not_hear_of_a_cancel_from_its_write_does_not_hold_the_run(
    tmp_path: Path,
) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"

    @tool(effect="write")
    async def send() -> str:
        return "sent"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            await ctx.call(send)
        except asyncio.CancelledError:
            await asyncio.sleep(60)
        return {}

    other = open_test_app(store, graphs=[], work=False)
    async with open_test_app(store, graphs=[chain(node, tools=[send])], settings=Settings(grace=0.05)) as app:
        done = before_append(app, "effect.intended", lambda: other.cancel("t"))
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert done
        assert isinstance(ended, Cancelled)
        assert [w.outcome for w in ended.writes] == ["did_not_happen"]
    await other.close()


async def test_a_cancel_while_a_second_sending_is_recorded_says_nothing_of_the_first() -> None:
    tries: list[int] = []

    @tool(effect="write")
    async def send(idempotency_key: str) -> str:
        tries.append(1)
        raise OSError("the line broke after it was sent")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node, tools=[send])], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: tries, clock)
        await clock.settle()
        done = before_append(app, "effect.intended", lambda: app.cancel("t"))
        real = app.store.append

        async def slowly(change: Append) -> None:
            if done:
                await asyncio.sleep(0.01)
            await real(change)

        app.store.append = slowly  # type: ignore[method-assign]
        await clock.advance(30)
        ended = await app.wait(run, timeout=5)
        assert done
        assert isinstance(ended, Cancelled)
        assert [w.outcome for w in ended.writes] == ["unknown"]
