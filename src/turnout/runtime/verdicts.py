"""Verdicts at the gate: policy is asked before a call is sent, and a person where it says so.

The verdict is on record in the commit that the call makes anyway. An approval is bound to the tool, its pin, the exact
arguments and the policy set; when it comes to sending, all of that is looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

from pydantic import ValidationError

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.amounts import UNSENT
from turnout.core.effects import slot
from turnout.core.reviews import digest_of
from turnout.core.state import first_problem
from turnout.core.tool import Tool
from turnout.core.verdict import (
    ACTIONS,
    ALLOW,
    DECLARED,
    DENY,
    REFUSE,
    Approval,
    Caller,
    Question,
    Resource,
    Spent,
    Terms,
    Verdict,
    because,
    under,
)
from turnout.core.view import RunView, ThreadView
from turnout.errors import CallRefused, InputInvalid
from turnout.ports.policy import Policy
from turnout.runtime.calls import raised
from turnout.runtime.staging import Staging, review_id
from turnout.runtime.step import Ask, Paused, Scope, changed_to
from turnout.runtime.world import World

MAY = ["approve", "edit", "reject"]
"""What a person may say to a call."""


class Verdicts:
    """Policy and approvals, for the steps of one thread."""

    def __init__(self, staging: Staging, world: World) -> None:
        self.staging = staging
        self.world = world

    def approved(self, scope: Scope, ask: Ask) -> Ask:
        """The request with the arguments that a person has approved, if one has. What an approval was bound to and is
        no more lapses here, and what was edited with it."""
        given = self._given(scope, ask)
        if not given:
            return ask
        policy, now = self._digest, self.world.clock.now()
        for approval in given:
            why = ""
            if approval.policy != policy:
                why = f"the policy set is {policy or 'gone'} now, it was {approval.policy}"
            elif approval.pin != pin_of(ask):
                why = f"{ask.request.name} is pinned as {pin_of(ask) or 'nothing'} now, it was {approval.pin or 'nothing'}"
            elif approval.expires_at <= now:
                why = "it has expired"
            if why:
                self._lapse(scope, ask, given, why)
                return ask
        args = _as_sent(ask, given[-1])
        if canon.encode(args) == canon.encode(ask.args):
            return ask
        ask = replace(ask, changed=args, edit=given[-1].edit)
        self._fits(scope, ask)  # guardrails know their way only in what has its form
        return ask

    def admit(self, scope: Scope, ask: Ask) -> Ask:
        """The request as it may be sent. Raises `CallRefused`, or the halt of a step that waits for a person."""
        if ask.request.kind not in ACTIONS:
            return ask
        given = self._given(scope, ask)
        mine = canon.encode(ask.args) if given else b""
        other = [approval for approval in given if canon.encode(_as_sent(ask, approval)) != mine]
        if other:
            self._lapse(scope, ask, other, "the arguments are others now")
            given = self._given(scope, ask)
        declared = declared_of(scope, ask)
        if self.world.policy is None and not declared:
            return ask
        if given and declared != REFUSE and not given[-1].edited:  # policy has said its word on exactly this
            return self._asked_for(scope, ask, given, given[-1].then)
        if given:
            self._fits(scope, ask)
        question = question_of(self.staging.journal.view, scope, ask, self.world.clock.now())
        verdict = decided(self.world.policy, question)
        self.staging.put(scope, e.VerdictGiven(key=ask.key, n=ask.n, question=question, verdict=verdict))
        if verdict.decision == DENY:
            self._refuse(scope, ask, f"{refused_by(verdict)}: {because(verdict)}")
        return self._asked_for(scope, ask, given, verdict.reviews)

    # --- people ------------------------------------------------------------------------------------------------

    def _asked_for(self, scope: Scope, ask: Ask, given: Sequence[Approval], wanted: Sequence[Terms]) -> Ask:
        """The request, if a person has said yes to all that is wanted. Else the next one is asked."""
        missing = [
            terms for terms in wanted if not any(found.meets(terms, scope.requester) for found in given)
        ]
        if missing:
            self._review(scope, ask, missing[0], missing[1:])
        return ask

    def _review(self, scope: Scope, ask: Ask, terms: Terms, then: list[Terms]) -> NoReturn:
        if scope.ending:
            self._refuse(scope, ask, "a person would have to approve it, and a run that is ending can't wait")
        view = self.staging.journal.view
        name = _question(view, scope, ask, terms)
        due = None if terms.due is None else self.world.clock.now() + terms.due
        binds = e.Binding(
            effect=ask.request.kind, name=ask.request.name, args=canon.digest(ask.args), policy=self._digest,
            holds=terms.holds, pin=pin_of(ask), then=then,
        )  # fmt: skip
        body = e.ReviewRequested(
            review=review_id(view.thread, scope, ask, f"approval {view.seq}"), name=name, key=ask.key, n=ask.n,
            purpose="approval", payload=ask.args, allowed=MAY, roles=terms.roles, quorum=terms.quorum,
            separate=terms.separate, requester=scope.requester, due_at=due, on_due="" if due is None else "reject",
            shown=digest_of(name, ask.args, "approval", slot(ask.key, ask.n)), binds=binds, edit=ask.edit,
        )  # fmt: skip
        self.staging.put(scope, body)
        raise scope.stop(Paused())

    def _fits(self, scope: Scope, ask: Ask) -> None:
        """A person may have edited the arguments to something that can't be sent."""
        try:
            changed_to(ask, ask.args)
        except (InputInvalid, ValidationError) as error:
            said = str(error) if isinstance(error, InputInvalid) else first_problem(error)
            self._refuse(scope, ask, f"what its arguments were edited to can't be sent: {said}")

    # --- parts -------------------------------------------------------------------------------------------------

    @property
    def _digest(self) -> str:
        return self.world.policy.digest if self.world.policy is not None else ""

    def _given(self, scope: Scope, ask: Ask) -> list[Approval]:
        """The approvals that this call has now."""
        step = self.staging.step(scope)
        return list(step.approvals.get(slot(ask.key, ask.n), ())) if step is not None else []

    def _lapse(self, scope: Scope, ask: Ask, approvals: Sequence[Approval], why: str) -> None:
        for approval in approvals:
            self.staging.put(scope, e.ApprovalLapsed(review=approval.review, key=ask.key, n=ask.n, why=why))

    def _refuse(self, scope: Scope, ask: Ask, why: str) -> NoReturn:
        """Put on record that the node gets an error instead, and raise it."""
        info = e.ErrorInfo(CallRefused.__name__, why)
        request = ask.request
        body = e.EffectRecorded(
            effect=request.kind,
            name=request.name,
            key=ask.key,
            n=ask.n,
            args=ask.args or None,
            error=info,
            spent=UNSENT,
        )
        self.staging.put(scope, body)
        raise raised(request.kind, request.name, info)


