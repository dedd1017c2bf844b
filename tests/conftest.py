"""What many tests ask for."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports it: pytest shows what a failed assert of the contract compared.
pytest.register_assert_rewrite("turnout.testing.contract")

# The same examples everywhere, so that a change is judged by what it changes; `make fuzz` looks for new ones.
# How fast a machine makes them says nothing of the code.
SLOW = [HealthCheck.too_slow]
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=SLOW)
settings.register_profile("fuzz", derandomize=False, deadline=None, suppress_health_check=SLOW)
settings.load_profile("fuzz" if os.environ.get("TURNOUT_FUZZ") else "repeatable")


@pytest.fixture
def everything(request: pytest.FixtureRequest) -> bool:
    """`make crash` (`-m crash`) tries every point; the default run tries a selection."""
    return bool(request.config.getoption("markexpr") == "crash")
