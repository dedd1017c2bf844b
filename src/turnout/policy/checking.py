"""What can be said of rules without a call: do they fit the schema, can they ever matter, and do the names exist?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from turnout.core import canon
from turnout.core.graph import Graph
from turnout.core.tool import Tool
from turnout.core.verdict import ACTIONS, Caller, Resource
from turnout.policy import schema
from turnout.policy.cedar import may_apply
from turnout.policy.rules import Finding, Loaded, RuleSet, cedarpy

_NO_ARGUMENT = re.compile(r"attribute `args[.\[].*` in context for Action::\"call\" not found")
_PREFIX = re.compile(r"^for policy `[^`]*`, ")


@dataclass(frozen=True)
class Known:
    """The code that the rules are about. Where nothing is known of a kind of name, it isn't looked at."""

    graphs: Mapping[str, Graph] = field(default_factory=dict)
    models: frozenset[str] = frozenset()

    @property
    def tools(self) -> dict[str, Tool[Any, Any]]:
        return {name: tool for graph in self.graphs.values() for name, tool in graph.tools.items()}

    def names(self) -> dict[str, set[str]]:
        """By entity type, the ids that there are."""
        found: dict[str, set[str]] = {"Action": set(ACTIONS.values())}
        if self.graphs:
            found["Graph"] = set(self.graphs)
            found["Node"] = {f"{graph.name}.{node}" for graph in self.graphs.values() for node in graph.nodes}
            found["Tool"] = set(self.tools)
            servers = {str(getattr(tool, "server", "")) for tool in self.tools.values()} - {""}
            if servers:
                found["Server"] = servers
        if self.models:
            found["Model"] = set(self.models)
        return found


def problems(found: RuleSet, known: Known) -> list[Finding]:
    """What is wrong: what Cedar can't read, and what doesn't fit the schema."""
    said = [*found.problems]
    places = {one.rule.id: one for one in found.rules}
    seen: set[tuple[str, str]] = set()
    for text, rules, tool in _worlds(found.rules, known):
        for name, problem in _against(text, rules):
            if not tool and _NO_ARGUMENT.search(problem):
                continue  # of a tool that isn't at hand the arguments aren't known
            where = f" (for tool {tool})" if tool and "args" in problem else ""
            if (name, problem) not in seen:
                seen.add((name, problem))
                at = places[name].at if name in places else None
                said.append(Finding(at.file if at else "", at.line if at else 0, problem + where))
    return sorted(said, key=lambda one: (one.file, one.line))


def _worlds(rules: list[Loaded], known: Known) -> Iterator[tuple[str, list[Loaded], str]]:
    """A schema, and the rules that it is for: those about a tool with that tool's arguments, one tool after the other."""
    yield schema.text(), [one for one in rules if not known.graphs or not _about_a_tool(one, known)], ""
    for name, tool in known.tools.items():
        some = [one for one in rules if _may_reach(one, known, tool)]
        if some:
            yield schema.for_tool(tool), some, name


def _about_a_tool(one: Loaded, known: Known) -> bool:
    return any(_may_reach(one, known, tool) for tool in known.tools.values())


def _may_reach(one: Loaded, known: Known, tool: Tool[Any, Any]) -> bool:
    resource = resource_of(tool)
    return any(
        may_apply(one.cedar, Caller(graph.name, node), resource)
        for graph in known.graphs.values() if tool.name in graph.tools
        for node in graph.nodes
    )  # fmt: skip


def resource_of(tool: Tool[Any, Any]) -> Resource:
    """A tool, as policy is asked about it."""
    return Resource(
        kind="tool", name=tool.name, effect=tool.effect, server=str(getattr(tool, "server", "")),
        pin=str(getattr(tool, "pin", "")), untrusted=bool(getattr(tool, "untrusted", False)),
    )  # fmt: skip


def _against(text: str, rules: list[Loaded]) -> list[tuple[str, str]]:
    """What doesn't fit a schema: the rule's name, and what Cedar says. Rule by rule: its words don't always say whose."""
    library = cedarpy()
    prepared = library.Schema.from_str(text)
    found = []
    for one in rules:
        for error in library.validate_policies(one.at.text, prepared).errors:
            found.append((one.rule.id, _PREFIX.sub("", error.error)))
    return found


def warnings(found: RuleSet, known: Known) -> list[Finding]:
    """What is likely not meant: names that don't exist, rules that never matter, rules that contradict each other."""
    said = [*_unknown_names(found.rules, known), *_idle(found.rules)]
    return sorted(said, key=lambda one: (one.file, one.line))


def _unknown_names(rules: Iterable[Loaded], known: Known) -> Iterator[Finding]:
    names = known.names()
    for one in rules:
        for kind, name in dict.fromkeys(_mentioned(one.cedar)):
            if kind not in names or name in names[kind] or kind == "Action":  # the schema knows the actions
                continue
            near = get_close_matches(name, sorted(names[kind]), 1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else f"there is: {', '.join(sorted(names[kind])) or 'none'}"
            )
            yield Finding(one.at.file, one.at.line, f'{kind}::"{name}" is not known here; {hint}')


def _mentioned(data: Any) -> Iterator[tuple[str, str]]:
    """Every entity that a rule names."""
    if isinstance(data, dict):
        kind, name = data.get("type"), data.get("id")
        if isinstance(kind, str) and isinstance(name, str):
            yield kind, name
        for inner in data.values():
            yield from _mentioned(inner)
    elif isinstance(data, list):
        for inner in data:
            yield from _mentioned(inner)


