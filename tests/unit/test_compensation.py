"""Compensation: what landed in a run that doesn't finish is undone, the latest first, once, and never on a guess."""

import asyncio
from typing import Any

from tests.unit.runs import Work, chain, kinds, proven
from tests.unit.trips import Travel, outcomes, trip

from turnout import END, Cancelled, Context, Failed, Finished, Graph, Paused, parallel, tool
from turnout.core import entries as e
from turnout.testing import open_test_app


async def test_a_run_that_fails_undoes_what_has_landed_the_latest_first():
    world = Travel()
    async with open_test_app(graphs=[trip(world, "train", "hotel", "tour")]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert world.log == [
            "train Graz", "hotel Graz", "tour Graz",
            "undo tour Graz tour-Graz", "undo hotel Graz hotel-Graz", "undo train Graz train-Graz",
        ]  # fmt: skip
        assert outcomes(failed) == [
            ("book_train", "compensated"),
            ("book_hotel", "compensated"),
            ("book_tour", "compensated"),
        ]
        assert failed.error.message == "no seats left"
        assert len(set(world.keys)) == 3
        seen = await kinds(app)
        assert seen[-4:] == ["effect.intended", "effect.settled", "compensation.ended", "run.failed"]
        assert seen.index("step.failed") < seen.index("compensation.started")
        await proven(app)
        assert (await app.whatif("t")).gap is None
        assert len(world.log) == 6  # the what-if undid nothing


async def test_a_run_that_finishes_undoes_nothing():
    world = Travel()
    async with open_test_app(graphs=[trip(world, "train", "hotel")]) as app:
        assert isinstance(await app.run("g", {"data": "fine"}, thread="t"), Finished)
        assert world.log == ["train Graz", "hotel Graz"]


async def test_a_run_that_is_cancelled_undoes_what_has_landed():
    world = Travel()
    async with open_test_app(graphs=[trip(world, "train", "hotel")]) as app:
        assert isinstance(await app.run("g", {"data": "wait"}, thread="t"), Paused)
        await app.cancel("t", by="dana", reason="too dear")
        cancelled = await app.wait("t/1")
        assert isinstance(cancelled, Cancelled)
        assert outcomes(cancelled) == [("book_train", "compensated"), ("book_hotel", "compensated")]
        assert world.log[2:] == ["undo hotel Graz hotel-Graz", "undo train Graz train-Graz"]
        started = [x.body for x in await app.entries("t") if isinstance(x.body, e.CompensationStarted)]
        assert started[0].why == "the run was cancelled by dana: too dear"
        await proven(app)


async def test_only_what_the_graph_says_is_undone():
    world = Travel()
    tools = {name: world.write(name) for name in ("train", "hotel")}
    async with open_test_app(
        graphs=[trip(world, "train", "hotel", tools=tools, together=[[tools["train"]]])]
    ) as app:
        failed = await app.run("g", {}, thread="t")
        assert outcomes(failed) == [("book_train", "compensated"), ("book_hotel", "landed")]
    world = Travel()
    async with open_test_app(graphs=[trip(world, "train", together=())]) as app:
        assert outcomes(await app.run("g", {}, thread="t")) == [("book_train", "landed")]


async def test_a_run_that_fails_between_its_steps_undoes_too():
    world = Travel()
    graph = trip(world, "train", step_limit=1)
    async with open_test_app(graphs=[graph]) as app:
        failed = await app.run("g", {"data": "fine"}, thread="t")
        assert isinstance(failed, Failed)
        assert failed.error.type == "StepLimit"
        assert outcomes(failed) == [("book_train", "compensated")]
        await proven(app)


async def test_parallel_writes_are_undone_in_the_reverse_order_of_their_landing():
    world, gate = Travel(), asyncio.Event()
    a, b = world.write("a"), world.write("b")

    async def first(state: Work, ctx: Context) -> dict[str, Any]:
        return {}

    async def slow(state: Work, ctx: Context) -> dict[str, Any]:
        await gate.wait()
        return {"log": [await ctx.call(a, place="x")]}

    async def quick(state: Work, ctx: Context) -> dict[str, Any]:
        found = await ctx.call(b, place="x")
        gate.set()
        return {"log": [found]}

    async def end(state: Work, ctx: Context) -> dict[str, Any]:
        raise RuntimeError("no")

    graph = Graph("g", state=Work, tools=[a, b], together=True)
    for node in (first, slow, quick, end):
        graph.node(node)
    graph.start(first)
    graph.edge(first, parallel(slow, quick, join=end))
    graph.edge(slow, end)
    graph.edge(quick, end)
    graph.edge(end, END)
    async with open_test_app(graphs=[graph]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Failed)
        assert world.log == ["b x", "a x", "undo a x a-x", "undo b x b-x"]
        await proven(app)


async def test_a_child_that_fails_undoes_its_own_and_one_that_has_finished_stands():
    world = Travel()
    child = trip(world, "train")

    async def step(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.run(child, {"data": state.data})
        raise RuntimeError("the parent fails")

    parent = chain(step, name="parent")
    for data, log in (("fine", ["train Graz"]), (None, ["train Graz", "undo train Graz train-Graz"])):
        world.log.clear()
        async with open_test_app(graphs=[parent, child]) as app:
            assert isinstance(await app.run("parent", {"data": data}, thread="p"), Failed)
            assert world.log == log


async def test_a_mounted_graph_brings_its_declaration_along():
    world = Travel()
    inner = Graph("inner", state=Work, tools=[book := world.write("train")], together=[book])

    @inner.node
    async def go(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(book, place="Graz")]}

    inner.start(go)
    inner.edge(go, END)
    outer = Graph("g", state=Work)
    outer.node(inner)

    @outer.node
    async def end(state: Work, ctx: Context) -> dict[str, Any]:
        raise RuntimeError("no")

    outer.start(inner)
    outer.edge(inner, end)
    outer.edge(end, END)
    async with open_test_app(graphs=[outer]) as app:
        assert outcomes(await app.run("g", {}, thread="t")) == [("book_train", "compensated")]


async def test_transactional_writes_are_undone_too():
    world: list[str] = []

    @tool(effect="write", transactional=True)
    def unbook(place: str, transaction: Any) -> None:
        world.append(f"undo {place}")

    @tool(effect="write", transactional=True, compensate=unbook)
    def book(place: str, transaction: Any) -> None:
        world.append(place)

    async def step(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.call(book, place="Graz")
        raise RuntimeError("no")

    graph = Graph("g", state=Work, tools=[book], together=True)
    graph.node(step)
    graph.start(step)
    graph.edge(step, END)
    async with open_test_app(graphs=[graph]) as app:
        assert outcomes(await app.run("g", {}, thread="t")) == [("book", "compensated")]
        assert world == ["Graz", "undo Graz"]
        await proven(app)


async def test_another_cancel_does_not_break_a_compensation_off():
    world, gate = Travel(), asyncio.Event()
    begun = asyncio.Event()

    @tool(effect="write")
    async def unbook(place: str) -> None:
        begun.set()
        await gate.wait()
        world.log.append("undone")

    @tool(effect="write", compensate=unbook)
    async def book(place: str) -> str:
        return "ok"

    async with open_test_app(graphs=[trip(world, "train", tools={"train": book})]) as app:
        run = await app.start("g", {}, thread="t")
        await begun.wait()
        assert (await app.view("t")).status == "compensating"
        await app.cancel("t")
        await asyncio.sleep(0.05)
        gate.set()
        assert outcomes(await app.wait(run)) == [("book", "compensated")]
        assert world.log == ["undone"]
        await proven(app)
