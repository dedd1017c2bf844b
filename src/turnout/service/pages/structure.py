"""A graph as it is drawn: its nodes, what leads from one to another, and how often a thread went there."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from turnout.core.graph import Graph
from turnout.core.routing import Parallel
from turnout.core.shape import EXIT
from turnout.service.report import DecisionReport, Report

START, END = "START", "END"
"""Where every run begins and ends: drawn as nodes, though they are none."""


@dataclass(frozen=True)
class NodeShape:
    """A node: what it says of itself (the first line of its docstring) and which tools it may call, by effect."""

    name: str
    about: str = ""
    tools: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class EdgeShape:
    """From one node to another. `labels` are the rules that lead there; `side_by_side` when others start with it."""

    source: str
    target: str
    labels: tuple[str, ...] = ()
    side_by_side: bool = False


@dataclass(frozen=True)
class Structure:
    """A graph's nodes and edges, in the order of their declaration. START and END are among the edges' ends.

    `fingerprint` is "" when it was put together from a thread's record, because no code was at hand: then it has only
    what the thread came through, and what it could have chosen.
    """

    graph: str
    fingerprint: str
    nodes: tuple[NodeShape, ...]
    edges: tuple[EdgeShape, ...]


@dataclass(frozen=True)
class Visits:
    """What became of the steps of one node: how many there were, and how many are open or failed."""

    steps: int = 0
    open: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Path:
    """The way that a thread took: visits of nodes, and how often each edge was taken."""

    nodes: dict[str, Visits] = field(default_factory=dict)
    edges: dict[tuple[str, str], int] = field(default_factory=dict)


def structure_of(graph: Graph) -> Structure:
    """The structure of a graph whose code is at hand."""
    nodes = tuple(
        NodeShape(
            node.name,
            _first_line(node.fn),
            tuple(
                (name, str(graph.tools[name].effect)) for name in sorted(node.tools) if name in graph.tools
            ),
        )
        for node in graph.nodes.values()
    )
    edges: dict[tuple[str, str], EdgeShape] = {(START, graph.entry): EdgeShape(START, graph.entry)}
    for name in graph.nodes:
        for label, target, side_by_side in _targets(graph, name):
            for end in _ends(graph, target):
                had = edges.get((name, end))
                labels = dict.fromkeys((*(had.labels if had else ()), *((label,) if label else ())))
                edges[(name, end)] = EdgeShape(name, end, tuple(labels), side_by_side)
    return Structure(graph.name, graph.fingerprint, nodes, tuple(edges.values()))


def _targets(graph: Graph, name: str) -> list[tuple[str, str, bool]]:
    """(label, target, side by side) of a node's route. Where branches meet is their own routes' business."""
    placed = graph.routes[name]
    found = []
    for label, target in placed.route.labels():
        if isinstance(target, Parallel):
            found += [(label, graph.resolve(ref, placed.prefix, name), True) for ref in target.targets]
        else:
            found.append((label, graph.resolve(target, placed.prefix, name), False))
    return found


def routes_of(graph: Graph, name: str) -> tuple[tuple[str, str], ...]:
    """The (label, target) pairs of a node's route, as a decision tells them: branches in one text, with their join."""
    placed = graph.routes[name]
    found = []
    for label, target in placed.route.labels():
        if isinstance(target, Parallel):
            nodes = [graph.resolve(ref, placed.prefix, name) for ref in target.targets]
            found.append(
                (label, f"{' + '.join(nodes)}, then {graph.resolve(target.join, placed.prefix, name)}")
            )
        else:
            found.append((label, graph.resolve(target, placed.prefix, name)))
    return tuple(found)


def _ends(graph: Graph, target: str) -> list[str]:
    """The nodes (or END) that a target stands for; the end of a subgraph leads to what follows it."""
    return sorted(graph.successors(target.removesuffix(EXIT))) if target.endswith(EXIT) else [target]


def _first_line(fn: object) -> str:
    said = inspect.getdoc(fn) if inspect.isroutine(fn) else None
    return said.splitlines()[0] if said else ""


def recorded(report: Report) -> Structure:
    """What a thread's record alone says of its graph: for when no code is at hand."""
    edges: dict[tuple[str, str], list[str]] = {}
    for decision in report.decisions:
        source, targets = _came(report, decision)
        if not source:
            continue
        for target in targets:
            labels = edges.setdefault((source, target), [])
            if decision.rule not in ("edge", "start", *labels):
                labels.append(decision.rule)
        for label, other in decision.alternatives:
            for target in other.partition(", then ")[0].split(" + "):  # as a decision tells of branches
                known = edges.setdefault((source, target), [])
                if label not in known:
                    known.append(label)
    names = dict.fromkeys(end for edge in edges for end in edge if end not in (START, END))
    return Structure(
        report.graph, "", tuple(NodeShape(name) for name in names),
        tuple(EdgeShape(source, target, tuple(labels)) for (source, target), labels in edges.items()),
    )  # fmt: skip


def path_of(report: Report) -> Path:
    """The way that the thread took."""
    steps: Counter[str] = Counter(step.node for step in report.steps)
    still: Counter[str] = Counter(step.node for step in report.steps if step.status == "open")
    failed: Counter[str] = Counter(step.node for step in report.steps if step.status == "failed")
    taken: Counter[tuple[str, str]] = Counter()
    for decision in report.decisions:
        source, targets = _came(report, decision)
        taken.update((source, target) for target in targets if source)
    return Path({name: Visits(n, still[name], failed[name]) for name, n in steps.items()}, dict(taken))


def _came(report: Report, decision: DecisionReport) -> tuple[str, Iterable[str]]:
    """From where a decision led where to. From "" when it says no more than that branches have met."""
    split = next((split for split in report.splits if split.seq == decision.seq), None)
    targets = split.nodes if split is not None else (decision.target.partition(", then ")[0],)
    if decision.after:
        return node_of(decision.after), dict.fromkeys(targets)
    return (START if decision.rule == "start" else ""), targets


def node_of(step: str) -> str:
    """The node of a step, by the step's id: `check.2@1.0` is the second visit of `check`, in the branch 1.0."""
    return step.partition(".")[0]
