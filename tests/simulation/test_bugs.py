"""The simulation finds bugs: with a guarantee broken on purpose, some schedule fails, and soon."""

import pytest
from tests.simulation.bugs import BUGS, Bug, broken
from tests.simulation.simulation import Simulation

WITHIN = 600
"""Schedules: a quarter of a minute, at most."""


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.breaks.replace(" ", "-"))
def test_a_broken_guarantee_is_noticed(bug: Bug) -> None:
    with broken(bug):
        assert any(Simulation(seed).run().problems for seed in range(WITHIN)), bug.breaks


def test_a_bug_is_gone_after_its_block() -> None:
    for bug in BUGS:
        before = bug.fn.__code__
        with broken(bug):
            assert bug.fn.__code__ is not before
        assert bug.fn.__code__ is before
