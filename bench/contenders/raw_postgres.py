"""The floor on Postgres: one insert and one commit a step, nothing else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import psycopg
from common import answer, message
from crew import ready, shared_out

TABLE = "CREATE TABLE IF NOT EXISTS entries (thread int, seq int, body text, PRIMARY KEY (thread, seq))"
INSERT = "INSERT INTO entries VALUES (%s, %s, %s)"
CONNECTIONS = 16
"""As many as give the most steps per second on two cores; 32 gave fewer."""


def step(folder: Path, url: str, n: int) -> dict[str, Any]:
    """On one connection, from blocking and from asynchronous code; the quicker of the two is the floor."""
    us = {"us_sync": blocking(url, n) / n * 1e6, "us_async": asyncio.run(awaiting(url, n)) / n * 1e6}
    return {"us": min(us.values()), **us}


def blocking(url: str, n: int) -> float:
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as db:
        db.execute(TABLE)
        for i in range(10):
            db.execute(INSERT, (0, i, message(i)))
        started = time.perf_counter()
        for i in range(n):
            db.execute(INSERT, (1, i, message(i)))
        return time.perf_counter() - started


async def awaiting(url: str, n: int) -> float:
    async with await connected(url) as db:
        for i in range(10):
            await db.execute(INSERT, (2, i, message(i)))
        started = time.perf_counter()
        for i in range(n):
            await db.execute(INSERT, (3, i, message(i)))
        return time.perf_counter() - started


async def connected(url: str) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=0)


class Crowd:
    """`k` threads over a few connections, numbered from `first`."""

    def __init__(self, connections: list[psycopg.AsyncConnection[Any]], k: int, first: int) -> None:
        self.connections, self.k, self.first = connections, k, first

    @classmethod
    async def of(cls, url: str, k: int, connections: int, first: int = 0) -> Crowd:
        found = [await connected(url) for _ in range(min(k, connections))]
        for db in found:
            await db.execute(INSERT, (-1 - first, found.index(db), message(0)))
        return cls(found, k, first)

    async def work(self, n: int) -> float:
        async def one(thread: int) -> None:
            db = self.connections[thread % len(self.connections)]
            for i in range(n):
                await db.execute(INSERT, (self.first + thread, i, message(i)))

        started = time.perf_counter()
        await asyncio.gather(*(one(thread) for thread in range(self.k)))
        return time.perf_counter() - started


def prepare(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(TABLE)


def threads(folder: Path, url: str, k: int, n: int) -> dict[str, Any]:
    async def main() -> float:
        return await (await Crowd.of(url, k, CONNECTIONS)).work(n)

    prepare(url)
    return {"steps_per_s": k * n / asyncio.run(main())}


def workers(folder: Path, url: str, processes: int, k: int, n: int) -> dict[str, Any]:
    prepare(url)
    share = k // processes
    mates = [
        {"first": i * share, "measure": "share", "folder": folder, "url": url, "k": share, "n": n}
        for i in range(processes)
    ]
    return {"steps_per_s": k * n / shared_out(mates)}


def share(folder: Path, url: str, k: int, n: int, first: int) -> dict[str, Any]:
    async def main() -> None:
        crowd = await Crowd.of(url, k, CONNECTIONS // 4, first)
        ready()
        await crowd.work(n)

    asyncio.run(main())
    return {}


if __name__ == "__main__":
    answer({"step": step, "threads": threads, "workers": workers, "share": share})
