"""Threads that share another's journal."""

from __future__ import annotations

import pytest

from turnout.errors import HeadMoved
from turnout.ports.store import Store
from turnout.testing.contract.rows import Handles, change, everything, full


class Forks(Handles):
    """Threads that share another's journal."""

    @staticmethod
    async def _forked(store: Store, name: str, base: str, at: int, count: int = 2) -> None:
        await store.append(change(name, at, count, base=(base, at)))

    async def test_a_fork_reads_through_its_base(self, store: Store) -> None:
        await store.append(change("base", 0, 5))
        await self._forked(store, "fork", "base", 3)
        await store.append(change("base", 5, 2))  # not the fork's
        found = await store.read("fork")
        assert [(r.thread, r.seq) for r in found] == [
            ("base", 1), ("base", 2), ("base", 3), ("fork", 4), ("fork", 5),
        ]  # fmt: skip
        assert [r.seq for r in await store.read("fork", 1, 4)] == [2, 3, 4]
        assert [r.thread for r in await store.read("fork", 3)] == ["fork", "fork"]
        assert [r.thread for r in await store.read("fork", 0, 2)] == ["base", "base"]
        assert [r.seq for r in await store.read("base")] == list(range(1, 8))
        row_ = await store.thread("fork")
        assert row_ is not None
        assert (row_.base_thread, row_.base_seq, row_.head, row_.epoch) == ("base", 3, 5, 0)

    @pytest.mark.parametrize("at", [2, 3, 4, 5])
    async def test_a_fork_of_a_fork_reads_through_both(self, store: Store, at: int) -> None:
        await store.append(change("base", 0, 6))
        await self._forked(store, "fork", "base", 3)
        await self._forked(store, "twig", "fork", at, 1)
        expected = ["base"] * min(at, 3) + ["fork"] * max(at - 3, 0) + ["twig"]
        found = await store.read("twig")
        assert [r.thread for r in found] == expected
        assert [r.seq for r in found] == list(range(1, at + 2))

    async def test_a_fork_goes_on_by_itself(self, store: Store) -> None:
        await store.append(full("base", 0))
        await self._forked(store, "fork", "base", 1, 1)
        await store.append(change("fork", 2, 1, snapshot=b"own"))
        assert await store.snapshot("fork") == (3, b"own")
        assert await store.snapshot("base") == (2, b"snapshot x")
        assert await store.runs("fork") == []
        with pytest.raises(HeadMoved):
            await store.append(change("fork", 2, 1))

    async def test_a_fork_over_a_thread_that_is_there_is_refused(self, store: Store) -> None:
        await store.append(change("base", 0, 3))
        await store.append(change("taken", 0, 2))
        before = await everything(store)
        made = full("taken", 2)
        made.base = ("base", 2)
        with pytest.raises(HeadMoved):
            await store.append(made)
        assert await everything(store) == before
