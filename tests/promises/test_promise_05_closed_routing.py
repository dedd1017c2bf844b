"""Promise 5: closed routing."""

from typing import Literal

import pytest
from pydantic import BaseModel
from tests.promises.bench import app_on, finish

from turnout import END, Failed, Finished, Graph, fan_out, field, parallel, rule
from turnout.errors import GraphInvalid, TurnoutError


class S(BaseModel):
    n: int = 0
    word: str | None = None


def two(route=None):
    """A graph of two nodes, its first route still to be said."""
    g = Graph("g", state=S)

    @g.node
    async def first(state: S, ctx):
        return {}

    @g.node
    async def second(state: S, ctx):
        return {}

    g.start(first)
    g.edge(second, END)
    return g, first, second


def problems(g):
    with pytest.raises(GraphInvalid) as found:
        g.build()
    return found.value.problems


def test_an_unknown_target_is_a_build_error():
    g, first, _ = two()
    g.route(first, [rule("r", field("n") > 0, to="secnod")], default="second")
    assert any("secnod" in p and "second" in p for p in problems(g))


def test_a_node_that_can_not_be_reached_is_a_build_error():
    g, first, _ = two()
    g.edge(first, END)
    assert problems(g) == ["node 'second' can't be reached from start"]


def test_a_missing_route_is_a_build_error():
    g, *_ = two()
    assert any("'first' has no route" in p for p in problems(g))


def test_a_rule_table_without_a_default_is_a_build_error():
    g, first, second = two()
    g.route(first, [rule("r", field("n") > 0, to=second)])
    assert any("default" in p for p in problems(g))


def test_a_function_route_whose_targets_are_not_closed_is_a_build_error():
    g, first, _ = two()

    def choose(state: S) -> str:
        return "second"

    g.route(first, choose)
    assert any("Literal" in p for p in problems(g))


def test_a_node_from_which_no_way_leads_to_the_end_is_a_build_error():
    g = Graph("g", state=S)

    @g.node
    async def round_and_round(state: S, ctx):
        return {}

    g.start(round_and_round)
    g.edge(round_and_round, round_and_round)
    assert any("END" in p for p in problems(g))


def test_all_problems_are_said_at_once():
    g, first, second = two()
    g.route(first, [rule("r", field("nn") > 0, to="nowhere")])
    g.edge(second, END)
    assert len(problems(g)) >= 3


async def run(g, **input):
    async with app_on("sqlite://", g) as app:
        await app.start(g, input, thread="t")
        return await finish(app), (await app.threads())[0].status


async def test_an_impossible_value_at_run_time_fails_the_run_and_says_so():
    g, first, _second = two()

    def choose(state: S) -> Literal["second", "END"]:
        return "thrid"  # type: ignore[return-value]

    g.route(first, choose)
    outcome, status = await run(g)
    assert isinstance(outcome, Failed)
    assert status == "failed"
    assert outcome.error.type == "RouteFailed"
    assert "'choose'" in outcome.error.message
    assert "thrid" in outcome.error.message


async def test_a_route_that_raises_fails_the_run():
    g, first, _second = two()

    def choose(state: S) -> Literal["second", "END"]:
        raise KeyError("what?")

    g.route(first, choose)
    outcome, _ = await run(g)
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "RouteFailed"
    assert "what?" in outcome.error.message


async def test_a_rule_that_can_not_be_evaluated_fails_the_run():
    g, first, second = two()
    g.route(first, [rule("long", field("word") > "a", to=second)], default=END)
    outcome, _ = await run(g)
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "RouteFailed"
    assert "word" in outcome.error.message


async def test_a_fan_out_to_a_node_that_its_route_does_not_know_fails_the_run():
    g = Graph("g", state=S)

    @g.node
    async def first(state: S, ctx):
        return fan_out("third", [1, 2])

    @g.node
    async def second(state: S, ctx):
        return {}

    @g.node
    async def third(state: S, ctx):
        return {}

    g.start(first)
    g.edge(first, second)
    g.edge(second, third)
    g.edge(third, END)
    outcome, _ = await run(g)
    assert isinstance(outcome, Failed)
    assert "third" in outcome.error.message


async def test_nothing_unrouted_ever_ends_successfully():
    """Every finished run's last decision went to END, for every way through a graph with a choice and a split."""
    g = Graph("g", state=S)

    @g.node
    async def first(state: S, ctx):
        return {}

    @g.node
    async def left(state: S, ctx):
        return {}

    @g.node
    async def right(state: S, ctx):
        return {}

    @g.node
    async def last(state: S, ctx):
        return {}

    g.start(first)
    g.route(first, [rule("both", field("n") == 1, to=parallel(left, right, join=last)),
                    rule("one", field("n") == 2, to=last)], default=END)  # fmt: skip
    g.edge(left, last)
    g.edge(right, last)
    g.edge(last, END)
    async with app_on("sqlite://", g) as app:
        for n in range(3):
            outcome = await app.run(g, {"n": n}, thread=f"t{n}")
            assert isinstance(outcome, Finished)
            decisions = [x.body for x in await app.entries(f"t{n}") if x.kind == "decision"]
            assert decisions[-1].target == "END"
            assert decisions[-1].branch == ""


async def test_a_graph_with_problems_never_gets_into_an_app():
    g, *_ = two()
    with pytest.raises(TurnoutError):
        async with app_on("sqlite://", g):
            pass
