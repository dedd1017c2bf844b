"""Processes that are killed while notices are on their way: none is lost, none is told of what never was."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.crash.stores import ENGINES, Stores, clock_for
from tests.notify.desk import QUICK, refunds, toml
from tests.notify.receivers import Answer, Delivery, Receiver, until

from turnout import App
from turnout.testing import open_test_app
from turnout.wiring import open_store

pytestmark = pytest.mark.crash
ROOT = Path(__file__).parents[2]
HOOK = '[notify.hook]\nwebhook = "{url}"\nsecret_env = "HOOK_SECRET"\nbackoff = 0.05\ntimeout = 1\n'


@pytest.fixture(params=ENGINES)
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    made = Stores(request.param)
    yield made
    made.close()


@asynccontextmanager
async def clerk(store: str, config: Path, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.notify.clerk", store, str(config), *more, cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def looking(store: str) -> AsyncIterator[App]:
    """An app that only looks: it neither works nor sends."""
    opened = open_store(store)
    async with open_test_app(
        opened, graphs=[refunds()], settings=QUICK, work=False, clock=clock_for(store)
    ) as app:
        yield app


async def test_a_process_killed_between_send_and_mark_sends_again_under_the_same_id(
    tmp_path: Path, receiver: Receiver, stores: Stores
) -> None:
    store, config = stores.fresh(tmp_path), toml(tmp_path, HOOK.format(url=receiver.url))
    killed: list[int] = []
    async with clerk(store, config) as first:

        def kill(delivery: Delivery, number: int) -> Answer:
            """It has arrived, and its sender will never hear of it."""
            if not killed:
                killed.append(first.pid)
                os.kill(first.pid, signal.SIGKILL)
            return Answer()

        receiver.answer = kill
        await until(lambda: killed, 30)
        assert await first.wait() == -signal.SIGKILL
    async with looking(store) as app:
        [row] = await app.outbox()
        assert (row.status, row.attempts) == ("waiting", 1), "nobody has marked it"
        async with clerk(store, config):
            await until(lambda: len(receiver.got) == 2, 40)
            async with asyncio.timeout(10):
                while not await app.outbox(status="sent"):
                    await asyncio.sleep(0.05)
        assert [delivery.id for delivery in receiver.got] == [row.id, row.id]
        assert receiver.got[0].body == receiver.got[1].body
        for delivery in receiver.got:
            delivery.verified()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_notice_is_there_if_and_only_if_its_entry_is(
    tmp_path: Path, receiver: Receiver, stores: Stores, when: str
) -> None:
    """The process dies at each write in turn, up to that of the review; what is told of is what is on record."""
    receiver.answer = lambda delivery, number: Answer(503)
    for at in range(3, 9):  # before that nothing was asked
        folder = tmp_path / str(at)
        folder.mkdir()
        store, config = stores.fresh(folder), toml(folder, HOOK.format(url=receiver.url))
        async with clerk(store, config, str(at), when) as process:
            try:
                async with asyncio.timeout(8):
                    await process.wait()
            except TimeoutError:  # it has no write left to die at: the review is asked
                process.kill()
                await process.wait()
        async with looking(store) as app:
            threads = await app.threads()
            kinds = [entry.kind for entry in await app.entries("case-17")] if threads else []
            rows = await app.outbox()
            assert len(rows) == kinds.count("review.requested"), (at, kinds)
        if "review.requested" in kinds:
            return
    pytest.fail("the review was never asked")
