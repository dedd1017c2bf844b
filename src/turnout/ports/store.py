"""The store: rows of journals, and who may write them. About ten verbs, none of which is "execute SQL".

A store knows nothing of graphs or of what entries mean. All it promises:

- `append` is atomic and durable when it returns, and is refused unless head and epoch are what the caller believes;
- `claim` gives a thread to one worker at a time and raises the epoch by one;
- what was appended is read back as it was, byte by byte.

Every store must pass `turnout.testing.contract`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from turnout.core.entries import Micros


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
    """What the store knows of a thread without reading its journal. `wake_at`: when somebody should look at it."""

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
    """The right to write a thread, until it ends or somebody claims it after that. Every append carries `epoch`."""

    thread: str
    worker: str
    epoch: int


@dataclass(slots=True)
class Append:
    """Everything that becomes durable in one transaction. `head` and `epoch` are what the caller believes.

    `wake` sets when the thread should be looked at next: KEEP leaves it, None takes it away. `release` gives the
    lease back. `wakes` names other threads that are to be looked at now; see `Store.wake`. `base` makes the thread a
    fork. `same` says that status, run and fingerprint are what the thread's row has already, as at most steps.
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


KEEP = "keep"


class Store(Protocol):
    """Errors of all verbs: `StoreUnavailable` (locked, full, read-only, closed) and `StoreDamaged`."""

    url: str

    async def append(self, change: Append) -> None:
        """Make `change` durable. Raises `HeadMoved`, `StaleWriter`, or `KeyReused` when one of its keys is taken."""

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
    ) -> list[Lease]:
        """Take up to `limit` threads (or the one named) of these graphs (None: of any) that are due and that nobody
        holds, the longest due first."""

    async def renew(self, worker: str, threads: Sequence[Lease], until: Micros) -> list[Lease]:
        """Extend leases; returns those that were lost."""

    async def release(self, lease: Lease, head: int, wake_at: Micros | None) -> bool:
        """Give a lease back, if the journal's head is still `head`. False: it has moved, look again."""

    async def wake(self, threads: Sequence[str], at: Micros) -> None:
        """Have these threads looked at, at `at` at the latest. One that is held is due as soon as it is given back,
        whatever its holder says then: it may have looked just before."""

    async def threads(
        self,
        *,
        graph: str = "",
        status: str = "",
        search: str = "",
        owner: str = "",
        after: str = "",
        limit: int = 100,
    ) -> list[ThreadRow]:
        """Thread rows in the order of their names, those behind `after` first; up to `limit`."""

    async def runs(self, thread: str) -> list[RunRow]:
        """The thread's runs, oldest first."""

    async def reviews(
        self, *, status: str = "", thread: str = "", review: str = "", limit: int = 1000
    ) -> list[ReviewRow]:
        """Reviews, the earliest due first, then the oldest."""

    async def key(self, key: str) -> KeyRow | None:
        """Where an idempotency key was used."""

    async def heads(self, thread: str = "") -> list[HeadRow]:
        """The signed heads, oldest first."""

    async def strays(self, thread: str = "") -> list[tuple[str, int]]:
        """Up to 100 entries (thread, seq) that no read gives, since they lie outside their journal or have no thread ("").

        Turnout never makes any: somebody put them in.
        """

    def changed(self) -> Any:
        """Something that differs from the last call's answer when another process may have written. Cheap."""

    async def close(self) -> None:
        """Finish what was begun and let go."""
