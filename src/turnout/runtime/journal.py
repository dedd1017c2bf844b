"""One thread's journal in this process: what is durable, what is staged, and the view of both.

`stage` numbers and chains entries and applies them to the view at once; `commit` makes all that is staged durable.
If somebody from outside has appended meanwhile (an input, a decision, a cancel), the commit is refused, what is new
is read, and the facts among the staged entries are put behind it; what was *decided* on the older view is dropped,
to be decided again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from turnout.core import canon, notices, pack, project
from turnout.core import entries as e
from turnout.core.budgets import Charge
from turnout.core.charges import charge
from turnout.core.decide import Memory
from turnout.core.effects import slot
from turnout.core.fold import apply
from turnout.core.view import ReviewView, ThreadView
from turnout.errors import (
    CapReached,
    Conflict,
    HeadMoved,
    StaleWriter,
    StoreError,
    StoreUnavailable,
)
from turnout.ports.clock import Clock
from turnout.ports.codec import PLAIN, Codec
from turnout.ports.rows import KEEP, Append, HeadRow, KeyRow, Lease, ReviewRow, Row, RunRow, ThreadRow
from turnout.ports.store import Store
from turnout.runtime.reading import Loaded, entries_of, load_view

SNAPSHOT_FROM = 65_536
"""Bytes: a shorter tail is folded faster than a snapshot is written."""
CHARGED = frozenset(
    ("budget.reserved", "budget.settled", "budget.topped_up", "model.attempted", "effect.recorded", "effect.settled")
)  # fmt: skip
"""The kinds of entries that may cost something."""
Place = tuple[int, str, str]
"""Run, step, and the slot of an effect in it."""
Sign = Callable[[str, int, bytes, e.Micros], HeadRow]


class Journal:
    """The journal of one thread, held by one driver (or, for a moment, by one caller from outside)."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        view: ThreadView,
        epoch: int,
        codec: Codec = PLAIN,
        sign: Sign | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.view = view
        self.epoch = epoch
        self.codec = codec
        self.memory = Memory()
        self.head = view.seq
        self.generation = 0  # grows when the view was read anew
        self.on_entries: Callable[[list[e.Entry]], None] | None = None
        self.on_news: Callable[[], None] = lambda: None  # a commit found entries from outside
        self._sign = sign
        self._staged: list[e.Entry] = []
        self._lock = asyncio.Lock()
        self._broken: StaleWriter | StoreError | None = None
        self._row: tuple[str, int, str, int] | None = None
        """Status, run, fingerprint and priority of the thread's row, if known."""
        self._known: set[str] = set()
        self._values: dict[str, bytes] = {}
        self._tail = 0  # stored bytes since the last snapshot
        self._snapshot_size = 0
        self._reviews: dict[str, ReviewView] = dict(view.reviews)
        self._urgency = view.priority  # as it was before what is staged
        self.refusals: dict[Place, CapReached] = {}
        """Why a reservation that was staged is not on record: a cap had no room for it."""
        self._charges: dict[int, Charge] = {}  # of staged entries

    @classmethod
    async def load(
        cls, store: Store, clock: Clock, thread: str, *, lease: Lease | None = None, codec: Codec = PLAIN,
        sign: Sign | None = None, row: ThreadRow | None = None,
    ) -> Journal:  # fmt: skip
        """The journal as it is now. A thread that isn't there is an empty one."""
        row = row or await store.thread(thread)
        if row is None:
            return cls(store, clock, ThreadView(thread=thread), 0, codec, sign)
        journal = cls(
            store, clock, ThreadView(thread=thread), lease.epoch if lease else row.epoch, codec, sign
        )
        journal._take(await load_view(store, thread, codec))
        return journal

    def stage(self, drafts: Iterable[e.Draft], now: e.Micros | None = None) -> list[e.Entry]:
        """Number, chain and apply. Nothing is durable yet. `now` is the time by which the drafts were decided."""
        now = now if now is not None else self.clock.now()
        return [self._seal(draft, now) for draft in drafts]

    def _seal(self, draft: e.Draft, now: e.Micros) -> e.Entry:
        view = self.view
        body = draft.body
        stored = canon.encode(body)
        if len(stored) > pack.SMALL:
            stored, values = pack.pack(stored, self._known)
            self._values.update(values)
        stored = self.codec.encode(view.thread, stored)
        seq = view.seq + 1
        envelope = (view.thread, seq, body.kind, draft.run, draft.step, now, self.epoch)
        digest = e.chain(bytes.fromhex(view.digest), envelope, stored)
        entry = e.Entry(
            view.thread, seq, body.kind, draft.run, draft.step, now, self.epoch, stored, digest, body
        )
        apply(view, entry)
        self._staged.append(entry)
        charged = charge(view, entry) if body.kind in CHARGED else None
        if charged is not None:
            self._charges[seq] = charged
        return entry

    async def commit(
        self,
        *,
        wake: e.Micros | str | None = KEEP,
        release: bool = False,
        keys: list[KeyRow] | None = None,
        base: tuple[str, int] | None = None,
        opened: bool = False,
    ) -> bool:
        """Make what is staged durable. False: somebody was quicker; the view is newer now, decide again.

        Raises `StaleWriter` when the lease is another's, or `StoreError`: then nothing of this journal object is
        worth anything, and every later commit raises it again. Code of a node that swallows it changes nothing.
        """
        async with self._lock:
            self._check()
            batch = self._staged
            if not batch and not release and not keys:
                return True
            self._staged = []
            change = self._change(batch)
            change.wake, change.release, change.base = wake, release, base
            change.keys = keys or []
            try:
                await self.store.append(change)
            except HeadMoved:
                if opened:
                    raise
                await self._rebase(batch)
                return False
            except CapReached as error:
                await self._rebase(self._without(batch, error))
                return False
            except BaseException as error:
                self._break(error)
                raise
            self._appended(change, batch)
            return True

    async def transact(self, do: Callable[[Any], Awaitable[None]], make: Callable[[], list[e.Draft]]) -> None:
        """Call `do` with the connection of a transaction of the store, and commit what it wrote together with the
        drafts of `make` and with all else that is staged.

        `make` is asked right before the append, and again when somebody from outside was quicker; it may raise to
        refuse. Whatever is raised, nothing was committed, and what others have staged is staged as before; except for
        `StoreError` and `StaleWriter` after `make`: then the journal is broken as by `commit`, and the next load tells.
        """
        async with contextlib.AsyncExitStack() as lock:
            # On an exclusive store first: else a commit of another step may have it, and wait for our transaction.
            if self.store.exclusive:
                await lock.enter_async_context(self._lock)
            self._check()
            beside: list[e.Entry] | None = None  # what is staged beside the drafts; None: they aren't staged
            try:
                async with self.store.transaction() as tx:
                    await do(tx.connection)
                    if not self.store.exclusive:
                        await lock.enter_async_context(self._lock)
                    self._check()
                    while True:
                        drafts, beside = make(), list(self._staged)
                        self.stage(drafts)
                        batch, self._staged = self._staged, []
                        change = self._change(batch)
                        try:
                            await tx.append(change)
                            break
                        except HeadMoved:
                            await self._rebase(beside)
                            beside = None
                        except CapReached as refused:
                            await self._rebase(self._without(beside, refused))
                            beside = None
            except BaseException as error:
                if beside is None:
                    raise
                if isinstance(error, StoreError | Conflict) or not isinstance(error, Exception):
                    self._break(error)
                    raise
                await self._rebase(beside)  # the store refuses what `do` wrote, and has undone it
                raise
            self._appended(change, batch)

    def _without(self, batch: list[e.Entry], error: CapReached) -> list[e.Entry]:
        """What is left of a batch when a reservation in it is refused: not the write that it was for, either. Who asked
        for it finds the reason in `refusals`."""
        found = next(x for x in batch if x.seq == error.seq)
        assert isinstance(found.body, e.BudgetReserved)
        place = (found.run, found.step, slot(found.body.key, found.body.n))
        self.refusals[place] = error
        return [
            x
            for x in batch
            if x is not found
            and not (
                isinstance(x.body, e.EffectIntended) and (x.run, x.step, slot(x.body.key, x.body.n)) == place
            )
        ]

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _break(self, error: BaseException) -> None:
        """What was being committed may be durable or not, or is lost: nothing can be put behind it."""
        if isinstance(error, StaleWriter | StoreError):
            self._broken = error
        else:
            self._broken = StoreUnavailable("a commit was cut off; load the thread again")

    def _appended(self, change: Append, batch: list[e.Entry]) -> None:
        self.head = batch[-1].seq if batch else self.head
        self._row = (change.status, change.run, change.fingerprint, change.priority)
        if batch and self.on_entries is not None:
            self.on_entries(batch)

    async def refresh(self) -> bool:
        """Read what others have appended. True when there was something. Raises what an earlier commit has failed with."""
        async with self._lock:
            if self._broken is not None:  # what that commit held may be there, and isn't news
                raise self._broken
            rows = await self.store.read(self.view.thread, after=self.head)
            if not rows:
                return False
            if rows[-1].epoch != self.epoch:
                raise StaleWriter(
                    f"thread {self.view.thread!r} is in epoch {rows[-1].epoch} now, not {self.epoch}"
                )
            new = await entries_of(self.store, rows, self.codec)
            if self._staged:
                await self._rebase([])
            else:
                for entry in new:
                    apply(self.view, entry)
                self.head = self.view.seq
                self.generation += 1
                self._reviews = dict(self.view.reviews)
            return True

    async def _rebase(self, refused: list[e.Entry]) -> None:
        """Read the journal anew and put what is staged behind it: `refused`, and what steps stage meanwhile."""
        try:
            row = await self.store.thread(self.view.thread)
            if row is None or row.epoch != self.epoch:
                raise StaleWriter(f"thread {self.view.thread!r} was taken over by another writer")
            loaded = await load_view(self.store, self.view.thread, self.codec)
        except BaseException as error:
            self._break(error)
            raise
        staged, self._staged = refused + self._staged, []  # nothing may be awaited from here on
        self._take(loaded)
        self.on_news()
        self.stage(e.Draft(x.run, x.step, x.body) for x in staged if self._still_true(x.body))

    def _still_true(self, body: e.Body) -> bool:
        """Facts are, unless they settle a reservation that was never made durable. What was decided is decided again."""
        if isinstance(body, e.BudgetSettled):
            run = self.view.run
            return run is not None and str(body.spent.reserved) in run.reserved
        return not body.decided

    def _take(self, loaded: Loaded) -> None:
        self.view, self._known = loaded.view, loaded.known
        self._tail, self._snapshot_size = loaded.tail, loaded.snapshot_size
        self.head = self.view.seq
        self.memory = Memory()
        self.generation += 1
        self._row = None
        self._charges = {}
        self._reviews = dict(self.view.reviews)
        self._urgency = self.view.priority

    def _change(self, batch: list[e.Entry]) -> Append:
        view = self.view
        rows = [Row(x.thread, x.seq, x.kind, x.run, x.step, x.at, x.epoch, x.stored, x.digest) for x in batch]
        at = batch[-1].at if batch else self.clock.now()
        fingerprint = view.run.fingerprint if view.run else ""
        change = Append(
            thread=view.thread, head=self.head, epoch=self.epoch, rows=rows, graph=view.graph, fingerprint=fingerprint,
            status=view.status, run=view.runs, at=at, tenant=view.tenant, priority=view.priority,
            progress=project.progress(batch),
        )  # fmt: skip
        change.same = self._row == (change.status, change.run, fingerprint, change.priority)
        if self._charges:
            change.charges = [self._charges.pop(x.seq) for x in batch if x.seq in self._charges]
        if self._values:
            change.values, self._values = self._values, {}
        if batch and isinstance(batch[0].body, e.ThreadForked):
            for run in project.taken_over(view, at):
                ended = at if run.end_seq else None
                change.runs.append(
                    RunRow(view.thread, run.run, run.graph, run.status, at, ended, run.end_seq, run.error)
                )
        for run in project.runs(batch, view.graph):
            ended = run.at if run.end_seq else None
            change.runs.append(
                RunRow(view.thread, run.run, run.graph, run.status, run.at, ended, run.end_seq, run.error)
            )
            if run.end_seq is not None and view.last is not None and view.last.parent:
                change.wakes.append(view.last.parent)
            if run.end_seq is not None and self._sign is not None:
                change.signed = self._sign(view.thread, batch[-1].seq, batch[-1].digest, at)
        if batch and isinstance(batch[0].body, e.ThreadForked):
            self._reviews = {}  # those are the parent's
        changed: list[project.ReviewChange] = []
        if self._reviews or view.reviews or any(isinstance(x.body, e.ReviewRequested) for x in batch):
            changed = project.reviews(self._reviews, view.reviews, batch)
            for r in changed:
                roles = ",".join(r.review.roles)
                change.reviews.append(
                    ReviewRow(r.review.id, view.thread, r.review.run, r.status, roles, r.review.due_at, r.review.asked_at,
                              r.closed_at, r.about)
                )  # fmt: skip
            self._reviews = dict(view.reviews)
        if self.store.notices is not None:
            self._tell(change, batch, changed)
        self._urgency = view.priority
        self._tail += sum(len(row.stored) for row in rows)
        if rows and self._tail > max(SNAPSHOT_FROM, self._snapshot_size // 2):
            stored = self.codec.encode(view.thread, canon.encode(view))
            change.snapshot = stored
            self._tail, self._snapshot_size = 0, len(stored)
        return change

    def _tell(self, change: Append, batch: list[e.Entry], changed: Sequence[project.ReviewChange]) -> None:
        """Put into the outbox what somebody wants to hear of."""
        rules = (
            self.store.notices() if self.store.notices is not None and notices.tells(batch, changed) else None
        )
        if rules is not None:
            urgency = self.view.priority if self.view.run is not None else self._urgency
            told = notices.told(rules, self.view, urgency, batch, changed)
            change.outbox, change.withdrawn = told.notices, told.withdrawn
