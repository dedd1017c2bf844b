"""Where the code that runs at this moment is: thread, run and step. For log lines, also those of nodes and libraries."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple


class Whereabouts(NamedTuple):
    """Empty outside of any thread, run or step."""

    thread: str = ""
    run: int = 0
    step: str = ""


NOWHERE = Whereabouts()
here: ContextVar[Whereabouts] = ContextVar("whereabouts", default=NOWHERE)
