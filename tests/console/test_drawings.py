"""Drawings of graphs and timelines: everything is on the page, nothing on top of another, and waiting takes little room."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest
from tests.console.conftest import Served
from tests.console.desk import refunds, rounds

from turnout.console import drawing, text, waterfall
from turnout.demo.desk import desk as payments
from turnout.service.pages import structure, timeline
from turnout.service.pages.structure import END, START, EdgeShape, NodeShape, Structure, Visits
from turnout.service.pages.timeline import Bar

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def apart(drawn: drawing.Drawing) -> None:
    """Nothing overlaps, and nothing is off the page."""
    for one, other in combinations(drawn.boxes, 2):
        beside = one.x + one.width < other.x or other.x + other.width < one.x
        assert beside or one.y + one.height < other.y or other.y + other.height < one.y, (one, other)
    for box in drawn.boxes:
        assert box.x >= 0
        assert box.x + box.width <= drawn.width
        assert box.y + box.height <= drawn.height
    for line in drawn.lines:
        across = [float(x) for x, _ in re.findall(r"([-\d.]+) ([-\d.]+)", line.curve)]
        assert min(across) >= 0, line
        assert max(across) <= drawn.width, line


@pytest.mark.parametrize("graph", [refunds, rounds, payments])
def test_a_graph_leads_from_top_to_bottom(graph) -> None:
    drawn = drawing.draw(structure.structure_of(graph.build()))
    apart(drawn)
    y = {box.name: box.y for box in drawn.boxes}
    assert {*graph.nodes, START, END} == y.keys()
    assert all(y[START] < y[name] < y[END] for name in graph.nodes)
    back = [(line.source, line.target) for line in drawn.lines if y[line.target] <= y[line.source]]
    assert (
        back
        == {"payments_desk": [("clarify", "read")], "rounds": [("turn", "turn")], "refunds": []}[graph.name]
    )


@pytest.mark.parametrize("seed", range(30))
def test_any_graph_is_drawn_also_one_that_goes_round_in_circles(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"node_{n}" for n in range(chance.randint(1, 25))]
    pairs = {(chance.choice(names), chance.choice([*names, END])) for _ in range(chance.randint(0, 60))}
    edges = [EdgeShape(START, names[0]), *(EdgeShape(a, b) for a, b in sorted(pairs))]
    edges += [EdgeShape(name, END) for name in names if not any(edge.source == name for edge in edges)]
    drawn = drawing.draw(Structure("g", "f", tuple(map(NodeShape, names)), tuple(edges)))
    apart(drawn)
    assert len(drawn.lines) == len(edges)


async def test_the_way_that_a_thread_took_is_counted_on_nodes_and_edges(desk: Served) -> None:
    await desk.app.start("rounds", {"fails": True}, thread="r")
    await desk.rest("r")
    report = await desk.app.explain("r")
    path = structure.path_of(report)
    assert path.nodes["turn"] == Visits(3, 0, 0)
    assert path.nodes["meet"] == Visits(1, 0, 1)
    assert path.edges == {
        (START, "turn"): 1, ("turn", "turn"): 2, ("turn", "go_left"): 1, ("turn", "go_right"): 1, ("go_left", "meet"): 1,
        ("go_right", "meet"): 1,
    }  # fmt: skip
    drawn = drawing.draw(structure.structure_of(rounds), path)
    assert {box.name: box.state for box in drawn.boxes}["meet"] == "failed"
    assert {(line.source, line.target): line.taken for line in drawn.lines}[("turn", "turn")] == 2
    known = {(edge.source, edge.target) for edge in structure.recorded(report).edges}
    assert known == set(path.edges)


async def test_a_timeline_has_every_step_with_what_happened_in_it(desk: Served) -> None:
    review = await desk.paused("r")
    bars = timeline.bars(await desk.app.explain("r"))
    told = [(bar.kind, bar.label, bar.status) for bar in bars]
    assert told == [
        ("step", "look_up", "finished"), ("tool", "order_total", "answered"), ("step", "ask", "open"),
        ("model", "summary", "answered"), ("review", review.question, "open"),
    ]  # fmt: skip
    assert bars[2].cost_micros == bars[3].cost_micros == 1234
    assert bars[4].ended_at is None


def bar(begun: float, ended: float | None, kind: str = "tool", *, waits: bool = False) -> Bar:
    end = None if ended is None else T0 + timedelta(seconds=ended)
    return Bar(1, kind, "x", 1, "s.1", T0 + timedelta(seconds=begun), end, "answered", waits=waits)


def test_hours_of_waiting_leave_room_for_milliseconds_of_work() -> None:
    bars = [bar(0, 7200.4, "step"), bar(0, 0.2), bar(0.2, 7200.2, "review", waits=True), bar(7200.2, 7200.4)]
    fall = waterfall.waterfall(bars, T0 + timedelta(hours=3))
    first, last = fall.bars[1], fall.bars[3]
    assert first.width > 300
    assert last.width > 300
    assert [round(gap.length.total_seconds()) for gap in fall.gaps] == [7200]
    assert fall.gaps[0].width <= waterfall.SQUEEZED
    assert fall.bars[0].width == pytest.approx(waterfall.SCALE)


def test_what_goes_on_reaches_to_now_and_nothing_leaves_the_page() -> None:
    bars = [bar(0, None, "step"), bar(0, 1), bar(1, None, "review", waits=True)]
    fall = waterfall.waterfall(bars, T0 + timedelta(days=30))
    assert fall.ended_at == T0 + timedelta(days=30)
    for drawn in fall.bars:
        assert 0 <= drawn.x <= drawn.x + drawn.width <= waterfall.SCALE + 1e-6
        assert drawn.width >= waterfall.LEAST


def test_a_long_timeline_comes_in_pages_the_last_one_first() -> None:
    bars = [bar(n, n + 1) for n in range(450)]
    fall = waterfall.waterfall(bars, T0)
    assert (fall.first, fall.last, fall.earlier, fall.later) == (371, 450, 291, None)
    fall = waterfall.waterfall(bars, T0, 51)
    assert (fall.first, fall.last, fall.earlier, fall.later) == (51, 130, 1, 131)
    assert waterfall.waterfall([], T0).bars == ()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.004, "4 ms"), (2.04, "2.0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (3660, "1 h 1 min"), (90_000, "1 d 1 h"), (86_460, "1 d")],
)  # fmt: skip
def test_a_span_is_told_in_two_units_at_most(seconds: float, said: str) -> None:
    assert text.span(seconds) == said


def test_times_costs_and_names_are_written_for_people() -> None:
    assert text.ago(T0 - timedelta(minutes=90), T0) == "1 h ago"
    assert text.ago(T0 + timedelta(seconds=75), T0) == "in 1 min"
    assert text.ago(T0, T0) == "just now"
    assert (text.money(0), text.money(1234), text.money(12_345_678)) == ("0", "0.001234", "12.35")
    assert text.gist(["one", "two"]) == "one, two"
    assert text.gist("x" * 99) == f"{'x' * 90}…"
    assert text.part("a/b?c#d%e") == "a%2Fb%3Fc%23d%25e"
    assert text.cut("x" * 5000, 4000).endswith("… (1 000 more characters)")
