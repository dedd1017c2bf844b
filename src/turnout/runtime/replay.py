"""Replay and proof: run the code against the record, with nothing called.

*Replay* walks a journal and makes every entry again: what was decided by asking `decide`, what a step did by running
its function against its recorded effects. *Proof* does the same for the open steps of an unfinished run, to find out
whether this version of the code may take it over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.decide import Advance, Fail, Finish, Memory, Start, carry, carry_labels, decide
from turnout.core.effects import describe, shortened, slot
from turnout.core.fold import apply
from turnout.core.graph import Graph
from turnout.core.reducers import Delta, Doc
from turnout.core.view import StepView, ThreadView
from turnout.core.watching import watched
from turnout.errors import TurnoutError
from turnout.runtime.compensating import node_of
from turnout.runtime.context import Context, SyncContext
from turnout.runtime.loop import exposure_of, finished_body, undone_body
from turnout.runtime.record import Answered, InOrder, from_record
from turnout.runtime.step import (
    Failed,
    Finished,
    Frontier,
    Halted,
    Outcome,
    Parted,
    Perform,
    Scope,
    execute,
)


@dataclass(frozen=True)
class Replayed:
    """What a replay found. `entries` were made again identically before the first divergence, if there is one.

    `recorded` are the fingerprints that the runs were made with, `fingerprint` that of the code which replayed them.
    """

    thread: str
    entries: int
    divergence: e.Divergence | None
    view: ThreadView
    effects: int = 0
    recorded: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def identical(self) -> bool:
        return self.divergence is None


async def replay(
    graph: Graph, thread: str, entries: list[e.Entry], progress: Callable[[int], None] | None = None
) -> Replayed:
    """Make every entry of a journal again. Calls no model and no tool."""
    first = entries[0].thread if entries else thread  # of a fork: its parent's, until the entry that forks
    view, memory, effects = ThreadView(thread=first), Memory(), 0
    previous, answered = e.GENESIS, Answered()
    for done, entry in enumerate(entries):
        divergence = await _check(graph, view, entry, memory, answered)
        if divergence is None:
            envelope = (entry.thread, entry.seq, entry.kind, entry.run, entry.step, entry.at, entry.epoch)
            if e.chain(previous, envelope, entry.stored) != entry.digest:
                divergence = e.Divergence(
                    f"entry {entry.seq}", "the digest that the entry has", "another digest", entry.seq
                )
        if divergence is not None:
            return Replayed(thread, done, divergence, view, effects, _versions(entries), graph.fingerprint)
        previous = entry.digest
        effects += entry.kind.startswith("effect.")
        if isinstance(entry.body, e.EffectRecorded | e.EffectSettled):
            answered[(entry.step, slot(entry.body.key, entry.body.n))] = entry.seq
        apply(view, entry)
        if progress is not None and done % 500 == 0:
            progress(done)
    divergence = None
    if view.run is not None and view.run.divergence is None:
        divergence, _ = await prove(graph, view)
        divergence = shortened(divergence) if divergence is not None else None
    return Replayed(thread, len(entries), divergence, view, effects, _versions(entries), graph.fingerprint)


def _versions(entries: list[e.Entry]) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(x.body.fingerprint for x in entries if isinstance(x.body, e.RunStarted | e.RunAdopted))
    )


async def _check(
    graph: Graph, view: ThreadView, entry: e.Entry, memory: Memory, answered: Answered
) -> e.Divergence | None:
    """Make one entry again on the view before it; None when it comes out the same."""
    body = entry.body
    if body.decided:
        plan = decide(graph, view, entry.at, {}, memory)
        drafts = plan.drafts if isinstance(plan, Start | Advance | Finish | Fail) else []
        mine = canon.encode(body)
        same = [
            d for d in drafts if type(d.body) is type(body) and d.run == entry.run and d.step == entry.step
        ]
        if any(canon.encode(_as_version(d.body, body)) == mine for d in same):
            return None
        actual = (
            _text(same[0].body)
            if same
            else (f"{drafts[0].body.kind}: {_text(drafts[0].body)}" if drafts else "nothing to do")
        )
        return e.Divergence(f"entry {entry.seq} ({entry.kind})", _text(body), actual, entry.seq)
    if isinstance(body, e.StepFinished | e.StepFailed | e.CompensationEnded):
        found = await _check_step(graph, view, entry, memory, from_record)
        if found is not None and await _check_step(graph, view, entry, memory, InOrder(answered)) is None:
            return None
        return found
    return None


async def _check_step(
    graph: Graph, view: ThreadView, entry: e.Entry, memory: Memory, perform: Perform
) -> e.Divergence | None:
    body = entry.body
    run = view.run
    step = run.steps.get(entry.step) if run is not None else None
    where = f"step {entry.step} (entry {entry.seq})"
    if step is None or (step.undoes is None and step.node not in graph.nodes):
        return e.Divergence(
            where, f"a node for {entry.step!r}", f"graph {graph.name!r} has no such node", entry.seq
        )
    if isinstance(body, e.StepFailed) and body.error.type in ("StepTimeout", "StateMutated"):
        return None  # the world's doing, not the code's
    outcome = await _again(graph, view, step, memory, perform)
    if isinstance(outcome, Halted):
        return _halted(outcome, where, _text(body), entry.seq)
    if step.undoes is not None:
        made: e.Body = undone_body(outcome)
    elif isinstance(outcome, Finished):
        made = finished_body(graph, view.doc(step.branch), step, outcome)
    elif isinstance(outcome, Failed):
        retry_at = body.retry_at if isinstance(body, e.StepFailed) else None
        made = e.StepFailed(error=outcome.info, attempt=step.attempt, retry_at=retry_at)
    else:
        return e.Divergence(where, _text(body), "the step was cancelled", entry.seq)
    if _same(made, body):
        return None
    return e.Divergence(where, f"{body.kind}: {_text(body)}", f"{made.kind}: {_text(made)}", entry.seq)


def _as_version(made: e.Body, body: e.Body) -> e.Body:
    """`made` under the version label of `body`: what another version does is compared, not what it is called."""
    if isinstance(made, e.Decision) and isinstance(body, e.Decision):
        return msgspec.structs.replace(made, graph=body.graph)
    if isinstance(made, e.RunStarted) and isinstance(body, e.RunStarted):
        return msgspec.structs.replace(made, fingerprint=body.fingerprint)
    return made


def _same(made: e.Body, body: e.Body) -> bool:
    if isinstance(made, e.StepFailed) and isinstance(
        body, e.StepFailed
    ):  # the line may move, the error may not
        return (made.error.type, made.error.message, made.attempt) == (
            body.error.type,
            body.error.message,
            body.attempt,
        )
    return type(made) is type(body) and canon.encode(made) == canon.encode(body)


async def _again(
    graph: Graph, view: ThreadView, step: StepView, memory: Memory, perform: Perform = from_record
) -> Outcome:
    """Run a step's function against its record only."""
    run = view.run
    assert run is not None
    node = node_of(graph, step)
    exposure = exposure_of(graph, view, step)
    scope = Scope(run.number, step, node, perform, requester=run.by, exposure=exposure)
    undoing = step.undoes is not None
    state: Any = None
    if not undoing:
        state = watched(memory.model(node.schema, step.branch, view.doc(step.branch)), exposure)
    context: Any = scope if undoing else Context(scope, graph, view.thread)
    if not node.is_async:
        context = SyncContext(context, asyncio.get_running_loop())
    outcome = await execute(scope, state, context)
    if not isinstance(outcome, Finished) and not (
        isinstance(outcome, Halted) and isinstance(outcome.halt, Parted)
    ):
        left = [x for x in scope.record.unclaimed() if x.status not in ("failed", "absent")]
        if left:
            actual = (
                f"the step fails: {outcome.info.message}" if isinstance(outcome, Failed) else "the step waits"
            )
            if isinstance(outcome, Halted) and isinstance(outcome.halt, Frontier):
                actual = outcome.halt.request.text
            return Halted(Parted(e.Divergence(f"step {step.id}", describe(left[0]), actual, left[0].seq)))
    return outcome


