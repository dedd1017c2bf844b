"""Policies looked at: what is wrong with a folder of rules, and what it would have said of the calls on record."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from turnout.core import entries as e
from turnout.core.effects import slot
from turnout.core.graph import Graph
from turnout.core.verdict import ACTIONS, ALLOW, HOLDS, Caller, Question, Resource, Terms, Verdict, under
from turnout.errors import GuardBlocked
from turnout.policy import checking
from turnout.policy.cedar import CedarPolicy
from turnout.policy.rules import Finding, Loaded, load
from turnout.policy.text import Source
from turnout.ports.policy import Policy
from turnout.ports.rows import ThreadRow
from turnout.ports.store import Store
from turnout.runtime.reading import entries_of
from turnout.runtime.verdicts import about_model

PAGE = 500
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
EXAMPLES = 5
"""How many examples of a flip are kept."""


@dataclass(frozen=True)
class RuleReport:
    """A rule: its name and place, permit or forbid, and the review that it demands (roles; None: none)."""

    id: str
    file: str
    line: int
    effect: str
    reason: str
    review: tuple[str, ...] | None


@dataclass(frozen=True)
class PolicyReport:
    """What rules say and what is wrong with them. `folder` is "" for rules that were handed in. `problems` have to be mended,
    `warnings` looked at."""

    folder: str
    digest: str
    rules: tuple[RuleReport, ...]
    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    unruled: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(frozen=True)
class PolicyHere:
    """The policy that calls are decided by here. `digest` "": there is none. Of one that isn't Turnout's own the rules
    aren't known."""

    digest: str
    rules: tuple[RuleReport, ...]


def loaded(policy: Policy | None) -> PolicyHere:
    """A policy as people see it."""
    rules = policy.rules if isinstance(policy, CedarPolicy) else []
    return PolicyHere(policy.digest if policy is not None else "", tuple(map(_rule, rules)))


def _rule(one: Loaded) -> RuleReport:
    return RuleReport(
        one.rule.id, one.at.file, one.at.line, "permit" if one.rule.permit else "forbid", one.rule.reason,
        tuple(one.rule.terms.roles) if one.rule.terms is not None else None,
    )  # fmt: skip


