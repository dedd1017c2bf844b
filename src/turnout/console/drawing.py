"""Where the nodes and edges of a graph are drawn: in layers from top to bottom, with as few crossings as a few sweeps find.

Everything is in the SVG's own units (about a pixel each). Nothing here knows of HTML.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from turnout.service.pages.structure import END, START, EdgeShape, Path, Structure, Visits

HEIGHT, ACROSS, DOWN, MARGIN = 40.0, 22.0, 46.0, 14.0
"""A node's height, the room beside it, the room below it, and that around everything."""
LETTER, NARROW, WIDE = 7.4, 64.0, 210.0
"""A letter's width, about, and the bounds of a node's."""
TURN = 10.0
"""What an edge that passes a layer takes up there."""
SWEEPS = 12
SMALL = 640.0
"""Narrower than this a drawing isn't made to fit: its letters could not be read."""
ROOMS = (280, 340, 400, 480, 560, 640)
"""The widths of the room for a drawing at which the style sheet tells that one which is wider scrolls."""
Edge = tuple[str, str]


@dataclass(frozen=True)
class Box:
    """A node: its place (the top left corner), and what the thread did there."""

    name: str
    label: str
    x: float
    y: float
    width: float
    height: float
    visits: Visits
    about: str = ""

    @property
    def state(self) -> str:
        """open, failed, taken or "": what the box is drawn as."""
        if self.visits.open:
            return "open"
        return "failed" if self.visits.failed else "taken" if self.visits.steps else ""


@dataclass(frozen=True)
class Line:
    """An edge: its curve (an SVG path), how often it was taken, and where its count is written."""

    source: str
    target: str
    curve: str
    taken: int
    labels: tuple[str, ...]
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """All of it. `width` and `height` are those of the whole drawing."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]

    @property
    def fits(self) -> bool:
        """May it be made smaller to fit the page, down to `SMALL`?"""
        return SMALL <= self.width <= 1000

    @property
    def beyond(self) -> int:
        """On a page so wide, one of `ROOMS`, it must be scrolled sideways (0: on none of them)."""
        least = SMALL if self.fits else self.width
        return max((room for room in ROOMS if room <= least), default=0)


def draw(structure: Structure, path: Path | None = None) -> Drawing:
    """The drawing of a graph, with the way that a thread took."""
    taken = path or Path()
    edges = [*structure.edges, *_unknown(structure, taken)]
    names = list(dict.fromkeys(end for edge in edges for end in (edge.source, edge.target)))
    forward, back = _forward([(edge.source, edge.target) for edge in edges], names)
    layers, chains = _layers(names, forward)
    about = {node.name: node.about for node in structure.nodes}
    widths = {name: _width(_label(name)) for name in names}
    _sort(layers, [pair for chain in chains.values() for pair in itertools.pairwise(chain)])
    place, total = _places(layers, widths)
    boxes = tuple(
        Box(
            name, _label(name), place[name][0] - widths[name] / 2, place[name][1], widths[name], HEIGHT,
            taken.nodes.get(name, _ends_of(name, taken)), about.get(name, ""),
        )
        for name in names
    )  # fmt: skip
    right = max(x + widths.get(name, TURN) / 2 for name, (x, _) in place.items())  # also of edges' turns
    room = {edge: number for number, edge in enumerate(back)}
    lines = tuple(_line(edge, taken, place, chains, room, widths, right) for edge in edges)
    return Drawing(right + MARGIN + (16 * len(back) + 10 if back else 0), total, boxes, lines)


def _unknown(structure: Structure, path: Path) -> list[EdgeShape]:
    """Ways that the thread took and that this version of the graph doesn't have."""
    known = {(edge.source, edge.target) for edge in structure.edges}
    return [EdgeShape(source, target) for source, target in path.edges if (source, target) not in known]


def _ends_of(name: str, path: Path) -> Visits:
    """START and END count as visited when something led from or to them."""
    return (
        Visits(sum(n for edge, n in path.edges.items() if name in edge)) if name in (START, END) else Visits()
    )


def _label(name: str) -> str:
    if name in (START, END):
        return name.lower()
    return name if len(name) <= 26 else f"{name[:12]}…{name[-12:]}"


def _width(label: str) -> float:
    return min(WIDE, max(NARROW, len(label) * LETTER + 44))


def _forward(edges: Sequence[Edge], names: Sequence[str]) -> tuple[list[Edge], list[Edge]]:
    """The edges apart: those that lead on, and those that lead back (or to where they begin)."""
    after: dict[str, list[str]] = {name: [] for name in names}
    for source, target in edges:
        after[source].append(target)
    state: dict[str, int] = {}
    back: set[Edge] = set()
    for root in [START, *names]:
        if root not in after or root in state:
            continue
        state[root] = 1
        path = [(root, iter(after[root]))]
        while path:
            name, rest = path[-1]
            for target in rest:
                if state.get(target) == 1:
                    back.add((name, target))
                elif target not in state:
                    state[target] = 1
                    path.append((target, iter(after[target])))
                    break
            else:
                state[name] = 2
                path.pop()
    return [edge for edge in edges if edge not in back], [edge for edge in edges if edge in back]


