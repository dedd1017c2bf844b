"""Child threads: which child is asked for, what it gives its parent, and who hears of a cancel."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.doors import Door
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import Cancelled, Context, Failed, Finished, Graph, Paused, Retry, approve
from turnout.core.effects import Request, content_key
from turnout.core.entries import ErrorInfo
from turnout.errors import ChildFailed
from turnout.runtime.calls import raised
from turnout.stores.sqlite import SqliteStore
from turnout.testing import VirtualClock, open_test_app


async def helper(state: Work, ctx: Context) -> dict[str, Any]:
    kind = (state.data or {}).get("kind")
    if kind == "fails":
        raise ValueError("the child broke")
    if kind == "asks":
        decision = await ctx.review("child asks?")
        return {"log": [decision.decision]}
    if kind == "hangs":
        await ctx.once("for ever", asyncio.sleep, 60)
    return {"n": 5}


def parent_of(*inputs: dict[str, Any], catch: bool = False) -> list[Graph]:
    async def parent(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            got = await asyncio.gather(*(ctx.run("child", given) for given in inputs))
        except ChildFailed as error:
            if not catch:
                raise
            return {"log": [f"{type(error).__name__} {error.cause}"]}
        return {"data": [[child["n"], child["log"]] for child in got]}

    return [chain(parent), chain(helper, name="child")]


async def child_threads(app: Any) -> list[str]:
    return [row.thread for row in await app.threads(graph="child")]


async def test_a_child_gives_its_final_state_and_has_a_journal_of_its_own() -> None:
    async with open_test_app(graphs=parent_of({})) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.data == [[5, []]]  # type: ignore[attr-defined]
        [child] = await child_threads(app)
        assert child.startswith("t/1.parent.1.")
        for thread in ("t", child):
            await proven(app, thread)


async def test_two_children_run_at_once_even_with_the_same_input() -> None:
    async with open_test_app(graphs=parent_of({}, {}, {"data": {"kind": "none"}})) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert len(await child_threads(app)) == 3
        await proven(app)


@pytest.mark.parametrize("catch", [False, True])
async def test_a_child_that_fails_raises_child_failed(catch: bool) -> None:
    async with open_test_app(graphs=parent_of({"data": {"kind": "fails"}}, catch=catch)) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        if catch:
            assert isinstance(ended, Finished)
            assert ended.state.log == ["ChildFailed ValueError"]  # type: ignore[attr-defined]
        else:
            assert isinstance(ended, Failed)
            assert ended.error.type == "ChildFailed"
            assert "the child broke" in ended.error.message
        await proven(app)


async def test_a_child_whose_input_does_not_fit_fails_and_does_not_hang() -> None:
    async with open_test_app(graphs=parent_of({"nonsense": 1})) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Failed)
        assert "nonsense" in ended.error.message


async def test_a_child_of_a_graph_that_nobody_has_waits_says_so_and_goes_on_when_somebody_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That a worker was started without a graph must not fail a run for good."""

    async def parent(state: Work, ctx: Context) -> None:
        await ctx.run("elsewhere", {})

    async def child(state: Work, ctx: Context) -> None:
        return None

    store = f"sqlite:///{tmp_path / 't.db'}"
    async with open_test_app(store, graphs=[chain(parent)]) as app:
        run = await app.start("g", {}, thread="t")
        with pytest.raises(TimeoutError):
            await app.wait(run, timeout=0.5)
    assert "waits for a worker that has graph 'elsewhere'" in caplog.text
    async with open_test_app(store, graphs=[chain(parent), chain(child, name="elsewhere")]) as app:
        assert isinstance(await app.wait(run, timeout=5), Finished)


async def test_a_child_that_asks_a_person_lets_its_parent_wait_and_go_on() -> None:
    async with open_test_app(graphs=parent_of({"data": {"kind": "asks"}})) as app:
        run = await app.start("g", {}, thread="t")
        for _ in range(400):
            if reviews := await app.reviews():
                break
            await asyncio.sleep(0.005)
        [review] = reviews
        assert review.thread != "t"
        await app.resolve(review, approve(by="dana"))
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert done.state.data == [[0, ["approve"]]]  # type: ignore[attr-defined]
        await proven(app)


@pytest.mark.parametrize("kind", ["asks", "hangs"])
async def test_a_cancel_reaches_down_to_the_child(kind: str) -> None:
    async with open_test_app(graphs=parent_of({"data": {"kind": kind}})) as app:
        run = await app.start("g", {}, thread="t")
        for _ in range(400):
            threads = await child_threads(app)
            if threads and "decision" in await kinds(app, threads[0]):
                break
            await asyncio.sleep(0.005)
        await app.cancel("t", by="dana")
        assert isinstance(await app.wait(run, timeout=5), Cancelled)
        [child] = await child_threads(app)
        assert isinstance(await app.wait(f"{child}/1", timeout=5), Cancelled)
        assert await app.reviews(status="open") == []
        await proven(app)
        await proven(app, child)


