"""One look of guardrails: what they find in a value, what is left of it, and how that is told."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from turnout.core import entries as e
from turnout.core.messages import ModelReply, recorded
from turnout.core.redaction import Hit, redact
from turnout.core.tool import Tool
from turnout.core.view import Clearance
from turnout.ports.guard import Answer, Guard
from turnout.runtime.step import Ask

ROUNDS = 4
"""So often a guardrail that cuts out looks again at what it left."""
FAILED, MISFIT = "failed", "misfit"
"""Labels of findings about the guardrail itself: it raised, or what it left is not what was to be sent any more."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one guardrail found, and what comes of it."""

    guard: Guard
    action: str
    labels: dict[str, int]
    spans: list[tuple[str, int, int]]


@dataclass(slots=True)
class Seen:
    """What is left of a value after the guardrails: `value` to go on, `shown` for people and for the record of what
    doesn't."""

    value: Any
    shown: Any
    found: list[Found] = field(default_factory=list)

    def of(self, action: str) -> list[Guard]:
        return [found.guard for found in self.found if found.action == action]

    def clear(self, given: Sequence[Clearance], edit: str) -> None:
        """What a person has let through in just these arguments is no more than noted. In others, which the request may
        have been edited to since, it has to be let through anew. Which arguments they are is told by the review whose
        `edit` they are, not by how they look: a guardrail needn't find, or mark, the same in them each time, and behind
        a mark others look the same."""
        passed = {guard for clearance in given if clearance.edit == edit for guard in clearance.guards}
        self.found = [
            replace(found, action="flag")
            if found.action == "review" and found.guard.name in passed
            else found
            for found in self.found
        ]


async def asked(guard: Guard, value: Any) -> Sequence[Hit]:
    """What the guardrail finds. One that fails has found something: that it can't tell."""
    try:
        found = guard.check(value)
        return await found if inspect.isawaitable(found) else found
    except Exception:
        return [Hit(FAILED)]


async def without(guard: Guard, kind: str, where: str, value: Any, hits: Sequence[Hit]) -> Any | None:
    """The value without what the guardrail finds. None: something can't be cut out."""
    for _ in range(ROUNDS):
        if not hits:
            return value
        if any(not hit.length for hit in hits):
            return None
        value = redact(value, hits)
        hits = await asked(guard, looked_at(kind, where, value))
    return None if hits else value


async def of_error(guard: Guard, text: str) -> str:
    """What is left of an error's text: what is found is cut out, or else the whole isn't told."""
    hits = await asked(guard, text)
    left = await without(guard, "tool", "output", text, hits) if _cuts(guard) else None
    return text if not hits else _untold(guard, hits) if left is None else left


def of_error_now(guard: Guard, text: str) -> str:
    """The same where nothing can be awaited: a slow check isn't asked, and what it may have found isn't told."""
    if not guard.quick:
        return _untold(guard, [Hit("not-looked-at")])
    look = of_error(guard, text)
    try:
        look.send(None)
    except StopIteration as done:
        return str(done.value)
    raise AssertionError(f"guardrail {guard.name} is not quick")


def _cuts(guard: Guard) -> bool:
    """Secrets are cut out of an error whatever is to be done about them elsewhere: people have to know why it failed."""
    return guard.secret or guard.action == "redact"


def _untold(guard: Guard, hits: Sequence[Hit]) -> str:
    return f"(left out: guardrail {told(guard.name, dict(Counter(hit.label for hit in hits)))} in the error)"


def looked_at(kind: str, where: str, value: Any) -> Any:
    """The part of a request or an answer that says something: a model's roles and schemas don't, nor do the ids in its
    answer. Paths in it are paths in the whole."""
    if kind != "model" or not isinstance(value, dict):
        return value
    if where == "output":
        return Answer(_parts(value, ("text", "output")))
    messages = [_parts(said, ("content", "name", "tool_call_id"), "id") for said in value.get("messages", [])]
    return {"messages": messages, **({"options": value["options"]} if value.get("options") else {})}


def _parts(said: dict[str, Any], names: tuple[str, ...], *more: str) -> dict[str, Any]:
    """What is there under these names, and of each tool call its arguments and `more`."""
    found = {name: said[name] for name in names if said.get(name) is not None}
    if said.get("tool_calls"):
        found["tool_calls"] = [
            {"args": call.get("args", {}), **{name: call[name] for name in more if call.get(name)}}
            for call in said["tool_calls"]
        ]
    return found


def fits(ask: Ask, value: Any) -> bool:
    """Can the node get that as its answer?"""
    try:
        if ask.request.kind == "model":
            with recorded():
                ModelReply.model_validate(value)
        elif isinstance(ask.subject, Tool):
            ask.subject.load(value)
    except ValidationError:
        return False
    return True


def misfit(seen: Seen) -> Found:
    """What was cut out has left something that doesn't fit its type: it stops there."""
    last = next(found for found in reversed(seen.found) if found.action in ("redact", "review"))
    return Found(last.guard, "block", {MISFIT: 1}, [])


def noted(found: Found, where: str, kind: str, name: str, key: str, n: int) -> e.FindingNoted:
    """The entry for it."""
    return e.FindingNoted(
        guard=found.guard.name, where=where, action=found.action, effect=kind, name=name, key=key, n=n,
        labels=found.labels, spans=found.spans,
    )  # fmt: skip


def said(seen: Seen, what: str) -> str:
    """Why it was stopped, in one line; what was found isn't told."""
    stopping = [found for found in seen.found if found.action in ("block", "review")]
    return "; ".join(f"guardrail {told(found.guard.name, found.labels)} in {what}" for found in stopping)


def told(name: str, labels: dict[str, int]) -> str:
    """A guardrail and what it found, by kind."""
    many = ", ".join(label if count == 1 else f"{count} {label}" for label, count in labels.items())
    return f"{name} found {many}"


def nowhere(event: Any) -> None:
    """Nobody is shown a piece of what may be taken back."""
