"""Turnout on Postgres, with its settings as they ship."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import turnout_crowd as crowd
from common import answer
from crew import Mate, ready, wakes
from plans import explaining, refreshed
from turnout_work import about, alone, finish, loop, opened, pause, together, told

from turnout import approve
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


def paused(folder: Path, url: str, n: int) -> dict[str, Any]:
    """Figures among `n` paused threads, and the plans of the statements that run."""
    plans: dict[str, str] = {}

    async def main() -> dict[str, Any]:
        names, seconds = await crowd.prepare(url, n)
        refreshed(url)
        figures = await crowd.measured(url, names)
        await crowd.once(url, names[-2:], lambda: explaining(plans))
        return {**figures, "fill_s": seconds}

    return {**asyncio.run(main()), "plans": plans}


if __name__ == "__main__":
    answer(
        {
            "step": step,
            "threads": threads,
            "workers": workers,
            "clerk": clerk,
            "wake": wake,
            "paused": paused,
            "about": about,
        }
    )
