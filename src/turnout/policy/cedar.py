"""Verdicts by Cedar. Rules are parsed once; what a call can't be about is sorted out once for each kind of call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from turnout.core.verdict import (
    ACTIONS,
    DENY,
    Caller,
    Question,
    Resource,
    Rule,
    Verdict,
    combine,
    hour,
    weekday,
)
from turnout.errors import PolicyInvalid
from turnout.policy.rules import Loaded, RuleSet, cedarpy, load
from turnout.policy.text import Source
from turnout.policy.values import record

TYPES = {"tool": "Tool", "model": "Model", "retrieve": "Source"}
Uid = tuple[str, str]
"""The type and the id of an entity."""
_POLICY = re.compile(r"`(policy\d+)`")
_KEPT = 4096
"""How many callers and resources are kept prepared."""


class CedarPolicy:
    """A set of rules without mistakes. Raises `PolicyInvalid` with all mistakes, a line each."""

    def __init__(self, found: RuleSet) -> None:
        if found.problems:
            lines = [f"{Path(found.folder) / one.file}:{one.line}: {one.text}" for one in found.problems]
            raise PolicyInvalid("\n".join(lines))
        self._library = cedarpy()
        self._loaded = found.rules
        self._digest = found.digest
        self._sets: dict[tuple[str, str, str, str, str], _Some] = {}
        self._entities: dict[tuple[Any, ...], Any] = {}

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def rules(self) -> list[Loaded]:
        """The rules, in the order of files and lines."""
        return list(self._loaded)

    def decide(self, question: Question) -> Verdict:
        """The verdict. An error of any kind denies."""
        try:
            request, some, known = self._asked(question)
            answer = self._library.is_authorized(request, some.prepared, known).diagnostics
            errors = [some.named(error) for error in answer.errors]
            return combine([some.rules[name] for name in answer.reasons], errors, self._digest)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            return Verdict(DENY, [], self._digest, reason="policy can't be asked", errors=[said])

    def _asked(self, question: Question) -> tuple[dict[str, Any], _Some, Any]:
        """The request, the rules that may apply, and the entities, as the library wants them."""
        caller, resource, now = question.caller, question.resource, question.now
        spent = question.spent
        context = {
            "args": record(question.args), "thread": caller.thread, "taint": question.taint,
            "findings": question.findings, "now": now, "hour": hour(now), "weekday": weekday(now),
            "spent": {"micros": spent.micros, "tokens": spent.tokens, "calls": spent.calls},
        }  # fmt: skip
        request = {
            "principal": _json(_node(caller)),
            "action": {"type": "Action", "id": question.action},
            "resource": _json(_uid(resource)),
            "context": msgspec.json.encode(context).decode(),
        }
        return request, self._set(caller, resource), self._known(caller, resource)

    def _set(self, caller: Caller, resource: Resource) -> _Some:
        """The rules whose scope this kind of call is in. The others can't apply, whatever the arguments are."""
        key = (caller.graph, caller.node, resource.kind, resource.name, resource.server)
        found = self._sets.get(key)
        if found is None:
            if len(self._sets) >= _KEPT:
                self._sets.clear()
            some = [one for one in self._loaded if may_apply(one.cedar, caller, resource)]
            found = self._sets[key] = _Some.of(self._library, some)
        return found

    def _known(self, caller: Caller, resource: Resource) -> Any:
        """Caller and resource, with their attributes."""
        key = (
            caller.graph, caller.node, caller.tenant, caller.by, resource.kind, resource.name, resource.effect,
            resource.server, resource.pin, resource.untrusted,
        )  # fmt: skip
        found = self._entities.get(key)
        if found is None:
            if len(self._entities) >= _KEPT:
                self._entities.clear()
            found = self._library.Entities.from_json_str(json.dumps(entities(caller, resource)))
            self._entities[key] = found
        return found


@dataclass(frozen=True)
class _Some:
    """Some rules, as Cedar wants them, and by the names that it gives them."""

    prepared: Any
    rules: dict[str, Rule]

    @classmethod
    def of(cls, library: Any, some: list[Loaded]) -> _Some:
        """Made from their text: of a rule that is a long chain, Cedar doesn't read its own JSON."""
        prepared = library.PolicySet.from_str("\n".join(one.at.text for one in some))
        return cls(prepared, {f"policy{number}": one.rule for number, one in enumerate(some)})

    def named(self, error: str) -> str:
        """What Cedar says of a rule, with its name."""
        return _POLICY.sub(lambda found: f"`{self.rules[found[1]].id}`", error, count=1)


def open_policy(source: Source) -> CedarPolicy:
    """The policy of a folder, or of rules that are handed in. Raises `SettingsInvalid`; `PolicyInvalid` with all mistakes, a
    line each."""
    return CedarPolicy(load(source))


def may_apply(cedar: dict[str, Any], caller: Caller, resource: Resource) -> bool:
    """Can the scope of a rule (in Cedar's JSON) have this call in it? True also where that can't be told."""
    return (
        _within(cedar["principal"], _node(caller), [("Graph", caller.graph)])
        and _within(cedar["action"], ("Action", ACTIONS[resource.kind]), [])
        and _within(cedar["resource"], _uid(resource), _parents(resource))
    )


def _within(scope: dict[str, Any], uid: Uid, parents: Iterable[Uid]) -> bool:
    match scope:
        case {"op": "==", "entity": {"type": kind, "id": name}}:
            return uid == (kind, name)
        case {"op": "in", "entity": {"type": kind, "id": name}}:
            return (kind, name) in (uid, *parents)
        case {"op": "in", "entities": list(several)}:
            return any((one.get("type"), one.get("id")) in (uid, *parents) for one in several)
        case {"op": "is", "entity_type": kind, "in": {"entity": {"type": above, "id": name}}}:
            return kind == uid[0] and (above, name) in (uid, *parents)
        case {"op": "is", "entity_type": kind} if "in" not in scope:
            return bool(kind == uid[0])
        case _:
            return True


def entities(caller: Caller, resource: Resource) -> list[dict[str, Any]]:
    """Who asks and what for, as entities (JSON)."""
    who = {"graph": caller.graph, "node": caller.node, "tenant": caller.tenant, "by": caller.by}
    what: dict[str, Any] = {"name": resource.name}
    if resource.kind == "tool":
        what |= {
            "effect": resource.effect, "server": resource.server, "pin": resource.pin, "untrusted": resource.untrusted,
        }  # fmt: skip
    return [
        {"uid": _json(_node(caller)), "attrs": who, "parents": [_json(("Graph", caller.graph))]},
        {"uid": _json(_uid(resource)), "attrs": what, "parents": [_json(one) for one in _parents(resource)]},
    ]


def _node(caller: Caller) -> Uid:
    return "Node", f"{caller.graph}.{caller.node}"


def _uid(resource: Resource) -> Uid:
    return TYPES[resource.kind], resource.name


def _parents(resource: Resource) -> list[Uid]:
    return [("Server", resource.server)] if resource.server else []


def _json(uid: Uid) -> dict[str, str]:
    return {"type": uid[0], "id": uid[1]}
