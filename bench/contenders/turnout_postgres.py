"""Turnout on Postgres, with its settings as they ship."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import answer
from crew import Mate, ready, spread, wakes
from plans import explaining, refreshed
from turnout_work import alone, begun, finish, loop, opened, pause, together, told, waiting

from turnout import approve
from turnout.ports.store import Append, Store
from turnout.service.app import App
from turnout.settings import Settings


def step(folder: Path, url: str, n: int) -> dict[str, Any]:
    async def main() -> float:
        async with opened(url) as app:
            return await alone(app, n)

    return {"us": asyncio.run(main()) / n * 1e6}


def threads(folder: Path, url: str, k: int, n: int) -> dict[str, Any]:
    async def main() -> float:
        async with opened(url) as app:
            return await together(app, k, n)

    return {"steps_per_s": k * n / asyncio.run(main())}


# --- several processes ------------------------------------------------------------------------------------------------


def workers(folder: Path, url: str, processes: int, k: int, n: int) -> dict[str, Any]:
    """The threads are started from here and worked off by the other processes, none of which takes more than its share
    at a time."""

    async def main() -> float:
        async with opened(url, work=False) as app:
            started = time.perf_counter()
            await asyncio.gather(*(app.start(loop, {"limit": n}, thread=f"shared-{i}") for i in range(k)))
            while len(await app.threads(status="finished", search="shared-", limit=k)) < k:
                await asyncio.sleep(0.01)
            return time.perf_counter() - started

    asked = {"measure": "clerk", "folder": folder, "url": url, "concurrency": k // processes}
    with contextlib.ExitStack() as stack:
        mates = [stack.enter_context(Mate(**asked)) for _ in range(processes)]
        for mate in mates:
            mate.line()
        return {"steps_per_s": k * n / asyncio.run(main())}


def wake(folder: Path, url: str, samples: int, load: int) -> dict[str, Any]:
    """From the call of `resolve` in this process until the next step has begun in another one."""

    async def main(mate: Mate) -> dict[str, Any]:
        async with opened(url, work=False) as app:
            reviews = await app.reviews()
            return await wakes(mate, [lambda r=r: app.resolve(r, approve(by="bench")) for r in reviews])

    asked = {"measure": "clerk", "folder": folder, "url": url, "concurrency": 256}
    with Mate(**asked, paused=samples, load=load) as mate:
        mate.line()
        return asyncio.run(main(mate))


def clerk(folder: Path, url: str, concurrency: int, paused: int = 0, load: int = 0) -> dict[str, Any]:
    """A process with a worker. It begins with `paused` threads that wait for a person and `load` loops without an end,
    and says when a decision is acted on."""
    told.append(lambda now: print(now, flush=True))

    async def main() -> None:
        async with opened(url, settings=Settings(concurrency=concurrency)) as app:
            await finish(app, loop, 10)
            await pause(app, [f"w{i}" for i in range(paused)])
            for i in range(load):
                await app.start(loop, {"limit": 1_000_000}, thread=f"load-{i}")
            await asyncio.to_thread(ready)
            await asyncio.sleep(600)

    asyncio.run(main())
    return {}


# --- many threads that wait -------------------------------------------------------------------------------------------

SAMPLES = 50


def paused(folder: Path, url: str, n: int) -> dict[str, Any]:
    """Among `n` threads that wait for a person: what a look at what is due costs, and a wake-up, a claim, a release,
    and the way from a decision to the next step; and the plans of the statements on that way."""

    async def main() -> dict[str, Any]:
        names = [f"real-{i}" for i in range(SAMPLES + 1)]
        async with opened(url) as app:
            await pause(app, names)
        async with opened(url, work=False) as app:
            seconds = await fill(app.store, names[0], n - len(names))
            refreshed(url)
            figures = await verbs(app, names)
        async with opened(url) as app:
            figures["next_ms"] = await decided(app, names[1:])
            with explaining() as plans:
                await asyncio.sleep(app.settings.sweep)  # an idle look is among them
                await decided(app, names[:1])
            return {**figures, "fill_s": seconds, "plans": plans}

    return asyncio.run(main())


async def fill(store: Store, like: str, more: int) -> float:
    """`more` threads in the store that are as `like` is, through the store's own verb; their journals are its own under
    other names, so they can be claimed and listed but not driven. Seconds it took."""
    row, rows = await store.thread(like), await store.read(like)
    runs, reviews = await store.runs(like), await store.reviews(thread=like)
    if row is None:
        sys.exit(f"there is no thread {like}")

    async def copy(name: str) -> None:
        change = Append(
            thread=name, head=0, epoch=0, rows=[r._replace(thread=name) for r in rows], graph=row.graph,
            fingerprint=row.fingerprint, status=row.status, run=row.run, at=row.updated_at, wake=None,
            runs=[replace(r, thread=name) for r in runs],
            reviews=[replace(r, thread=name, review=f"{name}:{r.review}") for r in reviews],
        )  # fmt: skip
        await store.append(change)

    started = time.perf_counter()
    for begin in range(0, more, 500):
        await asyncio.gather(*(copy(f"copy-{i}") for i in range(begin, min(more, begin + 500))))
    return time.perf_counter() - started


async def verbs(app: App, names: list[str]) -> dict[str, Any]:
    """The medians, in µs, of what the store does for a worker."""
    store, graphs = app.store, [loop.name, waiting.name]
    taken: dict[str, list[float]] = {"look_us": [], "wake_us": [], "claim_us": [], "release_us": []}

    async def timed(figure: str, verb: Callable[[], Awaitable[Any]]) -> Any:
        started = time.perf_counter()
        result = await verb()
        taken[figure].append((time.perf_counter() - started) * 1e6)
        return result

    for name in names:
        now = time.time_ns() // 1000
        row = await store.thread(name)
        if row is None:
            sys.exit(f"there is no thread {name}")
        claim = lambda: store.claim("bench", now, now + 60_000_000, 16, graphs)  # noqa: B023, E731
        if await timed("look_us", claim):
            sys.exit("something was due that shouldn't be")
        await timed("wake_us", lambda: store.wake([name], now))  # noqa: B023
        [lease] = await timed("claim_us", claim)
        await timed("release_us", lambda: store.release(lease, row.head, None))  # noqa: B023
    return {figure: statistics.median(values) for figure, values in taken.items()}


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
    return float(spread(taken)["p50"])


if __name__ == "__main__":
    answer(
        {"step": step, "threads": threads, "workers": workers, "clerk": clerk, "wake": wake, "paused": paused}
    )