def _halted(outcome: Halted, where: str, expected: str, seq: int) -> e.Divergence:
    halt = outcome.halt
    if isinstance(halt, Parted):
        return shortened(halt.divergence)
    actual = (
        f"asks for {halt.request.text}, which is not on record"
        if isinstance(halt, Frontier)
        else "waits for something"
    )
    return e.Divergence(where, expected, actual, seq)


async def prove(graph: Graph, view: ThreadView) -> tuple[e.Divergence | None, list[str]]:
    """May this code go on with the unfinished run? None and the proof's lines; or the first divergence.

    The carried state must validate, every open step must claim all its recorded effects and reach the point where
    the record ends, and what comes after must be known to the graph.
    """
    run = view.run
    if run is None:
        return None, []
    proof: list[str] = []
    try:
        delta = carry(graph, view.state)
        proof.append(
            "the state fits"
            if not delta
            else f"the state fits with {', '.join(f for d in delta.values() for f in d)} added or dropped"
        )
        for branch in run.branches.values():
            if branch.doc is not None and _altered(branch.doc, carry(graph, branch.doc)) != _altered(
                view.state, delta
            ):
                return e.Divergence(
                    f"the state of branch {branch.path}", "a change of schema that is the same in every branch",
                    f"what the schema of {graph.schema.name} changes depends on what the branch has written", view.seq,
                ), proof  # fmt: skip
    except TurnoutError as error:
        return e.Divergence(
            "the state", f"a state that fits {graph.schema.name}", str(error), view.seq
        ), proof
    for branch in run.branches.values():
        known = graph.routes if branch.phase == "route" else graph.nodes
        if branch.phase in ("route", "join") and branch.at not in known and branch.at != "END":
            where = f"branch {branch.path or 'main'}"
            return e.Divergence(
                where, f"node {branch.at!r}", f"graph {graph.name!r} has no such node", view.seq
            ), proof
    memory = Memory()
    for step in run.steps.values():
        if step.undoes is None and step.node not in graph.nodes:
            return e.Divergence(
                f"step {step.id}", f"node {step.node!r}", f"graph {graph.name!r} has no such node", step.seq
            ), proof
        if not step.effects:
            proof.append(f"step {step.id} has not begun")
            continue
        outcome = await _again(graph, view, step, memory)
        if isinstance(outcome, Halted) and isinstance(outcome.halt, Parted):
            return outcome.halt.divergence, proof
        proof.append(
            f"step {step.id} claims its {len(step.effects)} recorded effect(s) and reaches the same point"
        )
    return None, proof


