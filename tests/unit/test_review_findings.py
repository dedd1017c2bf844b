"""What a hostile reading of the runtime found: each defect once, so that it stays away."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import (
    CANNOT_TELL,
    DID_NOT_HAPPEN,
    END,
    App,
    Cancelled,
    Context,
    Failed,
    Finished,
    Graph,
    Landed,
    Paused,
    Settings,
    append,
    approve,
    did_not_happen,
    edit,
    landed,
    tool,
)
from turnout.core.effects import Request, content_key
from turnout.core.messages import ModelReply, ModelRequest
from turnout.errors import (
    DecisionNotAllowed,
    GraphInvalid,
    InputInvalid,
    KeyReused,
    ModelFailed,
    ToolFailed,
)
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


# --- appends from outside at the worst moment ------------------------------------------------------------------


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


# --- writes ----------------------------------------------------------------------------------------------------


async def test_a_sync_write_that_is_still_going_on_is_not_sent_again_and_not_said_to_be_undone() -> None:
    """A time limit leaves the thread behind, which lands the write later. `reconcile` can't see that coming."""
    sent: list[str] = []
    may_land, begun = threading.Event(), []

    async def look() -> Any:
        return Landed("landed") if sent else DID_NOT_HAPPEN

    @tool(effect="write", reconcile=look, time_limit=0.05)
    def send() -> str:
        begun.append(1)
        may_land.wait(5)
        sent.append("landed")
        return "landed"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node, tools=[send])], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: begun, clock)
        await asyncio.sleep(0.2)
        assert begun == [1]
        may_land.set()
        await until(lambda: sent)
        await asyncio.sleep(0.05)
        await clock.advance(10)
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Finished)
        assert ended.state.log == ["landed"]
        assert sent == ["landed"]
        await proven(app)


async def test_of_a_cancelled_sync_write_that_is_still_going_on_nothing_is_claimed() -> None:
    may_land, begun = threading.Event(), []

    async def look() -> Any:
        return DID_NOT_HAPPEN

    @tool(effect="write", reconcile=look)
    def send() -> str:
        begun.append(1)
        may_land.wait(5)
        return "landed"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    async with open_test_app(graphs=[chain(node, tools=[send])]) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: begun)
        await app.cancel("t")
        ended = await app.wait(run, timeout=5)
        may_land.set()
        assert isinstance(ended, Cancelled)
        assert [w.outcome for w in ended.writes] == ["unknown"]


async def test_a_time_limit_of_ours_proves_nothing_whatever_the_tool_says_of_timeouts() -> None:
    """`did_not_happen=(TimeoutError,)` speaks of the tool's own errors, not of our cutting it off."""
    sent: list[int] = []

    @tool(effect="write", did_not_happen=(TimeoutError,), time_limit=0.05)
    async def send() -> str:
        sent.append(1)
        await asyncio.sleep(5)
        return "sent"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    async with open_test_app(graphs=[chain(node, tools=[send])]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Paused)
        assert ended.reviews[0].purpose == "outcome"


async def test_a_second_sending_that_did_not_happen_says_nothing_of_the_first() -> None:
    world: list[str] = []
    tries: list[int] = []

    @tool(effect="write", did_not_happen=(ConnectionRefusedError,))
    async def send(idempotency_key: str) -> str:
        tries.append(1)
        if len(tries) == 1:
            world.append(idempotency_key)
            raise OSError("the line broke after it was sent")
        if len(tries) == 2:
            raise ConnectionRefusedError("down for a moment")
        return "sent"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node, tools=[send])], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: tries, clock)
        await clock.settle()
        await clock.advance(30)
        await until(lambda: len(tries) >= 2, clock)
        await clock.advance(600)
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Finished), ended
        assert ended.state.log == ["sent"]
        await proven(app)


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


async def test_arguments_that_do_not_fit_are_found_before_the_write_is_on_record() -> None:
    """A default isn't checked by Pydantic: `memo: str = None` passes the first look and fails the second."""

    @tool(effect="write", reconcile=lambda: CANNOT_TELL)
    async def send(memo: str = None) -> str:  # type: ignore[assignment]  # noqa: RUF013
        return f"sent {memo}"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    async with open_test_app(graphs=[chain(node, tools=[send])]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Failed)
        assert ended.error.type == "InputInvalid"
        assert "effect.intended" not in await kinds(app)
        await proven(app)


