"""Guardrails at work: what they find in a request or an answer, what comes of it, and what of it is put on record.

Each looks at what the ones before it have left. A finding is an entry, noted together with what it is about; what was
found itself is in no entry of ours when it is declared to be cut out, to stop the request, or to be secret.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from pydantic import ValidationError

from turnout.core import entries as e
from turnout.core.amounts import UNSENT
from turnout.core.effects import Effect, slot
from turnout.core.redaction import pointer, redact
from turnout.core.reviews import digest_of
from turnout.core.tool import Tool
from turnout.core.view import StepView
from turnout.errors import GuardBlocked, InputInvalid
from turnout.ports.guard import Guard, Place
from turnout.runtime import guard_looks as looks
from turnout.runtime.calls import raised
from turnout.runtime.guard_looks import Found, Seen
from turnout.runtime.staging import Staging, review_id
from turnout.runtime.step import Ask, Paused, Scope, changed_to
from turnout.runtime.world import World

SPANS = 20
"""So many places of a finding are put on record."""
_STRUCTURE = frozenset((
    "messages", "content", "name", "tool_call_id", "id", "text", "tool_calls", "args", "options", "output", "query",
))  # fmt: skip


class Guarding:
    """The guardrails of one thread's steps."""

    def __init__(self, staging: Staging, world: World) -> None:
        self._staging = staging
        self._guards = world.guards
        self._known: dict[tuple[str, Place], list[Guard]] = {}
        self._holds: dict[tuple[str, str], e.ReviewRequested] = {}

    # --- what goes out ------------------------------------------------------------------------------------------

    async def admit(self, scope: Scope, ask: Ask) -> Ask:
        """The request as it may be sent. Raises `GuardBlocked`, or halts the step until a person has decided."""
        guards = self._of("input", self.place(scope, ask))
        if not guards:
            return ask
        at, step = slot(ask.key, ask.n), self._staging.step(scope)
        seen = await self._look(guards, ask, "input", ask.args)
        seen.clear(step.cleared.get(at, ()) if step is not None else (), ask.edit)
        if not seen.found:
            return ask
        asked = ask
        if seen.value is not ask.args:
            try:
                asked = changed_to(ask, seen.value)
            except (InputInvalid, ValidationError):
                seen.found.append(looks.misfit(seen))
        review = None if seen.of("block") else self._review(scope, ask, seen, "input")
        blocked = seen.of("block")
        if review is not None and scope.ending:
            raise asyncio.CancelledError("the run is ending; nobody can be asked any more")
        self._note(scope, ask, "input", seen, step)
        if blocked:
            self._refuse(scope, ask, seen)
        if review is not None:
            self._staging.put(scope, review)
            raise scope.stop(Paused())
        return replace(asked, findings=(*ask.findings, *(found.guard.name for found in seen.found)))

    def _refuse(self, scope: Scope, ask: Ask, seen: Seen) -> None:
        info = e.ErrorInfo(GuardBlocked.__name__, looks.said(seen, "what was asked"))
        body = e.EffectRecorded(
            effect=ask.request.kind,
            name=ask.request.name,
            key=ask.key,
            n=ask.n,
            args=seen.shown or None,
            error=info,
            spent=UNSENT,
        )
        self._staging.put(scope, body)
        raise raised(ask.request.kind, ask.request.name, info)

    # --- what comes in ------------------------------------------------------------------------------------------

    async def taken_in(self, scope: Scope, ask: Ask, result: Any) -> Any:
        """The answer as it is put on record. Raises `GuardBlocked`. One that a person has to let through first is put on
        record all the same, and then held (see `held`)."""
        guards = self._of("output", self.place(scope, ask))
        if not guards:
            return result
        seen = await self._look(guards, ask, "output", result)
        if seen.value is not result and not looks.fits(ask, seen.value):
            seen.found.append(looks.misfit(seen))
        review = None if seen.of("block") else self._review(scope, ask, seen, "output")
        if review is not None and not looks.fits(
            ask, seen.shown
        ):  # a person couldn't let through what is left of it
            seen.found.append(looks.misfit(seen))
            review = None
        self._note(scope, ask, "output", seen, None)
        if seen.of("block") or (review is not None and scope.ending):
            raise GuardBlocked(looks.said(seen, "what came back"))
        if review is not None:
            self._holds[(scope.step.id, slot(ask.key, ask.n))] = review
            return seen.shown
        if ask.request.kind == "model" and self._withheld(guards) and seen.value.get("text"):
            scope.emit({"text": seen.value["text"]})
        return seen.value

    def held(self, scope: Scope, ask: Ask) -> e.ReviewRequested | None:
        """The question for a person about the answer that is being put on record, if a guardrail wants it asked."""
        return self._holds.pop((scope.step.id, slot(ask.key, ask.n)), None)

    def hold_again(self, scope: Scope, ask: Ask, effect: Effect) -> None:
        """Ask about an answer that is held and that nobody is asked about: in a fork, people are asked anew."""
        step = self._staging.step(scope)
        found = step.findings.get(slot(ask.key, ask.n), ()) if step is not None else ()
        held = {x.guard: x.labels for x in found if x.where == "output" and x.action == "review"}
        body = self._question(scope, ask, "output", held, effect.result, frozenset(effect.roles))
        self._staging.put(scope, body)

    async def left(
        self, step: StepView, effect: Effect, tool: Tool[Any, Any], result: Any
    ) -> tuple[Any, e.ErrorInfo | None]:
        """What a write is found to have come to when its step is over: no node gets it, so nobody is asked."""
        run = self._staging.journal.view.run
        if run is None:
            return result, None
        place = Place(run.graph, step.node, "tool", effect.name)
        seen = await self._look(self._of("output", place), None, "output", result, tool)
        for found in seen.found:
            body = looks.noted(found, "output", "tool", effect.name, effect.key, effect.n)
            self._staging.journal.stage([e.Draft(run.number, step.id, body)])
        if seen.of("block") or seen.of("review"):
            return None, e.ErrorInfo(GuardBlocked.__name__, looks.said(seen, "what came back"))
        return seen.value, None

    def streamed(self, scope: Scope, ask: Ask) -> Callable[[Any], None]:
        """Where the pieces of a model's answer go: to whoever streams, or, when a guardrail could take some of it back,
        nowhere: the whole is shown when it has been looked at."""
        return looks.nowhere if self._withheld(self._of("output", self.place(scope, ask))) else scope.emit

    @staticmethod
    def _withheld(guards: Sequence[Guard]) -> bool:
        return any(guard.action != "flag" for guard in guards)

    # --- errors -------------------------------------------------------------------------------------------------

    async def cleaned(self, place: Place | None, text: str) -> str:
        """An error's text, which may quote what was asked or what came back, without what a guardrail would cut out of
        those; and not at all when it would keep such an answer from the node. Without a place all guardrails are asked."""
        for guard in self._of_errors(place):
            text = await looks.of_error(guard, text)
        return text

    def cleaned_now(self, place: Place, text: str) -> str:
        """The same where nothing can be awaited."""
        for guard in self._of_errors(place):
            text = looks.of_error_now(guard, text)
        return text

    def _of_errors(self, place: Place | None) -> list[Guard]:
        """Those that look at errors: for secrets all, for instructions and their like those that look at answers."""
        return [
            guard
            for guard in self._guards
            if guard.errors and guard.action != "flag" and (guard.secret or "output" in guard.where)
            and (place is None or guard.looks_at(place))
        ]  # fmt: skip

    async def divergence(self, found: e.Divergence) -> e.Divergence:
        """A divergence without what a guardrail would cut out: it tells what the code asks for."""
        return msgspec.structs.replace(
            found,
            expected=await self.cleaned(None, found.expected),
            actual=await self.cleaned(None, found.actual),
        )

    # --- looking ------------------------------------------------------------------------------------------------

    async def _look(
        self, guards: Sequence[Guard], ask: Ask | None, where: str, value: Any,
        tool: Tool[Any, Any] | None = None,
    ) -> Seen:  # fmt: skip
        kind = ask.request.kind if ask is not None else "tool"
        subject = ask.subject if ask is not None else tool
        known = _STRUCTURE | (subject.form.names() if isinstance(subject, Tool) else frozenset())
        seen = Seen(value, value)
        for guard in guards:
            hits = await looks.asked(guard, looks.looked_at(kind, where, seen.value))
            if not hits:
                continue
            action: str = guard.action
            labels = dict(Counter(hit.label for hit in hits))
            spans = [(pointer(hit.path, seen.value, known), hit.start, hit.length) for hit in hits[:SPANS]]
            if action == "redact":
                left = await looks.without(guard, kind, where, seen.value, hits)
                action, seen.value = ("block", seen.value) if left is None else ("redact", left)
            seen.found.append(Found(guard, action, labels, spans))
        seen.shown = seen.value
        for found in seen.found:  # what stopped it, or is to be decided on, is nobody's to read
            if found.guard.secret and found.action in ("block", "review"):
                hits = await looks.asked(found.guard, looks.looked_at(kind, where, seen.shown))
                seen.shown = redact(seen.shown, hits)
        return seen

    def _review(self, scope: Scope, ask: Ask, seen: Seen, where: str) -> e.ReviewRequested | None:
        """The question for a person, if a guardrail wants one asked. Those who decide must be of a role that each allows;
        when there is none, nobody can."""
        asking = [found for found in seen.found if found.action == "review"]
        if not asking:
            return None
        wanted = [frozenset(found.guard.roles) for found in asking if found.guard.roles]
        roles = frozenset.intersection(*wanted) if wanted else frozenset()
        if wanted and not roles:
            seen.found = [replace(x, action="block") if x.action == "review" else x for x in seen.found]
            return None
        held = {found.guard.name: found.labels for found in asking}
        return self._question(scope, ask, where, held, seen.shown, roles)

    def _question(
        self,
        scope: Scope,
        ask: Ask,
        where: str,
        held: dict[str, dict[str, int]],
        shown: Any,
        roles: frozenset[str],
    ) -> e.ReviewRequested:
        request = ask.request
        what = "arguments" if where == "input" else "answer"
        payload = {
            "request": {"kind": request.kind, "name": request.name}, "guardrails": list(held), "found": held, what: shown,
        }  # fmt: skip
        said = "May this be sent?" if where == "input" else "May this answer be used?"
        question = f"{said} {request.kind} {request.name}: {'; '.join(looks.told(name, labels) for name, labels in held.items())}"
        more = f"guard {where} {' '.join(held)} {ask.edit}"  # other arguments are another question
        return e.ReviewRequested(
            review=review_id(self._staging.thread, scope, ask, more), name=question, key=ask.key, n=ask.n, purpose="guard",
            payload=payload, allowed=["approve", "reject"], roles=sorted(roles), requester=scope.requester,
            shown=digest_of(question, payload, "guard", slot(ask.key, ask.n)), edit=ask.edit,
        )  # fmt: skip

    def _note(self, scope: Scope, ask: Ask, where: str, seen: Seen, step: StepView | None) -> None:
        """Put findings on record, but none of a request that is there from an earlier execution."""
        before = step.findings.get(slot(ask.key, ask.n), ()) if step is not None else ()
        noted = {found.guard for found in before if found.where == where}
        for found in seen.found:
            if found.guard.name not in scope.findings:
                scope.findings = (*scope.findings, found.guard.name)
            if found.guard.name not in noted:
                self._staging.put(
                    scope, looks.noted(found, where, ask.request.kind, ask.request.name, ask.key, ask.n)
                )

    def _of(self, where: str, place: Place) -> list[Guard]:
        found = self._known.get((where, place))
        if found is None:
            found = [guard for guard in self._guards if where in guard.where and guard.looks_at(place)]
            self._known[(where, place)] = found
        return found

    def place(self, scope: Scope, ask: Ask) -> Place:
        """Where in the work a request is made."""
        run = self._staging.journal.view.run
        return Place(
            run.graph if run is not None else "", scope.node.name, ask.request.kind, ask.request.name
        )
