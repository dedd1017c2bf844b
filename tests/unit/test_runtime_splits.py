"""Forks and new versions in the middle of a split: its branches see the state that holds then."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel
from tests.unit.runs import Work, proven

from turnout import END, Context, Finished, Graph, Paused, append
from turnout.testing import open_test_app


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