async def test_a_run_can_be_cancelled_although_its_tool_takes_other_arguments_now(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"

    async def look(amount: Any) -> Any:
        return CANNOT_TELL

    @tool(effect="write", name="send", reconcile=look)
    async def old(amount: int) -> str:
        raise OSError("who knows")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call("send", amount=1)]}

    clock = VirtualClock()
    async with open_test_app(store, graphs=[chain(node, tools=[old])], clock=clock) as app:
        await app.start("g", {}, thread="t")
        await asyncio.sleep(0.1)
        assert "effect.settled" in await kinds(app)

    @tool(effect="write", name="send", reconcile=look)
    async def new(amount: list[str]) -> str:
        return "sent"

    async with open_test_app(store, graphs=[chain(node, tools=[new])], clock=clock) as app:
        await app.cancel("t")
        ended = await app.wait("t/1", timeout=3)
        assert isinstance(ended, Cancelled)
        assert [w.outcome for w in ended.writes] == ["unknown"]


async def test_a_write_that_is_lost_twice_is_asked_about_in_two_reviews(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"
    tries: list[int] = []

    @tool(effect="write")
    async def send() -> str:
        tries.append(1)
        await asyncio.sleep(30)
        return "sent"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send)]}

    settings = Settings(grace=0.05)
    asked = []
    for i in (1, 2):
        async with open_test_app(store, graphs=[chain(node, tools=[send])], settings=settings) as app:
            if i == 1:
                await app.start("g", {}, thread="t")
            else:
                paused = await app.wait("t/1", timeout=5)
                assert isinstance(paused, Paused)
                asked.append(paused.reviews[0].id)
                await app.resolve(asked[-1], did_not_happen(by="dana"))
            await until(lambda i=i: len(tries) == i)
    async with open_test_app(store, graphs=[chain(node, tools=[send])], settings=settings) as app:
        paused = await app.wait("t/1", timeout=5)
        assert isinstance(paused, Paused)
        asked.append(paused.reviews[0].id)
        await app.resolve(asked[-1], landed("yes", by="dana"))
        assert isinstance(await app.wait("t/1", timeout=5), Finished)
        assert asked[0] != asked[1]
        assert [r.status for r in await app.reviews(status="", thread="t")] == ["did_not_happen", "landed"]


