"""App: what a user can ask of Turnout. CLI, API and console are translations of this, nothing more."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Unpack

from turnout.core import entries as e
from turnout.core.aside import COMING, COPY, MOVED, readable
from turnout.core.budgets import Budget
from turnout.core.graph import Graph
from turnout.core.reviews import Judgement
from turnout.core.view import ThreadView
from turnout.errors import (
    InputInvalid,
    StateInvalid,
    ThreadMoved,
    UnknownEntry,
    UnknownGraph,
)
from turnout.policy.cedar import open_policy
from turnout.policy.text import Source
from turnout.ports.clock import Clock, micros
from turnout.ports.dispatcher import Dispatcher
from turnout.ports.guard import Guard
from turnout.ports.policy import Policy
from turnout.ports.rows import LimitRow, ThreadRow
from turnout.ports.store import Store
from turnout.ports.tools import ServerSeen, ToolServers
from turnout.runtime import whatif
from turnout.runtime.reading import entries_of
from turnout.runtime.replay import Replayed, replay
from turnout.runtime.whatif import WhatIf
from turnout.runtime.worker import Drained, Worker
from turnout.runtime.world import World
from turnout.service import budgets as budgeting
from turnout.service import (
    deciding,
    forks,
    ledger,
    outbox,
    policies,
    proof,
    schedules,
    starting,
    steering,
    waiting,
)
from turnout.service import explain as explaining
from turnout.service.beside import Beside, Helper
from turnout.service.inputs import (
    check_limit,
    check_status,
    check_text,
    parse_run,
)
from turnout.service.items import (
    GuardItem,
    OutcomeItem,
    RunState,
    WorkerItem,
    guard_item,
    run_state,
    worker_items,
)
from turnout.service.moving import house
from turnout.service.moving.house import ExportOptions, File, ImportOptions
from turnout.service.moving.progress import Exported, Imported
from turnout.service.moving.selection import Selection
from turnout.service.outcome import Outcome, Review, Run
from turnout.service.policies import Backtest, PolicyHere, PolicyReport
from turnout.service.schedules import Missed, Overlap, Schedule
from turnout.service.signing import Signer
from turnout.service.starting import IfActive
from turnout.service.threads import STATUSES, thread_row, view_at
from turnout.settings import Settings


class App:
    """Turnout on one store. Made by `open_app`; use it as `async with open_app(...) as app`."""

    def __init__(
        self,
        store: Store,
        graphs: Mapping[str, Graph],
        world: World,
        hub: Dispatcher,
        settings: Settings,
        signer: Signer,
        worker: Worker | None,
        scratch: Callable[[], Store],
        closing: Callable[[], Awaitable[None]] | None = None,
        servers: Callable[[], ToolServers] | None = None,
        declared: Sequence[Budget] = (),
        beside: Mapping[str, Helper] = MappingProxyType({}),
        terms: Callable[[], tuple[Policy | None, Sequence[Guard]]] = lambda: (None, ()),
    ) -> None:
        self.store = store
        self.graphs = dict(graphs)
        self.settings = settings
        self.worker = worker
        self.signer = signer
        self._world = world
        self._scratch = scratch
        self._closing = closing
        self._servers = servers
        self._declared = declared
        self.beside = Beside(beside)
        self._terms = terms  # the policy and the guardrails
        self._clock: Clock = world.clock
        self._hub = hub
        self._task: asyncio.Task[None] | None = None
        self.tenant: str | None = None
        """Whose app it is: None means that it has all that is in the store."""

    @property
    def clock(self) -> Clock:
        """What time it is for this app."""
        return self._clock

    @property
    def hub(self) -> Dispatcher:
        """Who tells of what happens in this process."""
        return self._hub

    @property
    def working(self) -> bool:
        """Is its worker at work?"""
        return self._task is not None and not self._task.done()

    def within(self, tenant: str) -> App:
        """The same app as a caller of that tenant has it: nothing else is there. It is not opened or closed by itself."""
        narrow = copy.copy(self)
        narrow.store, narrow.tenant = self.store.within(tenant), tenant
        narrow.worker = narrow._task = narrow._closing = None
        narrow.beside = Beside({})
        return narrow

    async def __aenter__(self) -> App:
        try:
            await self.store.open()
            await budgeting.declare(self.store, self._declared, self._clock.now())
        except BaseException:
            await self.store.close()
            raise
        if self.worker is not None:
            self._task = asyncio.ensure_future(self.worker.run())
        self.beside.begin()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def drain(self, seconds: float | None = None) -> Drained:
        """Take no more threads, finish the steps that run, give the threads back; at most `seconds` (else `grace`).

        A step that takes longer is cut off as by a crash, but for the lease, which is given back all the same. The
        worker takes nothing any more after that; all else goes on.
        """
        if self.worker is None or self._task is None:
            return Drained()
        return await self.worker.drain(self.settings.grace if seconds is None else seconds)

    async def close(self) -> None:
        """Finish the steps that run, give the threads back, close the store and what the models are reached by."""
        if self.worker is not None and self._task is not None:
            await self.drain()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.beside.end()
        if self._closing is not None:
            await self._closing()
        await self.store.close()

    # --- runs ----------------------------------------------------------------------------------------------------

    async def start(
        self,
        graph: str | Graph,
        input: Mapping[str, Any],
        *,
        thread: str | None = None,
        idempotency_key: str | None = None,
        by: str = "",
        if_active: IfActive = "queue",
        tenant: str = "",
        priority: int = 0,
        at: datetime | None = None,
        traceparent: str = "",
    ) -> Run:
        """Give a thread an input; returns at once, the worker runs it.

        Without `thread` a new one is made. With `idempotency_key` the same input, of the same `thread`, `priority` and
        `at`, sent again gives the same run; keys of different tenants or graphs have nothing to do with each other.
        `if_active` says what happens when a run is active: `queue` waits for its end, `refuse` raises `ThreadBusy`,
        `replace` cancels it. A thread belongs to the `tenant` of its first input for life. `priority` (-100 to 100): runs
        with a higher one come first when not all that are due find a place. With `at` the run starts then, or when
        another that is active then has ended; until that it is in the thread's queue, where `wait` waits for it and
        `cancel` takes it away. `traceparent` is the W3C trace that the run is to be a part of; one that doesn't hold
        is as none. Raises `UnknownGraph`, `InputInvalid`, `KeyReused`.
        """
        asked = starting.checked(
            self.graph(graph.name if isinstance(graph, Graph) else graph), input, thread=thread, key=idempotency_key, by=by,
            if_active=if_active, tenant=self._whose(tenant), priority=priority, at=at, traceparent=traceparent,
        )  # fmt: skip
        run = await starting.start(self.store, self._clock, self._world.chance, asked)
        if run.new:
            self._hub.notify(run.thread)
        return run

    async def run(self, graph: str | Graph, input: Mapping[str, Any], **options: Any) -> Outcome:
        """`start` and `wait` in one."""
        return await self.wait(await self.start(graph, input, **options))

    async def wait(self, run: Run | str, *, timeout: float | None = None) -> Outcome:
        """Until the run has ended or waits for somebody. Timers and children are waited through.

        Raises TimeoutError after `timeout` seconds, `UnknownThread`, `UnknownRun`.
        """
        return await waiting.wait(
            self.store,
            self.graphs,
            self._clock,
            self._hub,
            self.settings,
            parse_run(run),
            timeout,
            self._drives,
        )

    def _drives(self, thread: str) -> bool:
        """Is the thread driven by this process at this moment?"""
        return self.worker is not None and thread in self.worker.busy

    async def standing(self, run: Run | str, *, wait: float = 0.0) -> RunState:
        """How the run stands, at the latest after `wait` seconds: `wait`, as data, also when its graph isn't at hand, or has
        another schema by now.

        Raises `UnknownThread`, `UnknownRun`.
        """
        asked = parse_run(run)
        graph, outcome = (await thread_row(self.store, asked.thread)).graph, None
        try:
            if wait > 0:
                outcome = await self.wait(asked, timeout=wait)
            else:
                outcome = await waiting.outcome_of(self.store, self.graphs, self._clock, asked)
        except TimeoutError:
            pass
        except (UnknownGraph, StateInvalid):
            end = (await waiting.run_row(self.store, asked)).end_seq
            ended = await view_at(self.store, asked.thread, end)
            return RunState(
                asked.thread, asked.number, graph, asked.new, OutcomeItem("finished", ended.state)
            )
        return run_state(asked, graph, outcome)

    async def cancel(
        self, thread: str, *, run: int | None = None, by: str = "", reason: str = "", idempotency_key: str | None = None
    ) -> Run:  # fmt: skip
        """Ask the active run (or the given one) to stop. Returns at once; `wait` tells when it has. Asked again with the same
        idempotency key it is about the same run, whichever is active by then.

        Raises `UnknownThread`, `KeyReused`, or `UnknownRun` when nothing is active.
        """
        asked = await steering.cancel(self.store, self._clock, thread, run, by, reason, idempotency_key)
        self._hub.notify(thread)
        return asked

    async def signal(
        self, thread: str, name: str, payload: Any = None, *, by: str = "", idempotency_key: str | None = None
    ) -> bool:
        """Send a signal to a thread: to the step that has waited longest for it, else it is kept for the next one.

        False when that signal was sent before with that idempotency key; `KeyReused` when it was another signal.
        """
        sent = await steering.signal(self.store, self._clock, thread, name, payload, by, idempotency_key)
        if sent:
            self._hub.notify(thread)
        return sent

    # --- whose turn it is ----------------------------------------------------------------------------------------

    async def limits(self) -> list[LimitRow]:
        """How many threads of a graph or a tenant may be held by workers at once, where that is limited."""
        return await self.store.limits()

    async def limit(self, kind: str, name: str, at_once: int | None) -> None:
        """At most `at_once` threads of a graph or tenant (`kind`) are held at a time; 0 takes none, None lifts the limit.

        It holds for every worker from its next claim on. Raises `InputInvalid`.
        """
        check_limit(kind, name, at_once)
        await self.store.put_limit(kind, name, at_once)
        self._hub.notify("")

    async def workers(self) -> list[WorkerItem]:
        """The workers that hold threads, with their leases. One that holds none isn't known to the store."""
        return worker_items(await self.store.held())

    async def set_aside(self, thread: str, reason: str, *, by: str = "") -> bool:
        """Have no worker take the thread any more; who drives it loses it. False: it was set aside before.

        Inputs, decisions and signals are still taken in. Raises `UnknownThread`, `InputInvalid`.
        """
        row = await thread_row(self.store, thread)
        if not check_text(reason, "the reason").strip():
            raise InputInvalid("say why the thread is set aside: who finds it there wants to know")
        said = f"{reason} (by {check_text(by, 'by')})" if by else reason
        if not readable(said):
            raise InputInvalid("the reason holds characters that can't be shown; say it in plain text")
        told = outbox.of_aside(self.store, row, said, self._clock.now())
        done = await self.store.set_aside([thread], said, told)
        self._hub.notify(thread)
        return bool(done)

    async def take_back(self, thread: str, *, not_imported: bool = False) -> bool:
        """Have workers take the thread again, its tries forgotten. False: it wasn't set aside.

        One that was moved away comes back only with `not_imported`: the caller knows that nobody has imported its file,
        and nobody will. Else two stores would drive it. Raises `UnknownThread`, or `ThreadMoved` without that, and while
        its journal isn't whole here.
        """
        row = await thread_row(self.store, thread)
        if row.aside.startswith(COMING):
            raise ThreadMoved(f"thread {thread!r} can't be taken back: {row.aside}")
        if row.aside.startswith(MOVED):
            if not not_imported:
                raise ThreadMoved(
                    f"thread {thread!r} was {row.aside}; taken back here as well, two stores would do its work: say so with "
                    f"not_imported (`turnout take-back {thread} --not-imported`) if nobody has imported it, and nobody will"
                )
            await ledger.stay(self.store, thread)
        now = self._clock.now()
        told = await outbox.of_open(self.store, thread, now) if row.aside.startswith(COPY) else []
        done = await self.store.take_back([thread], now, told)
        self._hub.notify(thread)
        return bool(done)

    # --- the outbox ----------------------------------------------------------------------------------------------

    async def outbox(
        self,
        *,
        status: str = "",
        tenant: str = "",
        after: tuple[datetime, str] | None = None,
        limit: int = 100,
    ) -> list[outbox.Outgoing]:
        """Notices to people and other systems, the newest first: waiting, sent, dead or withdrawn. `after` is `created_at` and
        `id` of the last one of the page before. Raises `InputInvalid`."""
        return await outbox.listed(self.store, status, tenant, after, limit)

    async def resend(self, notice: str = "", *, tenant: str = "") -> list[str]:
        """Have a notice sent again, as the one it was; without an id all that are dead. Returns the ids of those.

        Raises `UnknownNotice`.
        """
        done = await outbox.resend(self.store, self._clock, notice, tenant)
        self._hub.notify("")
        return done

    # --- budgets -------------------------------------------------------------------------------------------------

    async def budgets(self, name: str = "") -> list[budgeting.BudgetReport]:
        """The budgets, or the one of that name, with the accounts that changed last: spent, reserved, left."""
        return await budgeting.listed(self.store, name)

    async def put_budget(self, budget: Budget) -> None:
        """Set a budget, or change it. Its caps hold for every reservation from then on; calls that didn't reserve before
        do so within a second. What was spent is kept. Raises `InputInvalid`."""
        await self.store.put_budget(budget.check(), self._clock.now())
        if self._world.budgets is not None:
            self._world.budgets.forget()

    async def drop_budget(self, name: str) -> bool:
        """Take a budget away. False: there is none of that name."""
        return await self.store.drop_budget(name)

    async def rebuild_ledger(self, thread: str = "", *, progress: Callable[[int], None] | None = None) -> int:
        """Put into the ledger what it lacks of the calls that journals have (those from before it was there), and how those
        ended that it still has as reserved. Returns how many. Raises `UnknownThread`."""
        if thread:
            await thread_row(self.store, thread)
        return await ledger.rebuild(self.store, thread, progress)

    async def costs(
        self,
        by: str = "graph",
        *,
        since: datetime | None = None,
        graph: str = "",
        tenant: str = "",
        thread: str = "",
    ) -> list[budgeting.Cost]:
        """What calls have cost that were begun at `since` or later: by graph, node, branch, model, tenant, retry, day or
        thread, the most expensive first. Raises `InputInvalid`."""
        return await budgeting.costs(self.store, by, since, graph, tenant, thread)

    # --- schedules -----------------------------------------------------------------------------------------------

    async def schedule(
        self, name: str, graph: str | Graph, input: Mapping[str, Any], *, cron: str | None = None, at: datetime | None = None,
        timezone: str = "UTC", missed: Missed = "once", overlap: Overlap = "skip", tenant: str = "", priority: int = 0,
        by: str = "",
    ) -> Schedule:  # fmt: skip
        """Have the graph started by the clock: at the times of `cron` (five fields, in `timezone`), or once `at`.

        Each slot starts one run, on a thread `name@2026-11-26T02:00Z` of its own. `missed` is for slots that passed
        while no worker was there: `skip` them, run `once` for all of them, or `all`. `overlap` is for a slot whose
        predecessor is unfinished: `allow` both, `skip` the slot, `wait` for the end, or `cancel` the one before.
        The same name again replaces what was declared, and keeps whether it is paused and what it has started.
        Raises `UnknownGraph`, `InputInvalid`.
        """
        declared = self.graph(graph.name if isinstance(graph, Graph) else graph)
        made = await schedules.declare(
            self.store, self._clock, declared, input, name=name, cron=cron, at=at, timezone=timezone, missed=missed,
            overlap=overlap, tenant=self._whose(tenant), priority=priority, by=by,
        )  # fmt: skip
        self._hub.notify("")
        return made

    async def schedules(self, graph: str = "") -> list[Schedule]:
        """The schedules, or those of one graph, in the order of their names."""
        return await schedules.listed(self.store, graph)

    async def pause_schedule(self, name: str) -> Schedule:
        """Have a schedule fire nothing until it is resumed. Raises `UnknownSchedule`."""
        return await schedules.pause(self.store, self._clock, name, True)

    async def resume_schedule(self, name: str) -> Schedule:
        """Have a paused schedule fire again; its `missed` rule is for what came meanwhile. Raises `UnknownSchedule`."""
        resumed = await schedules.pause(self.store, self._clock, name, False)
        self._hub.notify("")
        return resumed

    async def drop_schedule(self, name: str) -> Schedule:
        """Forget a schedule, which is returned; what it has started stays. Raises `UnknownSchedule`."""
        return await schedules.drop(self.store, name)

    # --- reviews -------------------------------------------------------------------------------------------------

    async def reviews(
        self, *, status: str = "open", thread: str = "", role: str = "", after: str = "", limit: int = 1000
    ) -> list[Review]:
        """Reviews, the earliest due first, up to `limit`; `after` is the id of the last one of the page before.

        `status=""` gives closed ones too; `role` only those that role may decide. Raises `InputInvalid`.
        """
        return await deciding.listed(self.store, status, thread, role, after, limit)

    async def review(self, review: str) -> Review:
        """One review, by its id, or by the name of a thread that has just one open. Raises `UnknownReview`."""
        return await deciding.named(self.store, review)

    async def resolve(
        self, review: str | Review, judgement: Judgement, *, idempotency_key: str | None = None
    ) -> Review:
        """Record a person's decision. Returns the review as it is then (still open while a quorum is missing).

        With `idempotency_key` the same decision sent again counts once, and gives the review as it is now. Raises
        `UnknownReview`, `ReviewClosed` (showing the first decision), `ReviewStale`, `DecisionNotAllowed`, `KeyReused`,
        `InputInvalid`.
        """
        if isinstance(review, Review):
            judgement = replace(judgement, shown=judgement.shown or review.shown)
        found = await self.review(review if isinstance(review, str) else review.id)
        if await deciding.decide(self.store, self._clock, self.graphs, found, judgement, idempotency_key):
            self._hub.notify(found.thread)
        return await self.review(found.id)

    # --- reading -------------------------------------------------------------------------------------------------

    async def threads(
        self, *, graph: str = "", status: str = "", search: str = "", tenant: str = "", aside: bool = False,
        after: str = "", limit: int = 100,
    ) -> list[ThreadRow]:  # fmt: skip
        """Threads in the order of their names; `after` is the last name of the page before. `search` is a part of the name,
        in capitals or not. With `aside` only those that are set aside. Raises `InputInvalid`."""
        check_status(status, STATUSES, "thread")
        return await self.store.threads(
            graph=graph, status=status, search=search, tenant=tenant, aside=aside, after=after, limit=limit
        )

    async def entries(self, thread: str, *, after: int = 0, upto: int | None = None) -> list[e.Entry]:
        """Entries of the thread's journal, whole. Raises `UnknownThread`."""
        await thread_row(self.store, thread)
        return await entries_of(self.store, await self.store.read(thread, after, upto), whole=True)

    async def view(self, thread: str, *, at: int | None = None) -> ThreadView:
        """The thread as it is, or as it was after entry `at`. Raises `UnknownThread`, `UnknownEntry`."""
        return await view_at(self.store, thread, at)

    async def state(self, thread: str, *, at: int | None = None) -> dict[str, Any]:
        """The thread's state as plain data, now or after entry `at`."""
        return (await self.view(thread, at=at)).state

    async def explain(self, thread: str, *, at: int | None = None) -> explaining.Report:
        """The four questions, answered from the record. Raises `UnknownThread`, `UnknownEntry`."""
        row = await thread_row(self.store, thread)
        if at is not None and not 0 < at <= row.head:
            raise UnknownEntry(f"thread {thread!r} has entries 1 to {row.head}; there is no entry {at}")
        return explaining.report(
            row, await self.entries(thread, upto=at), await self.store.reviews(thread=thread)
        )

    async def tools(self, servers: Sequence[str] = (), *, ask: bool = True) -> list[ServerSeen]:
        """The MCP servers of turnout.toml (these, or all) with what was approved of their tools and, with `ask`, what
        they say now. Raises `SettingsInvalid`."""
        if self._servers is None:
            return []
        opened = self._servers()  # apart from those that work: a server that hangs here holds up no step
        try:
            return await opened.look(servers, ask=ask)
        finally:
            await opened.close()

    async def stream(self, thread: str) -> AsyncIterator[Any]:
        """Events of a thread as they happen in this process: entries once they are durable, and what `ctx.emit` says."""
        events: asyncio.Queue[Any] = asyncio.Queue()
        stop = self._hub.watch(lambda _, event: events.put_nowait(event), thread)
        try:
            while True:
                yield await events.get()
        finally:
            stop()

    # --- proof ---------------------------------------------------------------------------------------------------

    async def replay(self, thread: str, *, progress: Callable[[int], None] | None = None) -> Replayed:
        """Make every entry again from the code at hand, calling nothing. Raises `UnknownThread`, `UnknownGraph`."""
        row = await thread_row(self.store, thread)
        entries = await entries_of(self.store, await self.store.read(thread))
        return await replay(self.graph(row.graph), thread, entries, progress)

    async def fork(self, thread: str, *, at: int | None = None, update: Mapping[str, Any] | None = None,
                   name: str | None = None, by: str = "", idempotency_key: str | None = None) -> Run:  # fmt: skip
        """A new thread that shares the journal up to entry `at` and goes on by itself, with `update` to its state.

        With `idempotency_key` the same fork asked for again gives the same thread. Raises `UnknownThread`,
        `UnknownEntry`, `ForkRefused`, `InputInvalid`, `KeyReused`.
        """
        row = await thread_row(self.store, thread)
        asked = forks.Fork(row, self.graph(row.graph), at, dict(update or {}), by, idempotency_key)
        run = await forks.fork(self.store, self._clock, self._world.chance, asked, name)
        if run.new:
            self._hub.notify(run.thread)
        return run

    async def whatif(
        self, thread: str, graph: Graph | None = None, *, policy: Source | Policy | None = None
    ) -> WhatIf:
        """Run the thread's inputs again under another version of its graph, or another policy (or its folder, or its texts
        by the names of their files), answered from the record.

        Nothing is called and no write is made; where the record has no answer the run stops, and the result says so.
        Raises `PolicyInvalid` when the policy has mistakes.
        """
        candidate = await _opened(policy) if policy is not None else None
        row = await thread_row(self.store, thread)
        scratch = self._scratch()
        try:
            return await whatif.whatif(
                graph or self.graph(row.graph), thread, await self.entries(thread), scratch, candidate
            )
        finally:
            await scratch.close()

    async def policy(self) -> PolicyHere:
        """The policy that calls are decided by here, or would be if this app worked. Raises `SettingsInvalid`."""
        return policies.loaded(self._terms()[0])

    async def guards(self) -> list[GuardItem]:
        """The guardrails here, in the order in which they look. Raises `SettingsInvalid`."""
        return [guard_item(one) for one in self._terms()[1]]

    async def policy_check(self, folder: Source) -> PolicyReport:
        """What is wrong with the rules of a folder (or their texts, by the names of their files), as far as the graphs at
        hand tell. Raises `SettingsInvalid` when they can't be read."""
        return await asyncio.to_thread(policies.check, folder, self.graphs, tuple(self._world.models))

    async def backtest(
        self, candidate: Source | Policy, *, since: datetime | None = None, graph: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> Backtest:  # fmt: skip
        """Decide every call on record (since then, or ever; of one graph, or all) again under another policy, or that of
        a folder (or its texts, by the names of their files), and say where it says something else. Raises `PolicyInvalid`
        when the rules have mistakes."""
        rules = await _opened(candidate)
        if since is not None and since.tzinfo is None:
            raise InputInvalid(
                f"since={since!r} has no time zone; e.g. datetime.now(UTC) - timedelta(days=30)"
            )
        begin = micros(since) if since is not None else 0
        return await policies.backtest(
            self.store, self.graphs, rules, since=begin, graph=graph, progress=progress
        )

    async def check_in_flight(self, progress: Callable[[int], None] | None = None) -> list[proof.InFlight]:
        """Would the code at hand adopt the unfinished runs of this store? Changes nothing."""
        return await proof.all_in_flight(self.store, self.graphs, progress)

    async def verify(self, thread: str = "", *, against: Mapping[str, Any] | None = None,
                     progress: Callable[[int], None] | None = None, signed_by: str = "") -> proof.Verified:  # fmt: skip
        """Check chains, values, rows and snapshots of one thread or all; with an exported head also what was cut off.

        `signed_by` (hex) is the public key of a store that the threads came from, if that has signed the head.
        """
        if thread:
            await thread_row(self.store, thread)
        return await proof.verify(self.store, self.signer, thread, against, progress, signed_by)

    async def head(self, thread: str = "") -> dict[str, Any]:
        """A signed statement of how far the journals have come. Keep it elsewhere; `verify` checks against it."""
        if thread:
            await thread_row(self.store, thread)
        return await proof.export_head(self.store, self.signer, self._clock.now(), thread)

    # --- moving house --------------------------------------------------------------------------------------------

    async def export_to(self, to: str | BinaryIO, threads: Sequence[str] = (), *, graph: str = "", status: str = "",
                        **options: Unpack[ExportOptions]) -> Exported:  # fmt: skip
        """Write threads (these, or those of a graph and a status, or all) to a file, to go on in another store.

        `options` are those of `house.export`: move, resume, keep_going, tell, say. Raises what it raises.
        """
        selection = Selection(tuple(threads), graph, status)
        return await house.export(
            self.store,
            self._clock,
            self._world.chance,
            self.signer,
            to,
            selection,
            with_rules=selection.everything,
            **options,
        )

    async def import_from(self, file: File, **options: Unpack[ImportOptions]) -> Imported:
        """Bring in the threads of a file. `options` are those of `house.import_`: keep_going, tell, say."""
        return await house.import_(self.store, self._clock, self.signer, file, with_rules=True, **options)

    def _whose(self, tenant: str) -> str:
        """The tenant that something new is of. A tenant's own app makes nothing for another one."""
        if self.tenant is None or tenant == self.tenant:
            return tenant
        if tenant:
            raise InputInvalid(f"this is tenant {self.tenant!r}; it can't do anything for tenant {tenant!r}")
        return self.tenant

    def graph(self, name: str) -> Graph:
        """A graph of this app. Raises `UnknownGraph`."""
        found = self.graphs.get(name)
        if found is None:
            has = ", ".join(sorted(self.graphs)) or "none; give its module, e.g. `turnout run desk:graph`"
            raise UnknownGraph(f"there is no graph {name!r} here (there is: {has})")
        return found


async def _opened(policy: Source | Policy) -> Policy:
    """The policy itself, or that of a folder or of texts, which take a while to read. Raises `SettingsInvalid`."""
    if isinstance(policy, str | Path | Mapping):
        return await asyncio.to_thread(open_policy, policy)
    return policy
