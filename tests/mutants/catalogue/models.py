"""Mutants of the gateway to models."""

from __future__ import annotations

from tests.mutants.mutant import mutant
from tests.mutants.patching import rewrite

from turnout.models.gateway import Gateway


@mutant(1, "tests/unit/test_model_attempts.py::test_what_a_dead_process_learnt_holds_for_the_next_one")
def attempts_are_not_kept_before_the_next() -> None:
    """A model is asked again before it is durable that it was asked."""
    rewrite(Gateway._ask, ("        if past:\n            await call.keep()\n", ""))
