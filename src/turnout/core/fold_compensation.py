"""What an entry about a compensation does to a view: a step that is no node's begins, or ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from turnout.core import entries as e
from turnout.core.compensation import outcome_request, step_id
from turnout.core.effects import Effect, content_key, slot
from turnout.core.fold_steps import withdraw
from turnout.core.view import StepView, ThreadView, active_run

_OUTCOMES = {"compensated": "compensated", "left": "landed", "did_not_happen": "did_not_happen"}


def _started(view: ThreadView, entry: e.Entry, body: e.CompensationStarted) -> None:
    run = active_run(view)
    landing = next(x for x in run.landings if (x.step, x.key, x.n) == (body.of, body.key, body.n))
    run.landings = [x for x in run.landings if x is not landing]
    run.undone += 1
    run.divergence = None  # whatever code goes on with it: the steps that it was about are over
    step = StepView(id=step_id(run.undone), node=body.tool, branch="", seq=entry.seq, at=entry.at)
    step.undoes = msgspec.structs.replace(landing, why=body.why)
    if not landing.known:  # it is found out first
        request = outcome_request(landing.step, landing.name, landing.slot)
        key = content_key(request)
        step.effects[slot(key, 0)] = Effect(
            kind=request.kind, name=request.name, key=key, n=0, seq=entry.seq, status="unknown", args=landing.args,
            idempotency_key=landing.idempotency_key, error=landing.error,
        )  # fmt: skip
    run.steps[step.id] = step


def _ended(view: ThreadView, entry: e.Entry, body: e.CompensationEnded) -> None:
    run = active_run(view)
    step = run.steps.pop(entry.step)
    landing = step.undoes
    if landing is None:
        raise KeyError(f"{entry.step} undoes nothing")
    outcome = _OUTCOMES[body.outcome]
    run.writes = [
        msgspec.structs.replace(write, outcome=outcome)
        if (write.step, write.name, write.idempotency_key)
        == (landing.step, landing.name, landing.idempotency_key)
        else write
        for write in run.writes
    ]
    withdraw(view, step)


COMPENSATIONS: dict[str, Callable[[ThreadView, e.Entry, Any], None]] = {
    "compensation.started": _started,
    "compensation.ended": _ended,
}
