"""Where the bars of a timeline are drawn. Where nothing happens but waiting, time is squeezed: hours beside milliseconds."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from turnout.service.pages.timeline import Bar

SCALE = 1000.0
"""The width of the whole, in the SVG's units."""
SQUEEZED = 70.0
"""What a stretch of nothing but waiting takes up, at the most."""
LONG = timedelta(seconds=1)
LEAST = 4.0
"""What a bar takes up at least, to be seen at all."""
SHOWN = 80
"""So many bars are on one page."""


@dataclass(frozen=True)
class Drawn:
    """A bar and its place."""

    bar: Bar
    x: float
    width: float


@dataclass(frozen=True)
class Gap:
    """A stretch that was squeezed, and how long it really was."""

    x: float
    width: float
    length: timedelta


@dataclass(frozen=True)
class Waterfall:
    """A page of bars. `first` is the number of the first one of `total` (from 1)."""

    bars: tuple[Drawn, ...]
    gaps: tuple[Gap, ...]
    begun_at: datetime | None
    ended_at: datetime | None
    first: int
    total: int

    @property
    def last(self) -> int:
        """The number of the last bar that is shown."""
        return self.first + len(self.bars) - 1

    @property
    def earlier(self) -> int | None:
        """Where the page before begins, if there is one."""
        return max(1, self.first - SHOWN) if self.first > 1 else None

    @property
    def later(self) -> int | None:
        """Where the page behind begins, if there is one."""
        return self.last + 1 if self.last < self.total else None


def waterfall(bars: Sequence[Bar], now: datetime, first: int | None = None) -> Waterfall:
    """The page of bars that begins with number `first`, else the last one. What goes on reaches to `now`."""
    total = len(bars)
    begin = min(max(1, total - SHOWN + 1 if first is None else first), max(1, total))
    shown = bars[begin - 1 : begin - 1 + SHOWN]
    if not shown:
        return Waterfall((), (), None, None, 1, 0)
    scale = _Scale(shown, now)
    drawn = []
    for bar in shown:
        x = scale.at(bar.begun_at)
        width = max(LEAST, scale.at(bar.ended_at or scale.end) - x)
        drawn.append(Drawn(bar, min(x, SCALE - width), width))
    return Waterfall(tuple(drawn), tuple(scale.gaps), scale.begin, scale.end, begin, total)


class _Scale:
    """From times to places: straight where there is work, squeezed where everybody waits."""

    def __init__(self, bars: Sequence[Bar], now: datetime) -> None:
        self.begin = min(bar.begun_at for bar in bars)
        ends = [bar.ended_at or max(now, bar.begun_at) for bar in bars]
        self.end = max([*ends, self.begin + timedelta(milliseconds=1)])
        busy = self._busy(bars)
        edges = sorted({self.begin, self.end, *(edge for stretch in busy for edge in stretch)})
        starts = [start for start, _ in busy]
        pieces: list[tuple[datetime, datetime, bool]] = []
        for start, end in itertools.pairwise(edges):
            n = bisect_right(starts, start) - 1
            working = n >= 0 and busy[n][1] > start
            pieces.append((start, end, working or end - start < LONG))
        work = sum(((end - start) for start, end, kept in pieces if kept), timedelta())
        idle = sum(not kept for *_, kept in pieces)
        squeezed = min(SQUEEZED, SCALE * 0.4 / idle) if idle else 0.0
        if not work:
            squeezed = SCALE / max(1, idle)
        left = SCALE - squeezed * idle
        self._edges, self._at, self.gaps = [self.begin], [0.0], []
        for start, end, kept in pieces:
            width = left * ((end - start) / work) if kept else squeezed
            if not kept:
                self.gaps.append(Gap(self._at[-1], width, end - start))
            self._edges.append(end)
            self._at.append(self._at[-1] + width)

    def _busy(self, bars: Sequence[Bar]) -> list[tuple[datetime, datetime]]:
        """When something was at work: calls, and the beginning and the end of everything. Joined, in order."""
        blink = timedelta(milliseconds=2)
        marks = []
        for bar in bars:
            if bar.waits or bar.kind == "step":
                for edge in (bar.begun_at, bar.ended_at):
                    if edge is not None:
                        marks.append((max(self.begin, edge - blink), min(self.end, edge + blink)))
            else:
                marks.append((bar.begun_at, bar.ended_at or min(self.end, bar.begun_at + LONG)))
        joined: list[tuple[datetime, datetime]] = []
        for start, end in sorted(marks):
            if joined and start - joined[-1][1] < LONG:
                joined[-1] = (joined[-1][0], max(joined[-1][1], end))
            else:
                joined.append((start, end))
        return joined

    def at(self, moment: datetime) -> float:
        """The place of a time, 0 to SCALE."""
        n = max(0, min(bisect_right(self._edges, moment) - 1, len(self._edges) - 2))
        start, end = self._edges[n], self._edges[n + 1]
        share = (moment - start) / (end - start) if end > start else 0.0
        return self._at[n] + (self._at[n + 1] - self._at[n]) * min(1.0, max(0.0, share))