def _idle(rules: list[Loaded]) -> Iterator[Finding]:
    """Rules that can never matter, as far as their text tells."""
    for number, one in enumerate(rules):
        if _never(one):
            yield Finding(one.at.file, one.at.line, "it never applies: a condition of it is always false")
            continue
        if one.rule.permit:
            over = next((x for x in rules if not x.rule.permit and _always(x) and _covers(x, one)), None)
            if over is not None:
                text = f"it never matters: the forbid at {over.at.place} denies all that it permits"
                yield Finding(one.at.file, one.at.line, text)
                continue
        for before in rules[:number]:
            if _said(before) != _said(one):
                continue
            if before.rule.permit != one.rule.permit:
                yield Finding(
                    one.at.file, one.at.line, f"it contradicts the rule at {before.at.place}: deny counts"
                )
            elif before.rule.terms == one.rule.terms:
                yield Finding(one.at.file, one.at.line, f"it says the same as the rule at {before.at.place}")
            elif None in (before.rule.terms, one.rule.terms):
                text = f"it says the same as the rule at {before.at.place}, but for the review: the review counts"
                yield Finding(one.at.file, one.at.line, text)


def _said(one: Loaded) -> bytes:
    """What a rule is about: its scope and its conditions."""
    return canon.encode([one.cedar[part] for part in ("principal", "action", "resource")] + _conditions(one))


def _conditions(one: Loaded) -> list[str]:
    return sorted(json.dumps(part, sort_keys=True) for part in one.cedar.get("conditions", []))


def _always(one: Loaded) -> bool:
    """Does it apply to all that is in its scope?"""
    return _applies(one) is True


def _never(one: Loaded) -> bool:
    return _applies(one) is False


def _applies(one: Loaded, resource: Resource | None = None) -> bool | None:
    """Do its conditions hold, whatever the call is, or for a resource? None: that depends."""
    said = [
        _known(part["body"], resource) if part["kind"] == "when" else _not(_known(part["body"], resource))
        for part in one.cedar.get("conditions", [])
    ]
    return _all(said)


def _known(body: Any, resource: Resource | None) -> Any:
    """What an expression (in Cedar's JSON) comes to, as far as it is made of the resource's attributes and plain values;
    None: that isn't known."""
    match body:
        case {"Value": bool() | int() | str() as value}:
            return value
        case {".": {"left": {"Var": "resource"}, "attr": str() as name}} if resource is not None:
            return getattr(resource, name, None)
        case {"&&": {"left": left, "right": right}}:
            return _all([_known(left, resource), _known(right, resource)])
        case {"||": {"left": left, "right": right}}:
            return _not(_all([_not(_known(left, resource)), _not(_known(right, resource))]))
        case {"!": {"arg": inner}}:
            return _not(_known(inner, resource))
        case {"==": {"left": left, "right": right}}:
            return _equal(_known(left, resource), _known(right, resource))
        case {"!=": {"left": left, "right": right}}:
            return _not(_equal(_known(left, resource), _known(right, resource)))
        case _:
            return None


def _equal(left: Any, right: Any) -> bool | None:
    return None if left is None or right is None else left == right and type(left) is type(right)


def _not(value: Any) -> bool | None:
    return (not value) if isinstance(value, bool) else None


def _all(values: Iterable[Any]) -> bool | None:
    found = [value if isinstance(value, bool) else None for value in values]
    return False if False in found else None if None in found else True


def _covers(wide: Loaded, narrow: Loaded) -> bool:
    """Is all that is in the scope of one rule in that of the other? Only where it can be told for certain."""
    return all(
        wide.cedar[part] == narrow.cedar[part]
        or wide.cedar[part] == {"op": "All"}
        or _is_of(wide, narrow, part)
        for part in ("principal", "action", "resource")
    )


def _is_of(wide: Loaded, narrow: Loaded, part: str) -> bool:
    """`is Tool` covers every scope that names a tool."""
    outer, inner = wide.cedar[part], narrow.cedar[part]
    if outer.get("op") != "is" or "in" in outer:
        return False
    entity = inner.get("entity", {}) if inner.get("op") == "==" else {}
    return bool(outer["entity_type"] in (entity.get("type"), inner.get("entity_type")))


def unruled(found: RuleSet | None, graphs: Iterable[Graph]) -> list[str]:
    """The writes that no rule can allow, each in a line. Without rules: all of them."""
    lines = []
    for graph in graphs:
        for tool in graph.tools.values():
            if tool.effect != "write":
                continue
            what = f"write {tool.name} of graph {graph.name}"
            if found is None:
                lines.append(f"{what}: no rule says who may call it; what the graph declares decides")
            elif not any(_allowed(found.rules, graph, node, tool) for node in graph.nodes):
                lines.append(f"{what}: no rule allows it, so it would always be refused")
    return lines


def _allowed(rules: list[Loaded], graph: Graph, node: str, tool: Tool[Any, Any]) -> bool:
    """Can it be that a node may call a tool?"""
    if tool.name not in graph.nodes[node].tools:
        return False
    resource = resource_of(tool)
    about = [one for one in rules if may_apply(one.cedar, Caller(graph.name, node), resource)]
    permitted = any(one.rule.permit and _applies(one, resource) is not False for one in about)
    return permitted and not any(not one.rule.permit and _applies(one, resource) for one in about)
