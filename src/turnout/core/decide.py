"""What comes next on a thread: a pure function of graph, view and time.

`decide` returns entries to append (`Start`, `Advance`, `Finish`, `Fail`), or the steps to run (`Resume`), or says
that there is nothing to do before something arrives (`Park`). The shell does what it says, applies the entries to
the view, and asks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from turnout.core import canon, reviews, taint
from turnout.core import entries as e
from turnout.core.amounts import Spent
from turnout.core.compensation import next_started
from turnout.core.function_route import FunctionRoute
from turnout.core.graph import Graph
from turnout.core.messages import recorded
from turnout.core.reducers import Delta, Doc
from turnout.core.state import Hydration, StateSchema
from turnout.core.taint import Labels
from turnout.core.view import END, BranchView, Queued, RunView, StepView, ThreadView
from turnout.errors import InputInvalid, RunTimeout, StepLimit, TurnoutError

RUNNING = -1
"""In `held`: the step is being run at this moment."""
SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Start:
    """A queued input becomes a run."""

    drafts: list[e.Draft]


@dataclass(frozen=True, slots=True)
class Advance:
    """Routes were taken, branches joined, timers fired."""

    drafts: list[e.Draft]


@dataclass(frozen=True, slots=True)
class Resume:
    """Run these steps. `ending` says that the run is being cancelled or has failed: steps are to clean up and stop."""

    steps: list[StepView]
    wake_at: e.Micros | None
    ending: bool = False


@dataclass(frozen=True, slots=True)
class Park:
    """Nothing to do before `wake_at` (None: before something arrives)."""

    wake_at: e.Micros | None


@dataclass(frozen=True, slots=True)
class Finish:
    drafts: list[e.Draft]


@dataclass(frozen=True, slots=True)
class Fail:
    drafts: list[e.Draft]


Decided = Start | Advance | Resume | Park | Finish | Fail


@dataclass
class Memory:
    """Typed values kept between steps, per schema and branch. A cache: dropping it changes nothing."""

    _kept: dict[tuple[int, str], Hydration] = field(default_factory=dict)
    _spare: dict[tuple[int, str], tuple[Doc, BaseModel]] = field(default_factory=dict)

    def model(self, schema: StateSchema, path: str, doc: Doc) -> BaseModel:
        """The state as `schema` has it, for the branch at `path`: the caller's own, to do with as it likes."""
        spare = self._spare.pop((id(schema), path), None)
        if spare is not None and spare[0] is doc:
            return spare[1]
        kept = self._kept.get((id(schema), path))
        if kept is None:
            kept = self._kept[(id(schema), path)] = Hydration()
        return schema.hydrate(doc, kept)

    def reading(self, schema: StateSchema, path: str, doc: Doc) -> BaseModel:
        """The same for a reader that is known not to change it: the next `model` of this state hands it on."""
        model = self.model(schema, path, doc)
        self._spare[(id(schema), path)] = (doc, model)
        return model

    def forget(self, branches: Iterable[str]) -> None:
        """These branches have been joined, and all that branched off them."""
        gone = set(branches)
        for kept in (self._kept, self._spare):
            for key in [key for key in kept if not gone.isdisjoint(_above(key[1]))]:
                del kept[key]


def _above(path: str) -> list[str]:
    """A branch's path, and those of the branches that it branched off."""
    parts = path.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


Due = frozenset[tuple[str, e.Micros]]
NOTHING_TRIED: Mapping[str, Due] = {}


def due(step: StepView, now: e.Micros) -> Due:
    """The writes of unknown outcome that are to be looked into again by now: their slots, and since when."""
    found = (
        (at, x.due_at) for at, x in step.effects.items() if x.status == "unknown" and x.due_at is not None
    )
    return frozenset((at, since) for at, since in found if since <= now)