def decided(policy: Policy | None, question: Question) -> Verdict:
    """What policy says, if there is one, and what is declared of tainted writes."""
    return under(question, policy.decide(question) if policy is not None else Verdict(ALLOW))


def declared_of(scope: Scope, ask: Ask) -> str:
    """What the tool, else the graph, says of this call because it is a write with tainted inputs: review or refuse."""
    tool = ask.subject
    if not isinstance(tool, Tool) or tool.effect != "write" or not scope.taint:
        return ""
    said = tool.tainted or scope.exposure.writes
    return "" if said == ALLOW else said


def refused_by(verdict: Verdict) -> str:
    """Who said no."""
    return "not with these inputs" if verdict.policies == [DECLARED] else "policy says no"


def question_of(view: ThreadView, scope: Scope, ask: Ask, now: e.Micros) -> Question:
    """What policy is asked about a call."""
    run, request, tool = view.run, ask.request, ask.subject
    caller = Caller(
        graph=run.graph if run is not None else view.graph, node=scope.node.name, tenant=view.tenant,
        by=scope.requester, thread=view.thread,
    )  # fmt: skip
    if isinstance(tool, Tool):
        resource = Resource(
            kind="tool", name=tool.name, effect=tool.effect, server=getattr(tool, "server", ""), pin=pin_of(ask),
            untrusted=getattr(tool, "untrusted", False),
        )  # fmt: skip
    else:
        resource = Resource(kind=request.kind, name=request.name)
    args = about_model(ask.args) if request.kind == "model" else ask.args
    return Question(
        caller=caller, resource=resource, args=args, taint=[*scope.taint], spent=_spent(run),
        findings=[*getattr(scope, "findings", ())], now=now, declared=declared_of(scope, ask),
    )  # fmt: skip


def about_model(args: Any) -> dict[str, Any]:
    """What policy is told of a model call: how many messages of how many characters, which tools, and whether a type is asked for."""
    messages = args.get("messages", []) if isinstance(args, dict) else []
    return {
        "messages": len(messages),
        "characters": sum(_characters(message.get("content")) for message in messages),
        "tools": [tool.get("name", "") for tool in args.get("tools", [])],
        "structured": args.get("output") is not None,
    }


def _as_sent(ask: Ask, approval: Approval) -> Any:
    """The arguments that a person has approved, checked if they have edited them; as they are when they don't fit."""
    return edited_to(ask, approval.args).args if approval.edited else approval.args


def edited_to(ask: Ask, args: Any) -> Ask:
    """The request as a person has edited it. What can't be sent is kept as it is, and refused later."""
    try:
        return changed_to(ask, args)
    except (InputInvalid, ValidationError):
        return replace(ask, changed=args)


def pin_of(ask: Ask) -> str:
    """The digest by which the tool was approved; "" for all that isn't pinned."""
    return str(getattr(ask.subject, "pin", "")) if isinstance(ask.subject, Tool) else ""


def _characters(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    parts = content if isinstance(content, list) else []
    return sum(
        len(part["text"]) for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _spent(run: RunView | None) -> Spent:
    spent = getattr(run, "spent", None)
    if spent is None:
        return Spent()
    return Spent(micros=int(spent.micros), tokens=int(spent.tokens), calls=int(spent.calls))


def _question(view: ThreadView, scope: Scope, ask: Ask, terms: Terms) -> str:
    what = {"tool": "call", "model": "ask model", "retrieve": "search"}[ask.request.kind]
    graph = view.run.graph if view.run is not None else view.graph
    reason = f" {terms.reason}" if terms.reason else ""
    return f"May {graph}.{scope.node.name} {what} {ask.request.name}?{reason}"
