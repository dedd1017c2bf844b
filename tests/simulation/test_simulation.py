"""The simulation: schedules that come to a good end, the same again from the same seed, and bugs that it finds."""

from __future__ import annotations

import pytest
from tests.simulation.bugs import BUGS, Bug, broken
from tests.simulation.simulation import Simulation

PARTS = 4
SCHEDULES = 100
"""In each part; `make crash` plays ten times as many, `make simulate` as many as there is time for."""
ENOUGH = 150
"""Seeds within which a broken guarantee must be noticed."""


@pytest.mark.crash
@pytest.mark.parametrize("part", range(PARTS))
def test_every_schedule_comes_to_a_good_end(part: int, everything: bool) -> None:
    many = SCHEDULES * 10 if everything else SCHEDULES
    for seed in range(part * 1_000_000, part * 1_000_000 + many):
        result = Simulation(seed).run()
        assert not result.problems, f"seed {seed}; again: python -m tests.simulation {seed} --trace"


def test_the_same_seed_gives_the_same_trace_to_the_byte() -> None:
    for seed in (3, 17, 4_711):
        first, second = Simulation(seed).run(), Simulation(seed).run()
        assert first.trace == second.trace
        assert first.digest == second.digest
    assert Simulation(5).run().digest != first.digest


@pytest.mark.crash
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.breaks)
def test_a_broken_guarantee_is_noticed(bug: Bug) -> None:
    with broken(bug):
        assert any(Simulation(seed).run().problems for seed in range(ENOUGH))
