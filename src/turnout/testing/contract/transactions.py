"""A tool's own writes and an append in one transaction."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from turnout.errors import HeadMoved, KeyReused, StaleWriter, StoreError, StoreUnavailable, TurnoutError
from turnout.ports.rows import KeyRow
from turnout.ports.store import Store, Transaction
from turnout.testing.contract.rows import SECOND, T0, Handles, change, everything, full, row


async def run(tx: Transaction, sql: str) -> list[Any]:
    """Execute a statement as a tool does: on SQLite that is done at once, on Postgres it is awaited."""
    cursor = await done(tx.connection.execute(sql))
    return list(await done(cursor.fetchall())) if cursor.description else []


async def done(found: Any) -> Any:
    return await found if inspect.isawaitable(found) else found


async def set_up(store: Store) -> None:
    """The tool's own table, made by the tool."""
    async with store.transaction() as tx:
        await run(tx, "CREATE TABLE booked (n INTEGER PRIMARY KEY)")


async def book(tx: Transaction, n: int = 1) -> None:
    """What the tool writes. (In literals: stores differ in how they mark parameters.)"""
    await run(tx, f"INSERT INTO booked VALUES ({n:d})")  # noqa: S608


async def booked(store: Store) -> list[int]:
    """What the tool's table holds, for whoever looks now."""
    async with store.transaction() as tx:
        return [found[0] for found in await run(tx, "SELECT n FROM booked ORDER BY n")]


