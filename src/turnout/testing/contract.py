"""The store contract: what every store must do, as tests. Nothing in here knows which store it is.

    class TestSqliteFile(StoreContract):
        @pytest.fixture
        async def store(self, tmp_path):
            store = SqliteStore(str(tmp_path / "t.db"))
            yield store
            await store.close()

        async def open_again(self, store):
            return SqliteStore(store.path)

The subclass supplies the fixture `store`: an empty store, closed again afterwards (closing twice must be harmless).
A store that outlives its handle also supplies `open_again`: a second handle on the same data, as another process
would have it. Needs pytest and pytest-asyncio in auto mode.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from turnout.errors import HeadMoved, KeyReused, StaleWriter, StoreError, StoreUnavailable, TurnoutError
from turnout.ports.store import (
    KEEP,
    Append,
    HeadRow,
    KeyRow,
    Lease,
    ReviewRow,
    Row,
    RunRow,
    Store,
    ThreadRow,
)

T0 = 1_767_225_600_000_000
"""2026-01-01 00:00 UTC, in microseconds."""
SECOND = 1_000_000


def row(thread: str, seq: int, *, epoch: int = 0, stored: bytes = b"") -> Row:
    """An entry, told apart from all others by its digest."""
    body = stored or f'{{"n":{seq}}}'.encode()
    digest = f"{thread}:{seq}:{epoch}".encode().ljust(32, b".")[:32]
    return Row(thread, seq, "signal.received", 1, "step.1", T0 + seq, epoch, body, digest)


def change(thread: str, head: int, count: int = 1, *, epoch: int = 0, **more: Any) -> Append:
    """An append of `count` entries behind `head`."""
    rows = [row(thread, head + n, epoch=epoch) for n in range(1, count + 1)]
    fields = {"graph": "desk", "fingerprint": "f1", "status": "running", "run": 1, "at": T0 + head + count}
    return Append(thread=thread, head=head, epoch=epoch, rows=rows, **{**fields, **more})


def full(thread: str, head: int, *, epoch: int = 0, other: str = "", mark: str = "x") -> Append:
    """An append that carries one of everything."""
    made = change(thread, head, 2, epoch=epoch, wake=T0 + 5, status="waiting", fingerprint=f"f-{mark}")
    made.values = {f"address-{mark}": mark.encode()}
    made.runs = [RunRow(thread, 1, "desk", "finished", T0, T0 + 9, head + 2, f"error {mark}")]
    made.reviews = [review(f"rev-{mark}", thread)]
    made.keys = [KeyRow(f"key-{mark}", thread, 1, "digest")]
    made.wakes = [other] if other else []
    made.snapshot = f"snapshot {mark}".encode()
    made.signed = HeadRow(thread, head + 2, b"d" * 32, T0 + 9, mark.encode())
    return made


def review(
    name: str, thread: str, *, due: int | None = None, asked: int = 0, status: str = "open"
) -> ReviewRow:
    return ReviewRow(
        name,
        thread,
        1,
        status,
        "finance,risk",
        None if due is None else T0 + due,
        T0 + asked,
        None,
        b'{"a":1}',
    )


async def everything(store: Store) -> dict[str, Any]:
    """All that can be asked of a store that holds the threads and names which `full` uses."""
    threads = await store.threads(limit=1000)
    names = [t.thread for t in threads]
    return {
        "threads": threads,
        "entries": [await store.read(name) for name in names],
        "runs": [await store.runs(name) for name in names],
        "snapshots": [await store.snapshot(name) for name in names],
        "reviews": await store.reviews(),
        "heads": await store.heads(),
        "values": await store.values(["address-x", "address-y"]),
        "keys": [await store.key("key-x"), await store.key("key-y")],
    }


class _Threads:
    """Appending, numbering, atomicity, reading."""

    async def open_again(self, store: Any) -> Any:
        """A second handle on the same data; None when the data dies with its handle."""
        return None

    @asynccontextmanager
    async def another(self, store: Store) -> AsyncIterator[Store]:
        """A second handle, as another process has it. Skips the test when there can't be one."""
        second = await self.open_again(store)
        if second is None:
            pytest.skip("this store's data dies with its handle")
        try:
            yield second
        finally:
            await second.close()

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


class _Forks:
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


class _Leases:
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
        assert await store.claim("w2", T0 + 101, T0 + 300, 1) == [Lease("a", "w2", 2)]

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
        async with self.another(store) as second:  # type: ignore[attr-defined]
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
        async with self.another(store) as second:  # type: ignore[attr-defined]
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


