"""The shape of a graph as a whole: what can be reached, what can end, where branches join; and a node's signature."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from turnout.core.routing import Parallel

if TYPE_CHECKING:
    from turnout.core.graph import Graph

EXIT = "/END"
"""Behind a subgraph's name: its end, where the route after the subgraph comes next."""


def shape_problems(graph: Graph) -> list[str]:
    """Problems that need a graph whose every name is known: reachability, ends, joins."""
    found = []
    edges = {name: graph.successors(name) for name in graph.nodes}
    reached = reach(edges, {graph.entry})
    for name in graph.nodes:
        if name not in reached:
            found.append(f"node {name!r} can't be reached from start")
        elif "END" not in reach(edges, {name}):
            found.append(f"from node {name!r} no way leads to END; a run that gets there could never finish")
    for name, placed in graph.routes.items():
        for target in placed.route.targets():
            if isinstance(target, Parallel):
                found += _split_problems(graph, name, target, placed.prefix, edges)
    return found


def _split_problems(
    graph: Graph, name: str, split: Parallel, prefix: str, edges: dict[str, set[str]]
) -> list[str]:
    nodes = [graph.resolve(ref, prefix, name) for ref in split.targets]
    join = graph.resolve(split.join, prefix, name)
    found = []
    if len(set(nodes)) != len(nodes) or len(nodes) < 2:
        found.append(f"the route of {name!r}: parallel(...) wants at least two different nodes")
    if join in nodes:
        found.append(f"the route of {name!r}: {join!r} is both a branch and the join of parallel(...)")
    if join.endswith(EXIT):
        found.append(f"the route of {name!r}: parallel(...) in a subgraph needs join= a node of the subgraph")
    elif join != "END":
        for node in nodes:
            if join not in reach(edges, {node}):
                found.append(f"the route of {name!r}: the branch at {node!r} never reaches the join {join!r}")
    return found


def reach(edges: dict[str, set[str]], start: set[str]) -> set[str]:
    """All that can be reached from `start`, itself included."""
    seen, todo = set(start), list(start)
    while todo:
        for target in edges.get(todo.pop(), ()):
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def limit_problems(graph: Graph) -> list[str]:
    """Limits that no run or step could keep."""
    limits = {"step_limit": graph.step_limit, "time_limit": graph.time_limit}
    limits |= {f"the time_limit of node {node.name!r}": node.time_limit for node in graph.nodes.values()}
    return [
        f"{name} is {limit}; it must be more than 0"
        for name, limit in limits.items()
        if limit is not None and limit <= 0
    ]


def is_async(fn: Any) -> bool:
    """Also of an object whose class has an async `__call__`."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(type(fn), "__call__", None))  # noqa: B004


def signature_problem(label: str, fn: Any) -> str | None:
    """Why `fn` can't be a node, if so."""
    if not callable(fn):
        return f"node {label!r} is not a function"
    try:
        inspect.signature(fn).bind(None, None)
    except TypeError:
        return f"node {label!r} must take (state, ctx), but takes {inspect.signature(fn)}"
    return None
