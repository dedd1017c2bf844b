"""The weather of a schedule: what may go wrong in it, and how often. Drawn from the seed, so that some schedules are
calm but for one kind of trouble and others have all of it at once."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.simulation.world import Manners

from turnout import Settings


@dataclass(frozen=True)
class Weather:
    """Chances are out of 1 (for each append; a quarter of that for other calls), times in seconds. What a *machine*
    suffers: `dies`, `stalls` (SIGSTOP). What the *wire* to the store does: `unsent`, `unanswered`, `late`. `deaf`: a
    notice is lost, late or doubled.
    """

    settings: Settings
    manners: Manners
    machines: int = 2
    shuffled: bool = False
    in_place: bool = True
    latency: float = 0.0
    dies: float = 0.0
    stalls: float = 0.0
    unsent: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    deaf: float = 0.0
    cut_offs: int = 0
    outages: int = 0
    drains: int = 0
    deploys: int = 0
    jumps: int = 0
    skew: float = 0.0
    """Of a clock, at most. Turnout bears clocks that differ by a third of a lease: one may be a sixth off."""
    most: int = 6
    """So many machines die or stall at most: else nothing would ever come to an end."""


def weather(chance: random.Random) -> Weather:
    """The weather of a seed."""

    def some(odds: float, *values: float) -> float:
        return chance.choice(values) if chance.random() < odds else 0.0

    lease = chance.choice([6.0, 15.0, 15.0, 30.0])
    settings = Settings(
        lease=lease,
        poll=chance.choice([1.0, 2.0, 4.0]),
        sweep=chance.choice([4.0, 10.0, 20.0]),
        concurrency=chance.choice([1, 2, 3, 8, 256]),
        grace=chance.choice([1.0, 5.0]),
        strict=chance.random() < 0.1,
        signing_key="5a" * 32,
    )
    rough = (
        0.8 if chance.random() < 0.5 else 0.15
    )  # the world has its bad days, when everything comes together
    manners = Manners(
        latency=chance.choice([0.0, 0.01, 0.3, 3.0]),
        fails=some(rough, 0.05, 0.2),
        refuses=some(rough, 0.05, 0.2),
        loses_answers=some(rough, 0.05, 0.2),
        hangs=some(rough, 0.03, 0.1),
        is_late=some(rough, 0.05, 0.15),
        cannot_tell=some(rough, 0.3, 0.8),
    )
    rough = 0.7 if chance.random() < 0.6 else 0.2
    return Weather(
        settings=settings,
        manners=manners,
        machines=chance.choice([1, 2, 2, 3]),
        shuffled=chance.random() < 0.25,
        in_place=chance.random() < 0.5,
        latency=chance.choice([0.0, 0.002, 0.05, 0.5]),
        dies=some(rough, 0.01, 0.06),
        stalls=some(rough, 0.02, 0.12),
        unsent=some(rough, 0.01, 0.05),
        unanswered=some(rough, 0.01, 0.05),
        late=some(rough, 0.01, 0.03),
        deaf=some(rough, 0.1, 0.5, 1.0),
        cut_offs=int(some(rough, 1, 2)),
        outages=int(some(rough, 1, 2)),
        drains=int(some(rough, 1, 2)),
        deploys=int(some(0.4, 1, 2, 3)),
        jumps=int(some(0.2, 1, 2)),
        skew=some(rough, 0.1, lease / 6),
    )