def decide(
    graph: Graph, view: ThreadView, now: e.Micros, held: Mapping[str, int], memory: Memory,
    tried: Mapping[str, Due] = NOTHING_TRIED,
) -> Decided:  # fmt: skip
    """What comes next. `held` maps steps that the shell runs now to RUNNING, and steps that rest in this process to
    the progress they had when they last ran; other open steps are to be run. `tried` is what was due when a step was
    last run: if it is due still, the step didn't get to asking for it, and wouldn't now."""
    run = view.run
    if run is None:
        return _start(graph, view, now) if view.queue else Park(None)
    if run.divergence is not None and run.cancel is None:
        return Park(None)
    if run.cancel is not None or run.failing is not None:
        return _end(view, run, now, held, tried)
    if run.deadline is not None and now >= run.deadline:
        return _failing(run, RunTimeout(f"the run took longer than its {graph.time_limit:g} s; pauses count"))
    drafts = _arrivals(view, run, now)
    if drafts:
        return Advance(drafts)
    for branch in run.branches.values():
        try:
            drafts += _routed(graph, view, run, branch, memory, planned=sum(_steps(d.body) for d in drafts))
        except TurnoutError as error:
            return _failing(run, error)
    if drafts:
        return Advance(drafts)
    if run.branches[""].phase == "arrived":
        return Finish([*_released(run), e.Draft(run.number, "", e.RunFinished())])
    steps = [step for step in run.steps.values() if _runnable(step, now, held, tried)]
    if steps:
        return Resume(steps, _wake_at(view, run, now))
    return Park(_wake_at(view, run, now))


def error_info(error: BaseException, where: str = "") -> e.ErrorInfo:
    """An error as the journal has it."""
    return e.ErrorInfo(type=type(error).__name__, message=canon.text(str(error)), where=where)


def _start(graph: Graph, view: ThreadView, now: e.Micros) -> Start | Park:
    """The first input in the queue whose time has come becomes a run."""
    queued = next((q for q in view.queue if q.at is None or q.at <= now or q.cancel is not None), None)
    if queued is None:
        return Park(min(q.at for q in view.queue if q.at is not None))
    if queued.cancel is not None:
        body: e.Body = e.RunCancelled(by=queued.cancel.by, reason=queued.cancel.reason)
        return Start([e.Draft(queued.run, "", body)])
    try:
        delta = first_delta(graph, view, queued)
    except TurnoutError as error:
        return Start([e.Draft(queued.run, "", e.RunFailed(error=error_info(error)))])
    deadline = now + int(graph.time_limit * SECOND) if graph.time_limit else None
    labels = first_labels(graph, view, queued, delta)
    started = e.RunStarted(
        graph=graph.name, fingerprint=graph.fingerprint, delta=delta, deadline=deadline, taint=labels
    )
    return Start([e.Draft(queued.run, "", started)])


def first_delta(graph: Graph, view: ThreadView, queued: Queued) -> Delta:
    """What an input does to the thread's state. The first one makes it; later ones go through the reducers.

    Raises `InputInvalid` or `StateInvalid`.
    """
    if not view.started:
        with recorded():
            return {"set": graph.schema.first(queued.input)}
    carried = carry(graph, view.state)
    doc = {**view.state, **carried.get("set", {})}
    with recorded():
        delta = graph.schema.delta(doc, queued.input, "the input", InputInvalid)
    for operation, fields in carried.items():
        delta[operation] = {**fields, **delta.get(operation, {})}
    return delta


def first_labels(graph: Graph, view: ThreadView, queued: Queued, delta: Delta) -> Labels:
    """The labels of what an input's delta holds, by field: what it gives, and what is carried over."""
    given = taint.of_input(queued.input, queued.taint, graph.untrusted)
    if not view.started:
        names = [name for fields in delta.values() for name in fields]
        return taint.carried(given, names, whole=True) if graph.schema.mixes else given
    if not view.labels:
        return given
    others = {name for operation, fields in delta.items() for name in fields if operation != "set"}
    made = [name for name in delta.get("set", {}) if name not in queued.input or name in others]
    kept = taint.carried(view.labels, made, whole=graph.schema.mixes)
    return {name: sorted({*given.get(name, ()), *kept.get(name, ())}) for name in {**given, **kept}}