@pytest.mark.parametrize("kind", ["asks", "hangs"])
async def test_a_cancel_that_comes_while_a_child_is_being_started_reaches_it(kind: str) -> None:
    async with open_test_app(graphs=parent_of({"data": {"kind": kind}})) as app:
        start_child, started, go_on = app._world.start_child, asyncio.Event(), asyncio.Event()
        assert start_child is not None

        async def slowly(child: str, given: Any) -> None:
            await start_child(child, given)
            started.set()
            await go_on.wait()

        object.__setattr__(app._world, "start_child", slowly)
        run = await app.start("g", {}, thread="t")
        await started.wait()
        await app.cancel("t", by="dana")
        await asyncio.sleep(0.05)
        go_on.set()
        assert isinstance(await app.wait(run, timeout=20), Cancelled)
        [child] = await child_threads(app)
        assert isinstance(await app.wait(f"{child}/1", timeout=20), Cancelled)
        await proven(app)
        await proven(app, child)


@pytest.mark.parametrize("kind", ["asks", "hangs"])
async def test_a_cancel_reaches_the_child_in_whatever_moment_it_comes(kind: str) -> None:
    """Also as the child is being started, and as the parent comes to rest to wait for it."""
    for turns in range(40):
        async with open_test_app(graphs=parent_of({"data": {"kind": kind}})) as app:
            run = await app.start("g", {}, thread="t")
            for _ in range(turns):
                await asyncio.sleep(0)
            await app.cancel("t", by="dana")
            assert isinstance(await app.wait(run, timeout=20), Cancelled), turns
            for child in await child_threads(app):
                assert isinstance(await app.wait(f"{child}/1", timeout=20), Cancelled), turns
            assert await app.reviews(status="open") == [], turns


