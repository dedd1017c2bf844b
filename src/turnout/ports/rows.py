"""What goes into a store and comes out of it: the rows of its tables, and what is handed in for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from turnout.core.amounts import Amount
from turnout.core.budgets import Charge
from turnout.core.entries import Micros
from turnout.core.notices import Notice


class Row(NamedTuple):
    """An entry as it lies in the store. (A tuple because every step makes two, and a tuple is what a store inserts.)"""

    thread: str
    seq: int
    kind: str
    run: int
    step: str
    at: Micros
    epoch: int
    stored: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class ThreadRow:
    """What the store knows of a thread without reading its journal. `wake_at`: when somebody should look at it.

    `tries` counts the leases in a row that ran out before a step of the thread came to an end. `aside` says why nobody
    claims the thread any more; it is empty while everybody may.
    """

    thread: str
    graph: str
    fingerprint: str
    status: str
    run: int
    head: int
    digest: bytes
    epoch: int
    owner: str
    lease_until: Micros
    wake_at: Micros | None
    created_at: Micros
    updated_at: Micros
    base_thread: str | None = None
    base_seq: int = 0
    tenant: str = ""
    priority: int = 0
    tries: int = 0
    aside: str = ""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, for lists and for waiting callers. `end_seq` is the entry that ended it."""

    thread: str
    run: int
    graph: str
    status: str
    started_at: Micros
    ended_at: Micros | None = None
    end_seq: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """A review, for lists. `about` is its JSON."""

    review: str
    thread: str
    run: int
    status: str
    roles: str
    due_at: Micros | None
    asked_at: Micros
    closed_at: Micros | None
    about: bytes


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An idempotency key that was used. `digest` is of what came with it."""

    key: str
    thread: str
    run: int
    digest: str


@dataclass(frozen=True, slots=True)
class HeadRow:
    """A signed head: who holds one can see later whether the journal was cut or rolled back."""

    thread: str
    seq: int
    digest: bytes
    at: Micros
    signature: bytes


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a thread, until it ends or somebody claims it after that. Every append carries `epoch`.

    `tries`: how many leases in a row have run out on this thread before this one, see `ThreadRow.tries`.
    """

    thread: str
    worker: str
    epoch: int
    tries: int = 0


SUSPECT = 2
"""From so many `tries` on a thread may be what kills its workers: a worker holds one such thread at a time, so that
the others that were there when it died can come to show that it wasn't them."""


@dataclass(frozen=True, slots=True)
class LimitRow:
    """At most `at_once` threads of this graph or tenant are held by workers at a time. `kind`: graph or tenant."""

    kind: str
    name: str
    at_once: int


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule: what is started, and when. `cron` in the time zone `zone`, or once at `at`.

    `missed` (skip, once, all) and `overlap` (allow, skip, wait, cancel) are its rules. `next_at`: when it fires next
    (None: never again). `last_at`: the slot that was fired last, and `last_thread` the thread that was started for it.
    `note` says what became of the last slot, when it was not a start.
    """

    name: str
    graph: str
    input: bytes
    cron: str
    zone: str
    at: Micros | None
    missed: str
    overlap: str
    paused: bool
    next_at: Micros | None
    created_at: Micros
    updated_at: Micros
    last_at: Micros | None = None
    last_thread: str = ""
    note: str = ""
    by: str = ""
    tenant: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A notice on its way. `status`: waiting, sent, dead (it is not tried any more) or withdrawn.

    `due_at`: when it is sent, or sent again. While it is being sent, `owner` holds it until `held_until`, and whoever
    finds it after that sends it again. `attempts` counts those that were begun, `error` says what the last one came to,
    `settled_at` when it left the status waiting.
    """

    notice: Notice
    due_at: Micros
    status: str = "waiting"
    attempts: int = 0
    owner: str = ""
    held_until: Micros = 0
    settled_at: Micros | None = None
    error: str = ""

    @property
    def resent(self) -> bool:
        """Has somebody had it sent again, and was that not tried yet?"""
        return not self.error and self.due_at != self.notice.due_at


@dataclass(frozen=True, slots=True)
class TallyRow:
    """How many `threads` there are of a graph's version with a status, set aside or not."""

    graph: str
    fingerprint: str
    status: str
    aside: bool
    threads: int


@dataclass(frozen=True, slots=True)
class NodeRow:
    """What became of a node's `steps` in a sample of threads. `failed` had at least one try that failed, `paused` waited at
    least once (for a person, a signal, a timer or a child)."""

    node: str
    steps: int
    failed: int
    paused: int


@dataclass(frozen=True, slots=True)
class TokenRow:
    """What signs somebody in: an API token, or a session that one was exchanged for. `kind`: token or session.

    `digest` is of its secret, which is nowhere. `roles` and `review_roles` with commas. `tenant` None: all that is in the
    store. `parent` is the token that a session came from ("": it came from elsewhere), `how` what is put on record with
    what is done by it, and `by` who made it.
    """

    token: str
    kind: str
    digest: bytes
    who: str
    roles: str
    review_roles: str
    tenant: str | None
    how: str
    created_at: Micros
    expires_at: Micros | None = None
    revoked_at: Micros | None = None
    parent: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Census:
    """How many threads there are: by status, due and free, held by workers, set aside. And how many reviews are open."""

    threads: dict[str, int]
    due: int
    held: int
    aside: int
    reviews: int


@dataclass(slots=True)
class Append:
    """Everything that becomes durable in one transaction. `head` and `epoch` are what the caller believes.

    `wake` sets when the thread should be looked at next: KEEP leaves it, None takes it away. `release` gives the
    lease back. `wakes` names other threads that are to be looked at now; see `Store.wake`. `base` makes the thread a
    fork. `same` says that status, run, fingerprint and priority are what the thread's row has already, as at most
    steps. `tenant` is kept from the append that makes the thread. `progress`: a step came to its end, so the thread
    isn't what killed its worker before (see `ThreadRow.tries`). `aside` is what the thread's row says from then on (""
    ends it, None leaves it): so a journal that comes from elsewhere can be put together, and nobody claims it before
    it is whole. `charges` are what the entries say to the ledger: the append is refused when a reservation among them
    would go over a cap, and else they are booked with it. `outbox`: notices of
    what is appended; `withdrawn`: reviews of which nobody is reminded any more.
    """

    thread: str
    head: int
    epoch: int
    rows: list[Row]
    graph: str
    fingerprint: str
    status: str
    run: int
    at: Micros
    values: dict[str, bytes] = field(default_factory=dict)
    wake: Micros | str | None = "keep"
    release: bool = False
    runs: list[RunRow] = field(default_factory=list)
    reviews: list[ReviewRow] = field(default_factory=list)
    keys: list[KeyRow] = field(default_factory=list)
    wakes: list[str] = field(default_factory=list)
    snapshot: bytes | None = None
    signed: HeadRow | None = None
    base: tuple[str, int] | None = None
    same: bool = False
    tenant: str = ""
    priority: int = 0
    progress: bool = False
    aside: str | None = None
    charges: list[Charge] = field(default_factory=list)
    outbox: list[Notice] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)


KEEP = "keep"


@dataclass(frozen=True, slots=True)
class CostRow:
    """What calls have cost together. `what` is what they have in common: a graph, a day, a model. `assumed` is that part
    of `spent` which isn't known, but was reserved for calls that were cut off; `reserved` is for calls under way."""

    what: str
    spent: Amount
    assumed: Amount
    reserved: Amount


COSTS_BY = ("graph", "node", "branch", "model", "tenant", "retry", "day", "thread")
