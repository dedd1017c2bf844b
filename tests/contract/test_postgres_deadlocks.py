"""Everything at once on the same threads, from several handles: nobody ever waits for somebody who waits for him."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import psycopg
from tests.postgres import fresh_database

from turnout.core.budgets import Budget
from turnout.errors import Conflict
from turnout.ports.rows import Lease
from turnout.stores.postgres import PostgresStore
from turnout.testing.contract import change
from turnout.testing.contract.budgets import spend
from turnout.testing.contract.rows import T0

NAMES = [f"t{n:02}" for n in range(40)]
SECONDS = 4.0


async def work(store: PostgresStore, worker: str, chance: random.Random, end: float) -> int:
    """What a worker and its callers ask of a store, in any order, as fast as it goes."""
    held: dict[str, Lease] = {}
    heads: dict[str, int] = {}
    done = 0

    async def step(lease: Lease, *, charged: bool = False, **more: object) -> None:
        name = lease.thread
        made = change(name, heads[name], epoch=lease.epoch, **more)
        if charged:  # in accounts that everybody wants, with a value that everybody brings
            made.charges = [
                spend(name, heads[name] + 1, 1, tenant=chance.choice("abc"), root=f"{chance.choice(NAMES)}/1")
            ]
            made.values = {f"address-{done}": b"v"}
        if not more:
            made = replace(made, same=True)
        try:
            await store.append(made)
            heads[name] += 1
        except Conflict:
            held.pop(name, None)
        if made.release:
            held.pop(name, None)

    loop = asyncio.get_running_loop()
    while loop.time() < end:
        now = T0 + int(loop.time() * 1000)
        for lease in await store.claim(worker, now, now + chance.choice([1, 50, 1000]), 15):
            row = await store.thread(lease.thread)
            held[lease.thread], heads[lease.thread] = lease, row.head if row else 0
        others = chance.sample(NAMES, 5)
        lost, *_ = await asyncio.gather(
            store.renew(worker, chance.sample([*held.values()], len(held)), now + 50),
            store.wake(others, now),
            *(
                step(
                    lease,
                    **chance.choice(
                        [
                            {},
                            {},
                            {"wakes": others},
                            {"charged": True},
                            {"charged": True, "wakes": others},
                            {"release": True, "wake": now, "wakes": others[:1]},
                        ]
                    ),
                )
                for lease in chance.sample([*held.values()], len(held) // 2)
            ),
        )
        for lease in lost:
            held.pop(lease.thread, None)
        if chance.random() < 0.1:
            aside = await store.set_aside(chance.sample(NAMES, 4), "to see")
            await store.take_back(chance.sample(aside, len(aside)), now)
        done += 1
    return done


async def test_claims_renewals_appends_charges_and_wake_ups_never_deadlock() -> None:
    with fresh_database(schema=True) as url:
        stores = [PostgresStore(url) for _ in range(4)]
        for per in ("tenant", "run", "all"):
            await stores[0].put_budget(Budget(name=per, per=per, calls=10**9))
        for name in NAMES:
            await stores[0].append(change(name, 0, wake=1))
        end = asyncio.get_running_loop().time() + SECONDS
        rounds = await asyncio.gather(
            *(work(store, f"w{n}", random.Random(n), end) for n, store in enumerate(stores))
        )
        assert min(rounds) > 0
        for name in NAMES:
            row = await stores[0].thread(name)
            assert row is not None
            assert [entry.seq for entry in await stores[0].read(name)] == list(range(1, row.head + 1))
        charges = sum([len(await stores[0].charges(name)) for name in NAMES])
        accounts = await stores[0].accounts(limit=1_000)
        for per in ("tenant", "run", "all"):
            assert sum(one.spent.calls for one in accounts if one.budget == per) == charges > 0
        for store in stores:
            await store.close()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT pg_stat_force_next_flush()")
            found = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert connection.execute(found).fetchone() == (0,), rounds