async def test_a_call_that_nobody_waits_for_is_not_begun_after_the_step_has_ended() -> None:
    sent: list[int] = []
    left: list[Any] = []

    @tool(effect="write")
    async def send() -> str:
        sent.append(1)
        return "sent"

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        left.append(asyncio.ensure_future(ctx.call(send)))
        return {"n": 1}

    async with open_test_app(graphs=[chain(node, tools=[send])]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        await asyncio.wait(left, timeout=1)
        assert isinstance(ended, Finished)
        assert "is over" in str(left[0].exception())
        written = await kinds(app)
        assert written.count("effect.intended") == len(sent) == written.count("effect.settled")
        await proven(app)


# --- inputs, signals, children ---------------------------------------------------------------------------------


async def test_a_second_input_is_checked_although_the_first_has_not_begun() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {}

    app = open_test_app(graphs=[chain(node)], work=False)
    await app.start("g", {"n": 1}, thread="t")
    before = await kinds(app)
    with pytest.raises(InputInvalid):
        await app.start("g", {"nonsense": 1}, thread="t")
    with pytest.raises(InputInvalid):
        await app.start("g", {"n": "many"}, thread="t")
    assert await kinds(app) == before
    await app.close()


async def test_idempotency_keys_of_two_threads_are_never_mistaken_for_one_another() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": await ctx.signal("go")}

    async with open_test_app(graphs=[chain(node)]) as app:
        first = await app.start("g", {}, thread="t")
        second = await app.start("g", {}, thread="t:a")
        assert await app.signal("t:a", "go", 1, idempotency_key="b")
        assert await app.signal("t", "go", 2, idempotency_key="a:b")
        assert isinstance(await app.wait(first, timeout=5), Finished)
        assert isinstance(await app.wait(second, timeout=5), Finished)


async def test_another_signal_with_a_used_key_is_refused() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": [await ctx.signal("go"), await ctx.signal("go")]}

    async with open_test_app(graphs=[chain(node)]) as app:
        await app.start("g", {}, thread="t")
        assert await app.signal("t", "go", 1, idempotency_key="b")
        assert not await app.signal("t", "go", 1, idempotency_key="b")
        with pytest.raises(KeyReused):
            await app.signal("t", "go", 2, idempotency_key="b")


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


# --- forks and versions in the middle of a split ---------------------------------------------------------------


def split(state: type[BaseModel], left: Any, right: Any, after: Any) -> Graph:
    """A graph of two branches that join."""
    from turnout import parallel

    graph = Graph("g", state=state)

    async def begin(state: Any, ctx: Context) -> dict[str, Any]:
        return {}

    for node in (begin, left, right, after):
        graph.node(node)
    graph.start(begin)
    graph.edge(begin, parallel(left, right, join=after))
    graph.edge(left, after)
    graph.edge(right, after)
    graph.edge(after, END)
    return graph


async def left(state: Any, ctx: Context) -> dict[str, Any]:
    await ctx.signal("go")
    return {"log": [f"left {state.data}"]}


async def right(state: Any, ctx: Context) -> dict[str, Any]:
    await ctx.signal("go")
    return {"log": [f"right {state.data}"]}


async def after(state: Any, ctx: Context) -> dict[str, Any]:
    return {"log": [f"after {state.data}"]}


async def test_branches_see_the_edited_state_of_a_fork_in_the_middle_of_a_split() -> None:
    async with open_test_app(graphs=[split(Work, left, right, after)]) as app:
        run = await app.start("g", {"data": "old"}, thread="t")
        assert isinstance(await app.wait(run, timeout=5), Paused)
        fork = await app.fork("t", update={"data": "new"}, name="f")
        assert isinstance(await app.wait(fork, timeout=5), Paused)
        for _ in range(2):
            await app.signal("f", "go")
        ended = await app.wait(fork, timeout=5)
        assert isinstance(ended, Finished)
        assert ended.state.log == ["left new", "right new", "after new"]
        await proven(app, "f")


class Wider(BaseModel):
    """`Work`'s fields, one of them gone and one new."""

    log: Annotated[list[str], append] = []
    data: Any = None
    more: str = "yes"


async def test_a_version_with_another_schema_adopts_a_run_in_the_middle_of_a_split(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"
    async with open_test_app(store, graphs=[split(Work, left, right, after)]) as app:
        run = await app.start("g", {"data": "x"}, thread="t")
        assert isinstance(await app.wait(run, timeout=5), Paused)
    async with open_test_app(store, graphs=[split(Wider, left, right, after)]) as app:
        for _ in range(2):
            await app.signal("t", "go")
        ended = await app.wait(run, timeout=3)
        assert isinstance(ended, Finished), ended
        assert ended.state.log == ["left x", "right x", "after x"]
        assert "n" not in (await app.state("t"))


# --- bad input -------------------------------------------------------------------------------------------------


async def test_two_graphs_of_one_name_are_refused() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {}

    with pytest.raises(GraphInvalid, match="g"):
        open_test_app(graphs=[chain(node), chain(node)])


@pytest.mark.parametrize(
    "terms",
    [
        {"due": 3600},
        {"due": datetime(2030, 1, 1)},
        {"due": timedelta.max},
        {"roles": "finance"},
        {"due": timedelta(1), "on_due": "escalate", "escalate_to": "finance"},
    ],
)
async def test_review_terms_that_mean_nothing_are_refused(terms: dict[str, Any]) -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.review("ok?", **terms)
        return {}

    async with open_test_app(graphs=[chain(node)]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Failed)
        assert ended.error.type == "InputInvalid"


@pytest.mark.parametrize("time", [1e15, timedelta.max, -1e15])
async def test_a_sleep_beyond_all_time_is_refused(time: Any) -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.sleep(time)
        return {}

    async with open_test_app(graphs=[chain(node)]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Failed)
        assert ended.error.type == "InputInvalid"
        await app.explain("t")


async def test_one_person_is_one_person_whatever_blanks_are_around_the_name() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.review("ok?", quorum=2)
        return {}

    async with open_test_app(graphs=[chain(node)]) as app:
        paused = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(paused, Paused)
        await app.resolve(paused.reviews[0].id, approve(by="dana"))
        with pytest.raises(DecisionNotAllowed):
            await app.resolve(paused.reviews[0].id, approve(by="dana "))


@pytest.mark.parametrize("depth", [100, 240, 250, 300, 2000])
async def test_deep_data_is_kept_or_refused_clearly(depth: int) -> None:
    deep: Any = []
    for _ in range(depth):
        deep = [deep]

    @tool(effect="read")
    async def look() -> Any:
        return deep

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": await ctx.call(look)}

    async with open_test_app(graphs=[chain(node, tools=[look])]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Finished if depth <= 100 else Finished | Failed)
        await proven(app)
        await app.explain("t")


@pytest.mark.parametrize("depth", [240, 250, 2000])
async def test_a_deep_input_is_kept_or_refused_clearly(depth: int) -> None:
    deep: Any = []
    for _ in range(depth):
        deep = [deep]

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": ["ran"]}

    async with open_test_app(graphs=[chain(node)]) as app:
        try:
            run = await app.start("g", {"data": deep}, thread="t")
        except InputInvalid:
            return
        assert isinstance(await app.wait(run, timeout=5), Finished)
        await proven(app)


async def test_a_node_that_gives_no_update_but_something_to_wait_for_fails_clearly() -> None:
    async def generates(state: Work, ctx: Context) -> Any:
        yield {"n": 1}

    def coroutine(state: Work, ctx: Context) -> Any:
        async def inner() -> dict[str, Any]:
            return {"n": 1}

        made.append(inner())
        return made[-1]

    made: list[Any] = []
    for node in (generates, coroutine):
        try:
            app = open_test_app(graphs=[chain(node)])
        except GraphInvalid:
            continue
        async with app:
            ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
            assert isinstance(ended, Failed), node
            assert ended.error.type == "UpdateInvalid"
    for coroutine_ in made:
        coroutine_.close()


async def test_after_an_escalation_only_the_new_roles_decide() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        said = await ctx.review(
            "ok?", roles=["clerk"], due=timedelta(hours=1), on_due="escalate", escalate_to=["boss"]
        )
        return {"log": [said.summary]}

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node)], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.settle()
        await until(lambda: not app.worker.busy, clock)  # type: ignore[union-attr]
        await clock.advance(3700)
        [review] = await app.reviews(thread="t")
        assert review.roles == ["boss"] or tuple(review.roles) == ("boss",)
        with pytest.raises(DecisionNotAllowed):
            await app.resolve(review.id, approve(by="carl", roles=["clerk"]))
        await app.resolve(review.id, approve(by="dana", roles=["boss"]))
        assert isinstance(await app.wait(run, timeout=5), Finished)


