"""What lists and look-ups hand out, as data: threads, runs, entries, graphs, workers. Times are UTC.

CLI, API and its client use the same ones: `turnout.service.report.as_data` makes plain JSON of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from turnout.core.entries import BODIES, Divergence, Entry, ErrorInfo, WriteKnown
from turnout.core.graph import Graph
from turnout.ports.clock import at as moment
from turnout.ports.guard import Guard
from turnout.ports.rows import RunRow, ThreadRow
from turnout.runtime.replay import Replayed
from turnout.runtime.whatif import Path, Stopped, WhatIf
from turnout.service.outcome import Cancelled, Failed, Finished, Outcome, Paused, Review, Run
from turnout.service.proof import InFlight, Verified
from turnout.service.report import as_data


@dataclass(frozen=True)
class ThreadItem:
    """A thread in a list. `entries` is how many it has, and `digest` (hex) that of the last one. `owner` is the worker that
    holds it until `lease_until`, `wake_at` when somebody is to look at it next. `parent` and `parent_entry` are those of
    a fork."""

    thread: str
    graph: str
    fingerprint: str
    status: str
    run: int
    entries: int
    owner: str
    wake_at: datetime | None
    created_at: datetime
    updated_at: datetime
    parent: str | None
    parent_entry: int | None
    tenant: str
    priority: int
    tries: int
    aside: str
    digest: str
    epoch: int
    lease_until: datetime | None


@dataclass(frozen=True)
class RunItem:
    """A run in a list. `status`: queued, running, finished, failed or cancelled."""

    thread: str
    run: int
    graph: str
    status: str
    started_at: datetime
    ended_at: datetime | None
    error: str


@dataclass(frozen=True)
class EntryItem:
    """An entry of a journal. `thread` is the parent's name for the entries that a fork shares; `body` what it says."""

    thread: str
    seq: int
    kind: str
    run: int
    step: str
    at: datetime
    epoch: int
    digest: str
    body: dict[str, Any]


@dataclass(frozen=True)
class OutcomeItem:
    """How a run stands. `status`: finished, paused, failed, cancelled, or running while none of these."""

    status: str
    state: dict[str, Any] | None = None
    reviews: tuple[Review, ...] = ()
    signals: tuple[str, ...] = ()
    divergence: Divergence | None = None
    aside: str = ""
    error: ErrorInfo | None = None
    by: str = ""
    reason: str = ""
    writes: tuple[WriteKnown, ...] = ()


@dataclass(frozen=True)
class RunState:
    """A run, and how it stands. `new` is False when an idempotency key found an older one."""

    thread: str
    run: int
    graph: str
    new: bool
    outcome: OutcomeItem


@dataclass(frozen=True)
class RunRef:
    """Which run it is. `new` is False when an idempotency key found an older one."""

    thread: str
    run: int
    new: bool


@dataclass(frozen=True)
class Done:
    """Whether anything was done: False, when it had been before."""

    done: bool


@dataclass(frozen=True)
class RouteItem:
    """Where a route may lead: the rule's label ("" for an edge) and the target, a node or END."""

    label: str
    target: str


@dataclass(frozen=True)
class NodeItem:
    """A node and the routes after it. `tools` are those that it may call."""

    name: str
    tools: tuple[str, ...]
    routes: tuple[RouteItem, ...]


@dataclass(frozen=True)
class ToolItem:
    """A tool that a graph may use. `effect`: pure, read or write."""

    name: str
    effect: str


@dataclass(frozen=True)
class GraphItem:
    """A graph of the code at hand. `state` is the JSON schema of its state, `entry` the node that a run begins with."""

    name: str
    fingerprint: str
    entry: str
    nodes: tuple[NodeItem, ...]
    tools: tuple[ToolItem, ...]
    state: dict[str, Any]


@dataclass(frozen=True)
class HeldItem:
    """A thread that a worker holds, and until when."""

    thread: str
    graph: str
    lease_until: datetime


@dataclass(frozen=True)
class WorkerItem:
    """A worker that holds threads. One that holds none isn't known to the store."""

    name: str
    threads: tuple[HeldItem, ...]


@dataclass(frozen=True)
class ReplayItem:
    """What a replay found: the entries that were made again identically, and where the first one differs."""

    thread: str
    identical: bool
    entries: int
    effects: int
    divergence: Divergence | None
    recorded: tuple[str, ...]
    fingerprint: str
    state: dict[str, Any]


@dataclass(frozen=True)
class PathItem:
    """What a thread did: steps, decisions, how its last run ended, and its state."""

    steps: tuple[str, ...]
    decisions: tuple[str, ...]
    status: str
    state: dict[str, Any]


@dataclass(frozen=True)
class WhatIfItem:
    """`before` is the record, `after` what the other version does, `gap` where the record no longer answers. `stopped` are
    the calls that the other policy doesn't let pass. `changed_fields` are those of the final state that differ: before and after."""

    thread: str
    same: bool
    before: PathItem
    after: PathItem
    gap: Divergence | None
    answered: int
    unused: tuple[str, ...]
    stopped: tuple[Stopped, ...]
    changed_fields: dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class VerifiedItem:
    """What `verify` found. `newer` counts the entries that came after the head that was given."""

    ok: bool
    threads: int
    entries: int
    values: int
    heads: int
    newer: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class InFlightItem:
    """Would the code at hand adopt this thread's unfinished run?"""

    thread: str
    graph: str
    before: str
    now: str
    adopted: bool
    divergence: Divergence | None
    proof: tuple[str, ...]


