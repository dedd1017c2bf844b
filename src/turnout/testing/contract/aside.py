"""Threads whose workers stop again and again; threads that are set aside."""

from __future__ import annotations

import pytest

from turnout.core.notices import Notice
from turnout.errors import StaleWriter
from turnout.ports.rows import SUSPECT, Lease
from turnout.ports.store import Store
from turnout.testing.contract.rows import T0, Handles, change


class Aside(Handles):
    """Threads whose workers stop again and again; threads that are set aside."""

    @staticmethod
    async def _die(store: Store, name: str, times: int, *, begin: int = 0) -> Lease:
        """Claim the thread, once more than `times` workers die with it; the last lease ends at 10 * (begin + times + 1)."""
        leases = [
            (await store.claim(f"w{n}", T0 + 10 * n + 1, T0 + 10 * n + 10, 1, thread=name))[0]
            for n in range(begin, begin + times + 1)
        ]
        return leases[-1]

    @staticmethod
    async def _tries(store: Store, name: str) -> int:
        found = await store.thread(name)
        assert found is not None
        return found.tries

    async def test_a_lease_that_runs_out_counts_as_a_try(self, store: Store) -> None:
        await store.append(change("a", 0, wake=T0))
        assert await self._die(store, "a", 0) == Lease("a", "w0", 1, 0)
        assert await self._die(store, "a", 2, begin=1) == Lease("a", "w3", 4, 3)
        assert await self._tries(store, "a") == 3

    async def test_a_step_that_ends_clears_the_thread_of_suspicion(self, store: Store) -> None:
        await store.append(change("a", 0, wake=T0))
        lease = await self._die(store, "a", 3)
        await store.append(change("a", 1, epoch=lease.epoch, same=True))
        await store.append(change("a", 2, epoch=lease.epoch, wake=T0 + 1))
        assert await self._tries(store, "a") == 3
        await store.append(change("a", 3, epoch=lease.epoch, same=True, progress=True))
        assert await self._tries(store, "a") == 0

    @pytest.mark.parametrize("wake", [None, 50, "keep"])
    async def test_progress_counts_in_every_kind_of_append(self, store: Store, wake: int | None) -> None:
        await store.append(change("a", 0, wake=T0))
        lease = await self._die(store, "a", 1)
        when = T0 + wake if isinstance(wake, int) else wake
        await store.append(change("a", 1, epoch=lease.epoch, wake=when, progress=True))
        assert await self._tries(store, "a") == 0

    async def test_a_lease_that_is_given_back_clears_it_too(self, store: Store) -> None:
        for name in ("a", "b"):
            await store.append(change(name, 0, wake=T0))
        a, b = await self._die(store, "a", 2), await self._die(store, "b", 2)
        assert await store.release(a, 1, T0 + 99)
        await store.append(change("b", 1, 0, epoch=b.epoch, release=True, wake=T0 + 99))
        assert [await self._tries(store, name) for name in ("a", "b")] == [0, 0]

    async def test_a_thread_is_set_aside_after_the_declared_number_of_tries(self, store: Store) -> None:
        await store.append(change("a", 0, wake=T0))
        lease = await self._die(store, "a", 2)
        for thread in ("a", ""):
            assert await store.claim("w", T0 + 99, T0 + 200, 9, thread=thread, tries=3) == []
        found = await store.thread("a")
        assert found is not None
        assert (found.owner, found.lease_until, found.wake_at, found.tries) == ("", 0, None, 3)
        assert found.epoch > lease.epoch
        assert "3 times in a row" in found.aside
        assert "w2" in found.aside
        assert "2026-01-01 00:00:00Z" in found.aside
        assert await store.claim("w", T0 + 9_999, T0 + 99_999, 9) == []
        with pytest.raises(StaleWriter):
            await store.append(change("a", 1, epoch=lease.epoch))
        assert await store.renew("w2", [lease], T0 + 999) == [lease]

    async def test_without_a_number_of_tries_nothing_is_set_aside(self, store: Store) -> None:
        await store.append(change("a", 0, wake=T0))
        lease = await self._die(store, "a", 12)
        assert lease.tries == 12

    async def test_a_thread_that_never_died_is_not_set_aside_by_one_try(self, store: Store) -> None:
        await store.append(change("a", 0, wake=T0))
        assert len(await store.claim("w", T0, T0 + 9, 9, tries=1)) == 1

    async def test_one_suspect_is_taken_at_a_time(self, store: Store) -> None:
        names = [f"t{n}" for n in range(4)]
        for name in names:
            await store.append(change(name, 0, wake=T0))
        for n in range(SUSPECT):
            assert len(await store.claim(f"w{n}", T0 + 10 * n + 1, T0 + 10 * n + 10, 9)) == 4
        for name in ("fresh", "more"):
            await store.append(change(name, 0, wake=T0 + 5))
        now = T0 + 10 * SUSPECT + 1
        first = await store.claim("w", now, now + 10, 9, tries=9)
        assert len([lease for lease in first if lease.tries >= SUSPECT]) == 1
        assert sorted(x.thread for x in first if x.tries < SUSPECT) == ["fresh", "more"]
        assert await store.claim("w", now, now + 10, 9, tries=9, suspects=False) == []
        suspect = next(lease.thread for lease in first if lease.tries)
        other = next(name for name in names if name != suspect)
        assert await store.claim("w", now, now + 10, 9, thread=other, tries=9, suspects=False) == []
        assert len(await store.claim("another", now, now + 10, 9, tries=9)) == 1

    async def test_a_thread_can_be_set_aside_by_hand(self, store: Store) -> None:
        for name in ("a", "b", "c"):
            await store.append(change(name, 0, wake=T0))
        [lease] = await store.claim("w", T0, T0 + 10, 1, thread="a")
        assert await store.set_aside(["a", "b", "nobody"], "it rings") == ["a", "b"]
        assert await store.set_aside(["a"], "again") == []
        assert await store.set_aside([], "nothing") == []
        rows = {t.thread: t for t in await store.threads(aside=True)}
        assert sorted(rows) == ["a", "b"]
        assert {(t.aside, t.owner, t.lease_until, t.wake_at) for t in rows.values()} == {
            ("it rings", "", 0, None)
        }
        assert rows["a"].epoch == lease.epoch + 1
        assert [x.thread for x in await store.claim("w", T0 + 99, T0 + 200, 9)] == ["c"]
        with pytest.raises(StaleWriter):
            await store.append(change("a", 1, epoch=lease.epoch))
        assert not await store.release(lease, 1, T0)

    async def test_nothing_makes_a_thread_due_that_is_set_aside(self, store: Store) -> None:
        await store.append(change("a", 0, wake=T0))
        await store.set_aside(["a"], "it rings")
        row = await store.thread("a")
        assert row is not None
        await store.wake(["a"], T0)
        await store.append(change("child", 0, wake=None, wakes=["a"]))
        await store.append(change("a", 1, epoch=row.epoch, wake=T0))  # an input, a decision: it is taken in
        assert [entry.seq for entry in await store.read("a")] == [1, 2]
        assert await store.claim("w", T0 + 99, T0 + 200, 9) == []
        assert await store.claim("w", T0 + 99, T0 + 200, 9, thread="a") == []
        for held in (True, False):
            assert await store.due(T0 + 99, limit=9, held=held) == 0

    async def test_a_thread_that_is_taken_back_is_claimed_again_with_a_clean_record(
        self, store: Store
    ) -> None:
        await store.append(change("a", 0, wake=T0))
        await store.append(change("b", 0, wake=None))
        await self._die(store, "a", 4)
        await store.set_aside(["a"], "it rings")
        assert await store.take_back(["a", "b", "nobody"], T0 + 200) == ["a"]
        assert await store.take_back(["a"], T0 + 200) == []
        found = await store.thread("a")
        assert found is not None
        assert (found.aside, found.tries, found.wake_at) == ("", 0, T0 + 200)
        assert await store.threads(aside=True) == []
        assert await store.claim("w", T0 + 199, T0 + 300, 9) == []
        assert await store.claim("w", T0 + 200, T0 + 300, 9, tries=1) == [Lease("a", "w", found.epoch + 1, 0)]

    async def test_who_takes_a_thread_back_may_tell_of_it_in_the_same_transaction(self, store: Store) -> None:
        await store.append(change("a", 0, wake=T0))
        await store.append(change("b", 0, wake=T0))
        await store.set_aside(["a"], "imported from a copy")
        told = [
            Notice(f"n-{t}", "hook", "review.requested", t, 1, "r", "", b"{}", T0, T0) for t in ("a", "b")
        ]
        assert await store.take_back(["a", "b"], T0 + 200, told) == ["a"]
        assert [row.notice for row in await store.outbox()] == told[:1]

    async def test_threads_that_are_set_aside_are_found_by_graph_and_tenant(self, store: Store) -> None:
        await store.append(change("a", 0, wake=T0, tenant="acme"))
        await store.append(change("b", 0, wake=T0, graph="shop"))
        await store.append(change("c", 0, wake=T0))
        await store.set_aside(["a", "b"], "it rings")
        assert [t.thread for t in await store.threads(aside=True)] == ["a", "b"]
        assert [t.thread for t in await store.threads(aside=True, after="a")] == ["b"]
        assert [t.thread for t in await store.threads(aside=True, tenant="acme")] == ["a"]
        assert [t.thread for t in await store.threads(aside=True, graph="shop")] == ["b"]
        assert [t.thread for t in await store.threads(aside=True, owner="w")] == []

    async def test_setting_aside_outlives_the_store(self, store: Store) -> None:
        await store.append(change("a", 0, wake=T0))
        await store.set_aside(["a"], "it rings")
        async with self.another(store) as second:
            assert [(t.thread, t.aside) for t in await second.threads(aside=True)] == [("a", "it rings")]
            assert await second.claim("w", T0, T0 + 9, 9) == []
