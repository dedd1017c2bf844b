"""Many threads at once: which there are, how they stand, who holds them, and how a graph's nodes do.

None of it reads a journal whole. Counts look at every thread's row, rates at the entries of the `SAMPLE` threads of a
graph that were made last.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from turnout.core.aside import away
from turnout.core.graph import Graph
from turnout.ports.rows import NodeRow, TallyRow, ThreadRow
from turnout.ports.store import Store
from turnout.service.pages.structure import Structure, routes_of, structure_of

SAMPLE = 200
UNFINISHED = ("running", "waiting", "diverged")


@dataclass(frozen=True)
class Wanted:
    """Which threads a list shows."""

    graph: str = ""
    status: str = ""
    search: str = ""
    tenant: str = ""
    aside: bool = False


@dataclass(frozen=True)
class ThreadPage:
    """A page of threads, those made last first. `behind` is where the next page goes on, if there may be one."""

    rows: tuple[ThreadRow, ...]
    behind: tuple[int, str] | None


async def thread_page(store: Store, wanted: Wanted, before: tuple[int, str] | None, limit: int) -> ThreadPage:
    """The threads that are wanted, from behind `before` on."""
    rows = await store.latest(
        graph=wanted.graph, status=wanted.status, search=wanted.search, tenant=wanted.tenant, aside=wanted.aside,
        before=before, limit=limit + 1,
    )  # fmt: skip
    more = len(rows) > limit
    shown = tuple(rows[:limit])
    return ThreadPage(shown, (shown[-1].created_at, shown[-1].thread) if more else None)


@dataclass(frozen=True)
class VersionCount:
    """A version of a graph: how many of its threads stand how, and whether it is the one at hand."""

    fingerprint: str
    at_hand: bool
    statuses: dict[str, int]

    @property
    def in_flight(self) -> int:
        """How many of its runs are not over."""
        return sum(self.statuses.get(status, 0) for status in UNFINISHED)


@dataclass(frozen=True)
class GraphCount:
    """A graph, at hand or not: its versions (that at hand first), and how its threads stand."""

    name: str
    fingerprint: str
    statuses: dict[str, int]
    aside: int
    versions: tuple[VersionCount, ...]

    @property
    def threads(self) -> int:
        """All of its threads."""
        return sum(self.statuses.values())


def graph_counts(tally: list[TallyRow], graphs: dict[str, Graph]) -> list[GraphCount]:
    """Every graph that is at hand or has threads, in the order of their names."""
    found = []
    for name in sorted({row.graph for row in tally} | graphs.keys()):
        mine = [row for row in tally if row.graph == name]
        now = graphs[name].fingerprint if name in graphs else ""
        versions = {now} if now else set()
        versions |= {row.fingerprint for row in mine if row.fingerprint}
        counted = [
            VersionCount(one, one == now, statuses([row for row in mine if row.fingerprint == one]))
            for one in versions
        ]
        counted.sort(key=lambda version: (not version.at_hand, -version.in_flight, version.fingerprint))
        aside = sum(row.threads for row in mine if row.aside)
        found.append(GraphCount(name, now, statuses(mine), aside, tuple(counted)))
    return found


def statuses(tally: list[TallyRow]) -> dict[str, int]:
    """How many threads have which status."""
    found: Counter[str] = Counter()
    for row in tally:
        found[row.status] += row.threads
    return dict(found)


@dataclass(frozen=True)
class GraphPage:
    """One graph. `structure` is None where its code isn't at hand; `rates` are of the `sample` threads made last."""

    count: GraphCount
    structure: Structure | None
    rates: tuple[NodeRow, ...]
    routes: dict[str, tuple[tuple[str, str], ...]]
    sample: int = SAMPLE


async def graph_page(store: Store, graphs: dict[str, Graph], name: str) -> GraphPage | None:
    """All about one graph. None: there is neither code nor a thread of it."""
    tally = await store.tally(graph=name)
    graph = graphs.get(name)
    if not tally and graph is None:
        return None
    [count] = graph_counts(tally, {name: graph} if graph is not None else {})
    routes = {node: routes_of(graph, node) for node in graph.nodes} if graph is not None else {}
    structure = structure_of(graph) if graph is not None else None
    return GraphPage(count, structure, tuple(await store.nodes(name, SAMPLE)), routes)


@dataclass(frozen=True)
class WorkerCount:
    """A worker, as the leases tell: the threads that it holds."""

    name: str
    held: tuple[ThreadRow, ...]


@dataclass(frozen=True)
class WorkerPage:
    """Who works, what waits for a worker, what is set aside, and what has moved to another store. The last two end
    at `limit` threads together (`more`: there are others); `due` counts up to `due_limit`, and is None for a tenant:
    workers serve all."""

    workers: tuple[WorkerCount, ...]
    due: int | None
    aside: tuple[ThreadRow, ...]
    moved: tuple[ThreadRow, ...]
    more: bool
    limit: int
    due_limit: int


async def worker_page(
    store: Store, now: int, *, whole: bool, limit: int = 200, due_limit: int = 10_000
) -> WorkerPage:
    """How it stands with the workers now. `whole`: the store is not that of a single tenant."""
    held: dict[str, list[ThreadRow]] = {}
    for row in await store.held(limit):
        held.setdefault(row.owner, []).append(row)
    rows = await store.threads(aside=True, limit=limit)
    aside = tuple(row for row in rows if not away(row.aside))
    moved = tuple(row for row in rows if away(row.aside))
    due = await store.due(now, None, due_limit, held=False) if whole else None
    workers = tuple(WorkerCount(name, tuple(rows)) for name, rows in sorted(held.items()))
    return WorkerPage(workers, due, aside, moved, len(rows) == limit, limit, due_limit)
