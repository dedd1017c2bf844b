"""App: what a user can ask of Turnout. CLI, API and console are translations of this, nothing more."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import msgspec

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.decide import carry
from turnout.core.fold import apply
from turnout.core.graph import Graph
from turnout.core.reviews import Verdict, judge
from turnout.core.view import ReviewView, ThreadView
from turnout.errors import (
    HeadMoved,
    InputInvalid,
    KeyReused,
    ReviewClosed,
    StateInvalid,
    ThreadBusy,
    UnknownEntry,
    UnknownGraph,
    UnknownReview,
    UnknownRun,
    UnknownThread,
)
from turnout.ports.clock import Clock
from turnout.ports.dispatcher import Dispatcher
from turnout.ports.store import KeyRow, ReviewRow, RunRow, Store, ThreadRow
from turnout.runtime import forking, whatif
from turnout.runtime.journal import append_outside, entries_of, load_view
from turnout.runtime.perform import World
from turnout.runtime.replay import Replayed, prove, replay
from turnout.runtime.whatif import WhatIf
from turnout.runtime.worker import Worker
from turnout.service import explain as explaining
from turnout.service import proof
from turnout.service.outcome import Cancelled, Failed, Finished, Outcome, Paused, Review, Run, review_of
from turnout.service.signing import Signer
from turnout.settings import Settings

IfActive = Literal["queue", "refuse", "replace"]
_review = msgspec.json.Decoder(dict[str, Any])


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
    ) -> None:
        self.store = store
        self.graphs = dict(graphs)
        self.settings = settings
        self.worker = worker
        self.signer = signer
        self._world = world
        self._scratch = scratch
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
        """Finish the steps that run, give the threads back, close the store."""
        if self.worker is not None and self._task is not None:
            await self.worker.drain(self.settings.grace)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
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
                return _same_input(found, digest, idempotency_key)
        if thread is None:
            thread = "t-" + (
                hashlib.sha256(key.encode()).hexdigest()[:16] if key else self._world.chance.hex(16)
            )
        _check_name(thread)

        def make(view: ThreadView) -> list[e.Draft]:
            _check_input(declared, view, plain)
            drafts = []
            active = _active(view)
            if active and if_active == "refuse":
                raise ThreadBusy(
                    f"thread {thread!r} has run {active[0]} active; wait for it, or send with if_active='queue' or 'replace'"
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
            return _same_input(found, digest, idempotency_key)
        self._hub.notify(thread)
        return Run(thread, made[-1].run)

    async def run(self, graph: str | Graph, input: Mapping[str, Any], **options: Any) -> Outcome:
        """`start` and `wait` in one."""
        return await self.wait(await self.start(graph, input, **options))

    async def wait(self, run: Run | str, *, timeout: float | None = None) -> Outcome:
        """Until the run has ended or waits for somebody. Timers and children are waited through.

        Raises TimeoutError after `timeout` seconds, `UnknownThread`, `UnknownRun`.
        """
        run = self._parse(run)
        changed = asyncio.Event()
        stop = self._hub.listen(lambda thread: changed.set() if thread == run.thread else None)
        try:
            async with asyncio.timeout(timeout):
                while True:
                    changed.clear()
                    outcome = await self._outcome(run)
                    if outcome is not None:
                        return outcome
                    await self._change(changed)
        finally:
            stop()

    async def _change(self, changed: asyncio.Event) -> None:
        """Until a notice, or until another process may have written, or at the latest after a sweep."""
        seen, waited = self.store.changed(), 0.0
        while not changed.is_set() and waited < self.settings.sweep:
            try:
                async with asyncio.timeout(self.settings.poll):
                    await changed.wait()
            except TimeoutError:
                waited += self.settings.poll
                if self.store.changed() != seen:
                    return

    async def _outcome(self, run: Run) -> Outcome | None:
        row = await self._run_row(run)
        if row.end_seq is None:
            return await self._paused(run)
        view = (await load_view(self.store, run.thread)).view
        if view.seq != row.end_seq:
            view = await self.view(run.thread, at=row.end_seq)
        return await self._ended(run, row, view)

    async def _ended(self, run: Run, row: RunRow, view: ThreadView) -> Outcome:
        rows = await self.store.read(run.thread, after=(row.end_seq or 1) - 1, upto=row.end_seq)
        body = (await entries_of(self.store, rows))[-1].body
        if isinstance(body, e.RunCancelled):
            return Cancelled(body.by, body.reason, body.writes)
        graph = self.graphs.get(view.graph)
        if isinstance(body, e.RunFailed):
            try:
                state = graph.schema.load(view.state) if graph is not None and view.started else None
            except StateInvalid:
                state = None
            return Failed(body.error, state, body.writes)
        if graph is None:
            raise UnknownGraph(
                f"thread {run.thread!r} is of graph {view.graph!r}, which this app doesn't have; give it to open_app"
            )
        return Finished(graph.schema.load(view.state))

    async def _paused(self, run: Run) -> Outcome | None:
        """Paused, if the thread rests and waits for somebody; None if it is still going (or waits for time or a child).

        A thread that waits for a child which waits for somebody waits for that one too.
        """
        row = await self.store.thread(run.thread)
        if row is None or row.owner or row.status not in ("waiting", "diverged"):
            return None
        if row.wake_at is not None and row.wake_at <= self._clock.now():
            return None
        view = (await load_view(self.store, run.thread)).view
        if view.run is None or view.run.number != run.number:
            return None
        reviews = [review_of(run.thread, "open", review, []) for review in view.reviews.values()]
        waits = [x for s in view.run.steps.values() for x in s.effects.values() if x.status == "waiting"]
        signals = [x.name for x in waits if x.kind == "signal"]
        for child in (x.child for x in waits if x.kind == "child"):
            below = await self._paused(Run(child, 1))
            if not isinstance(below, Paused):
                return None
            reviews, signals = reviews + below.reviews, signals + below.signals
        divergence = view.run.divergence.divergence if view.run.divergence else None
        return Paused(reviews, signals, divergence) if reviews or signals or divergence else None

    async def _run_row(self, run: Run) -> RunRow:
        rows = await self.store.runs(run.thread)
        found = next((row for row in rows if row.run == run.number), None)
        if found is not None:
            return found
        row = await self._row(run.thread)
        if row.base_thread is not None:  # a fork shares the runs that had ended before it
            shared = await self._run_row(Run(row.base_thread, run.number))
            if shared.end_seq is not None and shared.end_seq <= row.base_seq:
                return shared
        raise UnknownRun(f"thread {run.thread!r} has no run {run.number}; it has {row.run}")

    async def cancel(self, thread: str, *, run: int | None = None, by: str = "", reason: str = "") -> Run:
        """Ask the active run (or the given one) to stop. Returns at once; `wait` tells when it has.

        Raises `UnknownThread`, or `UnknownRun` when nothing is active.
        """
        await self._row(thread)

        def make(view: ThreadView) -> list[e.Draft]:
            active = _active(view)
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
        return Run(thread, made[0].run if made else _active(view)[0])

    async def signal(
        self, thread: str, name: str, payload: Any = None, *, by: str = "", idempotency_key: str | None = None
    ) -> bool:
        """Send a signal to a thread: to the step that has waited longest for it, else it is kept for the next one.

        False when a signal with that idempotency key was sent before.
        """
        await self._row(thread)
        plain = canon.plain(payload, "the signal's payload")
        canon.plain(idempotency_key, "the idempotency key")
        key = f"signal:{thread}:{idempotency_key}" if idempotency_key is not None else None

        def make(view: ThreadView) -> list[e.Draft]:
            return [
                e.Draft(
                    view.run.number if view.run else view.runs,
                    "",
                    e.SignalReceived(name=name, payload=plain, by=by),
                )
            ]

        def keys(view: ThreadView) -> list[KeyRow]:
            return [KeyRow(key, thread, view.runs, canon.digest([name, plain]))] if key else []

        try:
            await append_outside(self.store, self._clock, thread, make, keys=keys)
        except KeyReused:
            return False
        self._hub.notify(thread)
        return True

    # --- reviews -------------------------------------------------------------------------------------------------

    async def reviews(self, *, status: str = "open", thread: str = "", role: str = "") -> list[Review]:
        """Reviews, the earliest due first. `status=""` gives closed ones too; `role` only those that role may decide."""
        rows = await self.store.reviews(status=status, thread=thread)
        return [_review_of(row) for row in rows if not role or not row.roles or role in row.roles.split(",")]

    async def review(self, review: str) -> Review:
        """One review, by its id, or by the name of a thread that has just one open. Raises `UnknownReview`."""
        rows = await self.store.reviews(review=review) or await self.store.reviews(
            status="open", thread=review
        )
        if not rows:
            raise UnknownReview(f"there is no review {review!r}; `turnout reviews` lists those that are open")
        if len(rows) > 1:
            raise UnknownReview(
                f"thread {review!r} has {len(rows)} open reviews; say which: {', '.join(r.review for r in rows)}"
            )
        return _review_of(rows[0])

    async def resolve(self, review: str | Review, verdict: Verdict) -> Review:
        """Record a person's decision. Returns the review as it is then (still open while a quorum is missing).

        Raises `UnknownReview`, `ReviewClosed` (showing the first decision), `ReviewStale`, `DecisionNotAllowed`,
        `InputInvalid`.
        """
        if isinstance(review, Review):
            verdict = replace(verdict, shown=verdict.shown or review.shown)
        found = await self.review(review if isinstance(review, str) else review.id)
        if verdict.shown is None:
            verdict = replace(verdict, shown=found.shown)

        def make(view: ThreadView) -> list[e.Draft]:
            asked = view.reviews.get(found.id)
            if asked is None:
                raise HeadMoved("closed")
            return [e.Draft(asked.run, asked.step, judge(asked, verdict))]

        try:
            if found.status != "open":
                raise HeadMoved("closed")
            await append_outside(self.store, self._clock, found.thread, make)
        except HeadMoved:
            raise _closed(await self.review(found.id)) from None
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
        await self._row(thread)
        return await entries_of(self.store, await self.store.read(thread, after, upto), whole=True)

    async def view(self, thread: str, *, at: int | None = None) -> ThreadView:
        """The thread as it is, or as it was after entry `at`. Raises `UnknownThread`, `UnknownEntry`."""
        row = await self._row(thread)
        if at is None or at == row.head:
            return (await load_view(self.store, thread)).view
        if not 0 < at <= row.head:
            raise UnknownEntry(f"thread {thread!r} has entries 1 to {row.head}; there is no entry {at}")
        view = ThreadView(thread=thread)
        for entry in await entries_of(self.store, await self.store.read(thread, 0, at)):
            apply(view, entry)
        return view

    async def state(self, thread: str, *, at: int | None = None) -> dict[str, Any]:
        """The thread's state as plain data, now or after entry `at`."""
        return (await self.view(thread, at=at)).state

    async def explain(self, thread: str, *, at: int | None = None) -> explaining.Report:
        """The four questions, answered from the record. Raises `UnknownThread`, `UnknownEntry`."""
        row = await self._row(thread)
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
        row = await self._row(thread)
        entries = await entries_of(self.store, await self.store.read(thread))
        return await replay(self.graph(row.graph), thread, entries, progress)

    async def fork(self, thread: str, *, at: int | None = None, update: Mapping[str, Any] | None = None,
                   name: str | None = None, by: str = "") -> Run:  # fmt: skip
        """A new thread that shares the journal up to entry `at` and goes on by itself, with `update` to its state.

        Raises `UnknownThread`, `UnknownEntry`, `ForkRefused`, `InputInvalid`.
        """
        row = await self._row(thread)
        at = row.head if at is None else at
        view = await self.view(thread, at=at)
        name = name or f"{thread}-fork-{self._world.chance.hex(6)}"
        _check_name(name)
        await forking.fork(self.store, self._clock, self.graph(row.graph), view, name, dict(update or {}), by)
        self._hub.notify(name)
        return Run(name, view.run.number if view.run else view.runs)

    async def whatif(self, thread: str, graph: Graph | None = None) -> WhatIf:
        """Run the thread's inputs again under another version of its graph, answered from the record.

        Nothing is called and no write is made; where the record has no answer the run stops, and the result says so.
        """
        row = await self._row(thread)
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
                    found.append(await self._in_flight(row))
            after = rows[-1].thread
            if progress is not None:
                progress(len(found))
        return found

    async def _in_flight(self, row: ThreadRow) -> proof.InFlight:
        view = (await load_view(self.store, row.thread)).view
        graph = self.graphs.get(row.graph)
        if graph is None:
            where = e.Divergence(
                "the graph", f"graph {row.graph!r}", "the code at hand doesn't have it", row.head
            )
            return proof.InFlight(row.thread, row.graph, row.fingerprint, "", where, [])
        divergence, lines = await prove(graph, view)
        return proof.InFlight(row.thread, row.graph, row.fingerprint, graph.fingerprint, divergence, lines)

    async def verify(self, thread: str = "", *, against: Mapping[str, Any] | None = None,
                     progress: Callable[[int], None] | None = None) -> proof.Verified:  # fmt: skip
        """Check chains, values, rows and snapshots of one thread or all; with an exported head also what was cut off."""
        if thread:
            await self._row(thread)
        return await proof.verify(self.store, self.signer, thread, against, progress)

    async def head(self, thread: str = "") -> dict[str, Any]:
        """A signed statement of how far the journals have come. Keep it elsewhere; `verify` checks against it."""
        if thread:
            await self._row(thread)
        return await proof.export_head(self.store, self.signer, self._clock.now(), thread)

    def graph(self, name: str) -> Graph:
        """A graph of this app. Raises `UnknownGraph`."""
        found = self.graphs.get(name)
        if found is None:
            has = ", ".join(sorted(self.graphs)) or "none; give its module, e.g. `turnout run desk:graph`"
            raise UnknownGraph(f"there is no graph {name!r} here (there is: {has})")
        return found

    async def _row(self, thread: str) -> ThreadRow:
        row = await self.store.thread(canon.plain(thread, "the thread's name"))
        if row is None:
            raise UnknownThread(
                f"there is no thread {thread!r} in {self.store.url}; `turnout threads` lists them"
            )
        return row

    def _parse(self, run: Run | str) -> Run:
        if isinstance(run, Run):
            return run
        thread, _, number = run.rpartition("/")
        if not thread or not number.isdigit():
            raise UnknownRun(f"{run!r} is not a run; it looks like thread/1")
        return Run(thread, int(number))


