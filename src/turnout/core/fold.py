"""The fold: what a thread's journal adds up to.

`apply(view, entry)` is the only thing that changes a view. It needs no graph and runs none of the user's code, so a
journal can be folded anywhere: by the loop, by `turnout show`, by a verifier. It changes the view it is given (a
view has one owner) and gives it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from turnout.core import entries as e
from turnout.core.fold_compensation import COMPENSATIONS
from turnout.core.fold_effects import EFFECTS
from turnout.core.fold_runs import RUNS
from turnout.core.fold_steps import STEPS, step_finished
from turnout.core.view import ThreadView
from turnout.errors import JournalDamaged

_HANDLERS: dict[str, Callable[[ThreadView, e.Entry, Any], None]] = RUNS | STEPS | EFFECTS | COMPENSATIONS


def fold(view: ThreadView, entries: Iterable[e.Entry]) -> ThreadView:
    """`view` after `entries`, which must be nobody else's: long lists of the state are extended where they are."""
    for entry in entries:
        apply(view, entry, private=True)
    return view


def apply(view: ThreadView, entry: e.Entry, *, private: bool = False) -> ThreadView:
    """`view` after `entry`. Raises `JournalDamaged` when the entry can't follow.

    `private`: nobody else holds anything of view or entry (see `fold`).
    """
    if entry.seq != view.seq + 1:
        raise JournalDamaged(
            f"thread {view.thread}: entry {entry.seq} follows entry {view.seq}; run `turnout verify`"
        )
    try:
        if private and isinstance(entry.body, e.StepFinished):
            step_finished(view, entry, entry.body, private=True)
        else:
            _HANDLERS[entry.kind](view, entry, entry.body)
    except (KeyError, IndexError, AttributeError, StopIteration) as error:
        raise JournalDamaged(
            f"thread {view.thread}: entry {entry.seq} ({entry.kind}) doesn't fit what was before it ({error!r}); "
            f"run `turnout verify`"
        ) from error
    view.seq = entry.seq
    view.digest = entry.digest.hex()
    return view