async def test_a_child_of_a_child_gives_its_result_up() -> None:
    async def top(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": (await ctx.run("middle", {}))["n"] + 1}

    async def middle(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": (await ctx.run("child", {}))["n"] + 1}

    async with open_test_app(
        graphs=[chain(top), chain(middle, name="middle"), chain(helper, name="child")]
    ) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.n == 7  # type: ignore[attr-defined]


async def other_name(**parent: Any) -> str:
    """What the child of that parent is called, from somebody's own store: nothing secret goes into it."""
    async with open_test_app(graphs=parent_of({})) as own:
        await own.run("g", {}, thread="t", **parent)
        [child] = await child_threads(own)
        return child


@pytest.mark.parametrize("kind", ["ends", "asks"])
@pytest.mark.parametrize(("tenant", "stranger"), [("acme", "evil"), ("", "")])
async def test_a_thread_that_somebody_else_put_in_the_place_of_a_child_is_not_taken_for_it(
    tenant: str, stranger: str, kind: str
) -> None:
    """Its state would be taken for the child's result, in another tenant's run."""
    child = await other_name(tenant=tenant)
    async with open_test_app(graphs=parent_of({})) as app:
        theirs = await app.start("child", {"data": {"kind": kind}}, thread=child, tenant=stranger)
        before = await app.wait(theirs, timeout=5)
        ended = await app.wait(await app.start("g", {}, thread="t", tenant=tenant), timeout=5)
        assert isinstance(ended, Failed)
        assert ended.error.type == "ChildFailed"
        assert "Conflict" in ended.error.message
        assert child in ended.error.message
        assert type(await app.wait(theirs, timeout=5)) is type(before)
        assert "cancel.requested" not in await kinds(app, child)
        await proven(app)


async def test_a_thread_that_took_the_name_of_a_child_is_not_cancelled_with_the_parent() -> None:
    """As when the parent's worker stopped between putting the child on record and starting it."""
    child, started = await other_name(), asyncio.Event()

    async def lost(child: str, given: Any) -> None:
        started.set()

    async with open_test_app(graphs=parent_of({})) as app:
        object.__setattr__(app._world, "start_child", lost)
        await app.start("child", {"data": {"kind": "asks"}}, thread=child)
        assert isinstance(await app.wait(f"{child}/1", timeout=5), Paused)
        run = await app.start("g", {}, thread="t")
        await started.wait()
        await app.cancel("t")
        assert isinstance(await app.wait(run, timeout=20), Cancelled)
        assert "cancel.requested" not in await kinds(app, child)


async def test_a_fork_that_took_the_name_of_a_child_is_not_taken_for_it() -> None:
    """Its first entry is that of the thread that it was made from, maybe of another child with the same input."""
    graphs = parent_of({}, {})
    async with open_test_app(graphs=graphs) as own:
        await own.run("g", {}, thread="t")
        first, second = await child_threads(own)

    async with open_test_app(graphs=graphs) as app:
        start_child, started = app._world.start_child, asyncio.Event()
        assert start_child is not None

        async def only_one(child: str, given: Any) -> Any:
            if child == first:
                return await start_child(child, given)
            await started.wait()
            return await start_child(child, given)

        object.__setattr__(app._world, "start_child", only_one)
        run = await app.start("g", {}, thread="t")
        while await app.store.thread(first) is None:
            await asyncio.sleep(0.01)
        await app.wait(f"{first}/1", timeout=5)
        await app.fork(first, name=second)
        started.set()
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Failed)
        assert second in ended.error.message


@pytest.mark.parametrize(
    "why", ["CallRefused", "GuardBlocked", "EffectRefused", "BudgetExceeded", "ValueError"]
)
def test_whatever_a_child_died_of_its_parent_is_told_that_the_child_failed(why: str) -> None:
    error = raised("child", "helper", ErrorInfo(why, "no"))
    assert type(error) is ChildFailed
    assert error.cause == why


async def test_a_step_that_is_tried_again_asks_for_a_new_child() -> None:
    tried: list[str] = []

    async def child(state: Work, ctx: Context) -> dict[str, Any]:
        tried.append(ctx.thread)
        if len(tried) == 1:
            raise ValueError("not today")
        return {"n": 7}

    async def parent(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": (await ctx.run("child", {}))["n"]}

    graphs = [chain(child, name="child"), chain(parent, retry=Retry(attempts=2, wait=0))]
    async with open_test_app(graphs=graphs) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Finished)
        assert ended.state.n == 7  # type: ignore[attr-defined]
        assert len(set(tried)) == 2
        await proven(app)


async def test_a_step_that_is_migrated_asks_for_a_new_child() -> None:
    store: Any = Door(SqliteStore(":memory:"))

    async def child(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": 7}

    async def parent(state: Work, ctx: Context) -> dict[str, Any]:
        got = await ctx.run("child", {})
        await ctx.signal("go")
        return {"n": got["n"]}

    async def newer(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.now()
        return {"n": (await ctx.run("child", {}))["n"] + 1}

    def version(fn: Any, before: str = "") -> Graph:
        graph = Graph("g", state=Work)
        graph.node(fn, name="parent")
        graph.start("parent")
        graph.edge("parent", "END")
        if before:
            graph.migration(before)
        return graph

    old, children = version(parent), chain(child, name="child")
    async with open_test_app(store, graphs=[old, children]) as app:
        await app.wait(await app.start("g", {}, thread="t"), timeout=5)
    async with open_test_app(store, graphs=[version(newer, old.fingerprint), children]) as app:
        await app.signal("t", "look")
        ended = await app.wait("t/1", timeout=2)
        assert isinstance(ended, Finished)
        assert ended.state.n == 8  # type: ignore[attr-defined]


async def test_children_of_one_step_never_share_a_thread() -> None:
    """Two inputs whose content keys begin alike are two children all the same."""
    seen: dict[str, int] = {}
    pair: tuple[int, int] | None = None
    for i in range(60_000):
        key = content_key(Request("child", "child", {"n": i}))[:6]
        if key in seen:
            pair = (seen[key], i)
            break
        seen[key] = i
    assert pair is not None
    a, b = pair

    async def child(state: Work, ctx: Context) -> dict[str, Any]:
        return {}

    async def parent(state: Work, ctx: Context) -> dict[str, Any]:
        found = await asyncio.gather(ctx.run("child", {"n": a}), ctx.run("child", {"n": b}))
        return {"data": [x["n"] for x in found]}

    async with open_test_app(graphs=[chain(child, name="child"), chain(parent)]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Finished)
        assert ended.state.data == [a, b]


async def test_a_parent_gets_what_its_childs_run_ended_with_and_not_what_came_later(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"

    async def child(state: Work, ctx: Context) -> dict[str, Any]:
        if state.n == 1:
            await ctx.signal("go")
        return {"log": ["ran"]}

    async def parent(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": (await ctx.run("child", {"n": 1}))["n"]}

    children, parents = chain(child, name="child"), chain(parent)
    clock = VirtualClock()
    async with open_test_app(store, graphs=[children, parents], clock=clock) as app:
        await app.start("g", {}, thread="t")
        await until(lambda: "t" not in app.worker.busy)  # type: ignore[union-attr]
        await asyncio.sleep(0.1)
        [below] = [row.thread for row in await app.threads() if row.thread != "t"]
    async with open_test_app(store, graphs=[children], clock=clock) as app:
        await app.signal(below, "go")
        assert isinstance(await app.wait(f"{below}/1", timeout=5), Finished)
        assert isinstance(await app.run("child", {"n": 100}, thread=below), Finished)
    await clock.advance(60)
    async with open_test_app(store, graphs=[children, parents], clock=clock) as app:
        ended = await app.wait("t/1", timeout=5)
        assert isinstance(ended, Finished)
        assert ended.state.data == 1
