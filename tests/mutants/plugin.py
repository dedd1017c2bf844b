"""A pytest plugin that turns on the mutant named by TURNOUT_MUTANT and says in one line of JSON what became of the tests.

`-p tests.mutants.plugin`; without the variable nothing is broken.
"""

from __future__ import annotations

import json
import os

import pytest

MARK = "TURNOUT-MUTANT "
_outcomes: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    name = os.environ.get("TURNOUT_MUTANT")
    if not name:
        return
    from tests.mutants.catalogue import MUTANTS

    found = [mutant for mutant in MUTANTS if mutant.name == name]
    if not found:
        raise pytest.UsageError(f"there is no mutant {name!r}")
    found[0].apply()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        # A test that hangs doesn't say what is wrong; nor does it prove that it would have been found.
        _outcomes[report.nodeid] = "hung" if "Timeout (>" in report.longreprtext else "red"
    elif report.when == "call":
        _outcomes.setdefault(report.nodeid, "green" if report.passed else "skipped")


def pytest_unconfigure() -> None:
    print(f"\n{MARK}{json.dumps(_outcomes)}")
