"""App: what a user can ask of Turnout. CLI, API and console are translations of this, nothing more."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.graph import Graph
from turnout.core.reviews import Judgement, judge
from turnout.core.view import ThreadView
from turnout.errors import (
    HeadMoved,
    KeyReused,
    ThreadBusy,
    UnknownEntry,
    UnknownGraph,
    UnknownReview,
    UnknownRun,
)
from turnout.ports.clock import Clock
from turnout.ports.dispatcher import Dispatcher
from turnout.ports.store import KeyRow, Store, ThreadRow
from turnout.runtime import forking, whatif
from turnout.runtime.journal import append_outside, entries_of
from turnout.runtime.perform import World
from turnout.runtime.replay import Replayed, replay
from turnout.runtime.whatif import WhatIf
from turnout.runtime.worker import Worker
from turnout.service import explain as explaining
from turnout.service import proof
from turnout.service.inputs import active_runs, check_input, check_name, check_result, parse_run, same_input
from turnout.service.outcome import Outcome, Review, Run, closed, review_in
from turnout.service.signing import Signer
from turnout.service.threads import thread_row, view_at
from turnout.service.waiting import change, outcome_of
from turnout.settings import Settings

IfActive = Literal["queue", "refuse", "replace"]


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
    ) -> None:
        self.store = store
        self.graphs = dict(graphs)
        self.settings = settings
        self.worker = worker
        self.signer = signer
        self._world = world
        self._scratch = scratch
        self._closing = closing
        self._clock: Clock = world.clock
        self._hub = hub
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> App:
        if self.worker is not None:
            self._task = asyncio.ensure_future(self.worker.run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish the steps that run, give the threads back, close the store and what the models are reached by."""
        if self.worker is not None and self._task is not None:
            await self.worker.drain(self.settings.grace)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
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
    ) -> Run:
        """Give a thread an input; returns at once, the worker runs it.

        Without `thread` a new one is made. With `idempotency_key` the same input sent again gives the same run.
        `if_active` says what happens when a run is active: `queue` waits for its end, `refuse` raises `ThreadBusy`,
        `replace` cancels it. Raises `UnknownGraph`, `InputInvalid`, `KeyReused`.
        """
        name = graph.name if isinstance(graph, Graph) else graph
        declared = self.graph(name)
        plain = canon.plain(dict(input), "the input")
        canon.plain(idempotency_key, "the idempotency key")
        key = f"start:{name}:{idempotency_key}" if idempotency_key is not None else None
        digest = canon.digest([name, plain, thread])
        if key is not None:
            found = await self.store.key(key)
            if found is not None:
                return same_input(found, digest, idempotency_key)
        if thread is None:
            thread = "t-" + (
                hashlib.sha256(key.encode()).hexdigest()[:16] if key else self._world.chance.hex(16)
            )
        check_name(thread)

        def make(view: ThreadView) -> list[e.Draft]:
            check_input(declared, view, plain)
            drafts = []
            active = active_runs(view)
            if active and if_active == "refuse":
                raise ThreadBusy(
                    f"thread {thread!r} has run {active[0]} active; wait for it, or send with if_active (--if-active) 'queue' or 'replace'"
                )
            if if_active == "replace":
                drafts = [
                    e.Draft(n, "", e.CancelRequested(by=by, reason="replaced by a new input")) for n in active
                ]
            body = e.InputReceived(graph=name, input=plain, key=idempotency_key, by=by)
            return [*drafts, e.Draft(view.runs + 1, "", body)]

        def keys(view: ThreadView) -> list[KeyRow]:
            return [KeyRow(key, view.thread, view.runs, digest)] if key else []

        try:
            _, made = await append_outside(self.store, self._clock, thread, make, keys=keys)
        except KeyReused:
            found = await self.store.key(key or "")
            if found is None:
                raise
            return same_input(found, digest, idempotency_key)
        self._hub.notify(thread)
        return Run(thread, made[-1].run)

    async def run(self, graph: str | Graph, input: Mapping[str, Any], **options: Any) -> Outcome:
        """`start` and `wait` in one."""
        return await self.wait(await self.start(graph, input, **options))

    async def wait(self, run: Run | str, *, timeout: float | None = None) -> Outcome:
        """Until the run has ended or waits for somebody. Timers and children are waited through.

        Raises TimeoutError after `timeout` seconds, `UnknownThread`, `UnknownRun`.
        """
        run = parse_run(run)
        changed = asyncio.Event()
        stop = self._hub.listen(lambda thread: changed.set() if thread == run.thread else None)
        try:
            async with asyncio.timeout(timeout):
                while True:
                    changed.clear()
                    outcome = await outcome_of(self.store, self.graphs, self._clock, run)
                    if outcome is not None:
                        return outcome
                    await change(self.store, self.settings, changed)
        finally:
            stop()

    async def cancel(self, thread: str, *, run: int | None = None, by: str = "", reason: str = "") -> Run:
        """Ask the active run (or the given one) to stop. Returns at once; `wait` tells when it has.

        Raises `UnknownThread`, or `UnknownRun` when nothing is active.
        """
        await thread_row(self.store, thread)

        def make(view: ThreadView) -> list[e.Draft]:
            active = active_runs(view)
            number = run if run is not None else (active[0] if active else 0)
            if number not in active:
                raise UnknownRun(
                    f"thread {thread!r} has no active run{f' {run}' if run else ''}; nothing to cancel"
                )
            if view.run is not None and view.run.number == number and view.run.cancel is not None:
                return []
            return [e.Draft(number, "", e.CancelRequested(by=by, reason=reason))]

        view, made = await append_outside(self.store, self._clock, thread, make)
        self._hub.notify(thread)
        return Run(thread, made[0].run if made else active_runs(view)[0])

    async def signal(
        self, thread: str, name: str, payload: Any = None, *, by: str = "", idempotency_key: str | None = None
    ) -> bool:
        """Send a signal to a thread: to the step that has waited longest for it, else it is kept for the next one.

        False when that signal was sent before with that idempotency key; `KeyReused` when it was another signal.
        """
        await thread_row(self.store, thread)
        plain = canon.plain(payload, "the signal's payload")
        canon.plain(idempotency_key, "the idempotency key")
        # The length keeps thread "a:b" with key "c" apart from thread "a" with key "b:c".
        key = f"signal:{len(thread)}:{thread}:{idempotency_key}" if idempotency_key is not None else None
        digest = canon.digest([name, plain])

        def make(view: ThreadView) -> list[e.Draft]:
            return [
                e.Draft(
                    view.run.number if view.run else view.runs,
                    "",
                    e.SignalReceived(name=name, payload=plain, by=by),
                )
            ]

        def keys(view: ThreadView) -> list[KeyRow]:
            return [KeyRow(key, thread, view.runs, digest)] if key else []

        try:
            await append_outside(self.store, self._clock, thread, make, keys=keys)
        except KeyReused:
            found = await self.store.key(key or "")
            if found is not None and found.digest != digest:
                raise KeyReused(
                    f"the idempotency key {idempotency_key!r} was used for another signal to thread {thread!r}; use a new key"
                ) from None
            return False
        self._hub.notify(thread)
        return True

    # --- reviews -------------------------------------------------------------------------------------------------

    async def reviews(self, *, status: str = "open", thread: str = "", role: str = "") -> list[Review]:
        """Reviews, the earliest due first. `status=""` gives closed ones too; `role` only those that role may decide."""
        rows = await self.store.reviews(status=status, thread=thread)
        return [review_in(row) for row in rows if not role or not row.roles or role in row.roles.split(",")]

    async def review(self, review: str) -> Review:
        """One review, by its id, or by the name of a thread that has just one open. Raises `UnknownReview`."""
        rows = await self.store.reviews(review=review) or await self.store.reviews(
            status="open", thread=review
        )
        if not rows and await self.store.thread(review) is not None:
            raise UnknownReview(
                f"thread {review!r} has no open review; `turnout reviews --status all --thread {review}` lists all"
            )
        if not rows:
            raise UnknownReview(f"there is no review {review!r}; `turnout reviews` lists those that are open")
        if len(rows) > 1:
            raise UnknownReview(
                f"thread {review!r} has {len(rows)} open reviews; say which: {', '.join(r.review for r in rows)}"
            )
        return review_in(rows[0])

    async def resolve(self, review: str | Review, judgement: Judgement) -> Review:
        """Record a person's decision. Returns the review as it is then (still open while a quorum is missing).

        Raises `UnknownReview`, `ReviewClosed` (showing the first decision), `ReviewStale`, `DecisionNotAllowed`,
        `InputInvalid`.
        """
        if isinstance(review, Review):
            judgement = replace(judgement, shown=judgement.shown or review.shown)
        found = await self.review(review if isinstance(review, str) else review.id)
        if judgement.shown is None:
            judgement = replace(judgement, shown=found.shown)

        def make(view: ThreadView) -> list[e.Draft]:
            asked = view.reviews.get(found.id)
            if asked is None:
                raise HeadMoved("closed")
            if judgement.decision == "landed":
                check_result(self.graphs, view.graph, asked, judgement.payload)
            return [e.Draft(asked.run, asked.step, judge(asked, judgement))]

        try:
            if found.status != "open":
                raise HeadMoved("closed")
            await append_outside(self.store, self._clock, found.thread, make)
        except HeadMoved:
            raise closed(await self.review(found.id)) from None
        self._hub.notify(found.thread)
        return await self.review(found.id)

    # --- reading -------------------------------------------------------------------------------------------------

    async def threads(
        self, *, graph: str = "", status: str = "", search: str = "", after: str = "", limit: int = 100
    ) -> list[ThreadRow]:
        """Threads in the order of their names; `after` is the last name of the page before."""
        return await self.store.threads(graph=graph, status=status, search=search, after=after, limit=limit)

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

    async def stream(self, thread: str) -> AsyncIterator[Any]:
        """Events of a thread as they happen in this process: entries once they are durable, and what `ctx.emit` says."""
        events: asyncio.Queue[Any] = asyncio.Queue()
        stop = self._hub.watch(lambda name, event: events.put_nowait(event) if name == thread else None)
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
                   name: str | None = None, by: str = "") -> Run:  # fmt: skip
        """A new thread that shares the journal up to entry `at` and goes on by itself, with `update` to its state.

        Raises `UnknownThread`, `UnknownEntry`, `ForkRefused`, `InputInvalid`.
        """
        row = await thread_row(self.store, thread)
        at = row.head if at is None else at
        view = await self.view(thread, at=at)
        name = name or f"{thread}-fork-{self._world.chance.hex(6)}"
        check_name(name)
        await forking.fork(self.store, self._clock, self.graph(row.graph), view, name, dict(update or {}), by)
        self._hub.notify(name)
        return Run(name, view.run.number if view.run else view.runs)

    async def whatif(self, thread: str, graph: Graph | None = None) -> WhatIf:
        """Run the thread's inputs again under another version of its graph, answered from the record.

        Nothing is called and no write is made; where the record has no answer the run stops, and the result says so.
        """
        row = await thread_row(self.store, thread)
        scratch = self._scratch()
        try:
            return await whatif.whatif(
                graph or self.graph(row.graph), thread, await self.entries(thread), scratch
            )
        finally:
            await scratch.close()

    async def check_in_flight(self, progress: Callable[[int], None] | None = None) -> list[proof.InFlight]:
        """Would the code at hand adopt the unfinished runs of this store? Changes nothing."""
        found = []
        after = ""
        while rows := await self.store.threads(after=after, limit=500):
            for row in rows:
                if row.status in ("running", "waiting", "diverged"):
                    found.append(await proof.in_flight(self.store, self.graphs, row))
            after = rows[-1].thread
            if progress is not None:
                progress(len(found))
        return found

    async def verify(self, thread: str = "", *, against: Mapping[str, Any] | None = None,
                     progress: Callable[[int], None] | None = None) -> proof.Verified:  # fmt: skip
        """Check chains, values, rows and snapshots of one thread or all; with an exported head also what was cut off."""
        if thread:
            await thread_row(self.store, thread)
        return await proof.verify(self.store, self.signer, thread, against, progress)

    async def head(self, thread: str = "") -> dict[str, Any]:
        """A signed statement of how far the journals have come. Keep it elsewhere; `verify` checks against it."""
        if thread:
            await thread_row(self.store, thread)
        return await proof.export_head(self.store, self.signer, self._clock.now(), thread)

    def graph(self, name: str) -> Graph:
        """A graph of this app. Raises `UnknownGraph`."""
        found = self.graphs.get(name)
        if found is None:
            has = ", ".join(sorted(self.graphs)) or "none; give its module, e.g. `turnout run desk:graph`"
            raise UnknownGraph(f"there is no graph {name!r} here (there is: {has})")
        return found
