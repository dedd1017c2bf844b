"""Turnout with very many threads that are paused: what the store does for a worker among them.

All of it goes through the store's own verbs, so it is the same on every store.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from turnout_work import begun, loop, opened, pause, waiting

from turnout import approve
from turnout.ports.rows import Append, Lease, ThreadRow
from turnout.ports.store import Store
from turnout.service.app import App

SAMPLES = 50
DAY = 86_400_000_000
"""Microseconds."""


async def prepare(url: str, n: int) -> tuple[list[str], float]:
    """A store of `n` paused threads. Gives the names of some that are real, and the seconds the others took.

    The real ones ran until they asked for a review. The others are copies of the first of them under other names, put
    there by `append`: they can be listed and claimed, but not driven. Every second copy has a timer set for tomorrow.
    """
    names = [f"real-{i}" for i in range(2 * SAMPLES + 2)]
    async with opened(url) as app:
        await pause(app, names)
    async with opened(url, work=False) as app:
        started = time.perf_counter()
        await fill(app.store, names[0], n - len(names))
        return names, time.perf_counter() - started


async def fill(store: Store, like: str, more: int) -> None:
    row, rows = await row_of(store, like), await store.read(like)
    runs, reviews = await store.runs(like), await store.reviews(thread=like)

    async def copy(i: int) -> None:
        name = f"copy-{i}"
        change = Append(
            thread=name, head=0, epoch=0, rows=[r._replace(thread=name) for r in rows], graph=row.graph,
            fingerprint=row.fingerprint, status=row.status, run=row.run, at=row.updated_at,
            wake=row.updated_at + DAY if i % 2 else None, runs=[replace(r, thread=name) for r in runs],
            reviews=[replace(r, thread=name, review=f"{name}:{r.review}") for r in reviews],
        )  # fmt: skip
        await store.append(change)

    for begin in range(0, more, 500):
        await asyncio.gather(*(copy(i) for i in range(begin, min(more, begin + 500))))


async def row_of(store: Store, thread: str) -> ThreadRow:
    row = await store.thread(thread)
    if row is None:
        sys.exit(f"there is no thread {thread}")
    return row


async def measured(url: str, names: list[str]) -> dict[str, float]:
    """The medians: of the store's verbs in µs, and of the way from a decision to the next step in ms."""
    async with opened(url, work=False) as app:
        figures = await verbs(app.store, names[:SAMPLES])
    async with opened(url) as app:
        figures["next_ms"] = await decided(app, names[SAMPLES : 2 * SAMPLES])
    return figures


async def verbs(store: Store, names: list[str]) -> dict[str, float]:
    """For each of these threads: a look when nothing is due, a wake-up, a claim, a release."""
    taken: dict[str, list[float]] = {"look_us": [], "wake_us": [], "claim_us": [], "release_us": []}

    async def timed(figure: str, verb: Awaitable[Any]) -> Any:
        started = time.perf_counter()
        result = await verb
        taken[figure].append((time.perf_counter() - started) * 1e6)
        return result

    for name in names:
        row = await row_of(store, name)
        if await timed("look_us", claim(store)):
            sys.exit("something was due that shouldn't be")
        await timed("wake_us", store.wake([name], time.time_ns() // 1000))
        [lease] = await timed("claim_us", claim(store))
        await timed("release_us", store.release(lease, row.head, None))
    return {figure: statistics.median(values) for figure, values in taken.items()}


def claim(store: Store) -> Awaitable[list[Lease]]:
    now = time.time_ns() // 1000
    return store.claim("bench", now, now + DAY, 16, [loop.name, waiting.name])


async def decided(app: App, names: list[str]) -> float:
    """The median of the milliseconds from a decision to the next step, in a process that has a worker."""
    taken = []
    for name in names:
        [review] = await app.reviews(thread=name)
        begun.clear()
        started = time.perf_counter()
        await app.resolve(review, approve(by="bench"))
        while not begun:
            await asyncio.sleep(0.0005)
        taken.append((begun[0] - started) * 1e3)
    return statistics.median(taken)


async def once(url: str, names: list[str], watched: Callable[[], Any]) -> None:
    """Each verb, and a decision with all that follows from it, once, inside a block that watches."""
    async with opened(url, work=False) as app:
        row = await row_of(app.store, names[0])
        with watched():
            await app.store.wake([names[0]], time.time_ns() // 1000)
            [lease] = await claim(app.store)
            await app.store.release(lease, row.head, None)
    async with opened(url) as app:
        await asyncio.sleep(app.settings.sweep)
        with watched():
            await decided(app, names[1:])
            await asyncio.sleep(app.settings.sweep)