def _active(view: ThreadView) -> list[int]:
    """The numbers of the active run and of those in the queue."""
    return ([view.run.number] if view.run else []) + [q.run for q in view.queue if q.cancel is None]


def _check_name(thread: str) -> None:
    if not thread or len(thread) > 200 or any(c.isspace() or not c.isprintable() for c in thread):
        raise InputInvalid(
            f"{thread!r} can't be a thread's name: 1 to 200 printable characters without spaces"
        )


def _check_input(graph: Graph, view: ThreadView, given: dict[str, Any]) -> None:
    """Refuse an input that the run could not start with."""
    if view.graph and view.graph != graph.name:
        raise InputInvalid(
            f"thread {view.thread!r} is of graph {view.graph!r}, not {graph.name!r}; use another thread"
        )
    if not view.started and not view.queue:
        graph.schema.first(given)
    elif view.started:
        state = {**view.state, **carry(graph, view.state).get("set", {})}
        graph.schema.delta(state, given, "the input", InputInvalid)


def _same_input(found: KeyRow, digest: str, key: str | None) -> Run:
    if found.digest != digest:
        raise KeyReused(
            f"the idempotency key {key!r} was used for {found.thread}/{found.run} with another input; use a new key"
        )
    return Run(found.thread, found.run, new=False)


def _review_of(row: ReviewRow) -> Review:
    about = _review.decode(row.about)
    return review_of(row.thread, row.status, msgspec.convert(about["review"], ReviewView), about["decisions"])


def _closed(review: Review) -> ReviewClosed:
    last = review.decisions[-1] if review.decisions else {}
    who = f" by {last['by']}" if last.get("by") else ""
    return ReviewClosed(
        f"review {review.id} is closed already: {review.status}{who}; nothing was changed", dict(last)
    )
