"""The store: rows of journals, and who may write them. Domain verbs, none of which is "execute SQL".

A store knows nothing of graphs or of what entries mean. All it promises:

- `append` is atomic and durable when it returns, and is refused unless head and epoch are what the caller believes;
- `claim` gives a thread to one worker at a time and raises the epoch by one;
- what was appended is read back as it was, byte by byte.

Seven groups of verbs: the journal (`append` to `strays`), who may write (`claim` to `put_limit`), schedules, the outbox
(`outbox` to `forget_outbox`), the ledger of budgets (`budgets` to `costs`), who may come in (`tokens` to `within`), and
how a process hears of what others did (`hear`, `changed`). What goes in and comes out are the rows of `ports.rows`.

Every store must pass `turnout.testing.contract`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, Protocol

from turnout.core.budgets import Account, Budget, ChargeRow
from turnout.core.entries import Micros
from turnout.core.notices import Notice, Rules
from turnout.ports.rows import (
    Append,
    Census,
    CostRow,
    HeadRow,
    KeyRow,
    Lease,
    LimitRow,
    NodeRow,
    OutboxRow,
    ReviewRow,
    Row,
    RunRow,
    ScheduleRow,
    TallyRow,
    ThreadRow,
    TokenRow,
)

WAITS: ContextVar[float] = ContextVar("turnout_store_waits", default=math.inf)
"""Seconds, at most, that who asks waits for a store that is away, if that is less than the store's own patience: a worker
has nothing else to do meanwhile, but a request has somebody who waits for its answer."""


class Transaction(Protocol):
    """A transaction of the store's own database. It is committed when its block ends, and undone when that raises."""

    connection: Any
    """What a transactional tool is handed: a `psycopg.AsyncConnection` or a `sqlite3.Connection`, inside the
    transaction, which neither may end."""

    async def append(self, change: Append) -> None:
        """As `Store.append`, in this transaction. When it is refused nothing was changed, and it may be tried again."""


