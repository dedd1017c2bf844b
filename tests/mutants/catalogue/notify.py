"""Mutants of notices."""

from __future__ import annotations

from tests.mutants.mutant import mutant
from tests.mutants.patching import rewrite

from turnout.notify.deliverer import Deliverer


@mutant(
    3,
    "tests/notify/test_webhooks.py::test_a_receiver_that_fails_gets_the_same_notice_again_under_the_same_id",
)
def a_notice_that_failed_counts_as_sent() -> None:
    """A notice is marked as sent whatever its receiver said."""
    rewrite(
        Deliverer._failed,
        (
            "now = self._clock.now()",
            "now = self._clock.now(); return replace(row, status='sent', settled_at=now)",
        ),
    )
