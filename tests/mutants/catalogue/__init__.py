"""The mutants: each breaks one guarantee of one promise on purpose, and names the tests that must go red.

A mutant of `src/turnout/core` is in `core`, and so on.
"""

from __future__ import annotations

from tests.mutants.catalogue import console, core, models, notify, runtime, service, stores, tools
from tests.mutants.mutant import Mutant

MUTANTS: list[Mutant] = sorted(
    (
        found
        for part in (console, core, models, notify, runtime, service, stores, tools)
        for found in vars(part).values()
        if isinstance(found, Mutant)
    ),
    key=lambda found: found.promise,
)
