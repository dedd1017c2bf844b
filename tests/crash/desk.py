"""The workload that is crashed: a desk with every kind of store write in it, and a caller who may start again.

`main` is the whole program. It may be killed anywhere and run again from the top, as a cron job or a supervisor would:
it sends the same inputs with the same idempotency keys, answers whatever waits, and prints how everything ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import BaseModel
from tests.crash.failpoint import FailpointStore
from tests.crash.stores import clock_for
from tests.crash.world import Oracle

from turnout import (
    DID_NOT_HAPPEN,
    END,
    App,
    Cancelled,
    Context,
    Finished,
    Graph,
    Landed,
    ModelReply,
    ModelRequest,
    Paused,
    Retry,
    Run,
    Settings,
    add,
    append,
    approve,
    did_not_happen,
    fan_out,
    landed,
    open_app,
    parallel,
    tool,
)
from turnout.core import entries as e
from turnout.errors import ReviewClosed, StoreUnavailable, UnknownRun
from turnout.service.outcome import Outcome
from turnout.testing import ScriptedModel
from turnout.wiring import open_store

LEASE = 0.5
SETTINGS = Settings(  # tries: here it isn't the threads that kill
    lease=LEASE, poll=0.005, sweep=0.05, grace=2.0, tries=0, signing_key="11" * 32
)
world = Oracle("unset")


class Desk(BaseModel):
    case: str
    round: int = 0
    total: Annotated[int, add] = 0
    notes: Annotated[list[str], append] = []
    parts: Annotated[list[str], append] = []
    receipt: str = ""
    heard: str = ""
    child: str = ""


class Errand(BaseModel):
    case: str
    round: int
    done: str = ""


class Wait(BaseModel):
    case: str
    word: str = ""


def sent(what: str, key: str = "") -> str:
    """The world is changed here, and nowhere else; with a key, once. Says what was done."""
    world.note("write", what, key, once=bool(key))
    return f"done {what}"


@tool(effect="read")
async def balance(case: str, round: int) -> int:
    world.note("read", f"balance {case} {round}")
    return 100 * round


async def was_paid(case: str, round: int, amount: int) -> Any:
    what = f"pay {case} {round} {amount}"
    return Landed(f"done {what}") if world.done(what) else DID_NOT_HAPPEN


@tool(effect="write", reconcile=was_paid)
async def pay(case: str, round: int, amount: int) -> str:
    return sent(f"pay {case} {round} {amount}")


@tool(effect="write")
async def mail(text: str, idempotency_key: str) -> str:
    """Its receiver knows keys: a second request with the same one changes nothing."""
    world.note("ask", f"mail {text}", idempotency_key)
    return sent(f"mail {text}", idempotency_key)


@tool(effect="write")
async def letter(text: str) -> str:
    """Nothing can tell later whether it was posted, except a person who looks."""
    return sent(f"letter {text}")


errands = Graph("errands", state=Errand, tools=[mail])


@errands.node
async def walk(state: Errand, ctx: Context) -> dict[str, Any]:
    return {"done": await ctx.call(mail, text=f"errand {state.case} {state.round}")}


errands.start(walk)
errands.edge(walk, END)

waits = Graph("waits", state=Wait, tools=[mail])


@waits.node
async def hold(state: Wait, ctx: Context) -> dict[str, Any]:
    return {"word": await ctx.signal("never")}


waits.start(hold)
waits.edge(hold, END)

desk = Graph("desk", state=Desk, tools=[balance, pay, mail, letter])


@desk.node
async def note(state: Desk, ctx: Context) -> dict[str, Any]:
    at = await ctx.now()
    return {"notes": [f"round {state.round} begun" if at else ""]}


def look_closely(case: str, round: int) -> str:
    world.note("read", f"once {case} {round}")
    return f"seen {round}"


@desk.node
async def look(state: Desk, ctx: Context) -> dict[str, Any]:
    has = await ctx.call(balance, case=state.case, round=state.round)
    reply = await ctx.model("clerk", messages=f"{state.case} {state.round}: {has}")
    seen = await ctx.once("look", look_closely, state.case, state.round)
    return {"total": has, "notes": [reply.text, seen]}


@desk.node
async def settle(state: Desk, ctx: Context) -> dict[str, Any]:
    return {"receipt": await ctx.call(pay, case=state.case, round=state.round, amount=state.total)}


@desk.node
async def tell(state: Desk, ctx: Context) -> dict[str, Any]:
    await ctx.call(mail, text=f"paid {state.case} {state.round}")
    return {"notes": [await ctx.call(letter, text=f"copy {state.case} {state.round}")]}


@desk.node(retry=Retry(attempts=3, wait=0.01))
async def stumble(state: Desk, ctx: Context) -> dict[str, Any]:
    done = await ctx.call(mail, text=f"stumble {state.case} {state.round}")
    if ctx.attempt == 1:
        raise ValueError("the first attempt always fails")
    return {"notes": [done]}


@desk.node
async def spread(state: Desk, ctx: Context) -> fan_out:
    return fan_out(part, [1, 2, 3], {"notes": ["three parts"]})


@desk.node
async def part(state: Desk, ctx: Context) -> dict[str, Any]:
    return {"parts": [await ctx.call(mail, text=f"part {state.case} {state.round} {ctx.item}")]}


@desk.node
async def left(state: Desk, ctx: Context) -> dict[str, Any]:
    await asyncio.sleep(
        LEASE / 2 if state.round == 1 else 0
    )  # long enough for the lease to be renewed meanwhile
    return {"parts": [await ctx.call(pay, case=state.case, round=state.round, amount=1)]}


@desk.node
async def right(state: Desk, ctx: Context) -> dict[str, Any]:
    return {"parts": [await ctx.call(letter, text=f"right {state.case} {state.round}")]}


@desk.node
async def ask(state: Desk, ctx: Context) -> dict[str, Any]:
    said = await ctx.review("Go on?", payload={"total": state.total}, allowed=["approve", "reject"])
    return {"notes": [said.decision]}


@desk.node
async def rest(state: Desk, ctx: Context) -> dict[str, Any]:
    await ctx.sleep(0.03)
    return {"notes": ["rested"]}


@desk.node
async def hear(state: Desk, ctx: Context) -> dict[str, Any]:
    return {"heard": await ctx.signal("bell")}


@desk.node
async def delegate(state: Desk, ctx: Context) -> dict[str, Any]:
    return {"child": (await ctx.run(errands, {"case": state.case, "round": state.round}))["done"]}


desk.start(note)
desk.edge(note, look)
desk.edge(look, settle)
desk.edge(settle, tell)
desk.edge(tell, stumble)
desk.edge(stumble, spread)
desk.edge(spread, part)
desk.edge(part, parallel(left, right, join=ask))
desk.edge(left, ask)
desk.edge(right, ask)
desk.edge(ask, rest)
desk.edge(rest, hear)
desk.edge(hear, delegate)
desk.edge(delegate, END)
GRAPHS = [desk, errands, waits]


def clerk(request: ModelRequest) -> ModelReply:
    """The scripted model: paid for each time it is asked."""
    asked = request.messages[-1].content
    world.note("model", asked)
    return ModelReply(text=f"answer to {asked}")


def models() -> dict[str, Any]:
    return {"clerk": ScriptedModel(clerk)}


# --- the caller ----------------------------------------------------------------------------------------------


async def patiently(do: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
    """A caller asks again when the store failed. That it may have happened all the same is what keys are for."""
    while True:
        try:
            return await do(*args, **named)
        except StoreUnavailable:
            await asyncio.sleep(0.01)
        except (ReviewClosed, UnknownRun):  # it had happened
            return None


async def answer(app: App, outcome: Paused, run: Run) -> None:
    """Do what people do: decide reviews, ring the bell. Of a write that nobody can tell of, look at the world."""
    for review in outcome.reviews:
        if review.purpose == "ask":
            await patiently(app.resolve, review.id, approve(by="dana"))
        else:
            what = f"{review.payload['tool']} {review.payload['arguments']['text']}"
            word = landed(f"done {what}", by="dana") if world.done(what) else did_not_happen(by="dana")
            await patiently(app.resolve, review.id, word)
    for name in outcome.signals:
        await patiently(app.signal, run.thread, name, "ding", idempotency_key=f"{name} {run.number}")


async def to_the_end(app: App, run: Run, timeout: float = 15) -> Outcome:
    while isinstance(outcome := await app.wait(run, timeout=timeout), Paused):
        await answer(app, outcome, run)
    return outcome


async def conversation(app: App, case: str, rounds: int) -> list[Outcome]:
    """Runs on one thread: all inputs are sent at once, and queue."""
    runs = []
    for number in range(1, rounds + 1):
        given = {"case": case, "round": number} if number == 1 else {"round": number}
        key = f"{case} {number}"
        runs.append(await patiently(app.start, "desk", given, thread=case, idempotency_key=key, by="sam"))
    return [await to_the_end(app, run) for run in runs]


async def given_up(app: App, case: str) -> Outcome:
    """A run that waits for ever, until it is cancelled."""
    thread = f"{case}-given-up"
    run = await patiently(app.start, "waits", {"case": case}, thread=thread, idempotency_key=thread)
    outcome = await app.wait(run, timeout=15)
    if isinstance(outcome, Paused):
        await patiently(app.cancel, thread, by="sam", reason="no longer wanted")
        outcome = await app.wait(run, timeout=15)
    return outcome


# --- what is compared ----------------------------------------------------------------------------------------


def shape(entries: list[e.Entry]) -> dict[str, list[str]]:
    """A journal without what a crash may add: how often a write was looked into, and by whom it was settled.

    Per step (or for the run as a whole) what was done, in order; an effect counts by how it ended.
    """
    found: dict[str, list[str]] = {}
    for entry in entries:
        body = entry.body
        line = entry.kind
        if isinstance(body, e.EffectRecorded):
            line += f" {body.effect} {body.name} {body.key[:8]}.{body.n}{' failed' if body.error else ''}"
        elif isinstance(body, e.EffectIntended):
            line = f"write {body.name} {body.key[:8]}.{body.n} {body.idempotency_key}"
        elif isinstance(body, e.Decision):
            line += f" {body.branch} {body.rule} -> {body.target}"
        elif isinstance(body, e.StepFailed):
            line += f" {body.error.type} attempt {body.attempt}"
        elif (
            isinstance(body, e.EffectSettled)
            or getattr(body, "purpose", "") == "outcome"
            or (isinstance(body, e.ReviewDecided) and body.decision in ("landed", "did_not_happen"))
        ):
            continue
        steps = found.setdefault(f"{entry.run} {entry.step}".strip(), [])
        if not line.startswith("write ") or line not in steps:
            steps.append(line)
    # Steps of parallel branches end in any order, and what is decided "of the run" follows from that order.
    return {name: sorted(lines) if name.isdigit() else lines for name, lines in sorted(found.items())}


async def report(app: App, case: str) -> dict[str, Any]:
    """Everything about every thread that a test compares, and what the proofs say."""
    found: dict[str, Any] = {}
    for row in await app.threads(search=case, limit=10_000):
        entries = await app.entries(row.thread)
        replayed = await app.replay(row.thread)
        view = await app.view(row.thread)
        unsettled = [
            w for entry in entries for w in getattr(entry.body, "writes", []) if w.outcome == "unknown"
        ]
        found[row.thread] = {
            "shape": shape(entries),
            "status": row.status,
            "runs": [[r.run, r.status] for r in await app.store.runs(row.thread)],
            "state": view.state,
            "replay": "identical" if replayed.identical else str(replayed.divergence),
            "verify": (await app.verify(row.thread)).problems,
            "unsettled": len(unsettled),
            "open reviews": len(await app.reviews(thread=row.thread)),
        }
    return found


async def work(args: argparse.Namespace) -> dict[str, Any]:
    clock = clock_for(args.store)
    store = FailpointStore(open_store(args.store, clock=clock), args.at, args.when)
    async with open_app(store, graphs=GRAPHS, models=models(), settings=SETTINGS, clock=clock) as app:
        cases = [f"case-{number}" for number in range(1, args.cases + 1)]
        outcomes = await asyncio.gather(
            *(conversation(app, case, args.rounds) for case in cases),
            *(given_up(app, case) for case in cases),
        )
        ended = [o for group in outcomes for o in (group if isinstance(group, list) else [group])]
        assert all(isinstance(outcome, Finished | Cancelled) for outcome in ended), ended
        return {"writes": store.writes, "threads": await report(app, "case-")}


async def serve(args: argparse.Namespace) -> dict[str, Any]:
    """Only work, for a caller who is another process, until SIGTERM."""
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    async with open_app(args.store, graphs=GRAPHS, models=models(), settings=SETTINGS):
        await done.wait()
    return {}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("oracle")
    parser.add_argument("--at", type=int, default=0, help="die at this store write")
    parser.add_argument("--when", choices=["before", "after", "refuse", "doubt"], default="before")
    parser.add_argument("--cases", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--serve", action="store_true", help="only work, until SIGTERM")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    global world
    world = Oracle(args.oracle)
    print(json.dumps(asyncio.run(serve(args) if args.serve else work(args))), flush=True)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
