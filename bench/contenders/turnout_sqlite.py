"""Turnout on its embedded store, with its settings as they ship."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import turnout_crowd as crowd
from common import CALLS, PaidCalls, answer, resident, size
from pydantic import BaseModel
from turnout_work import about, alone, begun, finish, loop, opened, pause, together, waiting

from turnout import END, Context, Finished, Graph, append, approve, field, open_app, rule
from turnout.core.messages import ModelReply, ModelRequest
from turnout.runtime.clock import SystemClock
from turnout.runtime.journal import Journal
from turnout.service.app import App
from turnout.settings import Settings
from turnout.testing import ScriptedModel

FILE = "turnout.db"


def at(folder: Path, **options: Any) -> App:
    return opened(f"sqlite:///{folder / FILE}", **options)


def step(folder: Path, n: int) -> dict[str, Any]:
    async def main() -> tuple[float, int]:
        async with at(folder) as app:
            return await alone(app, n), size(folder, FILE)

    seconds, opened = asyncio.run(main())
    return {"us": seconds / n * 1e6, "bytes_open": opened / n, "bytes": size(folder, FILE) / n}


def threads(folder: Path, k: int, n: int) -> dict[str, Any]:
    async def main() -> float:
        async with at(folder) as app:
            return await together(app, k, n)

    return {"steps_per_s": k * n / asyncio.run(main())}


def prepare_resume(folder: Path, n: int) -> dict[str, Any]:
    """A thread of `n` steps that waits for a person."""

    async def main() -> None:
        async with at(folder) as app:
            await app.wait(await app.start(waiting, {"limit": n}, thread="long"))

    asyncio.run(main())
    return {}


def resume(folder: Path, n: int) -> dict[str, Any]:
    """From opening the store to the first line of the next step; and the part of it that reads the journal."""

    async def main() -> dict[str, Any]:
        started = time.perf_counter()
        async with at(folder) as app:
            [review] = await app.reviews()
            await app.resolve(review, approve(by="bench"))
            while not begun:
                await asyncio.sleep(0)
            ms = (begun[0] - started) * 1e3
        async with at(folder, work=False) as app:
            started = time.perf_counter()
            await Journal.load(app.store, SystemClock(), "long")
            return {"ms": ms, "load_ms": (time.perf_counter() - started) * 1e3}

    return asyncio.run(main())


def replay(folder: Path, n: int) -> dict[str, Any]:
    async def main() -> float:
        async with at(folder) as app:
            await finish(app, loop, n, "measured")
            started = time.perf_counter()
            replayed = await app.replay("measured")
            if not replayed.identical:
                sys.exit(f"the replay diverged: {replayed.divergence}")
            return time.perf_counter() - started

    return {"steps_per_s": n / asyncio.run(main())}


def prepare_paused(folder: Path, n: int) -> dict[str, Any]:
    """`n` threads that wait for a person. `growth` is what this process has grown by, all of its past included."""

    async def main() -> int:
        async with at(folder) as app:
            await pause(app, ["first"])
            before = settled_size()
            await pause(app, [f"t{i}" for i in range(n)])
            return settled_size() - before

    return {"growth": asyncio.run(main())}


def settled_size() -> int:
    gc.collect()
    return resident()


def paused(folder: Path, n: int) -> dict[str, Any]:
    """A worker on a store of paused threads: its memory when idle, and how long one of them takes to wake."""

    async def main() -> dict[str, Any]:
        async with at(folder) as app:
            await asyncio.sleep(2.5)  # two sweeps
            idle = settled_size()
            wakes = []
            for i in range(20) if n else ():
                [review] = await app.reviews(thread=f"t{i * (n // 20)}")
                begun.clear()
                started = time.perf_counter()
                await app.resolve(review, approve(by="bench"))
                while not begun:
                    await asyncio.sleep(0)
                wakes.append((begun[0] - started) * 1e3)
            return {"resident": idle, "wake_ms": statistics.median(wakes) if wakes else None}

    return asyncio.run(main())


def crowded(folder: Path, n: int) -> dict[str, Any]:
    """Figures among `n` paused threads."""
    url = f"sqlite:///{folder / FILE}"

    async def main() -> dict[str, Any]:
        names, seconds = await crowd.prepare(url, n)
        return {**await crowd.measured(url, names), "fill_s": seconds}

    return asyncio.run(main())


class Agent(BaseModel):
    turns: int = 0
    limit: int
    answers: Annotated[list[str], append] = []


def agent_graph(calls: PaidCalls) -> Graph:
    graph = Graph("agent", state=Agent, step_limit=1_000_000)

    @graph.node
    async def agent(state: Agent, ctx: Context) -> dict[str, Any]:
        said = ""
        for number in range(1, CALLS + 1):
            calls.moment(number - 1)
            reply = await ctx.model("model", messages=[{"role": "user", "content": str(number)}])
            said = reply.text
        calls.moment(CALLS)
        return {"turns": state.turns + 1, "answers": [said]}

    graph.start(agent)
    graph.route(agent, [rule("more", field("turns") < field("limit"), to=agent)], default=END)
    return graph


def agent(folder: Path, n: int) -> dict[str, Any]:
    graph = agent_graph(PaidCalls(folder / "calls", None))
    model = ScriptedModel(lambda request: ModelReply(text=f"answer {request.messages[-1].content}"))

    async def main() -> dict[str, Any]:
        async with open_app(f"sqlite:///{folder / FILE}", graphs=[graph], models={"model": model}) as app:
            await app.run(graph, {"limit": 3})
            appends, inner = 0, app.store.append

            async def counting(change: Any) -> None:
                nonlocal appends
                appends += 1
                await inner(change)

            app.store.append = counting  # type: ignore[method-assign]
            started = time.perf_counter()
            outcome = await app.run(graph, {"limit": n})
            seconds = time.perf_counter() - started
            if not isinstance(outcome, Finished):
                sys.exit(f"the agent did not finish: {outcome}")
            return {"us": seconds / n * 1e6, "commits": appends / n}

    return asyncio.run(main())


def killed(folder: Path, kill_after: int | None, again: bool) -> dict[str, Any]:
    """An agent node of five calls; the process is killed after `kill_after` of them, and started `again`."""
    calls = PaidCalls(folder / "calls", None if again else kill_after)
    graph = agent_graph(calls)

    def pay(request: ModelRequest) -> ModelReply:
        return ModelReply(text=calls.pay(int(request.messages[-1].content)))

    async def main() -> None:
        async with open_app(
            f"sqlite:///{folder / FILE}", graphs=[graph], models={"model": ScriptedModel(pay)},
            settings=Settings(lease=0.5),
        ) as app:  # fmt: skip
            run = "agent/1" if again else await app.start(graph, {"limit": 1}, thread="agent")
            outcome = await app.wait(run, timeout=30)
            if not isinstance(outcome, Finished):
                sys.exit(f"the agent did not finish: {outcome}")

    asyncio.run(main())
    return {"paid": len(calls.file.read_text().split())}


def policy(folder: Path, n: int, rules: int) -> dict[str, Any]:
    import turnout_policy  # its library is needed here only

    return turnout_policy.policy(folder, n, rules)


if __name__ == "__main__":
    measures = {
        "step": step, "threads": threads, "prepare_resume": prepare_resume, "resume": resume, "replay": replay,
        "prepare_paused": prepare_paused, "paused": paused, "crowded": crowded, "agent": agent, "killed": killed, "policy": policy,
        "about": about,
    }  # fmt: skip
    answer(measures)
