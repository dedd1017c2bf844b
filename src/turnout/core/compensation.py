"""Compensation: which writes of a run that doesn't finish are undone, in which order, and with which arguments. Pure.

A graph declares which of its writes stand or fall together. Each of them that has landed is undone when the run fails or
is cancelled, the latest first, each in a step of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from turnout.core import entries as e
from turnout.core.effects import Effect, Request

if TYPE_CHECKING:
    from turnout.core.tool import Tool
    from turnout.core.view import Landing, RunView

RESULT, WRITE_KEY = "result", "write_key"
"""Parameters of a compensation that aren't arguments of the write: what it returned, and its idempotency key."""


UNDOING = "undo"
"""The name of what undoes, where that of a node is asked for."""


def step_id(number: int) -> str:
    """The id of the step in which the how-manieth write is undone. No node's step has a colon in it."""
    return f"{UNDOING}:{number}"


def next_started(run: RunView) -> e.Draft | None:
    """The entry that begins the next compensation: of the write that landed last. None: nothing is left to be undone."""
    if not run.landings:
        return None
    landing = max(run.landings, key=lambda landing: landing.seq)
    body = e.CompensationStarted(
        of=landing.step, key=landing.key, n=landing.n, name=landing.name, tool=landing.undo, why=_why(run)
    )
    return e.Draft(run.number, step_id(run.undone + 1), body)


def _why(run: RunView) -> str:
    if run.failing is not None:
        return f"the run failed: {run.failing.type}: {run.failing.message}"
    by = f" by {run.cancel.by}" if run.cancel is not None and run.cancel.by else ""
    reason = f": {run.cancel.reason}" if run.cancel is not None and run.cancel.reason else ""
    return f"the run was cancelled{by}{reason}"


def outcome_request(step: str, name: str, slot: str) -> Request:
    """What a step asks that first has to know whether there is anything to undo: the outcome of a write of another step."""
    return Request("outcome", name, {"step": step, "write": slot})


def found_out(effect: Effect) -> dict[str, Any] | None:
    """What became of the write, as far as it is known."""
    if effect.status == "done":
        return {"landed": True, "result": effect.result}
    return {"landed": False, "result": None} if effect.status == "absent" else None


def arguments(tool: Tool[Any, Any], landing: Landing, result: Any) -> dict[str, Any]:
    """What a compensation is called with: the arguments of the write that it has parameters for, and what came back."""
    given: Mapping[str, Any] = {**(landing.args or {}), RESULT: result, WRITE_KEY: landing.idempotency_key}
    return {name: given[name] for name in given if name in tool.form.names()}


def problem(undo: Tool[Any, Any], write: Tool[Any, Any]) -> str:
    """Why a tool can't undo a write; "" when it can."""
    if undo.effect != "write":
        return f"compensate={undo.name} must be a write: it changes the world"
    if undo.compensate is not None:
        return f"compensate={undo.name} has a compensation of its own; what was undone is not done again"
    wrong = sorted(undo.form.required() - write.form.names() - {RESULT, WRITE_KEY})
    if wrong:
        return (
            f"compensate={undo.name} needs {', '.join(wrong)}; it can have the arguments of {write.name}, "
            f"{RESULT!r} (what it returned) and {WRITE_KEY!r} (its idempotency key)"
        )
    return ""
