"""At most so many threads of a graph or a tenant at once."""

from __future__ import annotations

import asyncio
from typing import Any

from turnout.ports.rows import LimitRow
from turnout.ports.store import Store
from turnout.testing.contract.rows import T0, Handles, change


class Limits(Handles):
    """At most so many threads of a graph or a tenant at once."""

    @staticmethod
    async def _wait_there(store: Store, *names: str, **more: Any) -> None:
        for name in names:
            await store.append(change(name, 0, wake=T0, **more))

    @staticmethod
    async def _claimed(store: Store, limit: int = 99, now: int = 0, **more: Any) -> list[str]:
        leases = await store.claim("w", T0 + now, T0 + now + 10, limit, **more)
        return sorted(lease.thread for lease in leases)

    async def test_limits_are_set_changed_listed_and_taken_away(self, store: Store) -> None:
        assert await store.limits() == []
        await store.put_limit("tenant", "acme", 5)
        await store.put_limit("graph", "shop", 3)
        await store.put_limit("graph", "desk", 2)
        await store.put_limit("graph", "shop", 4)
        await store.put_limit("tenant", "nobody", None)
        assert await store.limits() == [
            LimitRow("graph", "desk", 2), LimitRow("graph", "shop", 4), LimitRow("tenant", "acme", 5),
        ]  # fmt: skip
        await store.put_limit("graph", "desk", None)
        await store.put_limit("tenant", "acme", None)
        assert await store.limits() == [LimitRow("graph", "shop", 4)]

    async def test_no_more_threads_of_a_graph_are_taken_than_its_limit_allows(self, store: Store) -> None:
        await self._wait_there(store, "a1", "a2", "a3", "a4")
        await self._wait_there(store, "b1", "b2", graph="shop")
        await store.put_limit("graph", "desk", 2)
        assert await self._claimed(store) == ["a1", "a2", "b1", "b2"]
        assert await self._claimed(store) == []
        assert await self._claimed(store, thread="a3") == []
        await store.put_limit("graph", "desk", 3)
        assert len(await self._claimed(store)) == 1
        await store.put_limit("graph", "desk", None)
        assert len(await self._claimed(store)) == 1

    async def test_no_more_threads_of_a_tenant_are_taken_than_its_limit_allows(self, store: Store) -> None:
        await self._wait_there(store, "a1", "a2", "a3", tenant="acme")
        await self._wait_there(store, "a4", tenant="acme", graph="shop")
        await self._wait_there(store, "g1", "g2", tenant="globex")
        await self._wait_there(store, "n1")
        await store.put_limit("tenant", "acme", 2)
        found = await self._claimed(store)
        assert len([name for name in found if name.startswith("a")]) == 2
        assert [name for name in found if not name.startswith("a")] == ["g1", "g2", "n1"]
        assert await self._claimed(store) == []
        for name in ("a1", "a2", "a3", "a4"):
            assert await self._claimed(store, thread=name) == []

    async def test_both_limits_hold_at_once(self, store: Store) -> None:
        await self._wait_there(store, *(f"a{n}" for n in range(4)), tenant="acme")
        await self._wait_there(store, *(f"g{n}" for n in range(4)), tenant="globex")
        await store.put_limit("tenant", "acme", 1)
        await store.put_limit("graph", "desk", 3)
        found = await self._claimed(store)
        assert len(found) == 3
        assert len([name for name in found if name.startswith("a")]) <= 1

    async def test_no_room_at_all_is_a_limit_too(self, store: Store) -> None:
        await self._wait_there(store, "a", "b", tenant="acme")
        await store.put_limit("tenant", "acme", 0)
        assert await self._claimed(store) == []
        assert await store.due(T0, limit=9) == 2, "they are due all the same"

    async def test_what_is_given_back_makes_room(self, store: Store) -> None:
        await self._wait_there(store, "a", "b")
        await store.put_limit("graph", "desk", 1)
        [lease] = await store.claim("w", T0, T0 + 10, 9)
        assert await self._claimed(store) == []
        assert await store.release(lease, 1, None)
        assert len(await self._claimed(store)) == 1

    async def test_a_lease_that_has_run_out_takes_no_room(self, store: Store) -> None:
        await self._wait_there(store, "a", "b", "c")
        await store.put_limit("graph", "desk", 2)
        assert len(await self._claimed(store)) == 2
        assert await self._claimed(store, now=5) == []
        found = await self._claimed(store, now=11)
        assert len(found) == 2
        assert await self._claimed(store, now=12) == []

    async def test_who_has_room_is_found_behind_many_who_have_none(self, store: Store) -> None:
        """Hundreds of threads of a tenant, and of a graph, that are at their limits have been due for longer."""
        for n in range(300):
            await store.append(change(f"acme-{n:03}", 0, wake=T0 - 50, tenant="acme"))
            await store.append(change(f"shop-{n:03}", 0, wake=T0 - 50, graph="shop"))
        await self._wait_there(store, "x", tenant="globex")
        await self._wait_there(store, "y", tenant="initech", priority=-3)
        await self._wait_there(store, "z")
        await store.put_limit("tenant", "acme", 1)
        await store.put_limit("graph", "shop", 1)
        while await self._claimed(store):
            pass
        rows = await store.threads(owner="w", limit=1000)
        assert len([t for t in rows if t.tenant == "acme"]) == 1
        assert len([t for t in rows if t.graph == "shop"]) == 1
        assert sorted(t.thread for t in rows)[2:] == ["x", "y", "z"]

    async def test_priorities_hold_among_those_that_have_room(self, store: Store) -> None:
        for n in range(80):
            await store.append(change(f"full-{n:02}", 0, wake=T0, tenant="acme", priority=9))
        for n in range(6):
            await store.append(change(f"t{n}", 0, wake=T0 + n, tenant=f"tenant-{n % 2}", priority=n))
        await store.put_limit("tenant", "acme", 0)
        await store.put_limit("tenant", "tenant-0", 2)
        order = []
        while leases := await store.claim("w", T0 + 50, T0 + 99, 1):
            order += [lease.thread for lease in leases]
        assert order == ["t5", "t4", "t3", "t2", "t1"]

    async def test_many_who_claim_at_once_stay_within_the_limits(self, store: Store) -> None:
        await self._wait_there(store, *(f"t{n:02}" for n in range(30)), tenant="acme")
        await store.put_limit("graph", "desk", 5)
        await store.put_limit("tenant", "acme", 4)
        claims = await asyncio.gather(*(store.claim(f"w{n}", T0, T0 + 99, 3) for n in range(12)))
        assert sum(len(leases) for leases in claims) == 4

    async def test_two_handles_stay_within_the_limits(self, store: Store) -> None:
        await self._wait_there(store, *(f"t{n:02}" for n in range(30)))
        await store.put_limit("graph", "desk", 7)
        async with self.another(store) as second:
            assert await second.limits() == [LimitRow("graph", "desk", 7)]
            claims = await asyncio.gather(
                *(
                    s.claim(f"{i}.{n}", T0, T0 + 99, 2)
                    for n in range(6)
                    for i, s in enumerate((store, second))
                )
            )
        taken = [lease.thread for leases in claims for lease in leases]
        assert len(taken) == len(set(taken)) == 7
