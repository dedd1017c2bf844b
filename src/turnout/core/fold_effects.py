"""What an entry about an effect does to a view: calls, reviews, timers, signals and children, asked and answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from turnout.core import canon
from turnout.core import entries as e
from turnout.core import fold_budgets as budgets
from turnout.core.amounts import TopUp
from turnout.core.effects import Effect, slot
from turnout.core.verdict import Approval
from turnout.core.view import (
    Clearance,
    Finding,
    Opinion,
    ReviewView,
    Signal,
    StepView,
    ThreadView,
    active_run,
    run_of,
)


def _step(view: ThreadView, entry: e.Entry) -> StepView:
    return run_of(view, entry).steps[entry.step]


def _settle(
    step: StepView, at: str, status: str, result: Any = None, error: e.ErrorInfo | None = None
) -> None:
    effect = step.effects[at]
    effect.status, effect.result, effect.error = status, result, error
    step.progress += 1


def _recorded(view: ThreadView, entry: e.Entry, body: e.EffectRecorded) -> None:
    step = _step(view, entry)
    attempts = step.attempts.pop(slot(body.key, body.n), [])
    step.topups.pop(slot(body.key, body.n), None)
    budgets.recorded(active_run(view), body)
    step.effects[slot(body.key, body.n)] = Effect(
        kind=body.effect, name=body.name, key=body.key, n=body.n, seq=entry.seq,
        status="failed" if body.error else "done", result=body.result, error=body.error,
        due_at=attempts[-1].again_at if attempts and body.error else None,
    )  # fmt: skip


def _attempted(view: ThreadView, entry: e.Entry, body: e.ModelAttempted) -> None:
    _step(view, entry).attempts.setdefault(slot(body.key, body.n), []).append(body.attempt)
    budgets.attempted(active_run(view), body)


def _intended(view: ThreadView, entry: e.Entry, body: e.EffectIntended) -> None:
    effects = _step(view, entry).effects
    at = slot(body.key, body.n)
    before = effects.get(at)  # there when it is sent again
    budgets.intended(active_run(view), entry.step, at)
    effects[at] = Effect(
        kind=body.effect, name=body.name, key=body.key, n=body.n, seq=entry.seq, status="intended", write=True,
        args=body.args, idempotency_key=body.idempotency_key, tries=before.tries if before else 0, undo=body.undo,
    )  # fmt: skip


_OUTCOMES = {"landed": "done", "did_not_happen": "absent", "unknown": "unknown"}


def _settled(view: ThreadView, entry: e.Entry, body: e.EffectSettled) -> None:
    step = _step(view, entry)
    at = slot(body.key, body.n)
    status = _OUTCOMES[body.outcome]
    if status == "absent" and body.how in ("call", "transaction"):
        status = "failed"  # the tool itself said so, or what it did was undone; and the node was told
    _settle(step, at, status, body.result, body.error)
    effect = step.effects[at]
    effect.due_at = body.retry_at
    effect.tries += 1
    budgets.settled(active_run(view), body)
    effect.landed = entry.seq if body.outcome == "landed" else 0


def _finding_noted(view: ThreadView, entry: e.Entry, body: e.FindingNoted) -> None:
    found = Finding(body.guard, body.where, body.action, body.labels)
    _step(view, entry).findings.setdefault(slot(body.key, body.n), []).append(found)


def _review_requested(view: ThreadView, entry: e.Entry, body: e.ReviewRequested) -> None:
    step = _step(view, entry)
    at = slot(body.key, body.n)
    if body.purpose == "outcome":
        step.effects[at].review = body.review
        step.effects[at].due_at = None
    elif body.binds is not None:
        step.effects[at] = Effect(
            kind=body.binds.effect, name=body.binds.name, key=body.key, n=body.n, seq=entry.seq, status="waiting",
            review=body.review,
        )  # fmt: skip
    elif body.purpose == "guard" and at in step.effects:
        step.effects[at].status, step.effects[at].review = "held", body.review
        step.effects[at].roles = list(body.roles)
    elif body.purpose == "guard":
        shown = body.payload["request"]
        step.effects[at] = Effect(
            kind=shown["kind"], name=shown["name"], key=body.key, n=body.n, seq=entry.seq, status="waiting",
            review=body.review,
        )  # fmt: skip
    elif body.purpose == "budget":
        step.topups[at] = TopUp(review=body.review)
    else:
        step.effects[at] = Effect(
            kind="review",
            name=body.name,
            key=body.key,
            n=body.n,
            seq=entry.seq,
            status="waiting",
            review=body.review,
        )
    view.reviews[body.review] = asked(entry, body)


def asked(entry: e.Entry, body: e.ReviewRequested) -> ReviewView:
    """The review as it is when it is requested."""
    return ReviewView(
        id=body.review, run=entry.run, step=entry.step, slot=slot(body.key, body.n), name=body.name, purpose=body.purpose,
        payload=body.payload, allowed=list(body.allowed), roles=list(body.roles), quorum=body.quorum,
        separate=body.separate, requester=body.requester, shown=body.shown, asked_at=entry.at, seq=entry.seq,
        due_at=body.due_at, on_due=body.on_due, escalate_to=list(body.escalate_to), binds=body.binds,
        edit=body.edit,
    )  # fmt: skip


def _review_decided(view: ThreadView, entry: e.Entry, body: e.ReviewDecided) -> None:
    review = view.reviews[body.review]
    if body.decision == "edit":  # what others said was about other content
        review.opinions, review.edited, review.payload = [], True, body.payload
    review.shown = body.shown
    review.opinions.append(Opinion(by=body.by, decision=body.decision, comment=body.comment))
    if not body.outcome:
        return
    _close(view, entry, review, body.outcome, body.payload, body.comment)


def _review_lapsed(view: ThreadView, entry: e.Entry, body: e.ReviewLapsed) -> None:
    review = view.reviews[body.review]
    if body.action == "escalate":
        review.roles, review.due_at, review.on_due = list(body.roles), None, ""
    else:
        _close(view, entry, review, body.action, review.payload, "the due time passed")


def _close(
    view: ThreadView, entry: e.Entry, review: ReviewView, outcome: str, payload: Any, comment: str
) -> None:
    step = active_run(view).steps[review.step]
    del view.reviews[review.id]
    if review.purpose == "outcome":
        landed = outcome == "landed"
        _settle(step, review.slot, "done" if landed else "absent", payload if landed else None)
        step.effects[review.slot].review = ""
        return
    if review.binds is not None:
        _judged(step, entry, review, review.binds, outcome, payload, comment)
        return
    if review.purpose == "guard":
        _let_through(step, review, outcome)
        return
    if review.purpose == "budget":
        step.topups[review.slot] = TopUp(review=review.id, outcome=outcome, payload=payload or {})
        step.progress += 1
        return
    result = {
        "decision": "edit" if outcome == "approve" and review.edited else outcome,
        "by": [opinion.by for opinion in review.opinions],
        "payload": payload,
        "comment": comment,
        "comments": [opinion.comment for opinion in review.opinions if opinion.comment],
    }
    _settle(step, review.slot, "done", result)


def _judged(
    step: StepView,
    entry: e.Entry,
    review: ReviewView,
    binds: e.Binding,
    outcome: str,
    payload: Any,
    comment: str,
) -> None:
    """A call was approved: it may be asked for again, and is sent on this approval. Or it was rejected for good."""
    by = [opinion.by for opinion in review.opinions]
    if outcome == "reject":
        step.approvals.pop(review.slot, None)
        who = f"rejected by {by[-1]}" if by else "rejected, for nobody decided"
        _settle(
            step, review.slot, "failed", None, e.ErrorInfo("CallRefused", f"{who}: {comment}".rstrip(": "))
        )
        return
    del step.effects[review.slot]
    step.progress += 1
    edited = review.edited or canon.digest(payload) != binds.args
    approval = Approval(
        review=review.id, args=payload, policy=binds.policy, expires_at=entry.at + binds.holds, by=by, pin=binds.pin,
        roles=list(review.roles), edited=edited, then=list(binds.then),
        edit=review.id if edited else review.edit,
    )  # fmt: skip
    step.approvals.setdefault(review.slot, []).append(approval)


def _verdict(view: ThreadView, entry: e.Entry, body: e.VerdictGiven) -> None:
    _step(view, entry)  # what comes of it is said by the entries after it


def _approval_lapsed(view: ThreadView, entry: e.Entry, body: e.ApprovalLapsed) -> None:
    approvals = _step(view, entry).approvals
    at = slot(body.key, body.n)
    left = [approval for approval in approvals.pop(at) if approval.review != body.review]
    if left:
        approvals[at] = left


def _let_through(step: StepView, review: ReviewView, outcome: str) -> None:
    """A person has said whether what a guardrail has found something in may go on."""
    effect = step.effects[review.slot]
    step.progress += 1
    effect.review = ""
    if outcome != "approve":
        who = " and ".join(opinion.by for opinion in review.opinions)
        said = f"guardrail {', '.join(review.payload['guardrails'])}: not let through by {who}"
        effect.status, effect.result, effect.error = "failed", None, e.ErrorInfo("GuardBlocked", said)
        if effect.write:  # it has landed all the same, and must not be sent again
            effect.status = "done"
    elif effect.status == "held":
        effect.status = "done"
    else:  # it may be sent now
        del step.effects[review.slot]
        clearance = Clearance(review.payload["guardrails"], review.edit)
        step.cleared.setdefault(review.slot, []).append(clearance)


def _timer_set(view: ThreadView, entry: e.Entry, body: e.TimerSet) -> None:
    _step(view, entry).effects[slot(body.key, body.n)] = Effect(
        kind="sleep", name="", key=body.key, n=body.n, seq=entry.seq, status="waiting", due_at=body.due_at
    )


def _timer_fired(view: ThreadView, entry: e.Entry, body: e.TimerFired) -> None:
    _settle(_step(view, entry), slot(body.key, body.n), "done")


def _signal_awaited(view: ThreadView, entry: e.Entry, body: e.SignalAwaited) -> None:
    step = _step(view, entry)
    at = slot(body.key, body.n)
    step.effects[at] = Effect(
        kind="signal", name=body.name, key=body.key, n=body.n, seq=entry.seq, status="waiting"
    )
    for i, signal in enumerate(view.signals):
        if signal.name == body.name:
            del view.signals[i]
            _settle(step, at, "done", signal.payload)
            return


def _signal_received(view: ThreadView, entry: e.Entry, body: e.SignalReceived) -> None:
    waiting = [
        (effect.seq, step, at)
        for step in (view.run.steps.values() if view.run else ())
        for at, effect in step.effects.items()
        if effect.kind == "signal" and effect.status == "waiting" and effect.name == body.name
    ]
    if waiting:  # who has waited longest gets it
        _, step, at = min(waiting, key=lambda found: found[0])
        _settle(step, at, "done", body.payload)
    else:
        view.signals.append(Signal(name=body.name, payload=body.payload))


def _child_started(view: ThreadView, entry: e.Entry, body: e.ChildStarted) -> None:
    _step(view, entry).effects[slot(body.key, body.n)] = Effect(
        kind="child", name=body.graph, key=body.key, n=body.n, seq=entry.seq, status="waiting", child=body.child,
        args=body.input,
    )  # fmt: skip


def _child_ended(view: ThreadView, entry: e.Entry, body: e.ChildEnded) -> None:
    for step in active_run(view).steps.values():
        for at, effect in step.effects.items():
            if effect.child == body.child and effect.status == "waiting":
                _settle(step, at, "failed" if body.error else "done", body.state, body.error)
                effect.args, effect.taint = None, body.taint
                return


EFFECTS: dict[str, Callable[[ThreadView, e.Entry, Any], None]] = {
    "signal.received": _signal_received,
    "review.decided": _review_decided,
    "child.ended": _child_ended,
    "effect.recorded": _recorded,
    "model.attempted": _attempted,
    "effect.intended": _intended,
    "effect.settled": _settled,
    "finding.noted": _finding_noted,
    "review.requested": _review_requested,
    "review.lapsed": _review_lapsed,
    "timer.set": _timer_set,
    "timer.fired": _timer_fired,
    "signal.awaited": _signal_awaited,
    "child.started": _child_started,
    "verdict.given": _verdict,
    "approval.lapsed": _approval_lapsed,
    **budgets.BUDGETS,
}