class Store(Protocol):
    """Errors of all verbs: `StoreUnavailable` (locked, full, read-only, closed) and `StoreDamaged`."""

    url: str
    """Its address, without a password. That of a tenant's handle names the tenant alone: where the store is, is the house's."""
    exclusive: bool
    """Does an open `transaction` hold up the other writes of this process? Then nobody may wait for one inside it."""
    notices: Callable[[], Rules | None] | None
    """Who is told of what is appended here: asked at the first entry that somebody may want to hear of. None: nobody."""

    async def open(self) -> None:
        """Make ready: connect, see to the schema. What comes first does it anyway; asked for so that trouble shows at
        once. Raises `StoreUnavailable`, `StoreNewer`."""

    async def append(self, change: Append) -> None:
        """Make `change` durable. Raises `HeadMoved`, `StaleWriter`, `KeyReused` when one of its keys is taken, or
        `CapReached` when a budget has no room for one of its reservations; whoever appends at the same time."""

    async def thread(self, thread: str) -> ThreadRow | None:
        """The thread's row."""

    async def read(self, thread: str, after: int = 0, upto: int | None = None) -> list[Row]:
        """The thread's entries with `after` < seq <= `upto`, in order; of a fork also those it shares."""

    async def values(self, addresses: Iterable[str]) -> dict[str, bytes]:
        """The values at these addresses; those that aren't there are left out."""

    async def snapshot(self, thread: str) -> tuple[int, bytes] | None:
        """The last snapshot and the seq it was made at."""

    async def claim(
        self,
        worker: str,
        now: Micros,
        until: Micros,
        limit: int,
        graphs: Sequence[str] | None = None,
        thread: str = "",
        *,
        tries: int = 0,
        suspects: bool = True,
    ) -> list[Lease]:
        """Take up to `limit` threads (or the one named) of these graphs (None: of any) that are due, that nobody holds
        and that are not set aside: the highest priority first, then the longest due.

        Never more than the limits of their graphs and tenants allow, those that are held counted in. A lease that has
        run out counts as a try (see `ThreadRow.tries`); a thread that has had `tries` of them (0: no matter how many)
        is set aside instead of being taken. At most one thread that has had `SUSPECT` of them is taken, and none
        without `suspects`.
        """

    async def renew(self, worker: str, threads: Sequence[Lease], until: Micros) -> list[Lease]:
        """Extend leases; returns those that were lost."""

    async def release(self, lease: Lease, head: int, wake_at: Micros | None) -> bool:
        """Give a lease back, if the journal's head is still `head`. False: it has moved, look again."""

    async def wake(self, threads: Sequence[str], at: Micros) -> None:
        """Have these threads looked at, at `at` at the latest. One that is held is due as soon as it is given back,
        whatever its holder says then: it may have looked just before."""

    async def due(
        self, now: Micros, graphs: Sequence[str] | None = None, limit: int = 1, *, held: bool = True
    ) -> int:
        """How many threads of these graphs are due and not set aside; counts no further than `limit`. Without `held`
        those that somebody holds are left out."""

    async def set_aside(
        self, threads: Sequence[str], reason: str, outbox: Sequence[Notice] = ()
    ) -> list[str]:
        """Have nobody claim these threads any more; who holds one loses it (its epoch is raised). Returns those that
        are there and were not set aside before; of those the notices in `outbox` are put into it."""

    async def take_back(self, threads: Sequence[str], at: Micros, outbox: Sequence[Notice] = ()) -> list[str]:
        """Have these threads claimed again, at `at`, their `tries` forgotten. Returns those that were set aside; of those
        the notices in `outbox` are put into it."""

    async def limits(self) -> list[LimitRow]:
        """The limits of graphs and tenants, in the order of kind and name."""

    async def put_limit(self, kind: str, name: str, at_once: int | None) -> None:
        """Set a limit, or take it away (None). It holds for every worker from its next claim on."""

    async def threads(
        self,
        *,
        graph: str = "",
        status: str = "",
        search: str = "",
        owner: str = "",
        tenant: str = "",
        aside: bool = False,
        since: Micros = 0,
        after: str = "",
        limit: int = 100,
    ) -> list[ThreadRow]:
        """Thread rows in the order of their names, those behind `after` first; up to `limit`. `search` is a part of the name,
        whatever the case of its letters A to Z. With `aside` only those that are set aside; with `since` those whose
        journals have grown at that time or later."""

    async def held(self, limit: int = 1000) -> list[ThreadRow]:
        """Threads that workers hold, in the order of the workers' names and their own."""

    async def census(self, now: Micros) -> Census:
        """How many threads and open reviews there are. With very many threads it takes a while."""

    async def latest(
        self,
        *,
        graph: str = "",
        status: str = "",
        search: str = "",
        tenant: str = "",
        aside: bool = False,
        before: tuple[Micros, str] | None = None,
        limit: int = 100,
    ) -> list[ThreadRow]:
        """Thread rows, those that were made last first; `before` are `created_at` and name of the last row of the page
        before. With `aside` only those that are set aside."""

    async def tally(self, *, graph: str = "", search: str = "", tenant: str = "") -> list[TallyRow]:
        """The threads, counted by graph, version, status, and whether they are set aside. It looks at every thread's row
        (of the graph, with that in its name, of the tenant), and at no journal."""

    async def nodes(self, graph: str, sample: int = 200) -> list[NodeRow]:
        """What became of the steps of each node, in the `sample` threads of the graph that were made last."""

    async def open_reviews(self, limit: int = 1000) -> int:
        """How many reviews are open; counts no further than `limit`."""

    async def closed_reviews(self, limit: int = 100) -> list[ReviewRow]:
        """Reviews that are closed, those that were closed last first."""

    async def runs(self, thread: str) -> list[RunRow]:
        """The thread's runs, oldest first."""

    async def reviews(
        self, *, status: str = "", thread: str = "", review: str = "", after: str = "", limit: int = 1000
    ) -> list[ReviewRow]:
        """Reviews, the earliest due first, then the oldest; those behind the review `after`."""

    async def key(self, key: str) -> KeyRow | None:
        """Where an idempotency key was used."""

    async def keys(self, thread: str) -> list[KeyRow]:
        """The idempotency keys that were used for a thread, in their order."""

    async def heads(self, thread: str = "") -> list[HeadRow]:
        """The signed heads, oldest first."""

    async def strays(self, thread: str = "") -> list[tuple[str, int]]:
        """Up to 100 entries (thread, seq) that no read gives, since they lie outside their journal or have no thread ("").

        Turnout never makes any: somebody put them in.
        """

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction in which a tool's own writes and an append become durable together.

        Raises `StoreUnavailable`, also from the end of the block: then it may have been committed or not, and the
        journal tells. Any other error from the end of the block (a constraint that is checked only then, or the tool
        has ended the transaction itself) says that nothing was committed.
        """

    async def schedules(self, *, name: str = "", graph: str = "") -> list[ScheduleRow]:
        """The schedules, in the order of their names."""

    async def due_schedules(self, now: Micros, graphs: Sequence[str], limit: int = 100) -> list[ScheduleRow]:
        """Schedules of these graphs whose `next_at` has come and that are not paused, the longest due first."""

    async def put_schedule(self, row: ScheduleRow) -> None:
        """Write a schedule, new or not."""

    async def move_schedule(self, row: ScheduleRow, was: ScheduleRow) -> bool:
        """Write `row` if the schedule is still as in `was` (its `next_at` and `updated_at` are); else False."""

    async def drop_schedule(self, name: str) -> bool:
        """Forget a schedule. False: there is none of that name."""

    async def outbox(
        self, *, status: str = "", tenant: str = "", notice: str = "", after: tuple[Micros, str] | None = None,
        limit: int = 100,
    ) -> list[OutboxRow]:  # fmt: skip
        """What is in the outbox, the newest first. `after` is `created_at` and id of the last one of the page before: it may
        be gone by now."""

    async def count_outbox(self) -> dict[str, int]:
        """How many notices have which status."""

    async def claim_outbox(
        self, owner: str, channel: str, now: Micros, until: Micros, limit: int
    ) -> list[OutboxRow]:
        """Take up to `limit` notices to this channel that are due and that nobody holds, the longest due first. Each counts
        as an attempt, and is held until `until`."""

    async def settle_outbox(self, row: OutboxRow, owner: str) -> bool:
        """Write what became of an attempt: `row` with its status, `due_at`, `settled_at` and `error`. It is held no more.
        False: `owner` doesn't hold this attempt any more, and nothing was changed."""

    async def resend_outbox(
        self, at: Micros, notices: Sequence[str] | None = None, tenant: str = ""
    ) -> list[str]:
        """Have these notices (None: all that are dead) sent at `at`, their attempts forgotten, unless they are being sent.
        Returns those that will be."""

    async def forget_outbox(self, before: Micros) -> int:
        """Forget notices that were sent or withdrawn before then; returns how many those were."""

    async def budgets(self) -> list[Budget]:
        """The budgets, in the order of their names."""

    async def put_budget(self, budget: Budget, at: Micros = 0) -> None:
        """Write a budget, new or not. It holds for every reservation from then on; its accounts stay. `at`: when it is set, if
        it is new or counts other calls than before; of what is booked later it counts no call that was begun before."""

    async def drop_budget(self, name: str) -> bool:
        """Forget a budget. Its accounts stay, for the case that it is set again. False: there is none of that name."""

    async def accounts(self, budget: str = "", *, limit: int = 100) -> list[Account]:
        """The accounts of a budget, or of all: what changed last comes first."""

    async def charges(self, thread: str) -> list[ChargeRow]:
        """The calls of a thread as the ledger has them, in the order of their entries."""

    async def book(self, rows: Sequence[ChargeRow]) -> None:
        """Put calls into the ledger that its appends didn't bring: of journals that come from elsewhere, or from before
        there was a ledger. No cap refuses any. `accounts` are found anew. Those that are there, and reserved or moved, are
        brought to what these say, in the accounts in which they were counted; the others are left as they are."""

    async def costs(
        self, by: str, since: Micros = 0, *, graph: str = "", tenant: str = "", thread: str = ""
    ) -> list[CostRow]:
        """What calls have cost that were begun at `since` or later, by one of `COSTS_BY`: the most expensive first."""

    async def tokens(self, *, token: str = "", kind: str = "", limit: int = 1000) -> list[TokenRow]:
        """What signs somebody in, the oldest first; also what was revoked or has expired."""

    async def put_token(self, row: TokenRow) -> None:
        """Add a token or a session."""

    async def revoke_token(self, token: str, at: Micros) -> bool:
        """Have a token or a session count no more. False: there is none, or it was revoked before."""

    async def forget_sessions(self, before: Micros) -> int:
        """Forget the sessions that expired before; returns how many those were."""

    def within(self, tenant: str) -> Store:
        """The store as a caller of that tenant has it: each verb finds, lists and changes only what is the tenant's, as if
        nothing else were there. The queries themselves see to that. An append to a thread of another's raises
        `InputInvalid`: its name is taken. What only a worker does, it refuses with `StoreUnavailable`."""

    async def hear(
        self, worker: str, graphs: Sequence[str], heard: Callable[[str], None], poll: float
    ) -> None:
        """Call `heard(thread)` for every wake-up that this worker should look into, until cancelled; "" when the store
        can't say which thread it is. A hint: one may come twice, or not at all. `poll` (seconds) is how often a store
        looks that is not told. Raises `StoreError` when it can't go on: call it again."""

    def changed(self) -> Any:
        """Something that differs from the last call's answer when another process may have written. Cheap."""

    async def close(self) -> None:
        """Finish what was begun and let go."""
