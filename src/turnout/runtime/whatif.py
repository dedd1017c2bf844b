"""What-if: run a recorded thread's inputs again under another version, policy, prompt or model.

Recorded effects answer where their content matches: first those of the same node, then those of any node. Nothing is
called; a write on record gives its recorded result and is not made again. Where the record has no answer the step
halts, and that point is the *gap*: up to there the comparison is exact, after it the record says nothing.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from turnout.core import entries as e
from turnout.core.amounts import NOTHING, Amount
from turnout.core.effects import slot
from turnout.core.fold import apply
from turnout.core.graph import Graph
from turnout.core.verdict import ACTIONS, ALLOW, DENY, Question, Spent, Verdict, because
from turnout.core.view import ThreadView
from turnout.errors import CallRefused, UsageError
from turnout.ports.clock import Timer
from turnout.ports.policy import Policy
from turnout.ports.store import Store
from turnout.runtime.calls import raised
from turnout.runtime.journal import Journal
from turnout.runtime.loop import Driver
from turnout.runtime.reading import entries_of
from turnout.runtime.step import Ask, Frontier, Paused, Scope
from turnout.runtime.verdicts import decided, declared_of, edited_to, question_of, refused_by


@dataclass(frozen=True)
class Path:
    """What a thread did: steps in order, decisions, how its last run ended, and its state."""

    steps: list[str]
    decisions: list[str]
    status: str
    state: dict[str, Any]

    def sorted(self) -> tuple[list[str], list[str], str, dict[str, Any]]:
        """The same whatever the order in which parallel branches came through."""
        return sorted(self.steps), sorted(self.decisions), self.status, self.state


@dataclass(frozen=True)
class Stopped:
    """A call on record that the other policy stops: it denies it, or wants a person to approve it and none has."""

    step: str
    question: Question
    verdict: Verdict


@dataclass(frozen=True)
class WhatIf:
    """`before` is the record, `after` what the other version does. `gap` is where the record no longer answers.
    `stopped` are the calls that the other policy, if one was given, doesn't let pass as they are on record."""

    thread: str
    before: Path
    after: Path
    gap: e.Divergence | None
    answered: int
    unused: list[str] = field(default_factory=list)
    stopped: list[Stopped] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Did the other version do just the same? (The order in which parallel branches came through is no difference.)"""
        return self.gap is None and not self.stopped and self.before.sorted() == self.after.sorted()

    @property
    def changed_fields(self) -> dict[str, tuple[Any, Any]]:
        """Fields of the final state that differ: (before, after)."""
        names = dict.fromkeys([*self.before.state, *self.after.state])
        pairs = {name: (self.before.state.get(name), self.after.state.get(name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@dataclass(frozen=True)
class _Answer:
    node: str
    name: str
    result: Any
    error: e.ErrorInfo | None
    waiting: bool = False
    taint: tuple[str, ...] = ()
    spent: Amount = NOTHING


class Recorded:
    """A `perform` that answers from all that a thread has on record. With a `policy` that has its say on each call
    before; `journal` is then the one of the run."""

    def __init__(self, entries: list[e.Entry], policy: Policy | None = None) -> None:
        self.stopped: list[Stopped] = []
        self.journal: Journal | None = None
        self._policy = policy
        self._approved, self._rejected = _approved(entries), _rejected(entries)
        self.gap: e.Divergence | None = None
        self.answered = 0
        self.waits = False  # it came to where the record itself still waits
        self._by_node: dict[tuple[str, str], deque[_Answer]] = defaultdict(deque)
        self._by_content: dict[str, deque[_Answer]] = defaultdict(deque)
        self._used: set[int] = set()
        self._all: list[_Answer] = []
        self._spent: dict[int, Amount] = defaultdict(Amount)  # by run, as it was when these calls were made
        for key, answer in _answers(entries):
            self._by_node[(answer.node, key)].append(answer)
            self._by_content[key].append(answer)
            self._all.append(answer)

    async def __call__(self, scope: Scope, ask: Ask) -> Any:
        if ask.effect is not None:
            return ask.effect.result
        answer = self._next(self._by_node[(scope.node.name, ask.key)]) or self._next(
            self._by_content[ask.key]
        )
        if answer is None:
            if self.gap is None:
                self.gap = e.Divergence(f"step {scope.step.id}", "an effect on record", ask.request.text)
            raise scope.stop(Frontier(ask.request))
        self._used.add(id(answer))
        if (
            self._judge(scope, ask, answer.error)
            and answer.error is not None
            and answer.error.type == CallRefused.__name__
        ):
            self.gap = self.gap or e.Divergence(
                f"step {scope.step.id}",
                "a refusal, as on record",
                f"{ask.request.text}, which would be sent now",
            )
            raise scope.stop(Frontier(ask.request))
        if answer.waiting:
            self.waits = True
            raise scope.stop(Paused())
        self.answered += 1
        self._spent[scope.run] += answer.spent
        scope.exposure.meet(answer.taint)
        if answer.error is not None:
            raise raised(ask.request.kind, ask.request.name, answer.error)
        return answer.result

    def _judge(self, scope: Scope, ask: Ask, on_record: e.ErrorInfo | None) -> bool:
        """Stop the call where the policy does: False when it isn't asked, or refuses it just as `on_record`, True when it lets
        it pass. A person's word that is on record counts for the review that it wants."""
        declared = declared_of(scope, ask)
        if self.journal is None or ask.request.kind not in ACTIONS or (self._policy is None and not declared):
            return False
        args = self._approved.get(ask.key)
        if args is not None:
            ask = edited_to(ask, args)
        spent = self._spent[scope.run]
        question = msgspec.structs.replace(
            question_of(self.journal.view, scope, ask, self.journal.clock.now()),
            spent=Spent(spent.micros, spent.tokens, spent.calls),
        )
        verdict = decided(self._policy, question)
        if verdict.decision == ALLOW or (verdict.decision != DENY and args is not None):
            return True
        if verdict.decision != DENY and ask.key in self._rejected:
            return False
        info = e.ErrorInfo(CallRefused.__name__, f"{refused_by(verdict)}: {because(verdict)}")
        if verdict.decision == DENY and info == on_record:
            return False
        found = Stopped(scope.step.id, question, verdict)
        if found not in self.stopped:
            self.stopped.append(found)
        if verdict.decision != DENY:
            self.waits = True
            raise scope.stop(Paused())
        raise raised(ask.request.kind, ask.request.name, info)

    def unused(self) -> list[str]:
        """What was on record and was not asked for."""
        return [f"{a.node}: {a.name}" for a in self._all if id(a) not in self._used]

    def _next(self, answers: deque[_Answer]) -> _Answer | None:
        while answers:
            answer = answers.popleft()
            if id(answer) not in self._used:
                return answer
        return None


