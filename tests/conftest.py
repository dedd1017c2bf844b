"""What many tests ask for."""

import pytest


@pytest.fixture
def everything(request: pytest.FixtureRequest) -> bool:
    """`make crash` (`-m crash`) tries every point; the default run tries a selection."""
    return bool(request.config.getoption("markexpr") == "crash")
