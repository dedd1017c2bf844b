"""What journals need that move from store to store: they are put together by appends that say what was elsewhere."""

from __future__ import annotations

import pytest

from turnout.errors import HeadMoved, StaleWriter, StoreUnavailable
from turnout.ports.rows import KeyRow, Lease
from turnout.ports.store import Store
from turnout.testing.contract.rows import T0, Handles, change, everything, row


class Moving(Handles):
    """What journals need that move from store to store."""

    async def test_the_keys_of_a_thread_are_listed_in_their_order(self, store: Store) -> None:
        mine = [KeyRow(f"key-{n}", "a", n, f"digest {n}") for n in (3, 1, 2)]
        await store.append(change("a", 0, keys=mine[:2]))
        await store.append(change("a", 1, keys=mine[2:]))
        await store.append(change("b", 0, keys=[KeyRow("key-0", "b", 1, "other")]))
        assert await store.keys("a") == sorted(mine, key=lambda key: key.key)
        assert await store.keys("b") == [KeyRow("key-0", "b", 1, "other")]
        assert await store.keys("nobody") == []
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.keys("a")

    async def test_a_thread_begins_in_the_epoch_of_the_append_that_makes_it(self, store: Store) -> None:
        await store.append(change("a", 0, 2, epoch=7, wake=T0))
        found = await store.thread("a")
        assert found is not None
        assert (found.epoch, found.head) == (7, 2)
        with pytest.raises(StaleWriter):
            await store.append(change("a", 2, epoch=0))
        await store.append(change("a", 2, epoch=7))
        assert await store.claim("w", T0, T0 + 9, 1) == [Lease("a", "w", 8)]

    async def test_entries_keep_the_epochs_in_which_they_were_written(self, store: Store) -> None:
        rows = [row("a", seq, epoch=epoch) for seq, epoch in enumerate((0, 1, 1, 4), 1)]
        made = change("a", 0, 0, epoch=4)
        made.rows = rows
        await store.append(made)
        assert await store.read("a") == rows
        old = change("a", 4, 0, epoch=4)
        old.rows = [row("a", 5, epoch=2)]
        await store.append(old)
        assert [r.epoch for r in await store.read("a")] == [0, 1, 1, 4, 2]

    async def test_a_thread_keeps_the_times_of_its_first_and_its_last_append(self, store: Store) -> None:
        await store.append(change("a", 0, at=T0 + 1))
        await store.append(change("a", 1, 3, at=T0 + 99))
        found = await store.thread("a")
        assert found is not None
        assert (found.created_at, found.updated_at) == (T0 + 1, T0 + 99)

    async def test_a_thread_can_be_made_set_aside_and_let_go_by_appends(self, store: Store) -> None:
        await store.append(change("a", 0, wake=T0, aside="on its way"))
        assert [(t.thread, t.aside, t.epoch) for t in await store.threads(aside=True)] == [
            ("a", "on its way", 0)
        ]
        assert await store.claim("w", T0 + 9, T0 + 99, 9) == []
        assert await store.claim("w", T0 + 9, T0 + 99, 9, thread="a") == []
        await store.append(change("a", 1, wake=T0))  # says nothing of it
        assert [t.aside for t in await store.threads()] == ["on its way"]
        assert await store.due(T0 + 9) == 0
        await store.append(change("a", 2, wake=T0, aside="there, but not yet"))
        assert [t.aside for t in await store.threads()] == ["there, but not yet"]
        assert await store.claim("w", T0 + 9, T0 + 99, 9) == []
        await store.append(change("a", 3, wake=T0, aside=""))
        assert [t.aside for t in await store.threads()] == [""]
        assert await store.threads(aside=True) == []
        assert await store.claim("w", T0 + 9, T0 + 99, 9) == [Lease("a", "w", 1)]

    async def test_a_fork_can_be_made_set_aside(self, store: Store) -> None:
        await store.append(change("base", 0, 3))
        await store.append(change("fork", 2, 1, base=("base", 2), wake=T0, aside="on its way"))
        assert [t.aside for t in await store.threads()] == ["", "on its way"]
        assert await store.claim("w", T0 + 9, T0 + 99, 9, thread="fork") == []

    async def test_an_append_of_nothing_can_set_aside_and_let_go(self, store: Store) -> None:
        await store.append(change("a", 0, 2, wake=T0))
        before = await store.thread("a")
        await store.append(change("a", 2, 0, release=True, wake=None, aside="moved"))
        found = await store.thread("a")
        assert before is not None
        assert found is not None
        assert (found.aside, found.wake_at, found.head, found.digest) == ("moved", None, 2, before.digest)
        await store.append(change("a", 2, 0, release=True, wake=T0 + 5, aside=""))
        assert await store.claim("w", T0 + 5, T0 + 99, 9) == [Lease("a", "w", 1)]

    async def test_an_append_that_is_refused_sets_nothing_aside(self, store: Store) -> None:
        await store.append(change("a", 0, wake=T0))
        before = await everything(store)
        with pytest.raises(HeadMoved):
            await store.append(change("a", 5, aside="moved"))
        with pytest.raises(StaleWriter):
            await store.append(change("a", 1, epoch=3, aside="moved"))
        assert await everything(store) == before

    async def test_what_an_append_set_aside_is_taken_back_as_any_other(self, store: Store) -> None:
        await store.append(change("a", 0, aside="imported"))
        assert await store.set_aside(["a"], "again") == []
        assert await store.take_back(["a"], T0 + 3) == ["a"]
        assert await store.claim("w", T0 + 3, T0 + 99, 9) == [Lease("a", "w", 1)]
