"""The process that works: `python -m turnout.demo.work STORE LEDGER MODEL`. The demo starts it, kills it, starts it
again.

It is the same program both times, and isn't told that there was a first time.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from turnout.demo import batch
from turnout.demo.desk import desk, models
from turnout.demo.local import LocalModel
from turnout.ports.model import Model
from turnout.service.outcome import Failed
from turnout.settings import Settings
from turnout.wiring import open_app

SETTINGS = Settings(lease=1.5, sweep=0.25, concurrency=6)
"""The lease is short, so that the work of a dead process is taken over soon; and six at once, so that it takes a while."""
BETWEEN = 0.04
"""Seconds between two requests of the inbox."""


@asynccontextmanager
async def reached(model: str) -> AsyncIterator[Mapping[str, Model]]:
    """What `ctx.model` reaches: the script, or a real model on this machine."""
    if model != "local":
        yield models
        return
    local = LocalModel()
    gateways = local.gateways("summary")
    try:
        yield gateways.models()
    finally:
        await gateways.close()
        local.close()


async def work(store: str, ledger: str, model: str) -> int:
    """Take the whole inbox in, and work until every request is done or waits for a person. Returns how many runs failed
    that were not meant to."""
    failed, silent = (
        0,
        {request.id for request in batch.load().requests if request.beneficiary in batch.load().unanswered},
    )
    async with (
        reached(model) as found,
        open_app(store, graphs=[desk], models=found, settings=SETTINGS, config="") as app,
    ):
        runs = []
        for request in batch.load().requests:
            given = request.model_dump(exclude={"id", "requested_by"}) | {
                "request": request.id,
                "ledger": ledger,
            }
            # The id is the idempotency key too: a request that is sent again is the same run.
            run = await app.start(
                desk, given, thread=request.id, idempotency_key=request.id, by=request.requested_by
            )
            runs.append(run)
            if run.new:
                await asyncio.sleep(BETWEEN)
        for run in runs:
            failed += isinstance(await app.wait(run), Failed) and run.thread not in silent
    return failed


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(work(*sys.argv[1:4])) else 0)
