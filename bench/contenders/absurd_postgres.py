"""Absurd with its settings as they ship: a task whose steps each give the message; they are its checkpoints.

What it makes durable is the step's result, before the next step starts. The state itself the task has in memory only, and
makes it again from the checkpoints by running anew. absurd-sdk needs the SQL of its server side in the database; the
package absurdctl brings it. All tasks of a client share its one connection, so a process gets several clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import absurdctl
import psycopg
from absurd_sdk import Absurd, AsyncAbsurd
from common import answer, message
from crew import Mate, ready, wakes

QUEUE, LOAD = "bench", "load"
CLIENTS = 8
"""Clients in one process, each with a connection: gave the most steps per second of 1, 8 and 32."""
LEFT = f"SELECT count(*) FROM absurd.t_{QUEUE} WHERE state <> 'completed'"
ASLEEP = f"SELECT count(*) FROM absurd.t_{QUEUE} WHERE state = 'sleeping'"


def prepare(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(absurdctl.BUNDLED_SCHEMA_SQL)
    app = Absurd(url, queue_name=QUEUE)
    for queue in (QUEUE, LOAD):
        app.create_queue(queue)
    app.close()


def step(folder: Path, url: str, n: int) -> dict[str, Any]:
    prepare(url)
    app = Absurd(url, queue_name=QUEUE)

    @app.register_task(name="loop")
    def loop(params: Any, ctx: Any) -> int:
        return len([ctx.step("work", lambda i=i: message(i)) for i in range(params["n"])])

    app.spawn("loop", {"n": 10})
    app.work_batch()
    app.spawn("loop", {"n": n})
    started = time.perf_counter()
    app.work_batch()
    seconds = time.perf_counter() - started
    app.close()
    return {"us": seconds / n * 1e6}


def client(url: str, queue: str = QUEUE) -> AsyncAbsurd:
    app = AsyncAbsurd(url, queue_name=queue)

    @app.register_task(name="loop")
    async def loop(params: Any, ctx: Any) -> int:
        messages = []
        for i in range(params["n"]):

            async def work(i: int = i) -> str:
                return message(i)

            messages.append(await ctx.step("work", work))
        return len(messages)

    @app.register_task(name="waiting")
    async def waiting(params: Any, ctx: Any) -> None:
        async def after() -> None:
            print(time.perf_counter(), flush=True)

        await ctx.await_event(params["event"])
        await ctx.step("after", after)

    return app


@contextlib.asynccontextmanager
async def working(url: str, clients: int, concurrency: int, queue: str = QUEUE) -> Any:
    apps = [client(url, queue) for _ in range(clients)]
    tasks = [
        asyncio.ensure_future(app.start_worker(worker_id=f"{os.getpid()}-{i}", concurrency=concurrency))
        for i, app in enumerate(apps)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for app in apps:
            await app.close()


async def spawned(url: str, name: str, all_params: list[dict[str, Any]], queue: str = QUEUE) -> None:
    app = client(url, queue)
    for params in all_params:
        await app.spawn(name, params)
    await app.close()


async def until(url: str, count: str, wanted: int) -> None:
    """Until a count is `wanted`, looking every 10 ms."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        while (await (await db.execute(count)).fetchone()) != (wanted,):
            await asyncio.sleep(0.01)


def threads(folder: Path, url: str, k: int, n: int) -> dict[str, Any]:
    """The tasks are there before the workers start: what is timed begins with the claim of the first."""
    prepare(url)

    async def main() -> float:
        await spawned(url, "loop", [{"n": 10}])
        async with working(url, 1, 1):
            await until(url, LEFT, 0)
        await spawned(url, "loop", [{"n": n}] * k)
        started = time.perf_counter()
        async with working(url, CLIENTS, -(-k // CLIENTS)):
            await until(url, LEFT, 0)
            return time.perf_counter() - started

    return {"steps_per_s": k * n / asyncio.run(main())}


def workers(folder: Path, url: str, processes: int, k: int, n: int) -> dict[str, Any]:
    """The tasks are spawned from here and worked off by the other processes."""
    prepare(url)

    async def main() -> float:
        started = time.perf_counter()
        await spawned(url, "loop", [{"n": n}] * k)
        await until(url, LEFT, 0)
        return time.perf_counter() - started

    asked = {"measure": "clerk", "folder": folder, "url": url, "clients": CLIENTS // processes}
    with contextlib.ExitStack() as stack:
        mates = [stack.enter_context(Mate(**asked, concurrency=k // CLIENTS)) for _ in range(processes)]
        for mate in mates:
            mate.line()
        return {"steps_per_s": k * n / asyncio.run(main())}


def clerk(folder: Path, url: str, clients: int, concurrency: int, load: int = 0) -> dict[str, Any]:
    """A process of workers. A worker takes no new task until all of those it took together have ended: so the `load`,
    tasks without an end, has a queue and a worker of its own."""

    async def main() -> None:
        async with working(url, clients, concurrency), working(url, min(1, load), load, LOAD):
            await asyncio.to_thread(ready)
            await asyncio.sleep(600)

    asyncio.run(main())
    return {}


def wake(folder: Path, url: str, samples: int, load: int) -> dict[str, Any]:
    """From the call of `emit_event` in this process until the task's next step has begun in another one."""
    prepare(url)
    asyncio.run(spawned(url, "waiting", [{"event": f"w{i}"} for i in range(samples)]))
    asyncio.run(spawned(url, "loop", [{"n": 1_000_000}] * load, LOAD))
    with Mate(measure="clerk", folder=folder, url=url, clients=CLIENTS, concurrency=32, load=load) as mate:
        mate.line()
        asyncio.run(until(url, ASLEEP, samples))
        app = Absurd(url, queue_name=QUEUE)
        decide = [lambda i=i: app.emit_event(f"w{i}", "yes") for i in range(samples)]
        taken = asyncio.run(wakes(mate, decide))
        app.close()
        return taken


def about(folder: Path) -> dict[str, Any]:
    return {name: version(name) for name in ("absurd-sdk", "absurdctl")}


if __name__ == "__main__":
    answer(
        {"step": step, "threads": threads, "workers": workers, "clerk": clerk, "wake": wake, "about": about}
    )