def carry_labels(graph: Graph, view: ThreadView, delta: Delta) -> Labels:
    """The labels of what `carry` has made for the state."""
    labels = view.labels
    if graph.schema.mixes:  # the branches' documents are carried by the same delta
        for branch in view.run.branches.values() if view.run else ():
            labels = {
                name: [*labels.get(name, ()), *branch.labels.get(name, ())]
                for name in {**labels, **branch.labels}
            }
    return taint.carried(labels, delta.get("set", {}), whole=graph.schema.mixes)


def carry(graph: Graph, state: Doc) -> Delta:
    """What has to change in a carried state so that it fits the graph's schema. Raises `StateInvalid`."""
    carried = graph.schema.carried(state)
    changed = {name: value for name, value in carried.items() if name not in state or state[name] != value}
    gone = {name: None for name in state if name not in carried}
    return ({"set": changed} if changed else {}) | ({"drop": gone} if gone else {})


def _end(
    view: ThreadView, run: RunView, now: e.Micros, held: Mapping[str, int], tried: Mapping[str, Due]
) -> Decided:
    """Stop what is open, undo what must not stand alone, one after the other; then say how the run ended."""
    undoing = [step for step in run.steps.values() if step.undoes is not None]
    if len(undoing) < len(run.steps):
        stopping = [s for s in run.steps.values() if s.undoes is None and held.get(s.id) != RUNNING]
        return Resume(stopping, None, ending=True)
    if undoing:
        drafts = _arrivals(view, run, now)
        if drafts:
            return Advance(drafts)
        wake_at = _wake_at(view, run, now, whole=False)
        runnable = [step for step in undoing if _runnable(step, now, held, tried)]
        return Resume(runnable, wake_at) if runnable and run.divergence is None else Park(wake_at)
    undo = next_started(run)
    if undo is not None:
        return Advance([undo])
    if run.failing is not None:
        failed = e.RunFailed(error=run.failing, writes=run.writes)
        return Fail([*_released(run), e.Draft(run.number, "", failed)])
    assert run.cancel is not None
    body = e.RunCancelled(by=run.cancel.by, reason=run.cancel.reason, writes=run.writes)
    return Finish([*_released(run), e.Draft(run.number, "", body)])


def _released(run: RunView) -> list[e.Draft]:
    """What is still reserved when a run ends was for calls that were cut off: nobody will say what they cost."""
    return [
        e.Draft(run.number, "", e.BudgetSettled(spent=Spent(amount=x.amount, reserved=x.seq, assumed=True)))
        for x in run.reserved.values()
    ]


def _failing(run: RunView, error: TurnoutError) -> Fail:
    """The run can't go on. Open steps are stopped first."""
    body = (
        e.RunFailing(error=error_info(error))
        if run.steps or run.landings
        else e.RunFailed(error=error_info(error), writes=run.writes)
    )
    return Fail([*([] if run.steps or run.landings else _released(run)), e.Draft(run.number, "", body)])


def _arrivals(view: ThreadView, run: RunView, now: e.Micros) -> list[e.Draft]:
    """Timers whose time has come, and reviews that nobody decided in time."""
    drafts = []
    for step in run.steps.values():
        due = [
            x
            for x in step.effects.values()
            if x.kind == "sleep" and x.status == "waiting" and (x.due_at or 0) <= now
        ]
        drafts += [e.Draft(run.number, step.id, e.TimerFired(key=x.key, n=x.n)) for x in due]
    for review in view.reviews.values():
        if reviews.overdue(review, now):
            body = e.ReviewLapsed(review=review.id, action=review.on_due, roles=review.escalate_to)
            drafts.append(e.Draft(run.number, review.step, body))
    return drafts


