"""A worker with one model call that takes three attempts; it can be killed at each, before or after it is durable."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

import openai.resources.chat  # noqa: F401 - so that the processes that are forked from here needn't import it
from tests.crash.desk import SETTINGS
from tests.crash.failpoint import FailpointStore
from tests.unit.runs import Work, chain

from turnout import Context, Finished, open_app
from turnout.wiring import open_store


class AtAttempt(FailpointStore):
    """Counts only the writes that bring an attempt: how many others there are in between depends on the time."""

    def _before(self, what: str) -> int:
        return super()._before(what) if what.startswith("append model.attempted") else 0


async def greet(state: Work, ctx: Context) -> dict[str, Any]:
    return {"log": [(await ctx.model("main", messages="Hello!")).text]}


async def work(args: argparse.Namespace) -> dict[str, Any]:
    store = AtAttempt(open_store(f"sqlite:///{args.store}"), args.at, args.when)
    async with open_app(store, graphs=[chain(greet)], config=args.config, settings=SETTINGS) as app:
        run = await app.start("g", {}, thread="t", idempotency_key="t")
        outcome = await app.wait(run, timeout=30)
        assert isinstance(outcome, Finished), outcome
        [call] = (await app.explain("t")).calls
        return {
            "said": outcome.state.log,
            "attempts": [[a.why, a.error, a.request_id] for a in call.attempts],
            "identical": (await app.replay("t")).identical,
            "verify": (await app.verify()).problems,
        }


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("config")
    parser.add_argument("--at", type=int, default=0)
    parser.add_argument("--when", choices=["before", "after"], default="before")
    print(json.dumps(asyncio.run(work(parser.parse_args(argv)))), flush=True)
