"""Promise 6: typed writes."""

from typing import Annotated

import pytest
from pydantic import BaseModel, Field
from tests.promises.bench import app_on, finish

from turnout import END, Failed, Finished, Graph, add, append, fan_out, merge, parallel


class S(BaseModel):
    amount: Annotated[int, Field(ge=0)] = 0
    word: str = ""
    notes: Annotated[list[str], append] = []
    total: Annotated[int, add] = 0
    known: Annotated[dict[str, int], merge] = {}


async def run(g, **input):
    async with app_on("sqlite://", g) as app:
        await app.start(g, input, thread="t")
        return await finish(app), await app.state("t"), await app.entries("t")


def returning(update):
    g = Graph("g", state=S)

    @g.node
    async def work(state: S, ctx):
        return update

    g.start(work)
    g.edge(work, END)
    return g


@pytest.mark.parametrize(
    ("update", "field"),
    [
        ({"amuont": 1}, "amuont"),
        ({"amount": "many"}, "amount"),
        ({"amount": -1}, "amount"),
        ({"word": 3}, "word"),
        ({"notes": "not a list"}, "notes"),
        ({"notes": [1]}, "notes"),
        ({"total": "x"}, "total"),
        ({"known": {"a": "b"}}, "known"),
        ({"word": object()}, "word"),
        (["not", "a", "dict"], "list"),
    ],
)
async def test_an_update_is_checked_when_it_is_written(update, field):
    outcome, state, entries = await run(returning(update), amount=5)
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "UpdateInvalid"
    assert "'work'" in outcome.error.message
    assert field in outcome.error.message
    assert state == {"amount": 5, "word": "", "notes": [], "total": 0, "known": {}}
    assert "step.finished" not in [x.kind for x in entries]


async def test_a_good_update_is_merged_by_the_reducers():
    outcome, state, _ = await run(
        returning({"amount": 3, "notes": ["b"], "total": 2, "known": {"b": 2}}),
        notes=["a"], total=1, known={"a": 1},
    )  # fmt: skip
    assert isinstance(outcome, Finished)
    assert state == {"amount": 3, "word": "", "notes": ["a", "b"], "total": 3, "known": {"a": 1, "b": 2}}


def splitting(left, right):
    g = Graph("g", state=S)

    @g.node
    async def begin(state: S, ctx):
        return {}

    @g.node(name="left")
    async def left_node(state: S, ctx):
        return left

    @g.node(name="right")
    async def right_node(state: S, ctx):
        return right

    g.start("begin")
    g.edge("begin", parallel("left", "right"))
    g.edge("left", END)
    g.edge("right", END)
    return g


async def test_two_parallel_steps_that_write_one_replace_field_are_an_error():
    outcome, state, _ = await run(splitting({"word": "l"}, {"word": "r"}))
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "MergeConflict"
    for name in ("left", "right", "word"):
        assert name in outcome.error.message
    assert state["word"] == ""


async def test_two_parallel_steps_may_write_different_fields_and_reduced_ones():
    outcome, state, _ = await run(
        splitting({"word": "l", "notes": ["l"], "total": 1}, {"amount": 2, "notes": ["r"], "total": 2})
    )
    assert isinstance(outcome, Finished)
    assert (state["word"], state["amount"], state["notes"], state["total"]) == ("l", 2, ["l", "r"], 3)


async def test_a_fan_out_is_merged_in_the_order_of_its_items_not_of_their_ends():
    g = Graph("g", state=S)

    @g.node
    async def begin(state: S, ctx):
        return fan_out(each, [3, 2, 1])

    @g.node
    async def each(state: S, ctx):
        await ctx.sleep(0.02 * ctx.item)
        return {"notes": [f"item {ctx.item}"]}

    g.start(begin)
    g.edge(begin, each)
    g.edge(each, END)
    _, state, entries = await run(g)
    assert state["notes"] == ["item 3", "item 2", "item 1"]
    ends = [x.step for x in entries if x.kind == "step.finished"][1:]
    assert ends != sorted(ends)  # they did end in another order


async def test_two_items_of_a_fan_out_that_write_one_replace_field_are_an_error():
    g = Graph("g", state=S)

    @g.node
    async def begin(state: S, ctx):
        return fan_out(each, [1, 2])

    @g.node
    async def each(state: S, ctx):
        return {"word": str(ctx.item)}

    g.start(begin)
    g.edge(begin, each)
    g.edge(each, END)
    outcome, *_ = await run(g)
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "MergeConflict"
    assert "each" in outcome.error.message
    assert "word" in outcome.error.message