def _altered(state: Doc, delta: Delta) -> tuple[Doc, Doc]:
    """What a change of schema does to the fields that are there. New ones get defaults, which may differ each time."""
    return {k: v for k, v in delta.get("set", {}).items() if k in state}, delta.get("drop", {})


async def take_over(graph: Graph, view: ThreadView) -> e.Body | None:
    """The entry by which this version adopts (or migrates) the active run, or says why not. None: nothing to say."""
    run = view.run
    if run is None or (run.fingerprint == graph.fingerprint and run.divergence is None):
        return None
    if run.divergence is not None and run.divergence.fingerprint == graph.fingerprint:
        return None  # said before
    divergence, proof = await prove(graph, view)
    if divergence is None:
        delta = carry(graph, view.state)
        return e.RunAdopted(
            before=run.fingerprint, fingerprint=graph.fingerprint, proof=proof, delta=delta,
            taint=carry_labels(graph, view, delta),
        )  # fmt: skip
    migrated = _migrate(graph, view)
    return migrated or e.RunDiverged(divergence=divergence, fingerprint=graph.fingerprint)


def _migrate(graph: Graph, view: ThreadView) -> e.Body | None:
    """A declared migration, if one fits: open steps start again, unless one of them has written something."""
    run = view.run
    assert run is not None
    declared = next((m for m in graph.migrations if run.fingerprint.startswith(m.before)), None)
    if declared is None or any(x.write for step in run.steps.values() for x in step.effects.values()):
        return None
    nodes = {step.node: declared.nodes.get(step.node, step.node) for step in run.steps.values()}
    try:
        state = graph.schema.carried(declared.state(dict(view.state)) if declared.state else view.state)
    except TurnoutError:
        return None
    if any(node not in graph.nodes for node in nodes.values()):
        return None
    for branch in run.branches.values():  # a migration says nothing of what parallel branches have written
        if branch.doc is not None and (
            state != view.state or (branch.join and branch.join not in graph.nodes)
        ):
            return None
    return e.RunMigrated(before=run.fingerprint, fingerprint=graph.fingerprint, state=state, nodes=nodes)


def _text(body: e.Body) -> str:
    text = canon.encode(body).decode()
    return text if len(text) <= 300 else text[:297] + "..."
