"""Many at once, closing, opening again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from turnout.errors import StoreUnavailable
from turnout.ports.rows import Lease
from turnout.ports.store import Store
from turnout.testing.contract.rows import T0, Handles, change, everything, full


class Operation(Handles):
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
        async with self.another(store) as second:
            await store.close()
            assert await everything(second) == before
            await second.append(change("other", 1, epoch=(await _epoch(second, "other"))))

    async def test_what_another_handle_has_written_is_seen_at_once(self, store: Store) -> None:
        async with self.another(store) as second:
            seen = second.changed()
            await store.append(change("a", 0))
            assert [r.seq for r in await second.read("a")] == [1]
            await self._news(second, seen)
            await second.append(change("a", 1))
            assert [r.seq for r in await store.read("a")] == [1, 2]

    async def test_what_a_handle_writes_itself_is_no_news_to_it(self, store: Store) -> None:
        await store.append(change("a", 0))
        seen = store.changed()
        await asyncio.sleep(0.5)
        if store.changed() != seen:
            pytest.skip("this store can't tell: it says every now and then that something may have changed")
        async with self.another(store) as second:
            seen = store.changed()
            await asyncio.gather(*(store.append(change(f"t{n}", 0)) for n in range(20)))
            await store.claim("w", T0, T0 + 500, 5)
            assert store.changed() == seen
            await second.append(change("b", 0))
            await store.append(change("c", 0))
            await self._news(store, seen)

    @staticmethod
    async def _news(store: Store, seen: Any) -> None:
        """At once, or (where a store can't tell) within a second."""
        async with asyncio.timeout(1):
            while store.changed() == seen:
                await asyncio.sleep(0.01)

    async def test_two_handles_that_race_lose_nothing(self, store: Store) -> None:
        async with self.another(store) as second:
            work = [s.append(change(f"{i}.{n}", 0)) for n in range(40) for i, s in enumerate((store, second))]
            await asyncio.gather(*work)
            assert len(await store.threads()) == 80

    async def test_closing_finishes_what_was_begun(self, store: Store) -> None:
        second = await self.open_again(store)
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
            lambda: store.due(T0),
            lambda: store.set_aside(["a"], "it rings"),
            lambda: store.take_back(["a"], T0),
            store.limits,
            lambda: store.put_limit("graph", "desk", 1),
        )
        for ask in asked:
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(ask(), timeout=5)


async def _epoch(store: Store, thread: str) -> int:
    found = await store.thread(thread)
    assert found is not None
    return found.epoch
