"""A worker whose threads ask a real upstream under a budget. It is killed anywhere, at many at once, and started again."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import replace
from typing import Any

import openai.resources.chat  # noqa: F401 - so that the processes that are forked from here needn't import it
from tests.crash.desk import SETTINGS
from tests.crash.failpoint import FailpointStore
from tests.crash.stores import address, clock_for
from tests.unit.runs import Work, chain

from turnout import DID_NOT_HAPPEN, BudgetExceeded, Cancelled, Context, Finished, open_app, tool
from turnout.errors import ModelFailed
from turnout.wiring import open_store

ASKS = 2
"""Model calls of each thread. Their prompts say whose they are: `thread/number`."""


class AtCharges(FailpointStore):
    """Counts only the writes that bring a charge."""

    def _before(self, what: str) -> int:
        charged = any(kind in what for kind in ("budget.", "model.attempted", "effect."))
        return super()._before(what) if charged else 0


async def never_there(n: int) -> Any:
    return DID_NOT_HAPPEN


@tool(effect="write", reconcile=never_there)
async def put(n: int, idempotency_key: str) -> int:
    return n


async def ask(state: Work, ctx: Context) -> dict[str, Any]:
    said = []
    for number in range(ASKS):
        try:
            await ctx.model("main", messages=f"{ctx.thread}/{number}", max_output_tokens=64)
            said.append("answered")
        except BudgetExceeded:
            said.append("refused")
        except ModelFailed as error:
            said.append(error.cause)
    try:
        await ctx.call(put, n=1)
    except BudgetExceeded:
        said.append("not put")
    return {"log": said}


GRAPH = chain(ask, tools=[put])


async def work(args: argparse.Namespace) -> dict[str, Any]:
    """Start all threads (whoever was first has started them), and go on until all have ended."""
    url = address(args.store)
    clock = clock_for(url)
    settings = replace(SETTINGS, concurrency=5)
    store = AtCharges(open_store(url, clock=clock), args.at, args.when)
    async with open_app(store, graphs=[GRAPH], config=args.config, settings=settings, clock=clock) as app:
        starts = [app.start("g", {}, thread=f"t{n}", idempotency_key=f"t{n}") for n in range(args.threads)]
        runs = await asyncio.gather(*starts)
        if args.cancel:
            await asyncio.sleep(0.05)
            await app.cancel("t0")
        outcomes = await asyncio.gather(*(app.wait(run, timeout=110) for run in runs))
        assert all(isinstance(outcome, Finished | Cancelled) for outcome in outcomes), outcomes
        replays = [(await app.replay(run.thread)).identical for run in runs]
        rows = [row for run in runs for row in await app.store.charges(run.thread)]
        attempts = [
            [row.label.thread, row.state, row.spent.calls, row.spent.tokens, row.spent.micros, row.label.kind]
            for row in rows
        ]
        entries = [e for run in runs for e in await app.entries(run.thread)]
        answered = [
            [x.body.attempt.usage, x.body.attempt.cost_micros, x.body.attempt.error]
            for x in entries
            if x.kind == "model.attempted"
        ]
        accounts = [
            [
                one.account,
                one.spent.calls,
                one.spent.micros,
                one.spent.tokens,
                one.reserved.calls,
                one.reserved.micros,
            ]
            for one in await app.store.accounts()
        ]
        return {
            "writes": len(store.writes), "said": [getattr(o, "state", None) and o.state.log for o in outcomes],
            "replays": replays, "charges": attempts, "accounts": accounts, "answered": answered,
            "verify": (await app.verify()).problems,
        }  # fmt: skip


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("config")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--at", type=int, default=0)
    parser.add_argument("--when", choices=["before", "after"], default="before")
    parser.add_argument("--cancel", action="store_true")
    print(json.dumps(asyncio.run(work(parser.parse_args(argv)))), flush=True)
