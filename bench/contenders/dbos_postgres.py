"""DBOS with its settings as they ship: a workflow whose steps each give the message; their outputs are its record.

What it makes durable is the step's output, before the next step starts. The state itself it has in memory only, and makes
it again from the outputs by running the workflow anew. Blocking code, which was quicker here than asynchronous code.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import answer, message
from crew import Mate, ready, shared_out, wakes
from dbos import DBOS, DBOSClient, SetWorkflowID


@DBOS.step()
def work(i: int) -> str:
    return message(i)


@DBOS.workflow()
def loop(n: int) -> int:
    messages = [work(i) for i in range(n)]
    return len(messages)


asked: list[str] = []


@DBOS.step()
async def ask(question: str) -> str:
    asked.append(question)
    return question


@DBOS.step()
async def after() -> None:
    print(time.perf_counter(), flush=True)


@DBOS.workflow()
async def waiting() -> None:
    await ask("go on?")
    await DBOS.recv_async("decision", timeout_seconds=600)
    await after()


@contextmanager
def launched(url: str) -> Iterator[None]:
    DBOS(
        config={
            "name": "bench", "system_database_url": url, "log_level": "ERROR", "executor_id": f"bench-{os.getpid()}"
        }
    )  # fmt: skip
    DBOS.launch()
    try:
        yield
    finally:
        DBOS.destroy()


def step(folder: Path, url: str, n: int) -> dict[str, Any]:
    with launched(url):
        loop(10)
        started = time.perf_counter()
        loop(n)
        return {"us": (time.perf_counter() - started) / n * 1e6}


def crowd(k: int, n: int) -> None:
    for handle in [DBOS.start_workflow(loop, n) for _ in range(k)]:
        handle.get_result()


def threads(folder: Path, url: str, k: int, n: int) -> dict[str, Any]:
    with launched(url):
        loop(10)
        started = time.perf_counter()
        crowd(k, n)
        return {"steps_per_s": k * n / (time.perf_counter() - started)}


def workers(folder: Path, url: str, processes: int, k: int, n: int) -> dict[str, Any]:
    """Each process starts its part of the workflows: a queue between them would only cost it time."""
    with launched(url):  # makes the tables
        pass
    each = {"measure": "share", "folder": folder, "url": url, "k": k // processes, "n": n}
    return {"steps_per_s": k * n / shared_out([each] * processes)}


def share(folder: Path, url: str, k: int, n: int) -> dict[str, Any]:
    with launched(url):
        loop(10)
        ready()
        crowd(k, n)
        print("done", flush=True)
    return {}


def wake(folder: Path, url: str, samples: int, load: int) -> dict[str, Any]:
    """From the call of `send` in this process until the workflow's next step has begun in another one."""
    with Mate(measure="clerk", folder=folder, url=url, samples=samples, load=load) as mate:
        mate.line()
        client = DBOSClient(system_database_url=url)
        mate.go()
        decide = [lambda i=i: client.send(f"w{i}", "yes", "decision") for i in range(samples)]
        taken = asyncio.run(wakes(mate, decide))
        client.destroy()
        return taken


def clerk(folder: Path, url: str, samples: int, load: int) -> dict[str, Any]:
    """Runs the workflows that wait, and beside them `load` loops without an end."""

    async def main() -> None:
        for i in range(samples):
            with SetWorkflowID(f"w{i}"):
                await DBOS.start_workflow_async(waiting)
        for _ in range(load):
            DBOS.start_workflow(loop, 1_000_000)
        while len(asked) < samples:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)  # from the question to the wait
        await asyncio.to_thread(ready)
        await asyncio.sleep(600)

    with launched(url):
        asyncio.run(main())
    return {}


def about(folder: Path) -> dict[str, Any]:
    return {"dbos": version("dbos")}


if __name__ == "__main__":
    answer(
        {
            "step": step, "threads": threads, "workers": workers, "share": share, "wake": wake, "clerk": clerk,
            "about": about,
        }
    )  # fmt: skip