def _approved(entries: list[e.Entry]) -> dict[str, Any]:
    """By content key: the arguments of the calls that a person has said yes to."""
    asked = {x.body.review: x.body for x in entries if isinstance(x.body, e.ReviewRequested) and x.body.binds}
    yes = [
        x.body
        for x in entries
        if isinstance(x.body, e.ReviewDecided) and x.body.outcome in ("approve", "edit")
    ]
    return {asked[said.review].key: said.payload for said in yes if said.review in asked}


def _rejected(entries: list[e.Entry]) -> set[str]:
    """The content keys of the calls that a person has said no to."""
    asked = {x.body.review: x.body for x in entries if isinstance(x.body, e.ReviewRequested) and x.body.binds}
    no = [x.body for x in entries if isinstance(x.body, e.ReviewDecided) and x.body.outcome == "reject"]
    return {asked[said.review].key for said in no if said.review in asked}


def _answers(entries: list[e.Entry]) -> list[tuple[str, _Answer]]:
    """Every answered effect of a journal, in the order of the asking."""
    view = ThreadView(thread=entries[0].thread if entries else "")
    found: dict[tuple[int, str, str], tuple[str, _Answer]] = {}
    spent: dict[tuple[int, str, str], Amount] = defaultdict(Amount)
    for entry in entries:
        _apply(view, entry, spent)
        for step in view.run.steps.values() if view.run else ():
            if step.undoes is not None:  # what a run that is made up has written there is nothing to undo of
                continue
            for effect in step.effects.values():
                if effect.status in ("done", "failed"):
                    where = (
                        view.run.number if view.run else 0,
                        step.id,
                        f"{step.attempt}.{slot(effect.key, effect.n)}",
                    )
                    label = f"{effect.kind} {effect.name}".strip()
                    answer = _Answer(
                        step.node,
                        label,
                        effect.result,
                        effect.error,
                        taint=tuple(effect.taint),
                        spent=spent[where],
                    )
                    found[where] = (effect.key, answer)
    for step in view.run.steps.values() if view.run else ():
        for effect in step.effects.values() if step.undoes is None else ():
            if effect.status in ("waiting", "held"):
                answer = _Answer(step.node, f"{effect.kind} {effect.name}".strip(), None, None, waiting=True)
                found[(view.run.number if view.run else 0, step.id, slot(effect.key, effect.n))] = (
                    effect.key,
                    answer,
                )
        for at in step.topups:
            answer = _Answer(step.node, "call that waits at a cap", None, None, waiting=True)
            found[(view.run.number if view.run else 0, step.id, at)] = (at.rpartition(".")[0], answer)
    return list(found.values())


