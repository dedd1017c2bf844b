"""Claiming, renewing, releasing, waking."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from turnout.errors import StaleWriter
from turnout.ports.rows import KEEP, Lease
from turnout.ports.store import Store
from turnout.testing.contract.rows import T0, Handles, change


class Leases(Handles):
    """Claiming, renewing, releasing, waking."""

    @staticmethod
    async def _due(store: Store, *names: str, wake: int | None = 0, graph: str = "desk") -> None:
        for name in names:
            await store.append(change(name, 0, graph=graph, wake=None if wake is None else T0 + wake))

    async def test_a_claim_takes_a_due_thread_and_raises_its_epoch(self, store: Store) -> None:
        await self._due(store, "a")
        assert await store.claim("w1", T0, T0 + 10, 5) == [Lease("a", "w1", 1)]
        found = await store.thread("a")
        assert found is not None
        assert (found.owner, found.epoch, found.lease_until) == ("w1", 1, T0 + 10)

    async def test_only_what_is_due_is_claimed(self, store: Store) -> None:
        await self._due(store, "now", wake=0)
        await self._due(store, "later", wake=100)
        await self._due(store, "never", wake=None)
        assert [lease.thread for lease in await store.claim("w", T0 + 99, T0 + 200, 9)] == ["now"]
        assert [lease.thread for lease in await store.claim("w", T0 + 100, T0 + 200, 9)] == ["later"]
        assert await store.claim("w", T0 + 100, T0 + 200, 9, thread="never") == []

    async def test_a_held_thread_is_not_claimed_before_its_lease_ends(self, store: Store) -> None:
        await self._due(store, "a")
        await store.claim("w1", T0, T0 + 100, 1)
        assert await store.claim("w2", T0 + 50, T0 + 200, 1) == []
        assert await store.claim("w2", T0 + 50, T0 + 200, 1, thread="a") == []
        assert await store.claim("w2", T0 + 101, T0 + 300, 1) == [Lease("a", "w2", 2, tries=1)]

    async def test_the_longest_due_come_first_up_to_the_limit(self, store: Store) -> None:
        for name, wake in (("a", 30), ("b", 10), ("c", 20), ("d", 40)):
            await self._due(store, name, wake=wake)
        assert [lease.thread for lease in await store.claim("w", T0 + 50, T0 + 99, 3)] == ["b", "c", "a"]
        assert [lease.thread for lease in await store.claim("w", T0 + 50, T0 + 99, 3)] == ["d"]

    async def test_a_claim_can_be_limited_to_graphs_or_to_one_thread(self, store: Store) -> None:
        await self._due(store, "a", graph="desk")
        await self._due(store, "b", graph="shop")
        await self._due(store, "c", graph="shop")
        assert await store.claim("w", T0, T0 + 9, 9, graphs=[]) == []
        assert await store.claim("w", T0, T0 + 9, 9, graphs=["nothing"]) == []
        assert [lease.thread for lease in await store.claim("w", T0, T0 + 9, 9, thread="c")] == ["c"]
        assert [lease.thread for lease in await store.claim("w", T0, T0 + 9, 9, graphs=["shop", "x"])] == [
            "b"
        ]
        assert await store.claim("w", T0, T0 + 9, 9, thread="nobody") == []
        assert await store.claim("w", T0, T0 + 9, 9, ["another graph"], thread="a") == []

    async def test_a_thread_is_claimed_by_one_of_many_at_once(self, store: Store) -> None:
        await self._due(store, *(f"t{n:02}" for n in range(30)))
        claims = await asyncio.gather(*(store.claim(f"w{n}", T0, T0 + 99, 10) for n in range(12)))
        taken = [lease.thread for leases in claims for lease in leases]
        assert len(taken) == len(set(taken))
        assert {lease.epoch for leases in claims for lease in leases} == {1}
        for lease in itertools.chain(*claims):
            found = await store.thread(lease.thread)
            assert found is not None
            assert found.owner == lease.worker

    async def test_a_thread_is_claimed_by_one_of_two_handles(self, store: Store) -> None:
        await self._due(store, *(f"t{n:02}" for n in range(20)))
        async with self.another(store) as second:
            both = await asyncio.gather(
                *(
                    s.claim(f"{i}.{n}", T0, T0 + 99, 7)
                    for n in range(4)
                    for i, s in enumerate((store, second))
                )
            )
        taken = [lease.thread for leases in both for lease in leases]
        assert len(taken) == len(set(taken))
        assert taken

    async def test_a_stale_writer_is_refused_whatever_handle_it_has(self, store: Store) -> None:
        await self._due(store, "a")
        [old] = await store.claim("w1", T0, T0 + 10, 1)
        async with self.another(store) as second:
            [new] = await second.claim("w2", T0 + 11, T0 + 99, 1)
            await second.append(change("a", 1, 1, epoch=new.epoch))
            with pytest.raises(StaleWriter):
                await store.append(change("a", 2, 1, epoch=old.epoch))
            with pytest.raises(StaleWriter):
                await store.append(change("a", 1, 1, epoch=old.epoch))
        assert [r.epoch for r in await store.read("a")] == [0, 1 + 1]

    async def test_renewing_extends_what_is_held_and_tells_what_is_lost(self, store: Store) -> None:
        await self._due(store, "a", "b", "c")
        a, b, c = sorted(await store.claim("w1", T0, T0 + 10, 9), key=lambda lease: lease.thread)
        [b2] = await store.claim("w2", T0 + 11, T0 + 50, 1, thread="b")
        await store.append(change("c", 1, 0, epoch=c.epoch, release=True, wake=None))
        assert await store.renew("w1", [a, b, c], T0 + 500) == [b, c]
        assert await store.renew("w1", [], T0 + 500) == []
        rows = {t.thread: t for t in await store.threads()}
        assert (rows["a"].owner, rows["a"].lease_until) == ("w1", T0 + 500)
        assert (rows["b"].owner, rows["b"].lease_until, rows["b"].epoch) == ("w2", T0 + 50, b2.epoch)
        assert await store.claim("w3", T0 + 499, T0 + 600, 9, thread="a") == []

    async def test_a_lease_is_given_back_if_nothing_has_come(self, store: Store) -> None:
        await self._due(store, "a")
        [lease] = await store.claim("w1", T0, T0 + 10, 1)
        assert await store.release(lease, 1, T0 + 70)
        found = await store.thread("a")
        assert found is not None
        assert (found.owner, found.wake_at, found.epoch) == ("", T0 + 70, lease.epoch)
        assert await store.claim("w2", T0 + 5, T0 + 10, 1) == []
        assert await store.claim("w2", T0 + 70, T0 + 99, 1) == [Lease("a", "w2", lease.epoch + 1)]

    async def test_a_lease_is_not_given_back_over_what_has_come(self, store: Store) -> None:
        await self._due(store, "a")
        [lease] = await store.claim("w1", T0, T0 + 10, 1)
        await store.append(change("a", 1, 1, epoch=lease.epoch, wake=T0 + 3))  # from outside
        before = await store.thread("a")
        assert not await store.release(lease, 1, None)
        assert await store.thread("a") == before
        assert await store.release(lease, 2, None)

    async def test_a_lost_lease_can_not_be_given_back(self, store: Store) -> None:
        await self._due(store, "a")
        [old] = await store.claim("w1", T0, T0 + 10, 1)
        await store.claim("w2", T0 + 11, T0 + 50, 1)
        before = await store.thread("a")
        assert not await store.release(old, 1, None)
        assert await store.thread("a") == before

    async def test_an_append_keeps_sets_or_takes_away_the_time_to_wake(self, store: Store) -> None:
        await self._due(store, "a", wake=7)
        steps: list[tuple[int | str | None, int | None]] = [
            (KEEP, T0 + 7), (T0 + 9, T0 + 9), (KEEP, T0 + 9), (None, None), (KEEP, None),
        ]  # fmt: skip
        for head, (wake, expected) in enumerate(steps, 1):
            await store.append(change("a", head, wake=wake))
            found = await store.thread("a")
            assert found is not None
            assert found.wake_at == expected

    async def test_an_append_from_outside_leaves_the_lease_where_it_is(self, store: Store) -> None:
        await self._due(store, "a")
        [lease] = await store.claim("w1", T0, T0 + 10, 1)
        await store.append(change("a", 1, 1, epoch=lease.epoch, wake=T0 + 3))
        found = await store.thread("a")
        assert found is not None
        assert (found.owner, found.lease_until, found.epoch) == ("w1", T0 + 10, lease.epoch)

    async def test_an_append_can_give_the_lease_back(self, store: Store) -> None:
        await self._due(store, "a")
        [lease] = await store.claim("w1", T0, T0 + 10, 1)
        await store.append(change("a", 1, 1, epoch=lease.epoch, wake=T0 + 3, release=True))
        assert await store.claim("w2", T0 + 4, T0 + 10, 1) == [Lease("a", "w2", lease.epoch + 1)]

    async def test_waking_never_puts_off_what_is_due_earlier(self, store: Store) -> None:
        await self._due(store, "early", wake=-50)
        await self._due(store, "late", wake=9_000)
        await self._due(store, "asleep", wake=None)
        await store.append(change("a", 0, wakes=["early", "late", "asleep", "nobody"], at=T0 + 10))
        rows = {t.thread: t.wake_at for t in await store.threads()}
        assert (rows["early"], rows["late"], rows["asleep"]) == (T0 - 50, T0 + 10, T0 + 10)
        assert "nobody" not in rows

    async def test_a_wake_while_the_thread_is_held_outlives_the_parking(self, store: Store) -> None:
        """Its holder may have looked just before (at a child that ends now, say), and parks for good."""
        await self._due(store, "a", "b")
        a, b = sorted(await store.claim("w1", T0, T0 + 10, 2), key=lambda lease: lease.thread)
        await store.append(change("child", 0, wake=None, wakes=["a"], at=T0 + 2))
        await store.append(change("a", 1, 1, epoch=a.epoch, wake=T0 + 99))  # from outside
        await store.append(change("a", 2, 0, epoch=a.epoch, release=True, wake=None, at=T0 + 3))
        await store.wake(["b"], T0 + 2)
        assert await store.release(b, 1, None)
        found = await store.claim("w2", T0 + 3, T0 + 10, 9)
        assert sorted(lease.thread for lease in found) == ["a", "b"]
        for lease in found:  # who has claimed it looks anyhow: now it may park
            assert await store.release(lease, 2 if lease.thread == "a" else 1, None)
        assert await store.claim("w3", T0 + 9_000, T0 + 9_999, 9) == []

    async def test_waking_by_name_makes_threads_due(self, store: Store) -> None:
        await self._due(store, "early", wake=-50)
        await self._due(store, "asleep", "also", wake=None)
        await store.wake(["early", "asleep", "nobody"], T0 + 10)
        await store.wake([], T0)
        rows = {t.thread: t.wake_at for t in await store.threads()}
        assert rows == {"early": T0 - 50, "asleep": T0 + 10, "also": None}
        assert [lease.thread for lease in await store.claim("w", T0 + 10, T0 + 99, 9)] == ["early", "asleep"]
