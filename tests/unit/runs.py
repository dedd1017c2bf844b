"""Small helpers for the tests of the runtime: a state that fits most graphs, and graphs of one node."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import BaseModel

from turnout import END, App, Graph, Tool, add, append
from turnout.testing import VirtualClock


class Work(BaseModel):
    """What most test graphs carry."""

    n: Annotated[int, add] = 0
    log: Annotated[list[str], append] = []
    data: Any = None


def chain(
    *nodes: Callable[..., Any], tools: Iterable[Tool[Any, Any]] = (), name: str = "g", **options: Any
) -> Graph:
    """A graph that runs `nodes` one after the other. `options` go to the first node."""
    graph = Graph(name, state=Work, tools=list(tools))
    for i, node in enumerate(nodes):
        graph.node(node, **(options if i == 0 else {}))
    graph.start(nodes[0])
    for here, there in zip(nodes, [*nodes[1:], END], strict=True):
        graph.edge(here, there)
    return graph


async def kinds(app: App, thread: str = "t") -> list[str]:
    """The kinds of a thread's entries, in order."""
    return [entry.kind for entry in await app.entries(thread)]


async def proven(app: App, thread: str = "t") -> None:
    """The journal verifies and replays identically."""
    verified = await app.verify(thread)
    assert verified.ok, verified.problems
    replayed = await app.replay(thread)
    assert replayed.identical, replayed.divergence


async def until(condition: Callable[[], Any], clock: VirtualClock | None = None) -> None:
    """Give the event loop turns until `condition` holds; fail when it never does."""
    import asyncio

    for _ in range(3000):
        if condition():
            return
        if clock is not None:
            await clock.settle(1)
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")