class Transactions(Handles):
    """A tool's own writes and an append in one transaction."""

    async def test_a_tools_writes_and_an_append_are_committed_together(self, store: Store) -> None:
        await set_up(store)
        async with store.transaction() as tx:
            await book(tx)
            await tx.append(full("a", 0))
            assert await run(tx, "SELECT n FROM booked") == [(1,)]
        assert await booked(store) == [1]
        assert await store.read("a") == [row("a", 1), row("a", 2)]
        assert (await everything(store))["values"] == {"address-x": b"x"}

    async def test_what_is_not_committed_is_not_seen_elsewhere(self, store: Store) -> None:
        await set_up(store)
        async with self.another(store) as second:
            before = await everything(second)
            async with store.transaction() as tx:
                await book(tx)
                await tx.append(full("a", 0))
                assert await everything(second) == before
            assert await second.read("a") == [row("a", 1), row("a", 2)]
            assert await booked(second) == [1]

    async def test_an_exception_undoes_both(self, store: Store) -> None:
        await set_up(store)
        before = await everything(store)

        async def work() -> None:
            async with store.transaction() as tx:
                await book(tx)
                await tx.append(full("a", 0))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await work()
        assert await everything(store) == before
        assert await booked(store) == []
        await store.append(full("a", 0))

    async def test_a_table_that_was_made_in_it_goes_with_it(self, store: Store) -> None:
        async def work(fails: bool) -> None:
            async with store.transaction() as tx:
                await run(tx, "CREATE TABLE passing (n INTEGER)")
                if fails:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await work(True)
        await work(False)

    async def test_a_refused_append_changes_nothing_and_can_be_tried_again(self, store: Store) -> None:
        await set_up(store)
        await store.append(change("a", 0, 2, wake=T0, keys=[KeyRow("key-x", "a", 1, "d1")]))
        [lease] = await store.claim("w1", T0, T0 + SECOND, 1)
        async with store.transaction() as tx:
            await book(tx)
            for refused, error in (
                (full("a", 1, epoch=lease.epoch, mark="y"), HeadMoved),
                (full("a", 2, epoch=0, mark="y"), StaleWriter),
                (full("a", 2, epoch=lease.epoch, mark="x"), KeyReused),
                (full("ghost", 2, mark="y"), HeadMoved),
            ):
                with pytest.raises(error):
                    await tx.append(refused)
            assert await run(tx, "SELECT n FROM booked") == [(1,)]
            await tx.append(change("a", 2, epoch=lease.epoch))
        found = await everything(store)
        assert [r.seq for r in await store.read("a")] == [1, 2, 3]
        assert (found["reviews"], found["heads"], found["values"]) == ([], [], {})
        assert await booked(store) == [1]

    async def test_an_append_that_breaks_in_the_middle_leaves_nothing_and_the_rest_stays(
        self, store: Store
    ) -> None:
        await set_up(store)
        broken = full("a", 0)
        broken.rows.append(broken.rows[-1])  # the same number twice
        async with store.transaction() as tx:
            await book(tx)
            with pytest.raises(StoreError):
                await tx.append(broken)
            await tx.append(change("a", 0))
        assert await store.read("a") == [row("a", 1)]
        assert (await everything(store))["reviews"] == []
        assert await booked(store) == [1]

    async def test_an_append_behind_what_was_appended_before_it_began_is_accepted(self, store: Store) -> None:
        await set_up(store)
        await store.append(change("a", 0))
        async with store.transaction() as tx:
            await tx.append(change("a", 1))
            await tx.append(change("a", 2))
        assert [r.seq for r in await store.read("a")] == [1, 2, 3]

    async def test_appends_of_other_threads_go_on_after_it(self, store: Store) -> None:
        await set_up(store)
        others: list[asyncio.Future[None]] = []
        for raises in (False, True):
            try:
                async with store.transaction() as tx:
                    await book(tx, int(raises))
                    others += [
                        asyncio.ensure_future(store.append(change(f"{raises}.{n}", 0))) for n in range(20)
                    ]
                    await asyncio.sleep(0.01)
                    await tx.append(change(f"{raises}", 0))
                    if raises:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            await asyncio.wait_for(asyncio.gather(*others), timeout=10)
        names = [f"False.{n}" for n in range(20)] + [f"True.{n}" for n in range(20)] + ["False"]
        assert sorted(t.thread for t in await store.threads()) == sorted(names)
        assert await booked(store) == [0]

    async def test_many_at_once_are_each_whole(self, store: Store) -> None:
        await set_up(store)

        async def one(n: int) -> None:
            async with store.transaction() as tx:
                await book(tx, n)
                await asyncio.sleep(0.001)
                await tx.append(change(f"t{n:02}", 0))
                if n % 5 == 0:
                    raise ZeroDivisionError

        results = await asyncio.wait_for(
            asyncio.gather(
                *(one(n) for n in range(20)),
                *(store.append(change(f"u{n:02}", 0)) for n in range(20)),
                return_exceptions=True,
            ),
            timeout=20,
        )
        assert [n for n in range(20) if results[n] is not None] == [0, 5, 10, 15]
        good = [n for n in range(20) if n % 5]
        assert await booked(store) == good
        names = [f"t{n:02}" for n in good] + [f"u{n:02}" for n in range(20)]
        assert [t.thread for t in await store.threads()] == names

    @pytest.mark.parametrize("place", ["before", "inside", "after the append"])
    async def test_who_is_cancelled_leaves_nothing_behind_and_the_store_goes_on(
        self, store: Store, place: str
    ) -> None:
        await set_up(store)
        inside = asyncio.Event()

        async def work() -> None:
            async with store.transaction() as tx:
                await book(tx)
                if place == "after the append":
                    await tx.append(full("a", 0))
                inside.set()
                await asyncio.sleep(60)

        task = asyncio.ensure_future(work())
        await (asyncio.sleep(0) if place == "before" else asyncio.wait_for(inside.wait(), timeout=5))
        other = asyncio.ensure_future(store.append(change("b", 0)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(other, timeout=5)
        assert [t.thread for t in await store.threads()] == ["b"]
        assert await booked(store) == []

    async def test_what_waits_for_its_turn_can_be_cancelled(self, store: Store) -> None:
        await set_up(store)
        async with store.transaction() as tx:
            await book(tx)
            tasks = [asyncio.ensure_future(booked(store)) for _ in range(3)]
            await asyncio.sleep(0.01)
            tasks[0].cancel()
            tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [task.cancelled() for task in tasks][1] is False
        assert await asyncio.wait_for(booked(store), timeout=5) == [1]

    async def test_who_is_cancelled_in_the_moment_when_its_turn_comes_lets_the_next_one_go(
        self, store: Store
    ) -> None:
        await set_up(store)
        async with store.transaction() as tx:
            await book(tx)
            first, second = (asyncio.ensure_future(booked(store)) for _ in range(2))
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        # Where a transaction holds up nobody, the one who asked inside it saw what was there before.
        assert await asyncio.wait_for(second, timeout=5) in ([[1]] if store.exclusive else [[], [1]])
        assert await asyncio.wait_for(booked(store), timeout=5) == [1]

    async def test_whoever_is_cancelled_at_any_turn_of_the_loop_leaves_all_or_nothing(
        self, store: Store
    ) -> None:
        await set_up(store)

        async def work(n: int) -> None:
            async with store.transaction() as tx:
                await book(tx, n)
                await tx.append(change(f"t{n:02}", 0))

        for n in range(30):
            task = asyncio.ensure_future(work(n))
            for _ in range(n):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.wait_for(store.append(change(f"u{n:02}", 0)), timeout=5)
        there = [int(t.thread[1:]) for t in await store.threads(search="t")]
        assert await booked(store) == there

    async def test_a_transaction_whose_connection_dies_is_not_seen(self, store: Store) -> None:
        await set_up(store)
        async with self.another(store) as second:

            async def work() -> None:
                async with second.transaction() as tx:
                    await book(tx)
                    await tx.append(full("a", 0))
                    await done(tx.connection.close())

            with pytest.raises(TurnoutError):
                await work()
            assert await store.read("a") == []
            assert await booked(store) == []
            await asyncio.wait_for(store.append(change("a", 0)), timeout=15)

    async def test_closing_waits_for_a_transaction(self, store: Store) -> None:
        await set_up(store)
        second = await self.open_again(store)
        begun = asyncio.Event()

        async def work() -> None:
            async with store.transaction() as tx:
                await book(tx)
                begun.set()
                await asyncio.sleep(0.02)
                await tx.append(change("a", 0))

        task = asyncio.ensure_future(work())
        await begun.wait()
        await asyncio.wait_for(store.close(), timeout=10)
        await task
        with pytest.raises(StoreUnavailable):
            async with store.transaction():
                raise AssertionError("the store is closed")
        if second is not None:
            assert [r.seq for r in await second.read("a")] == [1]
            assert await booked(second) == [1]
            await second.close()
