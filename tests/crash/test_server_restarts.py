"""The Postgres server ends hard and comes back, again and again, under workers and callers: all goes on by itself."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from tests.api.conftest import served
from tests.crash import clerks
from tests.crash.spawner import Spawner
from tests.crash.test_leases import start_worker
from tests.crash.world import Oracle
from tests.postgres import Cluster, fresh_database

from turnout import App, Finished
from turnout.errors import StoreUnavailable
from turnout.service.outcome import Outcome

pytestmark = pytest.mark.crash


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = Cluster()
    yield found
    found.close()


async def patiently(app: App, number: int) -> Outcome:
    """A caller who asks again when the store can't be reached. The key makes it one run."""
    name = f"r{number:03}"
    while True:
        with suppress(StoreUnavailable):
            run = await app.start("jobs", {"name": name}, thread=name, idempotency_key=name)
            return await app.wait(run, timeout=120)
        await asyncio.sleep(0.05)


async def all_ended_once(app: App, world: Oracle, names: set[str]) -> None:
    assert world.count("write") == {f"act {name}": 1 for name in names}
    for name in names:
        entries = await app.entries(name)
        assert [entry.kind for entry in entries].count("run.finished") == 1
        outcomes = [entry.body.outcome for entry in entries if entry.kind == "effect.settled"]
        assert outcomes.count("landed") == 1, outcomes
        assert (await app.replay(name)).identical
    assert (await app.verify()).ok


async def test_a_server_that_ends_hard_and_comes_back_again_and_again_costs_nothing_but_time(
    spawner: Spawner, cluster: Cluster, tmp_path: Path, everything: bool
) -> None:
    """Stopped with `-m immediate` while threads are started, claimed, driven and taken over, and in its recovery."""
    times, count = (30, 400) if everything else (3, 40)
    world, chance = Oracle(tmp_path / "world"), random.Random(3)
    store = cluster.url()
    async with clerks.open_shared(store, work=False) as app:
        workers = [start_worker(spawner, tmp_path, f"w{n}", "--busy", 0.05, store=store) for n in range(2)]
        gate = asyncio.Semaphore(20)

        async def one(number: int) -> Outcome:
            async with gate:
                return await patiently(app, number)

        asking = asyncio.ensure_future(asyncio.gather(*(one(n) for n in range(count))))
        for _ in range(times):
            await asyncio.sleep(chance.uniform(0.3, 1.2))
            await asyncio.to_thread(cluster.crash)
            await asyncio.sleep(chance.choice([0, 0.2, 0.6]))
            await asyncio.to_thread(cluster.start)
            if chance.random() < 0.3:
                await asyncio.to_thread(cluster.crash)
                await asyncio.to_thread(cluster.start)
        outcomes = await asyncio.wait_for(asking, 240)
        assert all(isinstance(outcome, Finished) for outcome in outcomes)
        await all_ended_once(app, world, {f"r{n:03}" for n in range(count)})
    for worker in workers:
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.said
        assert "Traceback" not in worker.said, worker.said


async def test_workers_whose_connections_are_ended_all_the_time_do_everything_once(
    spawner: Spawner, tmp_path: Path, everything: bool
) -> None:
    times, count = (200, 300) if everything else (12, 30)
    world, chance = Oracle(tmp_path / "world"), random.Random(4)
    with fresh_database(schema=True) as store, psycopg.connect(store, autocommit=True) as killer:
        async with clerks.open_shared(store, work=False) as app:
            workers = [
                start_worker(spawner, tmp_path, f"w{n}", "--busy", 0.02, store=store) for n in range(2)
            ]
            asking = asyncio.ensure_future(asyncio.gather(*(patiently(app, n) for n in range(count))))
            ended = 0
            for _ in range(times):
                await asyncio.sleep(chance.uniform(0.02, 0.1))
                ended += len(
                    killer.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                        "AND pid <> pg_backend_pid() AND random() < 0.5"
                    ).fetchall()
                )
            outcomes = await asyncio.wait_for(asking, 240)
            assert all(isinstance(outcome, Finished) for outcome in outcomes)
            await all_ended_once(app, world, {f"r{n:03}" for n in range(count)})
            assert ended > times
        for worker in workers:
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0, worker.said
            assert "Traceback" not in worker.said, worker.said
    print(f"\n{ended} connections ended under {count} runs")


async def test_a_request_is_told_at_once_that_the_server_is_away_and_when_to_come_again(
    cluster: Cluster,
) -> None:
    """Also the second one, and with a token, for which the door looks first."""
    async with served(cluster.url()) as desk:
        secret = await desk.token("ann", "admin")
        async with desk.client(secret) as client:
            for _ in range(2):
                while (await client.get("/threads")).status_code != 200:
                    await asyncio.sleep(0.1)
                await asyncio.to_thread(cluster.crash)
                try:
                    for method, path in (("GET", "/threads"), ("POST", "/runs"), ("GET", "/me")):
                        asked = time.monotonic()
                        said = await client.request(method, path, json={"graph": "desk", "input": {}})
                        took = time.monotonic() - asked
                        assert (said.status_code, said.json()["title"]) == (503, StoreUnavailable.__doc__), (
                            said.text
                        )
                        assert said.headers["Retry-After"] == "1"
                        assert took < 4, took
                finally:
                    await asyncio.to_thread(cluster.start)
