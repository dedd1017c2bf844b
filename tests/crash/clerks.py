"""Programs that share one store with others like them. Each command is one process; `main` prints one JSON line."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from tests.crash.stores import address
from tests.crash.world import Oracle

from turnout import (
    DID_NOT_HAPPEN,
    END,
    App,
    Context,
    Finished,
    Graph,
    Landed,
    ModelReply,
    ModelRequest,
    Settings,
    append,
    approve,
    open_app,
    reject,
    tool,
)
from turnout.errors import Conflict, TurnoutError
from turnout.testing import ScriptedModel

LEASE = 0.5
SETTINGS = Settings(lease=LEASE, poll=0.005, sweep=0.05, grace=2.0, signing_key="11" * 32)
world = Oracle("unset")
stop_in = ""
busy = 0.0
bulk = 0


class Job(BaseModel):
    name: str
    notes: Annotated[list[str], append] = []


def step_clock(file: Path) -> None:
    """From here on this process' clock is ahead of the machine's by the seconds that stand in `file`."""
    real, real_ns = time.time, time.time_ns

    def ahead() -> float:
        return float(file.read_text())

    time.time = lambda: real() + ahead()
    time.time_ns = lambda: real_ns() + int(ahead() * 1e9)


def stop_here(place: str) -> None:
    """The process stops itself (SIGSTOP), once, if it was told to stop in this place."""
    global stop_in
    if stop_in == place:
        stop_in = ""
        world.note("stopped", place)
        os.kill(os.getpid(), signal.SIGSTOP)


async def was_done(name: str) -> Any:
    return Landed("done" + "." * bulk) if world.done(f"act {name}") else DID_NOT_HAPPEN


@tool(effect="write", reconcile=was_done)
async def act(name: str) -> str:
    world.note("write", f"act {name}")
    stop_here("write")
    await asyncio.sleep(busy)
    return "done" + "." * bulk


jobs = Graph("jobs", state=Job, tools=[act])


@jobs.node
async def think(state: Job, ctx: Context) -> dict[str, Any]:
    reply = await ctx.model("clerk", messages=state.name)
    return {"notes": [reply.text, await ctx.call(act, name=state.name)]}


@jobs.node
async def file(state: Job, ctx: Context) -> dict[str, Any]:
    return {"notes": ["filed"]}


jobs.start(think)
jobs.edge(think, file)
jobs.edge(file, END)

asks = Graph("asks", state=Job, tools=[act])


@asks.node
async def ask(state: Job, ctx: Context) -> dict[str, Any]:
    said = await ctx.review("May we?", payload={"name": state.name})
    done = await ctx.call(act, name=f"{state.name} {said.decision} {said.by[0]}")
    return {"notes": [said.decision, done]}


asks.start(ask)
asks.edge(ask, END)

loops = Graph("loops", state=Job, step_limit=10_000)


@loops.node
async def turn(state: Job, ctx: Context) -> dict[str, Any]:
    return {"notes": ["x" * 100]}


def again(state: Job) -> Literal["turn", "END"]:
    return "END" if len(state.notes) >= 100 else "turn"


loops.start(turn)
loops.route(turn, again)
GRAPHS = [jobs, asks, loops]


def clerk(request: ModelRequest) -> ModelReply:
    world.note("model", request.messages[-1].content)
    stop_here("model")
    return ModelReply(text="thought")


def open_shared(store: str, *, work: bool) -> App:
    models = {"clerk": ScriptedModel(clerk)}
    return open_app(address(store), graphs=GRAPHS, models=models, settings=SETTINGS, work=work)


async def at_once(moment: float) -> None:
    """Until the moment (seconds since 1970) at which all are to begin."""
    await asyncio.sleep(max(0.0, moment - time.time() - 0.002))
    while time.time() < moment:
        pass


# --- the commands ------------------------------------------------------------------------------------------


async def work(app: App, args: argparse.Namespace) -> dict[str, Any]:
    """Be a worker until SIGTERM, then close."""
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    world.note("ready", str(os.getpid()))
    await done.wait()
    begun = time.monotonic()
    await app.close()
    return {"closing": time.monotonic() - begun}


async def start(app: App, args: argparse.Namespace) -> dict[str, Any]:
    """Send inputs with idempotency keys that others send too."""
    await at_once(args.moment)
    found = []
    for n in range(args.count):
        thread = f"same-{n}" if n % 2 else None  # half of them let Turnout name the thread
        found.append(
            str(await app.start("jobs", {"name": f"same {n}"}, thread=thread, idempotency_key=f"key {n}"))
        )
    return {"runs": found}


async def resolve(app: App, args: argparse.Namespace) -> dict[str, Any]:
    """Decide every open review, as others do in the same moment."""
    verdict = approve(by=args.who) if args.who == "ann" else reject(by=args.who)
    reviews = sorted(await app.reviews(), key=lambda r: r.thread)
    said: dict[str, Any] = {}
    for n, review in enumerate(reviews):
        await at_once(args.moment + n * 0.02)
        try:
            await app.resolve(review.id, verdict)
            said[review.id] = "mine"
        except Conflict as error:
            said[review.id] = {
                "error": type(error).__name__,
                "first": getattr(error, "first", {}).get("by"),
                "text": str(error),
            }
    return {"said": said}


async def fork(app: App, args: argparse.Namespace) -> dict[str, Any]:
    """Fork one thread under names that another takes too."""
    said = []
    for n in range(args.count):
        await at_once(args.moment + n * 0.03)
        try:
            await app.fork("parent", at=3, name=f"branch-{n}", by=args.who)
            said.append("mine")
        except TurnoutError as error:
            said.append(f"{type(error).__name__}: {error}")
    return {"said": said}


async def first(app: App, args: argparse.Namespace) -> dict[str, Any]:
    """Be among the first to open new stores. Says with which key each would be signed."""
    found = []
    for n in range(args.count):
        await at_once(args.moment + n * 0.03)
        async with open_app(address(f"{args.store}-{n}"), graphs=GRAPHS, work=False) as new:
            new.signer.ready()
            found.append(new.signer.public)
    return {"keys": found}


async def hammer(app: App, args: argparse.Namespace) -> dict[str, Any]:
    """Drive many threads of a hundred steps each while another process does the same."""
    await at_once(args.moment)
    begun = time.monotonic()
    runs = [
        await app.start("loops", {"name": f"{args.who} {n}"}, thread=f"{args.who}-{n}")
        for n in range(args.count)
    ]
    outcomes = await asyncio.gather(*(app.wait(run, timeout=60) for run in runs))
    assert all(isinstance(outcome, Finished) for outcome in outcomes)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": time.monotonic() - begun, "cpu": used.ru_utime + used.ru_stime}


async def idle(app: App, args: argparse.Namespace) -> dict[str, Any]:
    """Wait for the store's write lock, which a test holds, and see what waiting costs."""
    before = time.process_time()
    begun = time.monotonic()
    await app.start("jobs", {"name": "late"}, thread="late")
    return {"seconds": time.monotonic() - begun, "cpu": time.process_time() - before}


