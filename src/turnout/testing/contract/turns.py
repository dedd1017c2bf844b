"""Whose turn it is: priorities, what is due, tenants, what a process hears of."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from turnout.errors import StoreError
from turnout.ports.rows import KEEP, Lease
from turnout.ports.store import Store
from turnout.testing.contract.rows import T0, Handles, change


class Turns(Handles):
    """Whose turn it is: priorities, what is due, tenants, what a process hears of."""

    @staticmethod
    async def _waits(store: Store, name: str, wake: int | None = 0, **more: Any) -> None:
        await store.append(change(name, 0, wake=None if wake is None else T0 + wake, **more))

    async def test_the_highest_priority_is_claimed_first_then_the_longest_due(self, store: Store) -> None:
        for name, priority, wake in (
            ("low", -5, 1), ("late", 0, 9), ("early", 0, 2), ("high", 7, 30), ("higher", 8, 40),
        ):  # fmt: skip
            await self._waits(store, name, wake, priority=priority)
        order = []
        for _ in range(5):
            order += [lease.thread for lease in await store.claim("w", T0 + 50, T0 + 99, 1)]
        assert order == ["higher", "high", "early", "late", "low"]

    async def test_one_claim_of_many_goes_by_priority_too_over_all_graphs(self, store: Store) -> None:
        for n, (graph, priority) in enumerate([("a", 1), ("b", 3), ("a", 2), ("b", 1), ("c", 9)]):
            await self._waits(store, f"t{n}", n, graph=graph, priority=priority)
        found = await store.claim("w", T0 + 50, T0 + 99, 3, ["b", "a"])
        assert [lease.thread for lease in found] == ["t1", "t2", "t0"]
        found = await store.claim("w", T0 + 50, T0 + 99, 3)
        assert [lease.thread for lease in found] == ["t4", "t3"]

    async def test_what_is_not_due_yet_does_not_stand_before_what_is(self, store: Store) -> None:
        await self._waits(store, "later", 1_000, priority=50)
        await self._waits(store, "now", 0, priority=-50)
        assert [lease.thread for lease in await store.claim("w", T0, T0 + 9, 1)] == ["now"]

    async def test_a_dead_worker_s_thread_comes_in_its_turn(self, store: Store) -> None:
        await self._waits(store, "held", 0, priority=1)
        await store.claim("dead", T0, T0 + 5, 1)
        await self._waits(store, "urgent", 3, priority=2)
        await self._waits(store, "early", -9)
        await self._waits(store, "calm", 4, priority=1)
        order = []
        for _ in range(4):
            order += [lease.thread for lease in await store.claim("w", T0 + 20, T0 + 99, 1)]
        assert order == ["urgent", "held", "calm", "early"]

    async def test_tenant_and_priority_are_kept_with_the_thread(self, store: Store) -> None:
        await self._waits(store, "a", tenant="acme", priority=3)
        await self._waits(store, "b", tenant="globex")
        await self._waits(store, "c")
        await store.append(change("a", 1, tenant="other", priority=4))  # a thread's tenant is for life
        await store.append(change("b", 1, wake=T0 + 4, priority=5))
        rows = {t.thread: (t.tenant, t.priority) for t in await store.threads()}
        assert rows == {"a": ("acme", 4), "b": ("globex", 5), "c": ("", 0)}
        [lease] = await store.claim("w", T0, T0 + 9, 1, thread="a")
        await store.append(change("a", 2, epoch=lease.epoch, priority=9, same=True))
        await store.append(change("a", 3, epoch=lease.epoch, priority=-1, release=True, wake=None))
        rows = {t.thread: (t.tenant, t.priority) for t in await store.threads(tenant="acme")}
        assert rows == {"a": ("acme", -1)}
        assert [t.thread for t in await store.threads(tenant="acme", graph="shop")] == []

    async def test_a_fork_has_the_tenant_and_priority_that_it_is_made_with(self, store: Store) -> None:
        await self._waits(store, "base", tenant="acme", priority=3)
        await store.append(change("fork", 1, 1, base=("base", 1), tenant="acme", priority=3))
        found = await store.thread("fork")
        assert found is not None
        assert (found.tenant, found.priority) == ("acme", 3)

    async def test_due_counts_what_is_due_held_or_not(self, store: Store) -> None:
        assert await store.due(T0) == 0
        for n in range(4):
            await self._waits(store, f"a{n}", n, priority=n % 2)
        await self._waits(store, "b", 0, graph="shop")
        await self._waits(store, "later", 100)
        await self._waits(store, "asleep", None)
        assert await store.due(T0 + 9) == 1, "it counts no further than it is asked to"
        assert await store.due(T0 + 9, limit=99) == 5
        assert await store.due(T0 + 2, ["desk"], 99) == 3
        assert await store.due(T0 + 9, ["desk", "shop"], 2) == 2
        assert await store.due(T0 + 9, ["nothing"], 9) == 0
        assert await store.due(T0 + 9, [], 9) == 0
        await store.claim("w", T0 + 9, T0 + 50, 2, ["desk"])
        assert await store.due(T0 + 9, limit=99) == 5
        assert await store.due(T0 + 9, limit=99, held=False) == 3
        assert await store.due(T0 + 9, ["desk"], 99, held=False) == 2
        assert await store.due(T0 + 51, ["desk"], 99, held=False) == 4, "those leases have run out"

    async def test_what_has_parked_is_not_due(self, store: Store) -> None:
        await self._waits(store, "a")
        [lease] = await store.claim("w", T0, T0 + 9, 1)
        await store.append(change("a", 1, 1, epoch=lease.epoch, release=True, wake=None))
        assert await store.due(T0 + 99, limit=9) == 0

    async def test_a_claim_of_nothing_takes_nothing(self, store: Store) -> None:
        await self._waits(store, "a")
        assert await store.claim("w", T0, T0 + 9, 0) == []
        assert await store.claim("w", T0, T0 + 9, 1) == [Lease("a", "w", 1)]

    async def test_a_thread_that_is_due_again_stands_behind_those_that_were_due_before(
        self, store: Store
    ) -> None:
        await self._waits(store, "long", 0)
        [lease] = await store.claim("w", T0, T0 + 99, 1)
        await self._waits(store, "short", 5)
        await store.append(change("long", 1, 1, epoch=lease.epoch, release=True, wake=T0 + 6))
        assert [x.thread for x in await store.claim("w", T0 + 9, T0 + 99, 1)] == ["short"]

    async def test_another_handle_s_work_is_heard_of(self, store: Store) -> None:
        async with self.another(store) as second:
            heard: list[str] = []
            ear = asyncio.ensure_future(second.hear("w", ["desk"], heard.append, 0.005))
            try:
                await asyncio.sleep(0.05)
                await store.append(change("a", 0, wake=T0))
                async with asyncio.timeout(10):
                    while not heard:
                        await asyncio.sleep(0.005)
                assert set(heard) <= {"", "a"}
            finally:
                ear.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await ear

    async def test_who_hears_of_a_store_that_is_closed_is_told(self, store: Store) -> None:
        ear = asyncio.ensure_future(store.hear("w", ["desk"], lambda thread: None, 0.005))
        await asyncio.sleep(0.02)
        await store.close()
        with pytest.raises(StoreError):
            await asyncio.wait_for(ear, timeout=10)

    async def test_keeping_the_time_to_wake_keeps_the_turn(self, store: Store) -> None:
        await self._waits(store, "a", 3)
        await self._waits(store, "b", 5)
        await store.append(change("a", 1, wake=KEEP))
        assert [x.thread for x in await store.claim("w", T0 + 9, T0 + 99, 2)] == ["a", "b"]