def check(source: Source, graphs: Mapping[str, Graph], models: Iterable[str] = ()) -> PolicyReport:
    """Check rules against the graphs at hand. Raises `SettingsInvalid` when they can't be read."""
    found = load(source)
    known = checking.Known(graphs, frozenset(models))
    rules = tuple(map(_rule, found.rules))
    return PolicyReport(
        found.folder, found.digest, rules, tuple(checking.problems(found, known)),
        tuple(checking.warnings(found, known)), tuple(checking.unruled(found, graphs.values())),
    )  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A call on record, as policy was asked about it, and what was said. `recorded`: no verdict stood on record, and
    the question was made from what does; the call was made, so it counts as allowed."""

    thread: str
    seq: int
    at: e.Micros
    question: Question
    verdict: Verdict
    recorded: bool


@dataclass(frozen=True)
class Flip:
    """Calls of one tool (model, source) by one node on which the candidate says something else, with examples."""

    graph: str
    node: str
    kind: str
    name: str
    before: str
    after: str
    calls: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Example:
    """One such call: where it is on record, its arguments, the rules then, the rules now, and why."""

    thread: str
    seq: int
    at: e.Micros
    args: Any
    before: tuple[str, ...]
    after: tuple[str, ...]
    reason: str
    errors: tuple[str, ...] = ()


@dataclass
class Backtest:
    """`calls` were looked at, in `threads` threads; of `derived` of them no verdict was on record. `unchanged` counts
    those on which the candidate says the same."""

    digest: str
    since: e.Micros
    threads: int = 0
    calls: int = 0
    derived: int = 0
    unchanged: int = 0
    flips: list[Flip] = field(default_factory=list)

    @property
    def same(self) -> bool:
        return not self.flips


async def backtest(
    store: Store,
    graphs: Mapping[str, Graph],
    candidate: Policy,
    *,
    since: e.Micros = 0,
    graph: str = "",
    progress: Callable[[int], None] | None = None,
) -> Backtest:
    """Decide every call on record again under `candidate`. Calls nothing and changes nothing."""
    found = Backtest(candidate.digest, since)
    counts: Counter[tuple[str, str, str, str, str, str]] = Counter()
    examples: dict[tuple[str, str, str, str, str, str], list[Example]] = {}
    async for row in _threads(store, since):
        found.threads += 1
        if progress is not None:
            progress(found.threads)
        rows = await store.read(row.thread)
        for call in calls_in(row.thread, await entries_of(store, rows, whole=True), graphs):
            if call.at < since or graph not in ("", call.question.caller.graph):
                continue
            found.calls += 1
            found.derived += call.recorded
            now = under(call.question, candidate.decide(call.question))
            if _means(now) == _means(call.verdict):
                found.unchanged += 1
                continue
            who, what = call.question.caller, call.question.resource
            key = (who.graph, who.node, what.kind, what.name, _label(call.verdict), _label(now))
            counts[key] += 1
            kept = examples.setdefault(key, [])
            if len(kept) < EXAMPLES:
                kept.append(_example(call, now))
    found.flips = [Flip(*key, counts[key], tuple(examples[key])) for key in sorted(counts)]
    return found


async def _threads(store: Store, since: e.Micros) -> AsyncIterator[ThreadRow]:
    """The threads that have grown since."""
    after = ""
    while rows := await store.threads(after=after, limit=PAGE):
        for row in rows:
            if row.updated_at >= since:
                yield row
        after = rows[-1].thread


def _means(verdict: Verdict) -> tuple[Any, ...]:
    """What counts of a verdict: not by which rules, but what has to happen."""
    return verdict.decision, sorted(map(_wanted, verdict.reviews))


def _label(verdict: Verdict) -> str:
    """allow, deny, or review with those who are to decide."""
    who = " and ".join(map(_wanted, sorted(verdict.reviews, key=lambda terms: terms.roles)))
    return f"{verdict.decision} by {who}" if who else verdict.decision


def _wanted(terms: Terms) -> str:
    """Who has to decide, and what else is demanded of a review, in the words of rules."""
    more = [f"@quorum({terms.quorum})"] if terms.quorum > 1 else []
    more += ["@separate"] if terms.separate else []
    more += [f"@due({_span(terms.due)})"] if terms.due is not None else []
    more += [f"@holds({_span(terms.holds)})"] if terms.holds != HOLDS else []
    return " ".join([" or ".join(terms.roles) or "anybody", *more])


def _span(micros: int) -> str:
    """A time as rules have it."""
    seconds = micros // 1_000_000
    unit, size = next(one for one in _UNITS if seconds % one[1] == 0)
    return f"{seconds // size}{unit}"


def _example(call: Call, now: Verdict) -> Example:
    return Example(
        call.thread, call.seq, call.at, call.question.args, tuple(call.verdict.policies), tuple(now.policies), now.reason,
        tuple(now.errors),
    )  # fmt: skip


def calls_in(thread: str, entries: Iterable[e.Entry], graphs: Mapping[str, Graph]) -> list[Call]:
    """The calls of a journal that policy decides on: none that a guardrail has blocked before. What a fork shares with
    its parent is the parent's."""
    found: list[Call] = []
    judged: set[tuple[int, str, str]] = set()
    blocked: set[tuple[int, str, str]] = set()
    inputs: dict[int, e.InputReceived] = {}
    tenant = ""
    for entry in entries:
        body = entry.body
        if isinstance(body, e.InputReceived):
            tenant = tenant or body.tenant
            inputs[entry.run] = body
        if isinstance(body, e.VerdictGiven):
            judged.add((entry.run, entry.step, slot(body.key, body.n)))
            if entry.thread == thread:
                found.append(Call(thread, entry.seq, entry.at, body.question, body.verdict, False))
        elif isinstance(body, e.FindingNoted) and body.where == "input" and body.action == "block":
            blocked.add((entry.run, entry.step, slot(body.key, body.n)))
        elif isinstance(body, e.EffectRecorded | e.EffectIntended) and body.effect in ACTIONS:
            place = (entry.run, entry.step, slot(body.key, body.n))
            if place in blocked and _is_block(body):
                continue
            if place not in judged and entry.thread == thread:
                given = inputs.get(entry.run)
                question = _derived(entry, body, given, tenant, graphs)
                found.append(Call(thread, entry.seq, entry.at, question, Verdict(ALLOW), True))
            judged.add(place)
    return found


def _is_block(body: e.EffectRecorded | e.EffectIntended) -> bool:
    error = body.error if isinstance(body, e.EffectRecorded) else None
    return error is not None and error.type == GuardBlocked.__name__


def _derived(
    entry: e.Entry,
    body: e.EffectRecorded | e.EffectIntended,
    given: e.InputReceived | None,
    tenant: str,
    graphs: Mapping[str, Graph],
) -> Question:
    """The question that would have been asked: what has been spent, and labels, are not on record."""
    graph = given.graph if given is not None else ""
    node = entry.step.partition("@")[0].rpartition(".")[0] or entry.step.partition(":")[0]
    tool = graphs[graph].tools.get(body.name) if graph in graphs and body.effect == "tool" else None
    if tool is not None:
        resource = checking.resource_of(tool)
    else:
        effect = ("write" if isinstance(body, e.EffectIntended) else "read") if body.effect == "tool" else ""
        resource = Resource(kind=body.effect, name=body.name, effect=effect)
    caller = Caller(graph, node, tenant, given.by if given is not None else "", entry.thread)
    args = about_model(body.args) if body.effect == "model" else body.args or {}
    return Question(caller=caller, resource=resource, args=args, now=entry.at)
