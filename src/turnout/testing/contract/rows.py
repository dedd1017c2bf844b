"""What the contract's tests append, and how they look at a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from turnout.ports.rows import Append, HeadRow, KeyRow, ReviewRow, Row, RunRow
from turnout.ports.store import Store

T0 = 1_767_225_600_000_000
"""2026-01-01 00:00 UTC, in microseconds."""
SECOND = 1_000_000


def row(thread: str, seq: int, *, epoch: int = 0, stored: bytes = b"") -> Row:
    """An entry, told apart from all others by its digest."""
    body = stored or f'{{"n":{seq}}}'.encode()
    digest = f"{thread}:{seq}:{epoch}".encode().ljust(32, b".")[:32]
    return Row(thread, seq, "signal.received", 1, "step.1", T0 + seq, epoch, body, digest)


def change(thread: str, head: int, count: int = 1, *, epoch: int = 0, **more: Any) -> Append:
    """An append of `count` entries behind `head`."""
    rows = [row(thread, head + n, epoch=epoch) for n in range(1, count + 1)]
    fields = {"graph": "desk", "fingerprint": "f1", "status": "running", "run": 1, "at": T0 + head + count}
    return Append(thread=thread, head=head, epoch=epoch, rows=rows, **{**fields, **more})


def full(thread: str, head: int, *, epoch: int = 0, other: str = "", mark: str = "x") -> Append:
    """An append that carries one of everything."""
    made = change(thread, head, 2, epoch=epoch, wake=T0 + 5, status="waiting", fingerprint=f"f-{mark}")
    made.values = {f"address-{mark}": mark.encode()}
    made.runs = [RunRow(thread, 1, "desk", "finished", T0, T0 + 9, head + 2, f"error {mark}")]
    made.reviews = [review(f"rev-{mark}", thread)]
    made.keys = [KeyRow(f"key-{mark}", thread, 1, "digest")]
    made.wakes = [other] if other else []
    made.snapshot = f"snapshot {mark}".encode()
    made.signed = HeadRow(thread, head + 2, b"d" * 32, T0 + 9, mark.encode())
    return made


def review(
    name: str, thread: str, *, due: int | None = None, asked: int = 0, status: str = "open"
) -> ReviewRow:
    return ReviewRow(
        name,
        thread,
        1,
        status,
        "finance,risk",
        None if due is None else T0 + due,
        T0 + asked,
        None,
        b'{"a":1}',
    )


async def everything(store: Store) -> dict[str, Any]:
    """All that can be asked of a store that holds the threads and names which `full` uses."""
    threads = await store.threads(limit=1000)
    names = [t.thread for t in threads]
    return {
        "threads": threads,
        "entries": [await store.read(name) for name in names],
        "runs": [await store.runs(name) for name in names],
        "snapshots": [await store.snapshot(name) for name in names],
        "reviews": await store.reviews(),
        "heads": await store.heads(),
        "values": await store.values(["address-x", "address-y"]),
        "keys": [await store.key("key-x"), await store.key("key-y")],
    }


class Handles:
    """How a store is opened a second time."""

    async def open_again(self, store: Any) -> Any:
        """A second handle on the same data; None when the data dies with its handle."""
        return None

    @asynccontextmanager
    async def another(self, store: Store) -> AsyncIterator[Store]:
        """A second handle, as another process has it. Skips the test when there can't be one."""
        second = await self.open_again(store)
        if second is None:
            pytest.skip("this store's data dies with its handle")
        try:
            yield second
        finally:
            await second.close()
