"""The same app for scripts: every call waits for its answer.

    from turnout import open_sync

    with open_sync("sqlite:///turnout.db", graphs=[refunds]) as app:
        outcome = app.run("refunds", {"order": "A-17"})

An event loop of its own runs on a background thread until the `with` block ends; worker, timers and store live there.
The calls may come from any thread, several at a time. In a thread that has an event loop of its own (a notebook, a
web handler) they work too, but hold that loop up while they wait: there `open_app` is the better choice. From a node
or a tool of the very same app a call would wait for itself, and is refused.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar, Unpack

from turnout.client import PATIENCE, connect
from turnout.core.budgets import Budget
from turnout.core.entries import Entry
from turnout.core.graph import Graph
from turnout.core.reviews import Judgement
from turnout.core.view import ThreadView
from turnout.errors import UsageError
from turnout.policy.text import Source
from turnout.ports.clock import Chance, Clock
from turnout.ports.guard import Guard
from turnout.ports.model import Model, Retriever
from turnout.ports.policy import Policy
from turnout.ports.rows import LimitRow, ThreadRow
from turnout.ports.store import Store
from turnout.ports.tools import ServerSeen
from turnout.runtime.replay import Replayed
from turnout.runtime.whatif import WhatIf
from turnout.runtime.worker import Drained
from turnout.service.app import App
from turnout.service.budgets import BudgetReport, Cost
from turnout.service.items import GuardItem, RunState, WorkerItem
from turnout.service.moving.house import ExportOptions, File, ImportOptions
from turnout.service.moving.progress import Exported, Imported
from turnout.service.outbox import Outgoing
from turnout.service.outcome import Outcome, Review, Run
from turnout.service.policies import Backtest, PolicyHere, PolicyReport
from turnout.service.proof import InFlight, Verified
from turnout.service.report import Report
from turnout.service.schedules import Missed, Overlap, Schedule
from turnout.service.starting import IfActive
from turnout.settings import DEFAULT_STORE, Settings
from turnout.wiring import open_app

T = TypeVar("T")


def open_sync(
    store: str | Store = DEFAULT_STORE,
    *,
    graphs: Iterable[Graph] = (),
    models: Mapping[str, Model] | None = None,
    retrievers: Mapping[str, Retriever] | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
    chance: Chance | None = None,
    work: bool = True,
    create: bool = True,
    config: str | Path | None = None,
    policy: str | Path | Policy | None = None,
    guards: Iterable[Guard] = (),
    budgets: Iterable[Budget] = (),
) -> SyncApp:
    """A blocking app on a store; the arguments and errors are those of `open_app`. Use it as a `with` block."""

    async def opened() -> App:
        return open_app(
            store, graphs=graphs, models=models, retrievers=retrievers, settings=settings, clock=clock, chance=chance,
            work=work, create=create, config=config, policy=policy, guards=guards, budgets=budgets,
        )  # fmt: skip

    return SyncApp(opened)


def connect_sync(
    url: str,
    *,
    token: str = "",
    graphs: Iterable[Graph] = (),
    patience: float = PATIENCE,
    verify: bool | str = True,
) -> SyncApp:
    """The app behind a server's address, blocking; the arguments and errors are those of `connect`.

    What only a process on the store can do (`drain`, `export_to`, `import_from`) raises `UsageError`.
    """

    async def opened() -> Any:
        return connect(url, token=token, graphs=graphs, patience=patience, verify=verify)

    return SyncApp(opened)


class SyncApp:
    """`App`, blocking. See there for what each call does and raises."""

    def __init__(self, opened: Callable[[], Coroutine[Any, Any, App]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="turnout-sync", daemon=True)
        self._thread.start()
        self._closed = False
        try:
            self._app = self._do(opened())
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> SyncApp:
        self._do(self._app.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish the steps that run, give the threads back, close the store, end the loop. A second call does nothing."""
        if self._closed:
            return
        try:
            self._do(self._app.close())
        finally:
            self._stop()

    # --- runs ----------------------------------------------------------------------------------------------------

    def start(
        self, graph: str | Graph, input: Mapping[str, Any], *, thread: str | None = None,
        idempotency_key: str | None = None, by: str = "", if_active: IfActive = "queue", tenant: str = "",
        priority: int = 0, at: datetime | None = None, traceparent: str = "",
    ) -> Run:  # fmt: skip
        """Give a thread an input; returns at once."""
        return self._do(
            self._app.start(
                graph, input, thread=thread, idempotency_key=idempotency_key, by=by, if_active=if_active,
                tenant=tenant, priority=priority, at=at, traceparent=traceparent,
            )
        )  # fmt: skip

    def run(
        self, graph: str | Graph, input: Mapping[str, Any], *, thread: str | None = None,
        idempotency_key: str | None = None, by: str = "", if_active: IfActive = "queue", tenant: str = "",
        priority: int = 0, at: datetime | None = None, traceparent: str = "",
    ) -> Outcome:  # fmt: skip
        """`start` and `wait` in one."""
        return self.wait(
            self.start(
                graph, input, thread=thread, idempotency_key=idempotency_key, by=by, if_active=if_active,
                tenant=tenant, priority=priority, at=at, traceparent=traceparent,
            )
        )  # fmt: skip

    def wait(self, run: Run | str, *, timeout: float | None = None) -> Outcome:
        """Until the run has ended or waits for somebody; `timeout` in seconds."""
        return self._do(self._app.wait(run, timeout=timeout))

    def standing(self, run: Run | str, *, wait: float = 0.0) -> RunState:
        """How the run stands, at the latest after `wait` seconds."""
        return self._do(self._app.standing(run, wait=wait))

    def cancel(
        self, thread: str, *, run: int | None = None, by: str = "", reason: str = "", idempotency_key: str | None = None
    ) -> Run:  # fmt: skip
        """Ask the active run (or the given one) to stop."""
        return self._do(
            self._app.cancel(thread, run=run, by=by, reason=reason, idempotency_key=idempotency_key)
        )

    def signal(
        self, thread: str, name: str, payload: Any = None, *, by: str = "", idempotency_key: str | None = None
    ) -> bool:
        """Send a signal to a thread."""
        return self._do(self._app.signal(thread, name, payload, by=by, idempotency_key=idempotency_key))

    # --- whose turn it is ----------------------------------------------------------------------------------------

    def drain(self, seconds: float | None = None) -> Drained:
        """Take no more threads, finish the steps that run, give the threads back."""
        return self._do(self._app.drain(seconds))

    def limits(self) -> list[LimitRow]:
        """How many threads of a graph or a tenant may be held at once, where that is limited."""
        return self._do(self._app.limits())

    def limit(self, kind: str, name: str, at_once: int | None) -> None:
        """At most `at_once` threads of a graph or tenant are held at a time."""
        self._do(self._app.limit(kind, name, at_once))

    def workers(self) -> list[WorkerItem]:
        """The workers that hold threads, with their leases."""
        return self._do(self._app.workers())

    def budgets(self, name: str = "") -> list[BudgetReport]:
        """The budgets, and how they stand."""
        return self._do(self._app.budgets(name))

    def put_budget(self, budget: Budget) -> None:
        """Set a budget, or change it."""
        self._do(self._app.put_budget(budget))

    def drop_budget(self, name: str) -> bool:
        """Take a budget away."""
        return self._do(self._app.drop_budget(name))

    def rebuild_ledger(self, thread: str = "", *, progress: Callable[[int], None] | None = None) -> int:
        """Put into the ledger what it lacks of the calls that journals have, and of how they ended."""
        return self._do(self._app.rebuild_ledger(thread, progress=progress))

    def costs(
        self,
        by: str = "graph",
        *,
        since: datetime | None = None,
        graph: str = "",
        tenant: str = "",
        thread: str = "",
    ) -> list[Cost]:
        """What calls have cost."""
        return self._do(self._app.costs(by, since=since, graph=graph, tenant=tenant, thread=thread))

    def set_aside(self, thread: str, reason: str, *, by: str = "") -> bool:
        """Have no worker take the thread any more."""
        return self._do(self._app.set_aside(thread, reason, by=by))

    def take_back(self, thread: str, *, not_imported: bool = False) -> bool:
        """Have workers take the thread again; one that was moved away only when nobody has imported it."""
        return self._do(self._app.take_back(thread, not_imported=not_imported))

    # --- the outbox ----------------------------------------------------------------------------------------------

    def outbox(
        self,
        *,
        status: str = "",
        tenant: str = "",
        after: tuple[datetime, str] | None = None,
        limit: int = 100,
    ) -> list[Outgoing]:
        """Notices to people and other systems, the newest first; `after` is `created_at` and `id` of the last one of the page
        before."""
        return self._do(self._app.outbox(status=status, tenant=tenant, after=after, limit=limit))

    def resend(self, notice: str = "", *, tenant: str = "") -> list[str]:
        """Have a notice sent again, or all that are dead."""
        return self._do(self._app.resend(notice, tenant=tenant))

    # --- schedules -----------------------------------------------------------------------------------------------

    def schedule(
        self, name: str, graph: str | Graph, input: Mapping[str, Any], *, cron: str | None = None, at: datetime | None = None,
        timezone: str = "UTC", missed: Missed = "once", overlap: Overlap = "skip", tenant: str = "", priority: int = 0,
        by: str = "",
    ) -> Schedule:  # fmt: skip
        """Have the graph started by the clock: at the times of `cron` (five fields, in `timezone`), or once `at`."""
        return self._do(
            self._app.schedule(
                name, graph, input, cron=cron, at=at, timezone=timezone, missed=missed, overlap=overlap, tenant=tenant,
                priority=priority, by=by,
            )
        )  # fmt: skip

    def schedules(self, graph: str = "") -> list[Schedule]:
        """The schedules, or those of one graph."""
        return self._do(self._app.schedules(graph))

    def pause_schedule(self, name: str) -> Schedule:
        """Have a schedule fire nothing until it is resumed."""
        return self._do(self._app.pause_schedule(name))

    def resume_schedule(self, name: str) -> Schedule:
        """Have a paused schedule fire again."""
        return self._do(self._app.resume_schedule(name))

    def drop_schedule(self, name: str) -> Schedule:
        """Forget a schedule; what it has started stays."""
        return self._do(self._app.drop_schedule(name))

    # --- reviews -------------------------------------------------------------------------------------------------

    def reviews(
        self, *, status: str = "open", thread: str = "", role: str = "", after: str = "", limit: int = 1000
    ) -> list[Review]:
        """Reviews, the earliest due first."""
        return self._do(self._app.reviews(status=status, thread=thread, role=role, after=after, limit=limit))

    def review(self, review: str) -> Review:
        """One review."""
        return self._do(self._app.review(review))

    def resolve(
        self, review: str | Review, judgement: Judgement, *, idempotency_key: str | None = None
    ) -> Review:
        """Record a person's decision."""
        return self._do(self._app.resolve(review, judgement, idempotency_key=idempotency_key))

    # --- reading -------------------------------------------------------------------------------------------------

    def threads(
        self, *, graph: str = "", status: str = "", search: str = "", tenant: str = "", aside: bool = False,
        after: str = "", limit: int = 100,
    ) -> list[ThreadRow]:  # fmt: skip
        """Threads in the order of their names."""
        return self._do(
            self._app.threads(
                graph=graph,
                status=status,
                search=search,
                tenant=tenant,
                aside=aside,
                after=after,
                limit=limit,
            )
        )

    def entries(self, thread: str, *, after: int = 0, upto: int | None = None) -> list[Entry]:
        """Entries of the thread's journal, whole."""
        return self._do(self._app.entries(thread, after=after, upto=upto))

    def view(self, thread: str, *, at: int | None = None) -> ThreadView:
        """The thread as it is, or as it was after entry `at`."""
        return self._do(self._app.view(thread, at=at))

    def state(self, thread: str, *, at: int | None = None) -> dict[str, Any]:
        """The thread's state as plain data, now or after entry `at`."""
        return self._do(self._app.state(thread, at=at))

    def explain(self, thread: str, *, at: int | None = None) -> Report:
        """The four questions, answered from the record."""
        return self._do(self._app.explain(thread, at=at))

    def tools(self, servers: Sequence[str] = (), *, ask: bool = True) -> list[ServerSeen]:
        """The MCP servers of turnout.toml and their tools; with `ask` as they are now."""
        return self._do(self._app.tools(servers, ask=ask))

    def guards(self) -> list[GuardItem]:
        """The guardrails, in the order in which they look."""
        return self._do(self._app.guards())

    def stream(self, thread: str) -> Iterator[Any]:
        """Events of a thread as they happen in this process, without end; close the iterator to stop listening."""
        events = self._app.stream(thread)
        try:
            while True:
                yield self._do(_next(events))
        finally:
            if not self._closed:
                self._do(_aclose(events))

    # --- proof ---------------------------------------------------------------------------------------------------

    def replay(self, thread: str, *, progress: Callable[[int], None] | None = None) -> Replayed:
        """Make every entry again from the code at hand, calling nothing. `progress` is called on the loop's thread."""
        return self._do(self._app.replay(thread, progress=progress))

    def fork(
        self, thread: str, *, at: int | None = None, update: Mapping[str, Any] | None = None, name: str | None = None,
        by: str = "", idempotency_key: str | None = None,
    ) -> Run:  # fmt: skip
        """A new thread that shares the journal up to entry `at` and goes on by itself."""
        return self._do(
            self._app.fork(thread, at=at, update=update, name=name, by=by, idempotency_key=idempotency_key)
        )

    def whatif(
        self, thread: str, graph: Graph | None = None, *, policy: Source | Policy | None = None
    ) -> WhatIf:
        """Run the thread's inputs again under another version of its graph, answered from the record."""
        return self._do(self._app.whatif(thread, graph, policy=policy))

    def policy(self) -> PolicyHere:
        """The policy that calls are decided by."""
        return self._do(self._app.policy())

    def policy_check(self, folder: Source) -> PolicyReport:
        """What is wrong with the rules of a folder, as far as the graphs at hand tell."""
        return self._do(self._app.policy_check(folder))

    def backtest(
        self, candidate: Source | Policy, *, since: datetime | None = None, graph: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> Backtest:  # fmt: skip
        """Decide every call on record again under another policy, and say where it says something else."""
        return self._do(self._app.backtest(candidate, since=since, graph=graph, progress=progress))

    def check_in_flight(self, progress: Callable[[int], None] | None = None) -> list[InFlight]:
        """Would the code at hand adopt the unfinished runs of this store?"""
        return self._do(self._app.check_in_flight(progress))

    def verify(
        self, thread: str = "", *, against: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] | None = None, signed_by: str = "",
    ) -> Verified:  # fmt: skip
        """Check chains, values, rows and snapshots of one thread or all."""
        return self._do(self._app.verify(thread, against=against, progress=progress, signed_by=signed_by))

    def head(self, thread: str = "") -> dict[str, Any]:
        """A signed statement of how far the journals have come."""
        return self._do(self._app.head(thread))

    # --- moving house --------------------------------------------------------------------------------------------

    def export_to(
        self, to: str | BinaryIO, threads: Sequence[str] = (), *, graph: str = "", status: str = "",
        **options: Unpack[ExportOptions],
    ) -> Exported:  # fmt: skip
        """Write threads to a file, to go on in another store."""
        return self._do(self._app.export_to(to, threads, graph=graph, status=status, **options))

    def import_from(self, file: File, **options: Unpack[ImportOptions]) -> Imported:
        """Bring in the threads of a file."""
        return self._do(self._app.import_from(file, **options))

    # --- inside --------------------------------------------------------------------------------------------------

    def _do(self, call: Coroutine[Any, Any, T]) -> T:
        problem = ""
        if self._closed:
            problem = "this app is closed; open another one with open_sync(...)"
        elif threading.current_thread() is self._thread:
            problem = "a node or tool can't wait for its own app; use ctx.run(...) for a child thread"
        if problem:
            call.close()
            raise UsageError(problem)
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C while waiting: what was asked for is not wanted any more
            future.cancel()
            raise

    def _stop(self) -> None:
        self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(events: Any) -> Any:
    return await anext(events)


async def _aclose(events: Any) -> None:
    await events.aclose()