def _apply(view: ThreadView, entry: e.Entry, spent: dict[tuple[int, str, str], Amount]) -> None:
    """Fold an entry, and note for which call of which attempt of a step it was spent what it says was spent."""
    run, body = view.run, entry.body
    before = run.spent if run is not None and run.number == entry.run else NOTHING
    step, at = entry.step, ""
    if isinstance(body, e.BudgetSettled) and run is not None:  # at a run's end it is no step's entry
        held = run.reserved.get(str(body.spent.reserved))
        step, at = (held.step, held.slot) if held is not None else ("", "")
    elif isinstance(body, e.ModelAttempted | e.EffectRecorded | e.EffectIntended | e.EffectSettled):
        at = slot(body.key, body.n)
    apply(view, entry)
    found = view.run.steps.get(step) if view.run is not None else None
    if at and found is not None and view.run is not None and view.run.spent != before:
        spent[(entry.run, step, f"{found.attempt}.{at}")] += view.run.spent - before


class _StillClock:
    """The time of the record: it stands still, so that no timer fires that the record doesn't have."""

    def __init__(self, moment: e.Micros) -> None:
        self.moment = moment

    def now(self) -> e.Micros:
        return self.moment

    def call_at(self, moment: e.Micros, do: Any) -> Timer:
        return _NoTimer()


class _NoTimer:
    def cancel(self) -> None:
        """Nothing to take back."""


async def whatif(
    graph: Graph, thread: str, entries: list[e.Entry], store: Store, policy: Policy | None = None
) -> WhatIf:
    """Run the inputs in `entries` again under `graph`, on `store`, which must be empty (it is scratch paper), and under
    `policy`, if there is one. Without one the verdicts on record stand."""
    inputs = [entry for entry in entries if isinstance(entry.body, e.InputReceived)]
    if not inputs:
        raise UsageError(f"thread {thread!r} has no input on record to run again")
    recorded = Recorded(entries, policy)
    clock = _StillClock(inputs[0].at)
    journal = recorded.journal = Journal(store, clock, ThreadView(thread=thread), 0)

    async def drive() -> None:
        await Driver(journal, graph, recorded, clock).drive()
        while recorded.gap is None and (retry_at := _next_retry(journal.view, clock.moment)):
            clock.moment = retry_at
            await Driver(journal, graph, recorded, clock).drive()

    async def delayed(upto: e.Micros) -> None:
        """Run the delayed inputs whose time has come by `upto`."""
        while recorded.gap is None and (starts := _next_start(journal.view, upto)):
            clock.moment = max(clock.moment, starts)
            await drive()

    for entry in inputs:
        await delayed(entry.at)
        if recorded.gap is not None:
            break
        journal.stage([e.Draft(journal.view.runs + 1, "", entry.body)])
        await journal.commit()
        await drive()
    await delayed(entries[-1].at)
    after = path_of(await entries_of(store, await store.read(thread)))
    if recorded.waits and after.status == "running":
        after = replace(after, status="waiting")
    return WhatIf(
        thread, path_of(entries), after, recorded.gap, recorded.answered, recorded.unused(), recorded.stopped
    )  # fmt: skip


def _next_retry(view: ThreadView, now: e.Micros) -> e.Micros | None:
    """When the next failed step is to be tried again: here, at once."""
    steps = view.run.steps.values() if view.run else ()
    return min((step.retry_at for step in steps if step.retry_at and step.retry_at > now), default=None)


def _next_start(view: ThreadView, upto: e.Micros) -> e.Micros | None:
    """When the next delayed input starts, if that is by `upto`, and if no run is in its way."""
    times = [queued.at for queued in view.queue if queued.at is not None] if view.run is None else []
    return min((at for at in times if at <= upto), default=None)


def path_of(entries: list[e.Entry]) -> Path:
    """What a journal's thread did."""
    view = ThreadView(thread=entries[0].thread if entries else "")
    steps, decisions = [], []
    for entry in entries:
        apply(view, entry)
        if entry.kind == "step.finished":
            steps.append(entry.step)
        elif isinstance(entry.body, e.Decision):
            body = entry.body
            decisions.append(f"{body.after or 'start'} -> {body.target} ({body.rule})")
    return Path(steps, decisions, view.status, view.state)
