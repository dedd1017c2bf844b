"""How a step is executed: retries, limits, sync nodes, swallowed halts, strictness, streams."""

import asyncio
import importlib.util
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import (
    END,
    Context,
    Failed,
    Finished,
    Graph,
    Paused,
    Retry,
    Settings,
    SyncContext,
    approve,
    open_app,
    tool,
)
from turnout.runtime.loop import Driver
from turnout.testing import VirtualClock, open_test_app


async def test_a_retry_keeps_what_was_answered_and_asks_again_what_failed() -> None:
    asked: list[str] = []

    @tool(effect="read")
    async def steady() -> int:
        asked.append("steady")
        return 1

    @tool(effect="read")
    async def shaky() -> int:
        asked.append("shaky")
        if asked.count("shaky") < 3:
            raise ConnectionError("down")
        return 2

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        one = await ctx.call(steady)
        two = await ctx.call(shaky)
        return {"n": one + two, "log": [f"attempt {ctx.attempt}"]}

    clock = VirtualClock()
    graph = chain(
        node, tools=[steady, shaky], retry=Retry(attempts=3, on=(ConnectionError,), wait=10, factor=3)
    )
    async with open_test_app(graphs=[graph], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(9)
        assert asked == ["steady", "shaky"]
        await clock.advance(2)
        assert asked.count("shaky") == 2
        await clock.advance(28)
        assert asked.count("shaky") == 2
        await clock.advance(2)
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert done.state == Work(n=3, log=["attempt 3"])
        assert asked == ["steady", "shaky", "shaky", "shaky"]
        await proven(app)


async def test_a_worker_rests_while_a_step_that_is_tried_again_waits_for_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = asyncio.Event()

    @tool(effect="read")
    async def slow() -> int:
        await answered.wait()
        return 1

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        if ctx.attempt == 1:
            raise ValueError("once more")
        return {"n": await ctx.call(slow)}

    turns: list[Any] = []
    turn = Driver._turn
    monkeypatch.setattr(Driver, "_turn", lambda driver: turns.append(driver) or turn(driver))
    async with open_test_app(graphs=[chain(node, tools=[slow], retry=Retry(attempts=2, wait=0))]) as app:
        run = await app.start("g", {})
        await asyncio.sleep(0.1)
        so_far = len(turns)
        await asyncio.sleep(0.1)
        assert len(turns) == so_far < 20
        answered.set()
        assert isinstance(await app.wait(run, timeout=5), Finished)


async def test_an_error_that_is_not_named_is_not_retried_and_attempts_are_counted() -> None:
    tried: list[str] = []

    def raising(kind: type[Exception], name: str) -> Graph:
        async def node(state: Work, ctx: Context) -> None:
            tried.append(name)
            raise kind("no")

        return chain(node, name=name, retry=Retry(attempts=4, on=(ValueError,), wait=0))

    async with open_test_app(graphs=[raising(KeyError, "other"), raising(UnicodeError, "named")]) as app:
        for name in ("other", "named"):
            failed = await app.wait(await app.start(name, {}, thread=name), timeout=5)
            assert isinstance(failed, Failed)
        assert (tried.count("other"), tried.count("named")) == (1, 4)  # UnicodeError is a ValueError
        for name in ("other", "named"):
            await proven(app, name)


@pytest.mark.parametrize("limit", [None, 0.05])
async def test_a_node_that_raises_cancelled_error_by_itself_fails_its_run(limit: float | None) -> None:
    async def node(state: Work, ctx: Context) -> None:
        helper = asyncio.ensure_future(asyncio.sleep(10))
        helper.cancel()
        await helper

    async with open_test_app(graphs=[chain(node, time_limit=limit)]) as app:
        failed = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(failed, Failed)
        assert failed.error.type == "CancelledError"


@pytest.mark.parametrize(
    "error", [ValueError("\ud800"), OSError("file \udcff"), ExceptionGroup("g", [ValueError()])]
)
async def test_whatever_a_node_raises_can_be_recorded(error: Exception) -> None:
    async def node(state: Work, ctx: Context) -> None:
        raise error

    async with open_test_app(graphs=[chain(node)]) as app:
        failed = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(failed, Failed)
        assert failed.error.type == type(error).__name__
        await proven(app)


# --- limits ----------------------------------------------------------------------------------------------------


async def test_a_step_that_takes_too_long_fails_and_its_read_is_stopped() -> None:
    stopped = asyncio.Event()

    @tool(effect="read")
    async def slow() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.set()
            raise
        return 1

    async def node(state: Work, ctx: Context) -> None:
        await ctx.call(slow)

    async with open_test_app(graphs=[chain(node, tools=[slow], time_limit=0.1)]) as app:
        failed = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(failed, Failed)
        assert failed.error.type == "StepTimeout"
        assert stopped.is_set()
        await proven(app)


async def test_a_time_limit_may_be_retried() -> None:
    tries = []

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        tries.append(1)
        if len(tries) == 1:
            await asyncio.sleep(60)
        return {"n": 1}

    graph = chain(node, time_limit=0.1, retry=Retry(attempts=2, on=(TimeoutError,), wait=0))
    async with open_test_app(graphs=[graph]) as app:
        assert isinstance(await app.wait(await app.start("g", {}, thread="t"), timeout=5), Finished)
        await proven(app)


async def test_a_pause_does_not_count_against_a_step_but_counts_against_the_run() -> None:
    async def node(state: Work, ctx: Context) -> None:
        await ctx.sleep(100)

    clock = VirtualClock()
    async with open_test_app(graphs=[chain(node, time_limit=1.0)], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(101)
        assert isinstance(await app.wait(run, timeout=5), Finished)
    graph = Graph("limited", state=Work, time_limit=50)
    graph.node(node)
    graph.start(node)
    graph.edge(node, END)
    async with open_test_app(graphs=[graph], clock=clock) as app:
        run = await app.start("limited", {}, thread="t")
        await clock.advance(51)
        failed = await app.wait(run, timeout=5)
        assert isinstance(failed, Failed)
        assert failed.error.type == "RunTimeout"
        assert await app.store.thread("t")
        await proven(app)


async def test_a_run_limit_stops_a_call_in_flight_and_a_stuck_sync_node() -> None:
    release = threading.Event()

    def stuck(state: Work, ctx: SyncContext) -> None:
        release.wait(30)

    async def calling(state: Work, ctx: Context) -> None:
        await ctx.once("forever", asyncio.sleep, 60)

    for node in (stuck, calling):
        graph = Graph("g", state=Work, time_limit=0.15)
        graph.node(node)
        graph.start(node)
        graph.edge(node, END)
        async with open_test_app(graphs=[graph]) as app:
            began = time.monotonic()
            failed = await app.wait(await app.start("g", {}, thread="t"), timeout=8)
            assert isinstance(failed, Failed)
            assert failed.error.type == "RunTimeout"
            assert time.monotonic() - began < 5
    release.set()


async def test_a_stuck_sync_node_does_not_hold_its_run_and_gets_no_more_answers() -> None:
    release, late = threading.Event(), []

    def stuck(state: Work, ctx: SyncContext) -> None:
        release.wait(30)
        try:
            ctx.now()
        except BaseException as halt:
            late.append(type(halt).__name__)
            raise

    async with open_test_app(graphs=[chain(stuck, time_limit=0.1)]) as app:
        failed = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(failed, Failed)
        assert failed.error.type == "StepTimeout"
        before = await kinds(app)
        release.set()
        await until(lambda: late)
        assert late == ["Halt"]
        assert await kinds(app) == before


def test_stuck_sync_nodes_and_tools_do_not_hold_the_end_of_the_process(tmp_path: Any) -> None:
    program = tmp_path / "stuck.py"
    program.write_text(
        "import asyncio, time\n"
        "from pydantic import BaseModel\n"
        "from turnout import *\n"
        "class S(BaseModel):\n    n: int = 0\n"
        "@tool(effect='read')\ndef slow() -> int:\n    time.sleep(600)\n    return 1\n"
        "g = Graph('g', state=S, tools=[slow])\n"
        "def node(state, ctx):\n    time.sleep(600)\n"
        "async def calls(state, ctx):\n    await ctx.call(slow)\n"
        "g.node(node, time_limit=0.1)\ng.start(node)\ng.edge(node, END)\n"
        "h = Graph('h', state=S, tools=[slow])\n"
        "h.node(calls, time_limit=0.1)\nh.start(calls)\nh.edge(calls, END)\n"
        "async def main():\n"
        "    async with open_app('sqlite://', graphs=[g, h]) as app:\n"
        "        for name in 'gh':\n"
        "            outcome = await app.run(name, {})\n"
        "            print(outcome.error.type)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.split() == ["StepTimeout", "StepTimeout"], done.stderr


# --- sync nodes ------------------------------------------------------------------------------------------------


async def test_a_sync_node_uses_every_kind_of_call_off_the_event_loop() -> None:
    @tool(effect="write")
    def send(n: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        return n

    def node(state: Work, ctx: SyncContext) -> dict[str, Any]:
        assert threading.current_thread() is not threading.main_thread()
        ctx.emit({"hello": 1})
        when, chance, name = ctx.now(), ctx.random(), ctx.uuid()
        got = ctx.once("read", lambda: [1, 2])
        decision = ctx.review("ok?", payload={"n": 3})
        sent = ctx.call(send, n=3)
        return {
            "n": sent,
            "log": [decision.decision],
            "data": [str(when), chance, str(name), got, ctx.thread],
        }

    async with open_test_app(graphs=[chain(node, tools=[send])]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        await app.resolve(paused.reviews[0], approve(by="dana"))
        done = await app.wait("t/1", timeout=5)
        assert isinstance(done, Finished)
        assert done.state.n == 3  # type: ignore[attr-defined]
        await proven(app)


@pytest.mark.parametrize("sync", [False, True])
async def test_what_a_node_emits_is_streamed_beside_the_entries(sync: bool) -> None:
    def speak(state: Work, ctx: SyncContext) -> None:
        for i in range(3):
            ctx.emit({"token": i})

    async def speak_async(state: Work, ctx: Context) -> None:
        for i in range(3):
            ctx.emit({"token": i})

    async with open_test_app(graphs=[chain(speak if sync else speak_async)]) as app:
        seen: list[Any] = []

        async def listen() -> None:
            async for event in app.stream("t"):
                seen.append(event if isinstance(event, dict) else event.kind)
                if seen[-1] == "run.finished":
                    return

        listening = asyncio.ensure_future(listen())
        await asyncio.sleep(0)
        await app.run("g", {}, thread="t")
        await asyncio.wait_for(listening, 5)
        assert [event["token"] for event in seen if isinstance(event, dict)] == [0, 1, 2]
        assert "step.finished" in seen


# --- halts and what nodes do with them ----------------------------------------------------------------------------


@pytest.mark.parametrize("swallowed", [Exception, BaseException])
async def test_a_node_that_swallows_errors_around_a_pause_still_pauses(
    swallowed: type[BaseException],
) -> None:
    after: list[str] = []

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            decision = await ctx.review("ok?")
        except swallowed:
            try:
                await ctx.once("after", lambda: after.append("reached"))
            except swallowed:
                return {"log": ["swallowed"]}
            return {"log": ["swallowed"]}
        return {"log": [decision.decision]}

    async with open_test_app(graphs=[chain(node)]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        assert "step.finished" not in await kinds(app)
        await app.resolve(paused.reviews[0], approve(by="dana"))
        done = await app.wait("t/1", timeout=5)
        assert isinstance(done, Finished)
        assert (done.state.log, after) == (["approve"], [])  # type: ignore[attr-defined]
        await proven(app)


async def test_a_finally_block_cannot_reach_the_world_during_a_pause() -> None:
    done: list[str] = []

    @tool(effect="write")
    async def clean() -> None:
        done.append("cleaned")

    async def node(state: Work, ctx: Context) -> None:
        try:
            await ctx.review("ok?")
        finally:
            await ctx.call(clean)

    async with open_test_app(graphs=[chain(node, tools=[clean])]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        assert done == []
        await app.resolve(paused.reviews[0], approve(by="dana"))
        assert isinstance(await app.wait("t/1", timeout=5), Finished)
        assert done == ["cleaned"]


async def test_effects_match_by_content_when_their_order_changes() -> None:
    asked: list[str] = []
    order = [["a", "b"]]

    @tool(effect="read")
    async def look(what: str) -> str:
        asked.append(what)
        return what.upper()

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        got = {what: await ctx.call(look, what=what) for what in order[0]}
        await ctx.review("ok?")
        return {"log": [got["a"], got["b"]]}

    async with open_test_app(graphs=[chain(node, tools=[look])]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        order[0] = ["c", "b", "a"]  # an inserted call never gets another's answer
        await app.resolve(paused.reviews[0], approve(by="dana"))
        done = await app.wait("t/1", timeout=5)
        assert isinstance(done, Finished)
        assert done.state.log == ["A", "B"]  # type: ignore[attr-defined]
        assert asked == ["a", "b", "c"]


async def test_a_step_that_no_longer_asks_for_what_is_on_record_has_diverged() -> None:
    skip = [False]

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        if not skip[0]:
            await ctx.once("look", lambda: 1)
        await ctx.review("ok?")
        return {"n": 1}

    async with open_test_app(graphs=[chain(node)]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        skip[0] = True
        await app.resolve(paused.reviews[0], approve(by="dana"))
        stuck = await app.wait("t/1", timeout=5)
        assert isinstance(stuck, Paused)
        assert stuck.divergence is not None
        assert "once look" in stuck.divergence.expected
        await app.cancel("t", by="dana")
        assert type(await app.wait("t/1", timeout=5)).__name__ == "Cancelled"


async def test_a_node_cannot_change_what_it_was_given_on_record() -> None:
    """Answers, payloads and signals are the record's: a node gets its own copy each time."""

    @tool(effect="read")
    async def fetch() -> dict[str, Any]:
        return {"rows": [1]}

    @tool(effect="read")
    async def anything() -> Any:
        return {"rows": [1]}

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        got = [await ctx.call(fetch), await ctx.call(anything), await ctx.once("look", lambda: {"rows": [1]})]
        got.append(await ctx.signal("s"))
        seen = [[*value["rows"]] for value in got]
        for value in got:
            value["rows"].append(2)
        review = await ctx.review("ok?", payload={"rows": [1]})
        review.payload["rows"].append(2)
        await ctx.review("sure?")
        return {"data": seen}

    async with open_test_app(graphs=[chain(node, tools=[fetch, anything])]) as app:
        run = await app.start("g", {}, thread="t")
        await app.wait(run, timeout=5)
        await app.signal("t", "s", {"rows": [1]})
        for _ in range(2):
            paused = await app.wait(run, timeout=5)
            assert isinstance(paused, Paused)
            await app.resolve(paused.reviews[0], approve(by="dana"))
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert done.state.data == [[1], [1], [1], [1]]  # type: ignore[attr-defined]
        await proven(app)


# --- strictness and bad updates ------------------------------------------------------------------------------------


async def test_a_node_that_changes_its_state_fails_in_strict_mode_and_reaches_nobody_without() -> None:
    async def spoil(state: Work, ctx: Context) -> dict[str, Any]:
        state.data["list"].append(2)
        state.n = 99
        return {"log": ["spoiled"]}

    async def look(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [f"{state.n} {state.data}"]}

    async with open_test_app(graphs=[chain(spoil, look, retry=Retry(attempts=3, wait=0))]) as app:
        failed = await app.run("g", {"data": {"list": [1]}}, thread="t")
        assert isinstance(failed, Failed)
        assert failed.error.type == "StateMutated"
        assert "'spoil'" in failed.error.message
        assert (await kinds(app)).count("step.failed") == 1  # a retry could not help
    async with open_app("sqlite://", graphs=[chain(spoil, look)]) as app:
        done = await app.run("g", {"data": {"list": [1]}}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.log == ["spoiled", "0 {'list': [1]}"]  # type: ignore[attr-defined]
        await proven(app)


def exploding(old: int, new: int) -> int:
    raise KeyError("boom")


class Fragile(BaseModel):
    x: Annotated[int, exploding] = 0
    text: str = ""
    any: Any = None


@pytest.mark.parametrize(
    ("update", "kind"),
    [
        ({"x": 1}, "UpdateInvalid"),
        ({"text": "\ud800"}, "InputInvalid"),
        ({"any": float("nan")}, "InputInvalid"),
        ({"any": {1: object()}}, "InputInvalid"),
        ({"txt": ""}, "UpdateInvalid"),
        ({"text": 3}, "UpdateInvalid"),
        (Fragile(), "UpdateInvalid"),
        ([], "UpdateInvalid"),
    ],
)
async def test_a_bad_update_fails_the_run_at_once_and_names_the_node(update: Any, kind: str) -> None:
    graph = Graph("g", state=Fragile)

    @graph.node(retry=Retry(attempts=3, wait=0))
    async def careless(state: Fragile, ctx: Context) -> Any:
        return update

    graph.start(careless)
    graph.edge(careless, END)
    async with open_test_app(graphs=[graph]) as app:
        failed = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(failed, Failed)
        assert failed.error.type == kind
        assert "careless" in failed.error.message
        assert failed.state == Fragile()
        await proven(app)


async def test_text_that_is_not_unicode_is_refused_at_every_door_and_changes_nothing() -> None:
    @tool(effect="read")
    async def echo(text: str, more: Any = None) -> Any:
        return text

    bad = "half \ud800"
    calls: dict[str, Any] = {
        "tool argument": lambda ctx: ctx.call(echo, text=bad),
        "any argument": lambda ctx: ctx.call(echo, text="", more={"k": [bad]}),
        "once": lambda ctx: ctx.once("x", lambda: bad),
        "once name": lambda ctx: ctx.once(bad, lambda: 1),
        "payload": lambda ctx: ctx.review("ok?", payload=bad),
        "question": lambda ctx: ctx.review(bad),
        "signal name": lambda ctx: ctx.signal(bad),
        "child": lambda ctx: ctx.run("g", {"data": bad}),
        "source": lambda ctx: ctx.retrieve("none", bad),
    }
    what = [""]

    async def node(state: Work, ctx: Context) -> None:
        await calls[what[0]](ctx)

    async def waits(state: Work, ctx: Context) -> None:
        await ctx.review("wait", payload={"a": ""}, allowed=["edit", "approve", "respond"])

    async with open_test_app(graphs=[chain(node, tools=[echo]), chain(waits, name="w")]) as app:
        for i, door in enumerate(calls):
            what[0] = door
            failed = await app.wait(await app.start("g", {}, thread=f"t{i}"), timeout=5)
            assert isinstance(failed, Failed), door
            assert "not valid Unicode" in failed.error.message, door
            await proven(app, f"t{i}")
        paused = await app.run("w", {}, thread="w")
        assert isinstance(paused, Paused)
        before = await kinds(app, "w")
        review = paused.reviews[0]
        from turnout import edit, respond
        from turnout.errors import InputInvalid

        for attempt in (
            lambda: app.start("g", {"data": bad}),
            lambda: app.start("g", {}, thread=bad),
            lambda: app.start("g", {}, thread="w2", by=bad),
            lambda: app.start("g", {}, thread="w2", idempotency_key=bad),
            lambda: app.signal("w", "s", bad),
            lambda: app.signal("w", bad),
            lambda: app.signal("w", "s", idempotency_key=bad),
            lambda: app.signal(bad, "s"),
            lambda: app.review(bad),
            lambda: app.cancel("w", reason=bad),
            lambda: app.resolve(review, edit({"a": bad}, by="dana")),
            lambda: app.resolve(review, respond(bad, by="dana")),
            lambda: app.resolve(review, approve(by=bad)),
        ):
            with pytest.raises(InputInvalid):
                await attempt()
        assert await kinds(app, "w") == before
        assert await app.store.thread("w2") is None


async def test_a_node_that_never_stops_is_left_behind() -> None:
    let_go = asyncio.Event()

    async def deaf(state: Work, ctx: Context) -> None:
        while not let_go.is_set():
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                continue

    settings = replace(Settings(), grace=0.1)
    async with open_test_app(graphs=[chain(deaf)], settings=settings) as app:
        run = await app.start("g", {}, thread="t")
        await asyncio.sleep(0.1)
        await app.cancel("t", by="dana")
        cancelled = await app.wait(run, timeout=5)
        assert type(cancelled).__name__ == "Cancelled"
    async with open_test_app(graphs=[chain(deaf, time_limit=0.1)], settings=settings) as app:
        failed = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(failed, Failed)
        assert failed.error.type == "StepTimeout"
        let_go.set()


async def test_data_that_looks_like_the_stores_own_marks_verifies_and_replays() -> None:
    schema = {"$ref": "#/$defs/Order"}
    segment = {"items": ["i" * 700], "prefix": "p"}

    @tool(effect="read")
    async def describe(about: Any) -> Any:
        return [schema, segment, {"$list": "x" * 700}, {"$packed": schema}]

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": [await ctx.call(describe, about=schema), await ctx.call(describe, about=segment)]}

    async with open_test_app(graphs=[chain(node, tools=[describe])]) as app:
        done = await app.run("g", {"data": schema}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.data[1] == [schema, segment, {"$list": "x" * 700}, {"$packed": schema}]  # type: ignore[attr-defined]
        await proven(app)


@pytest.mark.parametrize("catch", [False, True])
@pytest.mark.parametrize("what", ["model", "source", "tool"])
async def test_asking_for_what_this_app_does_not_have_is_clear_and_replays(what: str, catch: bool) -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            if what == "model":
                await ctx.model("nobody", messages="hello")
            elif what == "source":
                await ctx.retrieve("nobody", "hello")
            else:
                await ctx.call("nobody")
        except Exception as error:
            if not catch:
                raise
            return {"log": [f"{type(error).__name__}: {error}"]}
        return {}

    async with open_test_app(graphs=[chain(node)]) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        if catch:
            assert isinstance(ended, Finished)
            assert "'nobody'" in ended.state.log[0]  # type: ignore[attr-defined]
        else:
            assert isinstance(ended, Failed)
            assert "'nobody'" in ended.error.message
        await proven(app)


async def test_an_object_with_an_async_call_can_be_a_node_and_a_tool() -> None:
    class Adder:
        def __init__(self, by: int) -> None:
            self.by = by

        async def __call__(self, state: Work, ctx: Context) -> dict[str, Any]:
            return {"n": self.by}

    graph = Graph("g", state=Work)
    graph.node(Adder(2), name="two")
    graph.node(Adder(3), name="three")
    graph.start("two")
    graph.edge("two", "three")
    graph.edge("three", END)
    async with open_test_app(graphs=[graph]) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.n == 5  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", ["node", "sync node", "read", "write"])
async def test_code_that_calls_sys_exit_fails_its_step_and_not_the_worker(where: str) -> None:
    @tool(effect="read")
    async def look() -> int:
        sys.exit(3)

    @tool(effect="write")
    def send() -> int:
        sys.exit(3)

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        if where == "node":
            sys.exit(3)
        return {"n": await ctx.call(look if where == "read" else send)}

    def sync_node(state: Work, ctx: SyncContext) -> dict[str, Any]:
        sys.exit(3)

    graph = chain(sync_node if where == "sync node" else node, tools=[look, send])
    async with open_test_app(graphs=[graph]) as app:
        outcome = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        if where == "write":  # nobody knows what it did before it left: a person says
            assert isinstance(outcome, Paused)
            assert "sys.exit(3)" in outcome.reviews[0].payload["what is known"]
        else:
            assert isinstance(outcome, Failed)
            assert "3" in outcome.error.message
        await proven(app)


async def test_an_error_is_told_with_its_line_wherever_the_code_lies(tmp_path: Path) -> None:
    place = tmp_path / "turnout" / "desk.py"
    place.parent.mkdir()
    place.write_text("async def node(state, ctx):\n    raise ValueError('no')\n")
    spec = importlib.util.spec_from_file_location("desk_in_turnout", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    async with open_test_app(graphs=[chain(module.node)]) as app:
        outcome = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(outcome, Failed)
        assert outcome.error.where == "desk.py:2"