def _layers(names: Sequence[str], forward: Sequence[Edge]) -> tuple[list[list[str]], dict[Edge, list[str]]]:
    """Each node one layer below the lowest that leads to it, END below all; an edge over several layers takes a place in
    each. Returns the layers, and the places that every edge goes through."""
    rank = dict.fromkeys(names, 0)
    for _ in names:
        moved = False
        for source, target in forward:
            if rank[target] <= rank[source]:
                rank[target], moved = rank[source] + 1, True
        if not moved:
            break
    if END in rank:
        rank[END] = max(*rank.values(), 1 + max((r for name, r in rank.items() if name != END), default=0))
    layers: list[list[str]] = [[] for _ in range(max(rank.values()) + 1)]
    for name in names:
        layers[rank[name]].append(name)
    chains: dict[Edge, list[str]] = {}
    for source, target in forward:
        between = [f"{source}\0{target}\0{layer}" for layer in range(rank[source] + 1, rank[target])]
        for layer, place in enumerate(between, rank[source] + 1):
            layers[layer].append(place)
        chains[(source, target)] = [source, *between, target]
    return layers, chains


def _sort(layers: list[list[str]], pairs: Iterable[Edge]) -> None:
    """Put the nodes of each layer where their neighbours above (then below) are, on average."""
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for source, target in pairs:
        above.setdefault(target, []).append(source)
        below.setdefault(source, []).append(target)
    best, least = [list(layer) for layer in layers], _crossings(layers, below)
    for sweep in range(SWEEPS):
        near, order = (above, layers) if sweep % 2 == 0 else (below, layers[::-1])
        where = {name: n / max(1, len(layer) - 1) for layer in layers for n, name in enumerate(layer)}
        for layer in order:
            weight = {
                name: sum(where[other] for other in near[name]) / len(near[name])
                if near.get(name)
                else where[name]
                for name in layer
            }
            layer.sort(key=lambda name: weight[name])
            where.update({name: n / max(1, len(layer) - 1) for n, name in enumerate(layer)})
        found = _crossings(layers, below)
        if found < least:
            best, least = [list(layer) for layer in layers], found
    for layer, kept in zip(layers, best, strict=True):
        layer[:] = kept


def _crossings(layers: Sequence[Sequence[str]], below: dict[str, list[str]]) -> int:
    count = 0
    for upper, lower in itertools.pairwise(layers):
        at = {name: n for n, name in enumerate(lower)}
        ends = [
            at[target]
            for name in upper
            for target in sorted(below.get(name, ()), key=lambda t: at.get(t, 0))
            if target in at
        ]
        count += sum(1 for n, end in enumerate(ends) for later in ends[n + 1 :] if later < end)
    return count


def _places(
    layers: Sequence[Sequence[str]], widths: dict[str, float]
) -> tuple[dict[str, tuple[float, float]], float]:
    """The centre (x) and the top (y) of everything, each layer centred on the widest; and the height of the whole."""
    sizes = [sum(widths.get(name, TURN) + ACROSS for name in layer) - ACROSS for layer in layers]
    widest = max(sizes)
    place, y = {}, MARGIN
    for layer, size in zip(layers, sizes, strict=True):
        x = MARGIN + (widest - size) / 2
        for name in layer:
            width = widths.get(name, TURN)
            place[name] = (x + width / 2, y)
            x += width + ACROSS
        y += HEIGHT + DOWN
    return place, y - DOWN + MARGIN


def _line(
    edge: EdgeShape, path: Path, place: dict[str, tuple[float, float]], chains: dict[Edge, list[str]],
    back: dict[Edge, int], widths: dict[str, float], right: float,
) -> Line:  # fmt: skip
    ends = (edge.source, edge.target)
    (x1, y1), (x2, y2) = place[edge.source], place[edge.target]
    if ends in back:  # around the right side
        far = right + 14 + 16 * back[ends]
        ax, ay = x1 + widths[edge.source] / 2, y1 + HEIGHT * 0.65
        bx, by = x2 + widths[edge.target] / 2 + 5, y2 + HEIGHT * 0.35
        curve = f"M{ax:.1f} {ay:.1f}C{far:.1f} {ay:.1f} {far:.1f} {ay:.1f} {far:.1f} {(ay + by) / 2:.1f}"
        curve += f"C{far:.1f} {by:.1f} {far:.1f} {by:.1f} {bx:.1f} {by:.1f}"
        return Line(*ends, curve, path.edges.get(ends, 0), edge.labels, far, (ay + by) / 2)
    points = [(x1, y1 + HEIGHT)]
    for turn in chains[ends][1:-1]:
        x, y = place[turn]
        points += [(x, y), (x, y + HEIGHT)]
    points.append((x2, y2 - 5))
    curve = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for n in range(0, len(points) - 1, 2):
        (ax, ay), (bx, by) = points[n], points[n + 1]
        middle = (ay + by) / 2
        curve += f"C{ax:.1f} {middle:.1f} {bx:.1f} {middle:.1f} {bx:.1f} {by:.1f}"
        if n + 2 < len(points):
            curve += f"L{points[n + 2][0]:.1f} {points[n + 2][1]:.1f}"
    (ax, ay), (bx, by) = points[0], points[1]
    return Line(*ends, curve, path.edges.get(ends, 0), edge.labels, (ax + bx) / 2, (ay + by) / 2)
