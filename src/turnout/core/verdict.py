"""Verdicts: what policy is asked about a call before it is sent, what it says, and how its rules add up.

A question is made of plain data and is recorded whole, so that it can be asked again of another policy set. Deny beats
review, review beats allow, and where no rule allows the answer is deny.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

ALLOW, REVIEW, DENY = "allow", "review", "deny"
REFUSE = "refuse"
CALL, MODEL, RETRIEVE = "call", "model", "retrieve"
ACTIONS = {"tool": CALL, "model": MODEL, "retrieve": RETRIEVE}
"""By kind of effect: what a step wants to do. Other effects are not policy's business."""
_HOUR = 3_600_000_000
HOLDS = 24 * _HOUR
"""Microseconds: how long an approval holds whose rule doesn't say."""


class Caller(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who wants to act: a node of a graph, for a tenant, in a run that somebody (`by`) asked for."""

    graph: str
    node: str
    tenant: str = ""
    by: str = ""
    thread: str = ""


class Resource(msgspec.Struct, frozen=True, omit_defaults=True):
    """What it wants to reach. `kind` is tool, model or retrieve; `effect` pure, read or write of a tool; `server` the
    MCP server that a tool comes from; `pin` the digest by which that tool was approved."""

    kind: str
    name: str
    effect: str = ""
    server: str = ""
    pin: str = ""
    untrusted: bool = False


class Spent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the run has spent so far: micro-units of money, tokens, calls."""

    micros: int = 0
    tokens: int = 0
    calls: int = 0


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """May this caller do this? `args` are the arguments that would be sent (of a model call: what is known of them
    without their text), `now` is whole microseconds since 1970 (UTC). `declared` is what the graph or the tool says of
    a tainted write, when this is one: "review" or "refuse"."""

    caller: Caller
    resource: Resource
    args: Any = None
    taint: list[str] = []
    spent: Spent = Spent()
    findings: list[str] = []
    now: int = 0
    declared: str = ""

    @property
    def action(self) -> str:
        return ACTIONS[self.resource.kind]

    @property
    def text(self) -> str:
        """The question in one short line."""
        return f"{self.caller.graph}.{self.caller.node}: {self.action} {self.resource.name}"


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """A review that a rule demands: who may decide (none: anybody), how many must agree, within which time (`due`), and
    how long their yes holds (`holds`), in microseconds. `separate`: whoever asked for the run can't decide."""

    roles: list[str] = []
    quorum: int = 1
    reason: str = ""
    due: int | None = None
    holds: int = HOLDS
    separate: bool = False


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """`decision` is allow, review or deny; `policies` are the rules that determined it; `digest` is that of the policy
    set; `reviews` must all be given (decision review); `reason` and `errors` are for people."""

    decision: str
    policies: list[str] = []
    digest: str = ""
    reviews: list[Terms] = []
    reason: str = ""
    errors: list[str] = []


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule as far as its meaning for us goes: what applies when its conditions hold."""

    id: str
    permit: bool
    reason: str = ""
    terms: Terms | None = None


class Approval(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person's yes to one call, with all that it is bound to. `args` are the arguments that were approved; `edited`:
    policy has not seen them yet. `then` are the reviews that the same verdict demands after this one. `edit` is the
    review, this or an earlier one, in which a person made the arguments what they are; "": they are the node's."""

    review: str
    args: Any
    policy: str
    expires_at: int
    by: list[str]
    pin: str = ""
    roles: list[str] = []
    edited: bool = False
    then: list[Terms] = []
    edit: str = ""

    def meets(self, terms: Terms, requester: str) -> bool:
        """Is it what `terms` demand? A yes of a smaller circle than is asked for counts, of another one it doesn't."""
        circle = not terms.roles or (bool(self.roles) and set(self.roles) <= set(terms.roles))
        return (
            circle and len(self.by) >= terms.quorum and not (terms.separate and requester.strip() in self.by)
        )


def combine(met: Iterable[Rule], errors: Sequence[str], digest: str) -> Verdict:
    """The verdict of the rules whose conditions are met. An error in any rule that was looked at denies."""
    rules = list(met)
    if errors:
        ids = [rule.id for rule in rules]
        return Verdict(DENY, ids, digest, reason="a rule can't be evaluated", errors=list(errors))
    forbidding = [rule for rule in rules if not rule.permit]
    if forbidding:
        return Verdict(DENY, [rule.id for rule in forbidding], digest, reason=_reasons(forbidding))
    if not rules:
        return Verdict(DENY, [], digest, reason="no rule allows it")
    demanding = [rule for rule in rules if rule.terms is not None]
    if demanding:
        terms = merged([rule.terms for rule in demanding if rule.terms is not None])
        return Verdict(REVIEW, [rule.id for rule in demanding], digest, terms, _reasons(demanding))
    return Verdict(ALLOW, [rule.id for rule in rules], digest, reason=_reasons(rules))


DECLARED = "tainted_writes"
"""By which rule a tainted write is stopped that no policy stops."""


def under(question: Question, said: Verdict) -> Verdict:
    """The verdict, when what is declared of tainted writes counts too. Only ever stricter than what was `said`."""
    if not question.declared or said.decision == DENY:
        return said
    by, reason = [*said.policies, DECLARED], f"its inputs are tainted by {', '.join(question.taint)}"
    if question.declared == REFUSE:
        return Verdict(DENY, [DECLARED], said.digest, reason=reason)
    asked = said.reviews or [Terms(reason=reason)]
    return Verdict(REVIEW, by, said.digest, asked, _joined([said.reason, reason]))


def merged(demands: Iterable[Terms]) -> list[Terms]:
    """One review for each circle of people: the larger quorum, the shorter times, all reasons."""
    found: dict[tuple[str, ...], Terms] = {}
    for terms in demands:
        circle = tuple(sorted(set(terms.roles)))
        before = found.get(circle)
        found[circle] = msgspec.structs.replace(terms, roles=list(circle)) if before is None else Terms(
            roles=list(circle), quorum=max(before.quorum, terms.quorum), reason=_joined([before.reason, terms.reason]),
            due=min((due for due in (before.due, terms.due) if due is not None), default=None),
            holds=min(before.holds, terms.holds), separate=before.separate or terms.separate,
        )  # fmt: skip
    return [found[circle] for circle in sorted(found)]


def hour(now: int) -> int:
    """The hour of the day (UTC), 0 to 23."""
    return now // _HOUR % 24


def weekday(now: int) -> int:
    """The day of the week (UTC): Monday is 1, Sunday 7."""
    return (now // (24 * _HOUR) + 3) % 7 + 1


def because(verdict: Verdict) -> str:
    """Why, in one line: the reason, the rules, the errors."""
    said = verdict.reason or "a rule says so"
    rules = f" ({', '.join(verdict.policies)})" if verdict.policies else ""
    errors = f": {'; '.join(verdict.errors)}" if verdict.errors else ""
    return f"{said}{rules}{errors}"


def _reasons(rules: Iterable[Rule]) -> str:
    return _joined(rule.reason for rule in rules)


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))
