"""Guarantees broken on purpose, to see whether the simulation notices. (See also tests/mutants.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.mutants.patching import rewrite

from turnout.core import decide
from turnout.core.effects import Record
from turnout.runtime.journal import Journal
from turnout.runtime.perform import Performer
from turnout.runtime.writes import Writes
from turnout.service import deciding


@dataclass(frozen=True)
class Bug:
    """`fn` with `changes` to its source."""

    breaks: str
    fn: Callable[..., Any]
    changes: tuple[tuple[str, str], ...]


BUGS = [
    Bug("the end of a child wakes nobody", Journal._change, (("change.wakes.append(view.last.parent)", "pass"),)),
    Bug("a write is sent before its intent is durable", Writes.send,
        (("await self.spending.reserve(scope, ask, lambda: estimate(tool.time_limit), write=intended)",
          "self.staging.put(scope, intended)"),)),
    Bug("a write isn't durably settled before the step goes on", Writes._landed,
        (('"landed", how, result=result, begun=begun)\n    held = self.gate.hold(scope, ask)\n    await self.staging.commit(scope)',
          '"landed", how, result=result, begun=begun)\n    held = self.gate.hold(scope, ask)'),)),
    Bug("an answer isn't durable before the step goes on", Performer._recorded, (("    if durable:", "    if False:"),)),
    Bug("what is on record is asked again", Record.match,
        (("return Hit(effect) if effect is not None else MISS", "return MISS"),)),
    Bug("a write of unknown outcome is sent again", Writes.resolve,
        (("not (tool.reconcile or again)", "False"), ("if fresh:", "if False:"))),
    Bug("a write that can't be looked into is taken for not made", Writes.look_into,
        (("except Exception as problem:\n        return info_of(problem)", "except Exception:\n        return DID_NOT_HAPPEN"),)),
    Bug("who decides on a closed review is told that it counts", deciding.decide,
        (("raise closed(await named(store, found.id)) from None", "return True"),)),
    Bug("a worker doesn't rest while a step is tried again", decide._wake_at,
        (("if t is not None and t > now", "if t is not None"),)),
]  # fmt: skip


@contextmanager
def broken(bug: Bug) -> Iterator[None]:
    """Within this block the guarantee is broken."""
    fn: Any = bug.fn
    code = fn.__code__
    rewrite(fn, *bug.changes)
    try:
        yield
    finally:
        fn.__code__ = code