COMMANDS: dict[str, Callable[[App, argparse.Namespace], Any]] = {
    "work": work, "start": start, "resolve": resolve, "fork": fork, "first": first, "hammer": hammer, "idle": idle,
}  # fmt: skip


async def run(args: argparse.Namespace) -> dict[str, Any]:
    async with open_shared(args.store, work=args.command in ("work", "hammer")) as app:
        found: dict[str, Any] = await COMMANDS[args.command](app, args)
        return found


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("store")
    parser.add_argument("oracle")
    parser.add_argument("--who", default="")
    parser.add_argument("--moment", type=float, default=0.0)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--stop-in", default="", help="stop (SIGSTOP) in this place, once: model or write")
    parser.add_argument("--busy", type=float, default=0.0, help="seconds that a write takes")
    parser.add_argument("--bulk", type=int, default=0, help="bytes that a write's result is longer by")
    parser.add_argument("--lease", type=float, default=LEASE)
    parser.add_argument("--clock", type=Path, help="a file that says by how many seconds this clock is wrong")
    args = parser.parse_args(argv)
    if args.clock:
        step_clock(args.clock)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    global world, stop_in, busy, bulk, SETTINGS
    SETTINGS = replace(SETTINGS, lease=args.lease)
    world, stop_in, busy, bulk = Oracle(Path(args.oracle)), args.stop_in, args.busy, args.bulk
    print(json.dumps(asyncio.run(run(args))), flush=True)