class _Lists:
    """Values, snapshots, runs, reviews, keys, heads; lists of threads."""

    async def test_a_value_is_stored_once_and_stays(self, store: Store) -> None:
        many = {f"addr{n:04}": str(n).encode() for n in range(1200)}
        await store.append(change("a", 0, values=many))
        await store.append(change("a", 1, values={"addr0001": b"1", "new": b"n"}))
        assert await store.values([*many, "new", "gone"]) == {**many, "new": b"n"}

    async def test_the_last_snapshot_counts(self, store: Store) -> None:
        await store.append(change("a", 0, 2, snapshot=b"one"))
        await store.append(change("a", 2, 2))
        assert await store.snapshot("a") == (2, b"one")
        await store.append(change("a", 4, 1, snapshot=b"two"))
        assert await store.snapshot("a") == (5, b"two")

    async def test_runs_are_listed_oldest_first_as_they_stand_now(self, store: Store) -> None:
        first = RunRow("a", 1, "desk", "running", T0)
        await store.append(change("a", 0, runs=[RunRow("a", 2, "desk", "queued", T0 + 1), first]))
        ended = RunRow("a", 1, "desk", "failed", T0, T0 + 4, 2, "ToolFailed: no")
        await store.append(change("a", 1, runs=[ended]))
        assert await store.runs("a") == [ended, RunRow("a", 2, "desk", "queued", T0 + 1)]

    async def test_reviews_are_listed_the_earliest_due_first_then_the_oldest(self, store: Store) -> None:
        asked = [
            review("r1", "a", asked=5), review("r2", "a", due=90, asked=9), review("r3", "a", asked=1),
            review("r4", "a", due=20, asked=9), review("r5", "a", due=20, asked=2),
        ]  # fmt: skip
        await store.append(change("a", 0, reviews=asked))
        assert [r.review for r in await store.reviews()] == ["r5", "r4", "r2", "r3", "r1"]
        assert [r.review for r in await store.reviews(limit=2)] == ["r5", "r4"]

    async def test_reviews_are_found_by_status_thread_and_name(self, store: Store) -> None:
        await store.append(change("a", 0, reviews=[review("r1", "a"), review("r2", "a", asked=1)]))
        await store.append(change("b", 0, reviews=[review("r3", "b")]))
        closed = ReviewRow("r1", "a", 1, "approve", "finance,risk", None, T0, T0 + 8, b'{"a":2}')
        await store.append(change("a", 1, reviews=[closed]))
        assert [r.review for r in await store.reviews(status="open")] == ["r3", "r2"]
        assert [r.review for r in await store.reviews(thread="a")] == ["r1", "r2"]
        assert await store.reviews(review="r1") == [closed]
        assert await store.reviews(review="r1", status="open") == []
        assert await store.reviews(review="r9") == []

    async def test_heads_are_listed_oldest_first(self, store: Store) -> None:
        await store.append(change("b", 0, signed=HeadRow("b", 1, b"1" * 32, T0 + 5, b"s1")))
        await store.append(change("a", 0, signed=HeadRow("a", 1, b"2" * 32, T0 + 9, b"s2")))
        await store.append(change("b", 1, signed=HeadRow("b", 2, b"3" * 32, T0 + 20, b"s3")))
        assert [(h.thread, h.seq) for h in await store.heads()] == [("b", 1), ("a", 1), ("b", 2)]
        assert await store.heads("b") == [
            HeadRow("b", 1, b"1" * 32, T0 + 5, b"s1"), HeadRow("b", 2, b"3" * 32, T0 + 20, b"s3"),
        ]  # fmt: skip

    async def test_threads_are_listed_by_code_point_page_by_page(self, store: Store) -> None:
        names = ["B", "Z", "_", "a", "a/b", "aa", "b", "é", "\U0001f600"]
        for name in reversed(names):
            await store.append(change(name, 0))
        pages, after = [], ""
        while page := await store.threads(after=after, limit=4):
            pages.append([t.thread for t in page])
            after = page[-1].thread
        assert pages == [names[:4], names[4:8], names[8:]]

    async def test_threads_are_found_by_graph_status_owner_and_part_of_their_name(self, store: Store) -> None:
        await store.append(change("case-1", 0, graph="desk", status="waiting", wake=T0))
        await store.append(change("case-100%", 0, graph="desk", status="running"))
        await store.append(change("shop_1", 0, graph="shop", status="waiting"))
        await store.claim("w1", T0, T0 + 9, 1)

        async def names(**by: Any) -> list[str]:
            return [t.thread for t in await store.threads(**by)]

        assert await names(graph="desk") == ["case-1", "case-100%"]
        assert await names(status="waiting") == ["case-1", "shop_1"]
        assert await names(graph="desk", status="waiting") == ["case-1"]
        assert await names(owner="w1") == ["case-1"]
        assert await names(search="1") == ["case-1", "case-100%", "shop_1"]
        assert await names(search="0%") == ["case-100%"]
        assert await names(search="p_") == ["shop_1"]
        assert await names(search="e_1") == []
        assert await names(search="'; DROP TABLE") == []

    async def test_what_the_store_wrote_itself_is_no_stray(self, store: Store) -> None:
        await store.append(full("a", 0))
        await store.append(change("fork", 1, 2, base=("a", 1)))
        assert await store.strays() == []
        assert await store.strays("fork") == []

    async def test_one_of_two_appends_with_one_key_wins(self, store: Store) -> None:
        async def start(thread: str) -> bool:
            try:
                await store.append(change(thread, 0, keys=[KeyRow("k", thread, 1, "d")]))
            except KeyReused:
                return False
            return True

        won = await asyncio.gather(*(start(f"t{n}") for n in range(8)))
        assert won.count(True) == 1
        key = await store.key("k")
        assert key is not None
        assert [t.thread for t in await store.threads()] == [key.thread] == [f"t{won.index(True)}"]