@dataclass(frozen=True)
class GuardItem:
    """A guardrail. `looks_for` in words; `where` is input, output; empty `names`, `graphs`, `nodes` mean all."""

    name: str
    looks_for: str
    action: str
    where: tuple[str, ...]
    kinds: tuple[str, ...]
    names: tuple[str, ...]
    graphs: tuple[str, ...]
    nodes: tuple[str, ...]
    roles: tuple[str, ...]
    secret: bool


@dataclass(frozen=True)
class Me:
    """A caller. `review_roles` null: any that is named; `tenant` null: all; `how` is put on record with decisions."""

    who: str
    roles: tuple[str, ...]
    review_roles: tuple[str, ...] | None
    tenant: str | None
    how: str
    rights: tuple[str, ...]


@dataclass(frozen=True)
class Opened:
    """A session that was begun. `csrf` goes with every request that changes something."""

    me: Me
    csrf: str
    expires_at: datetime


def thread_item(row: ThreadRow) -> ThreadItem:
    """A thread from its row."""
    return ThreadItem(
        thread=row.thread, graph=row.graph, fingerprint=row.fingerprint, status=row.status, run=row.run, entries=row.head,
        owner=row.owner, wake_at=moment(row.wake_at) if row.wake_at is not None else None,
        created_at=moment(row.created_at), updated_at=moment(row.updated_at), parent=row.base_thread,
        parent_entry=row.base_seq if row.base_thread else None, tenant=row.tenant, priority=row.priority, tries=row.tries,
        aside=row.aside, digest=row.digest.hex(), epoch=row.epoch,
        lease_until=moment(row.lease_until) if row.lease_until else None,
    )  # fmt: skip


def run_item(row: RunRow) -> RunItem:
    """A run from its row."""
    ended = moment(row.ended_at) if row.ended_at is not None else None
    return RunItem(row.thread, row.run, row.graph, row.status, moment(row.started_at), ended, row.error)


def entry_item(entry: Entry) -> EntryItem:
    """An entry that was read whole."""
    return EntryItem(
        entry.thread, entry.seq, entry.kind, entry.run, entry.step, moment(entry.at), entry.epoch, entry.digest.hex(),
        as_data(entry.body),
    )  # fmt: skip


def run_state(run: Run, graph: str, outcome: Outcome | None) -> RunState:
    """How a run stands; None: it is still going."""
    return RunState(run.thread, run.number, graph, run.new, _outcome(outcome))


def _outcome(outcome: Outcome | None) -> OutcomeItem:
    match outcome:
        case Finished(state):
            return OutcomeItem("finished", state.model_dump(mode="json"))
        case Failed(error, state, writes):
            plain = state.model_dump(mode="json") if state is not None else None
            return OutcomeItem("failed", plain, error=error, writes=tuple(writes))
        case Cancelled(by, reason, writes):
            return OutcomeItem("cancelled", by=by, reason=reason, writes=tuple(writes))
        case Paused(reviews, signals, divergence, aside):
            return OutcomeItem(
                "paused", reviews=tuple(reviews), signals=tuple(signals), divergence=divergence, aside=aside
            )
        case None:
            return OutcomeItem("running")


def graph_item(graph: Graph) -> GraphItem:
    """A graph as it is declared."""
    nodes = tuple(
        NodeItem(
            name, tuple(sorted(node.tools)), tuple(RouteItem(label, to) for label, to in graph.after(name))
        )
        for name, node in graph.nodes.items()
    )
    tools = tuple(ToolItem(tool.name, tool.effect) for tool in graph.tools.values())
    return GraphItem(
        graph.name, graph.fingerprint, graph.entry, nodes, tools, graph.schema.model.model_json_schema()
    )


def guard_item(guard: Guard) -> GuardItem:
    """A guardrail as it is declared."""
    return GuardItem(
        guard.name, guard.about, guard.action, tuple(sorted(guard.where)), tuple(sorted(guard.kinds)), guard.names,
        guard.graphs, guard.nodes, guard.roles, guard.secret,
    )  # fmt: skip


def replay_item(found: Replayed) -> ReplayItem:
    """A replay, without the view."""
    return ReplayItem(
        found.thread, found.identical, found.entries, found.effects, found.divergence, found.recorded, found.fingerprint,
        found.view.state,
    )  # fmt: skip


def whatif_item(found: WhatIf) -> WhatIfItem:
    """A what-if."""
    return WhatIfItem(
        found.thread, found.same, _path(found.before), _path(found.after), found.gap, found.answered,
        tuple(found.unused), tuple(found.stopped), dict(found.changed_fields),
    )  # fmt: skip


def _path(path: Path) -> PathItem:
    return PathItem(tuple(path.steps), tuple(path.decisions), path.status, path.state)


def verified_item(found: Verified) -> VerifiedItem:
    """What `verify` found."""
    return VerifiedItem(
        found.ok, found.threads, found.entries, found.values, found.heads, found.newer, tuple(found.problems)
    )


def in_flight_item(found: InFlight) -> InFlightItem:
    """An unfinished run, and whether it would be adopted."""
    return InFlightItem(
        found.thread,
        found.graph,
        found.before,
        found.now,
        found.adopted,
        found.divergence,
        tuple(found.proof),
    )


def worker_items(rows: Sequence[ThreadRow]) -> list[WorkerItem]:
    """The workers that hold these threads, in the order of their names."""
    held: Mapping[str, list[HeldItem]] = {row.owner: [] for row in sorted(rows, key=lambda row: row.owner)}
    for row in rows:
        held[row.owner].append(HeldItem(row.thread, row.graph, moment(row.lease_until)))
    return [WorkerItem(name, tuple(threads)) for name, threads in held.items()]


KINDS = tuple(BODIES)
"""What kinds of entries there are."""