def _routed(
    graph: Graph, view: ThreadView, run: RunView, branch: BranchView, memory: Memory, planned: int
) -> list[e.Draft]:
    """The entries that take one branch on, if it is time to. `planned` steps of other branches come first."""
    if branch.phase == "split":
        if any(run.branches[path].phase != "arrived" for path in branch.children):
            return []
        parts = [(f"branch {path} ({_nodes(run.branches[path])})", [d for _, d in run.branches[path].deltas])
                 for path in branch.children]  # fmt: skip
        delta = graph.schema.join(view.doc(branch.path), parts)
        memory.forget(branch.children)
        return [e.Draft(run.number, "", e.BranchesJoined(branch=branch.path, delta=delta))]
    if branch.phase not in ("start", "route", "join"):
        return []
    decision = decision_of(graph, view, branch, memory)
    if run.steps_taken + planned + _steps(decision) > graph.step_limit:
        raise StepLimit(
            f"the run would take more than its {graph.step_limit} steps, going to {decision.target!r}; "
            f"is a loop without an end? Else raise Graph(step_limit=...)"
        )
    return [e.Draft(run.number, branch.step, decision)]


def _steps(body: e.Body) -> int:
    """How many steps a decision begins."""
    if not isinstance(body, e.Decision) or body.target == END or body.target.endswith("/END"):
        return 0
    if body.split is None:
        return 1
    return len(body.split.items) if body.split.join is None else len(body.split.nodes)


def decision_of(graph: Graph, view: ThreadView, branch: BranchView, memory: Memory) -> e.Decision:
    """The decision that comes next on `branch`. Raises `RouteFailed`."""
    if branch.phase == "start":
        return e.Decision(graph=graph.label, branch=branch.path, target=graph.entry, rule="start")
    if branch.phase == "join":
        return e.Decision(graph=graph.label, branch=branch.path, target=branch.at, rule="join")
    if branch.fan_out is not None:
        fan = branch.fan_out
        split = e.Split(nodes=[fan.node], items=fan.items)
        return e.Decision(
            graph=graph.label, branch=branch.path, after=branch.step, target=f"{fan.node} x{len(fan.items)}",
            rule="fan_out", split=split, taint=branch.taint,
        )  # fmt: skip
    placed = graph.routes[branch.at]
    # A rule table only reads; a function is the user's, and might change what it is given.
    look = memory.model if isinstance(placed.route, FunctionRoute) else memory.reading
    state = look(placed.schema, branch.path, view.doc(branch.path))
    choice, target, split_ = graph.choose(branch.at, state)
    return e.Decision(
        graph=graph.label, branch=branch.path, after=branch.step, target=target, rule=choice.rule, why=choice.text,
        reads=canon.plain(choice.reads, "the values that a route read"), others=list(choice.alternatives), split=split_,
        taint=taint.of_reads(view.labels_of(branch.path), choice.reads),
    )  # fmt: skip


def _nodes(branch: BranchView) -> str:
    return ", ".join(dict.fromkeys(node for node, _ in branch.deltas)) or "nothing"


def _runnable(step: StepView, now: e.Micros, held: Mapping[str, int], tried: Mapping[str, Due]) -> bool:
    if step.retry_at is not None and step.retry_at > now:
        return False
    progress = held.get(step.id)
    if progress is None:
        return True
    if progress == RUNNING:
        return False
    return step.progress > progress or bool(due(step, now) - tried.get(step.id, frozenset()))


def _wake_at(view: ThreadView, run: RunView, now: e.Micros, *, whole: bool = True) -> e.Micros | None:
    """The earliest time to come at which something is due without anybody's help. (What is due now has its step
    running: to look again at once, and again, would do nothing but keep the worker busy.)"""
    times: list[Any] = [run.deadline if whole else None, *(review.due_at for review in view.reviews.values())]
    for step in run.steps.values():
        times.append(step.retry_at)
        times += [x.due_at for x in step.effects.values() if x.status in ("waiting", "unknown")]
    return min((t for t in times if t is not None and t > now), default=None)