class _Operation:
    """Many at once, closing, opening again."""

    async def test_two_hundred_appends_on_fifty_threads_all_arrive(self, store: Store) -> None:
        async def four(thread: str) -> None:
            for head in range(4):
                await store.append(change(thread, head, values={f"{thread}.{head}": b"v"}))

        await asyncio.gather(*(four(f"t{n:02}") for n in range(50)))
        found = await store.threads()
        assert [(t.thread, t.head) for t in found] == [(f"t{n:02}", 4) for n in range(50)]
        for thread in found:
            assert [r.seq for r in await store.read(thread.thread)] == [1, 2, 3, 4]
        assert len(await store.values(f"t{n:02}.{i}" for n in range(50) for i in range(4))) == 200

    async def test_an_append_whose_caller_gave_up_is_whole_or_not_there(self, store: Store) -> None:
        task = asyncio.ensure_future(store.append(full("a", 0)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.append(change("b", 0))
        found = await everything(store)
        there = [t.thread for t in found["threads"]] == ["a", "b"]
        assert (len(found["reviews"]), len(found["heads"]), len(found["values"])) == (
            (1, 1, 1) if there else (0, 0, 0)
        )

    async def test_what_was_appended_outlives_the_store(self, store: Store) -> None:
        await store.append(change("other", 0, wake=None))
        await store.append(full("a", 0, other="other"))
        await store.append(change("fork", 1, 1, base=("a", 1)))
        await store.claim("w", T0 + 99, T0 + 500, 1)
        before = await everything(store)
        async with self.another(store) as second:  # type: ignore[attr-defined]
            await store.close()
            assert await everything(second) == before
            await second.append(change("other", 1, epoch=(await _epoch(second, "other"))))

    async def test_what_another_handle_has_written_is_seen_at_once(self, store: Store) -> None:
        async with self.another(store) as second:  # type: ignore[attr-defined]
            seen = second.changed()
            await store.append(change("a", 0))
            assert [r.seq for r in await second.read("a")] == [1]
            assert second.changed() != seen
            await second.append(change("a", 1))
            assert [r.seq for r in await store.read("a")] == [1, 2]

    async def test_two_handles_that_race_lose_nothing(self, store: Store) -> None:
        async with self.another(store) as second:  # type: ignore[attr-defined]
            work = [s.append(change(f"{i}.{n}", 0)) for n in range(40) for i, s in enumerate((store, second))]
            await asyncio.gather(*work)
            assert len(await store.threads()) == 80

    async def test_closing_finishes_what_was_begun(self, store: Store) -> None:
        second = await self.open_again(store)  # type: ignore[attr-defined]
        results = await asyncio.gather(*(store.append(change(f"t{n}", 0)) for n in range(20)), store.close())
        assert results == [None] * 21
        if second is not None:
            assert len(await second.threads()) == 20
            await second.close()

    async def test_a_closed_store_says_so(self, store: Store) -> None:
        await store.append(change("a", 0, wake=T0))
        lease = Lease("a", "w", 0)
        await store.close()
        await store.close()
        asked: Iterable[Callable[[], Any]] = (
            lambda: store.append(change("a", 1)),
            lambda: store.thread("a"),
            lambda: store.read("a"),
            lambda: store.values(["x"]),
            lambda: store.snapshot("a"),
            lambda: store.claim("w", T0, T0, 1),
            lambda: store.renew("w", [lease], T0),
            lambda: store.release(lease, 1, None),
            store.threads,
            lambda: store.runs("a"),
            store.reviews,
            lambda: store.key("k"),
            store.heads,
            store.strays,
            lambda: store.wake(["a"], T0),
        )
        for ask in asked:
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(ask(), timeout=5)


async def _epoch(store: Store, thread: str) -> int:
    found = await store.thread(thread)
    assert found is not None
    return found.epoch


class StoreContract(_Threads, _Forks, _Leases, _Lists, _Operation):
    """Everything a store must do. Subclass it and supply the fixture `store`, and `open_again` if it can be."""
