"""LangGraph with its Postgres checkpointers, as they ship, and `durability="sync"`: a step is durable before the next.

A saver holds a lock while it uses its connection, also when it is given a pool: so all threads of a process take turns.
`savers` makes several, each with a connection and a compiled graph of its own, which is more than its users are told to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import answer
from crew import ready, shared_out
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph_work import config, fresh, loop


def step(folder: Path, url: str, n: int) -> dict[str, Any]:
    with PostgresSaver.from_conn_string(url) as saver:
        saver.setup()
        app = loop().compile(checkpointer=saver)
        app.invoke(fresh(10), config("warm-up"), durability="sync")
        started = time.perf_counter()
        app.invoke(fresh(n), config("measured"), durability="sync")
        return {"us": (time.perf_counter() - started) / n * 1e6}


async def crowd(url: str, k: int, n: int, savers: int = 1, *, name: str = "", wait: bool = False) -> float:
    """Seconds for `k` threads of `n` steps in one event loop, after a warm-up, and at the word if it has to `wait`."""
    async with contextlib.AsyncExitStack() as stack:
        apps = []
        for _ in range(savers):
            saver = await stack.enter_async_context(AsyncPostgresSaver.from_conn_string(url))
            apps.append(loop(is_async=True).compile(checkpointer=saver))
            await apps[-1].ainvoke(fresh(10), config(f"warm-up{name}{len(apps)}"), durability="sync")
        if wait:
            ready()
        started = time.perf_counter()
        runs = (
            apps[i % savers].ainvoke(fresh(n), config(f"t{name}{i}"), durability="sync") for i in range(k)
        )
        await asyncio.gather(*runs)
        return time.perf_counter() - started


def prepare(url: str) -> None:
    with PostgresSaver.from_conn_string(url) as saver:
        saver.setup()


def threads(folder: Path, url: str, k: int, n: int, savers: int = 1) -> dict[str, Any]:
    prepare(url)
    return {"steps_per_s": k * n / asyncio.run(crowd(url, k, n, savers))}


def workers(folder: Path, url: str, processes: int, k: int, n: int) -> dict[str, Any]:
    """It has no workers that share threads out among them: each process is given its part."""
    prepare(url)
    asked = {"measure": "share", "folder": folder, "url": url, "k": k // processes, "n": n}
    return {"steps_per_s": k * n / shared_out([{**asked, "name": f"p{i}-"} for i in range(processes)])}


def share(folder: Path, url: str, k: int, n: int, name: str) -> dict[str, Any]:
    asyncio.run(crowd(url, k, n, name=name, wait=True))
    return {}


def about(folder: Path) -> dict[str, Any]:
    return {name: version(name) for name in ("langgraph", "langgraph-checkpoint-postgres")}


if __name__ == "__main__":
    answer({"step": step, "threads": threads, "workers": workers, "share": share, "about": about})
