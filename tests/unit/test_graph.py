"""Graphs: every problem at once, fingerprints that follow behaviour, and nothing that changes after build."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel
from tests.unit.runs import Work, chain

from turnout import END, Context, Graph, Retry, append, field, parallel, rule, tool
from turnout.errors import GraphInvalid, InputInvalid, RouteFailed
from turnout.testing import open_test_app


async def a(state: Any, ctx: Any) -> None: ...


async def b(state: Any, ctx: Any) -> None: ...


async def c(state: Any, ctx: Any) -> None: ...


def graph_of(*nodes: Any, **options: Any) -> Graph:
    graph = Graph("g", state=Work, **options)
    for node in nodes:
        graph.node(node)
    return graph


def problems(graph: Graph) -> str:
    with pytest.raises(GraphInvalid) as caught:
        graph.build()
    assert caught.value.problems == graph.problems()
    assert str(caught.value).count("\n  - ") == len(caught.value.problems)
    return "\n".join(caught.value.problems)


# --- problems --------------------------------------------------------------------------------------------------


def test_all_problems_are_listed_at_once() -> None:
    @tool(effect="read", name="look")
    async def one(x: int) -> int: ...

    @tool(effect="read", name="look")
    async def two(x: int) -> int: ...

    async def wrong(state: Any) -> None: ...

    graph = Graph("g", state=Work, tools=[one, two, len])  # type: ignore[list-item]
    graph.node(a)
    graph.node(a)
    graph.node(wrong)
    graph.node(b, name="has space")
    graph.node(b, name="END")
    graph.start("aa")
    graph.start(a)
    graph.edge(a, "nowhere")
    graph.edge(a, END)
    graph.edge("ghost", END)
    graph.route("wrong", 5)
    found = problems(graph)
    for words in (
        "'len' is not a tool", "two tools are named 'look'", "two nodes are named 'a'", "must take (state, ctx)",
        "'has space' can't be used", "'END' can't be used", "start is given twice",
        "node 'a' has two routes", "'ghost', which is not a node", "neither a list of rule(...), a matrix nor a function",
    ):  # fmt: skip
        assert words in found, words


def test_an_empty_graph_and_one_without_a_start_say_so() -> None:
    assert "has no nodes" in problems(Graph("g", state=Work))
    graph = graph_of(a)
    graph.edge(a, END)
    assert "has no start" in problems(graph)


def test_an_unknown_target_is_named_with_its_neighbour() -> None:
    graph = graph_of(a, chain)
    graph.start(a)
    graph.edge(a, "chian")
    assert "did you mean 'chain'?" in problems(graph)


def test_a_node_without_a_route_one_that_is_never_reached_and_one_without_a_way_out() -> None:
    graph = graph_of(a, b)
    graph.start(a)
    graph.edge(a, END)
    assert "node 'b' has no route" in problems(graph)
    graph = graph_of(a, b)
    graph.start(a)
    graph.edge(a, END)
    graph.edge(b, END)
    assert "node 'b' can't be reached" in problems(graph)
    graph = graph_of(a, b)
    graph.start(a)
    graph.edge(a, b)
    graph.edge(b, a)
    assert "no way leads to END" in problems(graph)


def test_a_rule_table_needs_a_default_and_fields_that_exist() -> None:
    graph = graph_of(a)
    graph.start(a)
    graph.route(a, [rule("some", field("m") > 1, to=END)])
    found = problems(graph)
    assert "default" in found
    assert "'m'" in found


def test_a_function_route_must_name_its_targets() -> None:
    def open_route(state: Work) -> str:
        return "a"

    def closed(state: Work) -> Literal["a", "END"]:
        return "END"

    graph = graph_of(a)
    graph.start(a)
    graph.route(a, open_route)
    assert "Literal" in problems(graph)
    graph = graph_of(a)
    graph.start(a)
    graph.route(a, closed)
    assert graph.build().successors("a") == {"a", "END"}


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (lambda: parallel("b", join="c"), "at least two different nodes"),
        (lambda: parallel("b", "b", join="c"), "at least two different nodes"),
        (lambda: parallel("b", "c", join="c"), "both a branch and the join"),
        (lambda: parallel("b", "a", join="c"), ""),
        (lambda: parallel("b", "zz", join="c"), "'zz'"),
    ],
)
def test_a_split_that_cannot_join_is_a_problem(split: Any, words: str) -> None:
    graph = graph_of(a, b, c)
    graph.start(a)
    graph.edge(a, split())
    graph.edge(b, c)
    graph.edge(c, END)
    if words:
        assert words in problems(graph)
    else:
        graph.build()


def test_a_branch_that_never_reaches_the_join_is_a_problem() -> None:
    async def d(state: Any, ctx: Any) -> None: ...

    graph = graph_of(a, b, c, d)
    graph.start(a)
    graph.edge(a, parallel(b, c, join=d))
    graph.edge(b, END)
    graph.edge(c, d)
    graph.edge(d, END)
    assert "the branch at 'b' never reaches the join 'd'" in problems(graph)


def test_a_subgraph_needs_its_fields_in_the_parent() -> None:
    class Other(BaseModel):
        n: str = ""
        log: Annotated[list[str], append] = []
        extra: int = 0

    inner = Graph("inner", state=Other)
    inner.node(a)
    inner.start(a)
    inner.edge(a, END)
    outer = Graph("g", state=Work)
    outer.node(inner)
    outer.node(inner)
    outer.start(inner)
    outer.edge(inner, END)
    found = problems(outer)
    assert "needs the state field 'extra'" in found
    assert "state field 'n' has another type or reducer" in found
    assert "two nodes are named 'inner'" in found


# --- structure ---------------------------------------------------------------------------------------------------


def test_subgraphs_are_mounted_under_their_names_nested_and_twice() -> None:
    inner = chain(a, b, name="inner")
    middle = Graph("middle", state=Work)
    middle.node(inner)
    middle.node(c)
    middle.start(inner)
    middle.edge(inner, c)
    middle.edge(c, END)
    outer = Graph("g", state=Work)
    outer.node(inner, name="one")
    outer.node(middle, name="two")
    outer.node(a)
    outer.start("one")
    outer.route("one", [rule("more", field("n") > 0, to="two")], default=END)
    outer.edge("two", a)
    outer.edge(a, END)
    outer.build()
    assert list(outer.nodes) == ["one/a", "one/b", "two/inner/a", "two/inner/b", "two/c", "a"]
    assert outer.entry == "one/a"
    assert outer.after("one/b") == [(outer.after("one/b")[0][0], "one/END")]
    assert outer.successors("one/b") == {"two/inner/a", "END"}
    assert outer.successors("two/inner/b") == {"two/c"}
    assert outer.successors("two/c") == {"a"}


def test_a_fan_out_may_only_go_where_the_route_goes() -> None:
    graph = chain(a, b)
    graph.build()
    assert graph.resolve_fan_out("a", b) == "b"
    for wrong in ("a", "zz", END):
        with pytest.raises(RouteFailed, match="isn't a target of its route"):
            graph.resolve_fan_out("a", wrong)


# --- after build ---------------------------------------------------------------------------------------------------


def test_nothing_can_be_declared_after_the_first_use() -> None:
    graph = chain(a, b)
    assert graph.build() is graph
    before = graph.fingerprint
    for change in (
        lambda: graph.node(c),
        lambda: graph.start(b),
        lambda: graph.edge(a, END),
        lambda: graph.route(a, [], default=END),
        lambda: graph.migration("abc"),
    ):
        with pytest.raises(GraphInvalid, match="in use and can't be changed"):
            change()
    assert graph.build().fingerprint == before
    assert list(graph.nodes) == ["a", "b"]


def test_mounting_a_graph_freezes_it_too() -> None:
    inner = chain(a, name="inner")
    outer = Graph("g", state=Work)
    outer.node(inner)
    with pytest.raises(GraphInvalid, match="in use"):
        inner.node(b)


# --- fingerprint -----------------------------------------------------------------------------------------------------

BASE = '''
from pydantic import BaseModel
from turnout import END, Graph, Retry, field, rule, tool
LIMIT = 5
class S(BaseModel):
    n: int = 0
@tool(effect="read")
async def look(x: int) -> int:
    return x
g = Graph("g", state=S, tools=[look], step_limit=10)
@g.node(retry=Retry(attempts=2))
async def first(state, ctx):
    """What it does."""
    value = state.n + 1  # one more
    return {"n": value}
@g.node
async def second(state, ctx):
    return None
g.start(first)
g.route(first, [rule("big", field("n") > 3, to=END)], default=second)
g.edge(second, END)
'''


def fingerprint(tmp_path: Path, source: str) -> str:
    """The fingerprint of `g` in a module with this source."""
    path = tmp_path / f"module_{abs(hash(source))}.py"
    path.write_text(source)
    space: dict[str, Any] = {"__name__": path.stem}
    exec(compile(source, str(path), "exec"), space)
    found: str = space["g"].fingerprint
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('    """What it does."""\n', ""),
        ("What it does.", "Something else."),
        ("  # one more", ""),
        ("value = state.n + 1", "value = (state.n\n             + 1)"),
        ("\n@g.node\nasync def second", "\n\n\n# a note\n@g.node\nasync def second"),
        ('{"n": value}', "{'n': value}"),
        ("return x\n", "return x + 1\n"),  # a tool is what it declares
    ],
)
def test_the_fingerprint_does_not_follow_looks(tmp_path: Path, old: str, new: str) -> None:
    assert old in BASE
    assert fingerprint(tmp_path, BASE.replace(old, new)) == fingerprint(tmp_path, BASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("state.n + 1", "state.n + 2"),
        ("return None", "return {}"),
        ("> 3", "> 4"),
        ('"big"', '"large"'),
        ("default=second", "default=END"),
        ("attempts=2", "attempts=3"),
        ("step_limit=10", "step_limit=11"),
        ("n: int = 0", "n: int = 1"),
        ("x: int", "x: str"),
        ('effect="read"', 'effect="pure"'),
        ('Graph("g"', 'Graph("h"'),
        ("@g.node\n", "@g.node(time_limit=5)\n"),
    ],
)
def test_the_fingerprint_follows_behaviour(tmp_path: Path, old: str, new: str) -> None:
    assert old in BASE
    changed = BASE.replace(old, new)
    if old == "default=second":
        changed = changed.replace("g.edge(second, END)", "g.edge(second, END)").replace("to=END", "to=second")
    assert fingerprint(tmp_path, changed) != fingerprint(tmp_path, BASE)


def test_retry_waits_grow_and_stay_below_their_longest() -> None:
    retry = Retry(wait=1, factor=2, longest=5)
    assert [retry.delay(i) for i in (1, 2, 3, 4, 400)] == [1, 2, 4, 5, 5]
    assert Retry(wait=0).delay(3) == 0


def test_a_retry_that_makes_no_sense_is_refused() -> None:
    for wrong in ({"attempts": 0}, {"wait": -1}, {"factor": 0.5}, {"longest": -1}):
        with pytest.raises(InputInvalid, match="Retry"):
            Retry(**wrong)  # type: ignore[arg-type]


def test_limits_that_make_no_sense_are_problems() -> None:
    for options in ({"step_limit": 0}, {"time_limit": 0}, {"time_limit": -1.0}):
        graph = graph_of(a, **options)
        graph.start(a)
        graph.edge(a, END)
        assert "limit" in problems(graph)


def test_a_context_is_what_a_node_takes() -> None:
    async def with_default(state: Any, ctx: Context, more: int = 1) -> None: ...

    class Callable_:
        async def __call__(self, state: Any, ctx: Context) -> dict[str, Any]:
            return {}

    graph = graph_of(with_default)
    graph.node(Callable_(), name="object")
    graph.start(with_default)
    graph.edge(with_default, "object")
    graph.edge("object", END)
    graph.build()
    assert graph.nodes["object"].is_async


@pytest.mark.parametrize("state", [dict, Work(), "Work"])
def test_a_state_that_is_no_pydantic_model_is_refused_by_name(state: Any) -> None:
    with pytest.raises(GraphInvalid, match="isn't a Pydantic model"):
        Graph("g", state=state)


async def test_two_graphs_of_one_name_are_refused() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {}

    with pytest.raises(GraphInvalid, match="g"):
        open_test_app(graphs=[chain(node), chain(node)])
