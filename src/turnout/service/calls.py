"""The calls, reviews and waits of a thread, gathered from its entries for the report of `explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from turnout.core import entries as e
from turnout.core.attempts import Attempt
from turnout.core.compensation import outcome_request
from turnout.core.effects import content_key, slot
from turnout.core.view import ThreadView
from turnout.errors import CallRefused
from turnout.ports.clock import at as moment
from turnout.service.consents import Consents
from turnout.service.effects import Call, Lapse, Opinion, ReviewReport, Settlement, SignalReport, Wait

Place = tuple[int, str, str]
"""Run, step, and the effect's slot in it."""


class Calls:
    """Every call to the world. A write that was sent several times with one key is one call."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._places: dict[Place, int] = {}
        self._writes: dict[Place, int] = {}
        self._open: dict[Place, Call] = {}  # model calls that have attempts and no answer
        self._consents = Consents()

    def note(self, entry: e.Entry) -> None:
        """Take in what the entry says of a call."""
        body = entry.body
        rejected = self._consents.note(entry)
        if rejected is not None:
            self._calls.append(rejected)
        if isinstance(body, e.ModelAttempted):
            self._attempted(entry, body)
        if isinstance(body, e.EffectRecorded):
            self._recorded(entry, body)
        elif isinstance(body, e.EffectIntended):
            self._intended(entry, body)
        elif isinstance(body, e.CompensationStarted):
            self._looked_into(entry, body)
        elif isinstance(body, e.EffectSettled):
            found = Settlement(entry.seq, moment(entry.at), body.outcome, body.how, error=body.error)
            self.settle((entry.run, entry.step, slot(body.key, body.n)), found, body.result, body.ms)

    def _recorded(self, entry: e.Entry, body: e.EffectRecorded) -> None:
        verdicts, consents = self._consents.of((entry.run, entry.step, slot(body.key, body.n)))
        refused = body.error is not None and body.error.type == CallRefused.__name__
        call = Call(
            entry.seq, moment(entry.at), entry.run, entry.step, body.effect, body.name, body.args,
            outcome="refused" if refused else "failed" if body.error else "answered", result=body.result,
            error=body.error, ms=body.ms, verdicts=verdicts, consents=consents,
        )  # fmt: skip
        if body.effect == "model" and isinstance(body.result, dict):
            usage = body.result.get("usage", {})
            call = replace(
                call,
                model=body.result.get("model", ""),
                input_tokens=usage.get("input_tokens", 0),
                output_tokens=usage.get("output_tokens", 0),
                cost_micros=body.result.get("cost_micros", 0),
            )
        self._places[(entry.run, entry.step, slot(body.key, body.n))] = len(self._calls)
        attempted = self._open.pop((entry.run, entry.step, slot(body.key, body.n)), None)
        self._calls.append(_with(call, attempted.attempts) if attempted is not None else call)

    def _attempted(self, entry: e.Entry, body: e.ModelAttempted) -> None:
        place = (entry.run, entry.step, slot(body.key, body.n))
        new = Call(
            entry.seq, moment(entry.at), entry.run, entry.step, "model", body.name, None, outcome="unanswered"
        )
        before = self._open.get(place, new)
        self._open[place] = _with(before, (*before.attempts, body.attempt))

    def _intended(self, entry: e.Entry, body: e.EffectIntended) -> None:
        place = (entry.run, entry.step, slot(body.key, body.n))
        before = self._writes.get(place)
        if before is not None and self._calls[before].idempotency_key == body.idempotency_key:
            call = self._calls[before]
            self._calls[before] = replace(call, outcome="unknown", error=None, sent=(*call.sent, entry.seq))
            return
        self._writes[place] = len(self._calls)
        verdicts, consents = self._consents.of(place)
        self._calls.append(
            Call(
                entry.seq, moment(entry.at), entry.run, entry.step, body.effect, body.name, body.args,
                outcome="unknown", write=True, idempotency_key=body.idempotency_key, sent=(entry.seq,),
                verdicts=verdicts, consents=consents,
            )
        )  # fmt: skip

    def _looked_into(self, entry: e.Entry, body: e.CompensationStarted) -> None:
        """What is found out of a write before it is undone is told of the write."""
        at = slot(body.key, body.n)
        number = self._writes.get((entry.run, body.of, at))
        if number is not None:
            asked = content_key(outcome_request(body.of, body.name, at))
            self._writes[(entry.run, entry.step, slot(asked, 0))] = number

    def settle(self, place: Place, found: Settlement, result: Any, ms: int = 0) -> None:
        """What was found out about the write at `place`."""
        number = self._writes.get(place)
        if number is None:
            return
        call = self._calls[number]
        self._calls[number] = replace(
            call,
            outcome=found.outcome,
            result=result,
            error=found.error,
            ms=call.ms + ms,
            settled=(*call.settled, found),
        )

    def stopped(self, place: Place, said: str) -> None:
        """The answer of the call at `place` was on record, but a person has not let it through."""
        number = self._places.get(place, self._writes.get(place))
        if number is not None:
            call, error = self._calls[number], e.ErrorInfo("GuardBlocked", said)
            outcome = call.outcome if call.write else "failed"
            self._calls[number] = replace(call, outcome=outcome, error=error)

    def reports(self) -> tuple[Call, ...]:
        """The calls in the order of their first entries."""
        return tuple(sorted([*self._calls, *self._open.values()], key=lambda call: call.seq))


def _with(call: Call, attempts: tuple[Attempt, ...]) -> Call:
    """A model call with its attempts, and with the sums over them."""
    used = [attempt.usage or {} for attempt in attempts]
    return replace(
        call,
        attempts=attempts,
        model=call.model or attempts[-1].model,
        input_tokens=sum(usage.get("input_tokens", 0) for usage in used),
        output_tokens=sum(usage.get("output_tokens", 0) for usage in used),
        cost_micros=sum(attempt.cost_micros or 0 for attempt in attempts),
    )


class Reviews:
    """Every review, with all that was said on it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._reviews: dict[str, ReviewReport] = {}
        self._writes: dict[str, Place] = {}
        self._guarded: dict[str, Place] = {}

    def note(self, entry: e.Entry) -> None:
        """Take in what the entry says of a review."""
        body = entry.body
        if isinstance(body, e.ReviewRequested):
            self._requested(entry, body)
        elif isinstance(body, e.ReviewDecided):
            self._decided(entry, body)
        elif isinstance(body, e.ReviewLapsed):
            review = self._reviews[body.review]
            lapse = Lapse(entry.seq, moment(entry.at), body.action, tuple(body.roles))
            self._reviews[body.review] = replace(review, lapses=(*review.lapses, lapse))
            if body.action != "escalate":
                self._close(body.review, body.action, entry)

    def _requested(self, entry: e.Entry, body: e.ReviewRequested) -> None:
        if body.purpose == "outcome":
            self._writes[body.review] = (entry.run, entry.step, slot(body.key, body.n))
        elif body.purpose == "guard":
            self._guarded[body.review] = (entry.run, entry.step, slot(body.key, body.n))
        self._reviews[body.review] = ReviewReport(
            id=body.review, seq=entry.seq, at=moment(entry.at), thread=entry.thread, run=entry.run, step=entry.step,
            question=body.name, purpose=body.purpose, payload=body.payload, shown=body.shown,
            allowed=tuple(body.allowed), roles=tuple(body.roles), quorum=body.quorum, separate=body.separate,
            requester=body.requester, due_at=moment(body.due_at) if body.due_at else None, on_due=body.on_due,
            status="open", closed_at=None, opinions=(), lapses=(),
        )  # fmt: skip

    def _decided(self, entry: e.Entry, body: e.ReviewDecided) -> None:
        review = self._reviews[body.review]
        when = moment(entry.at)
        said = Opinion(
            entry.seq, when, body.by, body.decision, tuple(body.roles), body.shown, body.payload, body.comment,
            body.outcome, body.via, body.saw,
        )  # fmt: skip
        self._reviews[body.review] = replace(review, opinions=(*review.opinions, said))
        if not body.outcome:
            return
        self._close(body.review, body.outcome, entry)
        if body.review in self._guarded and body.outcome != "approve":
            self._calls.stopped(self._guarded[body.review], f"not let through by {body.by}")
        if body.review in self._writes:
            found = Settlement(entry.seq, when, body.outcome, "person", body.by)
            result = body.payload if body.outcome == "landed" else None
            self._calls.settle(self._writes[body.review], found, result)

    def _close(self, review: str, outcome: str, entry: e.Entry) -> None:
        self._reviews[review] = replace(self._reviews[review], status=outcome, closed_at=moment(entry.at))

    def reports(self, still_open: set[str], closed: Mapping[str, int | None]) -> tuple[ReviewReport, ...]:
        """The reviews in the order in which they were asked. What nobody can answer any more was withdrawn."""
        return tuple(
            review if review.status != "open" or review.id in still_open else _withdrawn(review, closed)
            for review in self._reviews.values()
        )


