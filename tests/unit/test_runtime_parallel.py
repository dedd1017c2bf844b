"""Fan-outs, parallel branches and subgraphs, as they run."""

import asyncio
import random
from typing import Any

import pytest
from tests.unit.runs import Work, chain, kinds, proven

from turnout import (
    END,
    Context,
    Failed,
    Finished,
    Graph,
    Paused,
    approve,
    fan_out,
    field,
    parallel,
    rule,
    tool,
)
from turnout.testing import open_test_app


def fan_graph(items: Any, **options: Any) -> Graph:
    graph = Graph("g", state=Work, **options)
    chance = random.Random(7)

    @graph.node
    async def spread(state: Work, ctx: Context) -> Any:
        return fan_out(each, items, update={"log": ["spread"]})

    @graph.node
    async def each(state: Work, ctx: Context) -> dict[str, Any]:
        await asyncio.sleep(chance.random() * 0.02)
        return {"log": [f"{ctx.item}"], "n": 1}

    @graph.node
    async def gather(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": len(state.log)}

    graph.start(spread)
    graph.edge(spread, each)
    graph.edge(each, gather)
    graph.edge(gather, END)
    return graph


@pytest.mark.parametrize("count", [0, 1, 50])
async def test_a_fan_out_merges_in_item_order_whatever_the_order_of_completion(count: int) -> None:
    async with open_test_app(graphs=[fan_graph(range(count))]) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state == Work(n=count, log=["spread", *map(str, range(count))], data=count + 1)
        finished = [e.step for e in await app.entries("t") if e.kind == "step.finished"]
        assert count < 50 or finished != sorted(finished, key=lambda s: (len(s), s)), (
            "completion was in order"
        )
        await proven(app)


async def test_items_may_be_anything_json_has_and_a_node_cannot_spoil_them() -> None:
    graph = Graph("g", state=Work)

    @graph.node
    async def spread(state: Work, ctx: Context) -> Any:
        return fan_out("each", [None, 0, "", {"a": [1]}])

    @graph.node
    async def each(state: Work, ctx: Context) -> dict[str, Any]:
        seen = repr(ctx.item)
        if isinstance(ctx.item, dict):
            ctx.item["a"].append(2)
            assert repr(ctx.item) == seen
        return {"log": [seen]}

    graph.start(spread)
    graph.edge(spread, each)
    graph.edge(each, END)
    async with open_test_app(graphs=[graph]) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.log == ["None", "0", "''", "{'a': [1]}"]  # type: ignore[attr-defined]
        await proven(app)


@pytest.mark.parametrize("items", [None, 5, [object()], [float("nan")], ["\ud800"]])
async def test_items_that_are_no_json_list_fail_the_run_clearly(items: Any) -> None:
    async with open_test_app(graphs=[fan_graph(items)]) as app:
        failed = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(failed, Failed)
        assert failed.error.type in ("TypeError", "InputInvalid")
        await proven(app)


async def test_a_fan_out_to_a_node_that_is_not_a_target_fails_the_run() -> None:
    async def spread(state: Work, ctx: Context) -> Any:
        return fan_out("nowhere", [1])

    async with open_test_app(graphs=[chain(spread)]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert "nowhere" in failed.error.message
        assert failed.error.type == "RouteFailed"


@pytest.mark.parametrize("item", [None, 1])
async def test_a_fan_out_within_a_fan_out_is_refused_even_for_items_that_are_none(item: Any) -> None:
    graph = Graph("g", state=Work)

    @graph.node
    async def a(state: Work, ctx: Context) -> Any:
        return fan_out("b", [item, item])

    @graph.node
    async def b(state: Work, ctx: Context) -> Any:
        return fan_out("c", [1])

    @graph.node
    async def c(state: Work, ctx: Context) -> None: ...

    graph.start(a)
    graph.edge(a, b)
    graph.edge(b, c)
    graph.edge(c, END)
    async with open_test_app(graphs=[graph]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert "can't fan out" in failed.error.message


async def test_the_step_limit_counts_every_item() -> None:
    async with open_test_app(graphs=[fan_graph(range(10), step_limit=8)]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert failed.error.type == "StepLimit"
        assert (await kinds(app)).count("step.finished") == 1


async def test_a_loop_without_an_end_stops_at_the_step_limit() -> None:
    graph = Graph("g", state=Work, step_limit=7)

    @graph.node
    async def again(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": 1}

    graph.start(again)
    graph.route(again, [rule("enough", field("n") >= 1000, to=END)], default=again)
    async with open_test_app(graphs=[graph]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert failed.error.type == "StepLimit"
        assert failed.state == Work(n=7)
        await proven(app)


def branches(*, fail: bool = False, limit: int = 1000) -> Graph:
    """start -> (left: one step with a review) + (right: three steps) -> join -> END."""
    graph = Graph("g", state=Work, step_limit=limit)

    @graph.node
    async def begin(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": ["begin"]}

    @graph.node
    async def left(state: Work, ctx: Context) -> dict[str, Any]:
        decision = await ctx.review("left?")
        return {"log": [f"left {decision.decision}"]}

    @graph.node
    async def right(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [f"right {len(state.log)}"], "n": 1}

    @graph.node
    async def check(state: Work, ctx: Context) -> None:
        if fail:
            raise ValueError("right broke")

    @graph.node
    async def join(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": ["join"]}

    graph.start(begin)
    graph.edge(begin, parallel(left, right, join=join))
    graph.edge(left, join)
    graph.route(right, [rule("thrice", field("n") >= 3, to=check)], default=right)
    graph.edge(check, join)
    graph.edge(join, END)
    return graph


async def test_one_branch_waits_for_a_person_while_the_other_goes_on() -> None:
    async with open_test_app(graphs=[branches()]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        done_steps = [e.step for e in await app.entries("t") if e.kind == "step.finished"]
        assert done_steps == ["begin.1", "right.1@1.1", "right.2@1.1", "right.3@1.1", "check.1@1.1"]
        assert (await app.state("t"))["log"] == ["begin"]  # a branch is its own until the join
        await app.resolve(paused.reviews[0], approve(by="dana"))
        done = await app.wait("t/1", timeout=5)
        assert isinstance(done, Finished)
        assert done.state == Work(n=3, log=["begin", "left approve", "right 1", "right 2", "right 3", "join"])
        await proven(app)


async def test_a_branch_that_fails_ends_the_run_and_withdraws_the_others_review() -> None:
    async with open_test_app(graphs=[branches(fail=True)]) as app:
        failed = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(failed, Failed)
        assert (failed.error.type, failed.error.message) == ("ValueError", "right broke")
        assert await app.reviews(status="open") == []
        assert [r.status for r in await app.reviews(status="")] == ["withdrawn"]
        assert (await kinds(app))[-2:] == ["step.cancelled", "run.failed"]
        await proven(app)


async def test_branches_that_are_routed_at_the_same_moment_share_one_step_limit() -> None:
    graph = Graph("g", state=Work, step_limit=4)

    @graph.node
    async def begin(state: Work, ctx: Context) -> None: ...

    def step(name: str) -> Any:
        async def node(state: Work, ctx: Context) -> dict[str, Any]:
            return {"log": [name]}

        return graph.node(node, name=name)

    for name in ("a1", "a2", "b1", "b2", "join"):
        step(name)
    graph.start(begin)
    graph.edge(begin, parallel("a1", "b1", join="join"))
    for here, there in (("a1", "a2"), ("b1", "b2"), ("a2", "join"), ("b2", "join"), ("join", END)):
        graph.edge(here, there)
    async with open_test_app(graphs=[graph]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert failed.error.type == "StepLimit"
        decided = [e for e in await app.entries("t") if e.kind == "decision"]
        steps = sum(2 if e.body.split else 1 for e in decided)  # type: ignore[attr-defined]
        assert steps <= 4
        await proven(app)


async def test_two_branches_writing_one_field_fail_the_run_and_name_it() -> None:
    graph = Graph("g", state=Work)

    @graph.node
    async def begin(state: Work, ctx: Context) -> None: ...

    @graph.node
    async def one(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": 1}

    @graph.node
    async def two(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": 2}

    graph.start(begin)
    graph.edge(begin, parallel(one, two, join=END))
    graph.edge(one, END)
    graph.edge(two, END)
    async with open_test_app(graphs=[graph]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert failed.error.type == "MergeConflict"
        assert all(word in failed.error.message for word in ("one", "two", "'data'"))
        await proven(app)


async def test_parallel_within_parallel_and_a_fan_out_in_a_branch_join_in_order() -> None:
    graph = Graph("g", state=Work)

    def step(name: str, result: Any = None) -> None:
        async def node(state: Work, ctx: Context) -> Any:
            await asyncio.sleep(random.random() * 0.005)
            return (
                result if result is not None else {"log": [f"{name}{'' if ctx.item is None else ctx.item}"]}
            )

        graph.node(node, name=name)

    for name in ("begin", "inner", "x", "y", "meet", "item", "after", "join"):
        step(name)
    step("spread", fan_out("item", [1, 2, 3], update={"log": ["spread"]}))
    graph.start("begin")
    graph.edge("begin", parallel("inner", "spread", join="join"))
    graph.edge("inner", parallel("x", "y", join="meet"))
    for here, there in (("x", "meet"), ("y", "meet"), ("meet", "join"), ("spread", "item"), ("item", "after"),
                        ("after", "join"), ("join", END)):  # fmt: skip
        graph.edge(here, there)
    async with open_test_app(graphs=[graph]) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        order = ["begin", "inner", "x", "y", "meet", "spread", "item1", "item2", "item3", "after", "join"]
        assert done.state.log == order  # type: ignore[attr-defined]
        await proven(app)


async def test_a_subgraph_runs_under_two_names_nested_and_with_its_own_fan_out() -> None:
    @tool(effect="read")
    async def look(item: int) -> int:
        return item * 10

    inner = Graph("inner", state=Work, tools=[look])

    @inner.node
    async def spread(state: Work, ctx: Context) -> Any:
        return fan_out(each, [1, 2])

    @inner.node
    async def each(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [ctx.step.partition("@")[0]], "n": await ctx.call(look, item=ctx.item)}

    inner.start(spread)
    inner.edge(spread, each)
    inner.route(each, [rule("a lot", field("n") >= 1000, to=spread)], default=END)

    middle = Graph("middle", state=Work)
    middle.node(inner)

    @middle.node
    async def last(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": ["last"]}

    middle.start(inner)
    middle.edge(inner, last)
    middle.edge(last, END)

    outer = Graph("g", state=Work)
    outer.node(inner, name="first")
    outer.node(middle, name="second")

    @outer.node
    async def big(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": ["big"]}

    outer.start("first")
    outer.route("first", [rule("some", field("n") >= 30, to="second")], default=END)
    outer.route("second", [rule("big", field("n") >= 60, to=big)], default=END)
    outer.edge(big, END)
    async with open_test_app(graphs=[outer]) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.n == 60  # type: ignore[attr-defined]
        assert done.state.log == [  # type: ignore[attr-defined]
            "first/each.1", "first/each.1", "second/inner/each.1", "second/inner/each.1", "last", "big",
        ]  # fmt: skip
        await proven(app)
