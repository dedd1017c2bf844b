"""Appending, numbering, atomicity, reading."""

from __future__ import annotations

import asyncio

import pytest

from turnout.errors import HeadMoved, KeyReused, StaleWriter, StoreError, TurnoutError
from turnout.ports.rows import Append, HeadRow, KeyRow, RunRow, ThreadRow
from turnout.ports.store import Store
from turnout.testing.contract.rows import SECOND, T0, Handles, change, everything, full, review, row


class Threads(Handles):
    """Appending, numbering, atomicity, reading."""

    async def test_what_was_appended_is_read_back_byte_by_byte(self, store: Store) -> None:
        strange = bytes(range(256))
        rows = [row("a", 1, stored=strange), row("a", 2, stored=b"x" * 300_000), row("a", 3, stored=b"")]
        await store.append(Append("a", 0, 0, rows, "desk", "f1", "running", 1, T0))
        assert await store.read("a") == rows

    async def test_an_append_opens_a_thread_and_moves_its_head(self, store: Store) -> None:
        await store.append(change("a", 0, 3, wake=T0 + 7))
        found = await store.thread("a")
        assert found == ThreadRow(
            "a", "desk", "f1", "running", 1, 3, row("a", 3).digest, 0, "", 0, T0 + 7, T0 + 3, T0 + 3
        )
        await store.append(change("a", 3, 1, status="waiting", fingerprint="f2", run=2))
        found = await store.thread("a")
        assert found is not None
        assert (found.head, found.digest, found.status, found.fingerprint, found.run) == (
            4, row("a", 4).digest, "waiting", "f2", 2,
        )  # fmt: skip
        assert (found.created_at, found.updated_at) == (T0 + 3, T0 + 4)

    async def test_what_is_not_there_is_nothing_and_no_error(self, store: Store) -> None:
        assert await store.thread("nobody") is None
        assert await store.read("nobody") == []
        assert await store.snapshot("nobody") is None
        assert await store.runs("nobody") == []
        assert await store.key("nothing") is None
        assert await store.heads("nobody") == []
        assert await store.values(["nowhere"]) == {}
        assert await store.values([]) == {}

    async def test_an_append_behind_another_head_is_refused(self, store: Store) -> None:
        await store.append(change("a", 0, 2))
        before = await everything(store)
        for head in (0, 1, 3):
            with pytest.raises(HeadMoved):
                await store.append(full("a", head))
            with pytest.raises(HeadMoved):
                await store.append(change("a", head, same=True))
        assert await everything(store) == before

    async def test_an_append_to_a_thread_that_is_not_there_is_refused(self, store: Store) -> None:
        with pytest.raises(HeadMoved):
            await store.append(full("ghost", 3))
        assert await store.threads() == []

    async def test_an_append_of_another_epoch_is_refused(self, store: Store) -> None:
        await store.append(change("a", 0, 2, wake=T0))
        [lease] = await store.claim("w1", T0, T0 + SECOND, 1)
        before = await everything(store)
        for epoch in (0, lease.epoch + 1):
            with pytest.raises(StaleWriter):
                await store.append(full("a", 2, epoch=epoch))
            with pytest.raises(StaleWriter):
                await store.append(change("a", 2, epoch=epoch, same=True))
        assert await everything(store) == before
        await store.append(full("a", 2, epoch=lease.epoch))

    async def test_an_append_with_a_used_key_is_refused(self, store: Store) -> None:
        await store.append(change("other", 0, keys=[KeyRow("key-x", "other", 1, "d1")]))
        await store.append(change("a", 0, 2))
        before = await everything(store)
        for append in (full("a", 2), full("new", 0)):
            with pytest.raises(KeyReused):
                await store.append(append)
        assert await everything(store) == before
        assert await store.key("key-x") == KeyRow("key-x", "other", 1, "d1")

    async def test_everything_in_an_append_arrives_together(self, store: Store) -> None:
        await store.append(change("other", 0, wake=None))
        await store.append(full("a", 0, other="other"))
        found = await store.thread("a")
        assert found is not None
        assert (found.head, found.status, found.wake_at, found.fingerprint) == (2, "waiting", T0 + 5, "f-x")
        assert await store.read("a") == [row("a", 1), row("a", 2)]
        assert await store.values(["address-x", "address-y"]) == {"address-x": b"x"}
        assert await store.runs("a") == [RunRow("a", 1, "desk", "finished", T0, T0 + 9, 2, "error x")]
        assert await store.reviews() == [review("rev-x", "a")]
        assert await store.key("key-x") == KeyRow("key-x", "a", 1, "digest")
        assert await store.snapshot("a") == (2, b"snapshot x")
        assert await store.heads() == [HeadRow("a", 2, b"d" * 32, T0 + 9, b"x")]
        woken = await store.thread("other")
        assert woken is not None
        assert woken.wake_at is not None
        assert woken.wake_at <= T0 + 2

    async def test_an_append_that_breaks_in_the_middle_leaves_nothing(self, store: Store) -> None:
        await store.append(change("a", 0, 1))
        before = await everything(store)
        broken = full("a", 1)
        broken.rows.append(broken.rows[-1])  # the same number twice
        with pytest.raises(StoreError):
            await store.append(broken)
        assert await everything(store) == before
        await store.append(change("a", 1, 1))

    async def test_an_append_that_breaks_does_not_harm_its_neighbours(self, store: Store) -> None:
        broken = full("bad", 0)
        broken.rows.append(broken.rows[-1])
        good = [store.append(change(f"t{n}", 0)) for n in range(20)]
        results = await asyncio.gather(*good[:10], store.append(broken), *good[10:], return_exceptions=True)
        assert [type(r).__name__ for r in results if r is not None] == ["StoreUnavailable"] or isinstance(
            results[10], StoreError
        )
        assert [t.thread for t in await store.threads()] == sorted(f"t{n}" for n in range(20))

    async def test_a_value_that_no_store_can_keep_is_an_error_and_the_store_goes_on(
        self, store: Store
    ) -> None:
        """A timer in the year 300,000 is more microseconds than fit into 64 bits."""
        results = await asyncio.wait_for(
            asyncio.gather(
                store.append(change("a", 0, wake=2**70)), store.append(change("b", 0)), return_exceptions=True
            ),
            timeout=10,
        )
        assert isinstance(results[0], TurnoutError)
        assert results[1] is None
        assert [t.thread for t in await store.threads()] == ["b"]
        await asyncio.wait_for(store.append(change("b", 1)), timeout=10)

    async def test_entries_are_numbered_densely_whoever_races(self, store: Store) -> None:
        async def writer(mark: str) -> None:
            for _ in range(15):
                while True:
                    found = await store.thread("a")
                    head = found.head if found else 0
                    await asyncio.sleep(0)  # the others read the same head meanwhile
                    try:
                        await store.append(change("a", head, 1, values={f"{mark}{head}": b"v"}))
                        break
                    except HeadMoved:
                        await asyncio.sleep(0)

        await asyncio.gather(*(writer(mark) for mark in "abcd"))
        assert [r.seq for r in await store.read("a")] == list(range(1, 61))

    async def test_a_range_of_entries_is_read_in_order(self, store: Store) -> None:
        for head in range(0, 12, 3):
            await store.append(change("a", head, 3))

        async def seqs(*bounds: int | None) -> list[int]:
            return [r.seq for r in await store.read("a", *bounds)]  # type: ignore[arg-type]

        assert await seqs() == list(range(1, 13))
        assert await seqs(10) == [11, 12]
        assert await seqs(3, 5) == [4, 5]
        assert await seqs(0, 1) == [1]
        assert await seqs(12) == []
        assert await seqs(5, 5) == []
        assert await seqs(0, 99) == list(range(1, 13))

    async def test_a_long_journal_is_read_whole(self, store: Store) -> None:
        await store.append(change("a", 0, 2500))
        assert [r.seq for r in await store.read("a")] == list(range(1, 2501))

    async def test_threads_do_not_mix(self, store: Store) -> None:
        await store.append(full("a", 0, mark="x"))
        await store.append(full("b", 0, mark="y"))
        assert {r.thread for r in await store.read("a")} == {"a"}
        assert await store.snapshot("b") == (2, b"snapshot y")
        assert [r.thread for r in await store.runs("b")] == ["b"]
        assert [h.thread for h in await store.heads("a")] == ["a"]

    async def test_an_append_without_entries_moves_neither_head_nor_digest(self, store: Store) -> None:
        await store.append(change("a", 0, 2, wake=T0))
        [lease] = await store.claim("w1", T0, T0 + SECOND, 1)
        await store.append(change("a", 2, 0, epoch=lease.epoch, release=True, wake=T0 + 9))
        found = await store.thread("a")
        assert found is not None
        assert (found.head, found.digest) == (2, row("a", 2).digest)
        assert (found.owner, found.wake_at) == ("", T0 + 9)