def _withdrawn(review: ReviewReport, closed: Mapping[str, int | None]) -> ReviewReport:
    when = closed.get(review.id)
    return replace(review, status="withdrawn", closed_at=moment(when) if when else None)


class Waits:
    """Timers, signals and child threads: what steps waited for, and what came. `signals` are those that came in."""

    def __init__(self) -> None:
        self.signals: list[SignalReport] = []
        self._waits: dict[Place, Wait] = {}

    def note(self, view: ThreadView, entry: e.Entry) -> None:
        """Take in what the entry says; `view` is the thread after it."""
        body, when = entry.body, moment(entry.at)
        if isinstance(body, e.TimerSet):
            self._begin(entry, body, "timer", "", due_at=moment(body.due_at))
        elif isinstance(body, e.ChildStarted):
            self._begin(entry, body, "child", body.graph, child=body.child)
        elif isinstance(body, e.SignalAwaited):
            self._begin(entry, body, "signal", body.name)
            self._met(view, entry)
        elif isinstance(body, e.SignalReceived):
            self.signals.append(SignalReport(entry.seq, when, body.name, body.payload, body.by))
            self._met(view, entry)
        elif isinstance(body, e.TimerFired):
            self._end((entry.run, entry.step, slot(body.key, body.n)), entry)
        elif isinstance(body, e.ChildEnded):
            for place, wait in list(self._waits.items()):
                if wait.child == body.child:
                    self._end(place, entry, body.state, body.error)

    def _begin(
        self,
        entry: e.Entry,
        body: e.TimerSet | e.ChildStarted | e.SignalAwaited,
        kind: str,
        name: str,
        **more: Any,
    ) -> None:
        place = (entry.run, entry.step, slot(body.key, body.n))
        self._waits[place] = Wait(entry.seq, moment(entry.at), entry.run, entry.step, kind, name, **more)

    def _met(self, view: ThreadView, entry: e.Entry) -> None:
        """A signal and a step that waits for it have met, whichever was first."""
        for step in view.run.steps.values() if view.run else ():
            for at, effect in step.effects.items():
                if effect.kind == "signal" and effect.status == "done":
                    self._end((entry.run, step.id, at), entry, effect.result)

    def _end(
        self, place: Place, entry: e.Entry, result: Any = None, error: e.ErrorInfo | None = None
    ) -> None:
        wait = self._waits.get(place)
        if wait is not None and wait.ended_seq is None:
            self._waits[place] = replace(
                wait, ended_seq=entry.seq, ended_at=moment(entry.at), result=result, error=error
            )

    def reports(self) -> tuple[Wait, ...]:
        """The waits in the order in which they began."""
        return tuple(self._waits.values())