async def test_a_review_whose_due_time_is_past_is_listed_as_every_other() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        said = await ctx.review("ok?", due=datetime(2000, 1, 1, tzinfo=UTC), on_due="approve")
        return {"log": [said.summary]}

    async with open_test_app(graphs=[chain(node)]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Finished)
        assert [review.status for review in await app.reviews(status="", thread="t")] == ["approve"]
        await proven(app)


async def test_the_values_that_pydantic_refused_are_not_put_on_record() -> None:
    class Out(BaseModel):
        token: int

    class Leaky:
        async def complete(self, request: ModelRequest, emit: Any) -> ModelReply:
            return ModelReply(output={"token": "sk-SECRET"})

    @tool(effect="read")
    async def look() -> int:
        return Out.model_validate({"token": "sk-SECRET"}).token

    async def asks(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            await ctx.model("m", messages="hi", output=Out)
        except ModelFailed as error:
            return {"log": [str(error)]}
        return {}

    async def calls(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            await ctx.call(look)
        except ToolFailed as error:
            return {"log": [str(error)]}
        return {}

    async def breaks(state: Work, ctx: Context) -> dict[str, Any]:
        Out.model_validate({"token": "sk-SECRET"})
        return {}

    graph = chain(asks, calls, breaks, tools=[look])
    async with open_test_app(graphs=[graph], models={"m": Leaky()}) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Failed)
        said = [*(await app.state("t"))["log"], ended.error.message]
        assert len(said) == 3
        for line in said:
            assert "SECRET" not in line
            assert "valid integer" in line
        await proven(app)


async def test_an_edit_that_does_not_fit_the_payloads_type_says_so() -> None:
    class Amount(BaseModel):
        amount: Annotated[int, Field(gt=0)]

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.review("ok?", payload=Amount(amount=1), allowed=["approve", "edit"])
        return {}

    async with open_test_app(graphs=[chain(node)]) as app:
        run = await app.start("g", {}, thread="t")
        paused = await app.wait(run, timeout=5)
        assert isinstance(paused, Paused)
        await app.resolve(paused.reviews[0].id, edit({"amount": -1}, by="dana"))
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Failed)
        assert ended.error.type == "InputInvalid"
        await proven(app)


async def test_a_signal_that_came_before_a_migration_is_there_after_it(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"

    async def old(state: Work, ctx: Context) -> dict[str, Any]:
        said = await ctx.signal("go")
        await ctx.review("ok?")
        return {"data": said}

    async def new(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": await ctx.signal("go")}

    before = chain(old)
    async with open_test_app(store, graphs=[before]) as app:
        run = await app.start("g", {}, thread="t")
        assert isinstance(await app.wait(run, timeout=5), Paused)
        await app.signal("t", "go", "paid")
        await until(lambda: app.worker is not None and not app.worker.busy)
        paused = await app.wait(run, timeout=5)
        assert isinstance(paused, Paused)
        assert paused.reviews
    after_ = chain(new)
    after_.migration(before=before.fingerprint, nodes={"old": "new"})
    async with open_test_app(store, graphs=[after_]) as app:
        await app.signal("t", "wake")
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Finished)
        assert ended.state.data == "paid"
