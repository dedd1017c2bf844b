"""Verdicts and approvals of a thread's calls: which policy and which person said yes, or no."""

from __future__ import annotations

from dataclasses import replace

from turnout.core import entries as e
from turnout.core.effects import slot
from turnout.errors import CallRefused
from turnout.ports.clock import at as moment
from turnout.service.effects import Call, Consent, VerdictReport

Place = tuple[int, str, str]
"""Run, step, and the effect's slot in it."""


class Consents:
    """What was said of calls before they were sent. It stands before the call in the journal."""

    def __init__(self) -> None:
        self._verdicts: dict[Place, list[VerdictReport]] = {}
        self._consents: dict[Place, list[Consent]] = {}
        self._asked: dict[str, tuple[Place, e.ReviewRequested]] = {}
        self._by: dict[str, list[str]] = {}

    def note(self, entry: e.Entry) -> Call | None:
        """Take in what the entry says. Returns the call that a person has rejected with it: it was never sent."""
        body, when = entry.body, moment(entry.at)
        if isinstance(body, e.VerdictGiven):
            said = body.verdict
            found = VerdictReport(
                entry.seq,
                when,
                said.decision,
                tuple(said.policies),
                said.digest,
                said.reason,
                tuple(said.errors),
            )
            self._verdicts.setdefault((entry.run, entry.step, slot(body.key, body.n)), []).append(found)
        elif isinstance(body, e.ReviewRequested) and body.binds is not None:
            self._asked[body.review] = ((entry.run, entry.step, slot(body.key, body.n)), body)
        elif isinstance(body, e.ApprovalLapsed):
            place = (entry.run, entry.step, slot(body.key, body.n))
            self._consents[place] = [
                replace(one, lapsed=body.why) if one.review == body.review else one
                for one in self._consents.get(place, [])
            ]
        elif isinstance(body, e.ReviewDecided) and body.review in self._asked:
            by = self._by.setdefault(body.review, [])
            if body.decision == "edit":  # what others had agreed to was other content
                by.clear()
            by.append(body.by)
            if body.outcome:
                return self._decided(entry, body.review, body.outcome, body.comment)
        elif isinstance(body, e.ReviewLapsed) and body.review in self._asked and body.action != "escalate":
            return self._decided(entry, body.review, body.action, "nobody decided in time")
        return None

    def of(self, place: Place) -> tuple[tuple[VerdictReport, ...], tuple[Consent, ...]]:
        """What was said of the call at a place. One that is made again after it failed is asked about again, but a
        person's yes still holds."""
        return tuple(self._verdicts.pop(place, ())), tuple(self._consents.get(place, ()))

    def _decided(self, entry: e.Entry, review: str, outcome: str, comment: str) -> Call | None:
        place, asked = self._asked[review]
        by = tuple(self._by.get(review, ()))
        consent = Consent(entry.seq, moment(entry.at), review, outcome, by, comment)
        self._consents.setdefault(place, []).append(consent)
        if outcome != "reject" or asked.binds is None:
            return None
        verdicts, consents = self.of(place)
        said = f"rejected by {' and '.join(by)}" if by else "rejected, for nobody decided"
        error = e.ErrorInfo(CallRefused.__name__, f"{said}: {comment}".rstrip(": "))
        return Call(
            entry.seq, moment(entry.at), entry.run, entry.step, asked.binds.effect, asked.binds.name, asked.payload,
            outcome="refused", error=error, verdicts=verdicts, consents=consents,
        )  # fmt: skip
