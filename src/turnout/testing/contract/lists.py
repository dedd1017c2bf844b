"""Values, snapshots, runs, reviews, keys, heads; lists of threads."""

from __future__ import annotations

import asyncio
from typing import Any

from turnout.errors import KeyReused
from turnout.ports.rows import Census, HeadRow, KeyRow, ReviewRow, RunRow
from turnout.ports.store import Store
from turnout.testing.contract.rows import T0, Handles, change, full, review


class Lists(Handles):
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
        assert await names(search="CASE-1") == ["case-1", "case-100%"]
        assert await names(search="'; DROP TABLE") == []

    async def test_a_part_of_a_name_is_found_in_capitals_or_not(self, store: Store) -> None:
        for name in ("Case-Ä", "CASE-ä", "[x]_%"):
            await store.append(change(name, 0))
        for look, found in (
            ("cAsE", ["CASE-ä", "Case-Ä"]), ("case-Ä", ["Case-Ä"]), ("case-ä", ["CASE-ä"]), ("[X]_%", ["[x]_%"]),
            ("{x}", []),
        ):  # fmt: skip
            assert [row.thread for row in await store.threads(search=look)] == found
            assert sorted(row.thread for row in await store.latest(search=look)) == found
            assert [row.thread for row in await store.threads(search=look, aside=True)] == []

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

    async def test_a_census_counts_threads_by_how_they_stand_and_open_reviews(self, store: Store) -> None:
        assert await store.census(T0) == Census({}, 0, 0, 0, 0)
        for name, wake, status in (("a", T0, "running"), ("b", T0 + 9, "waiting"), ("c", None, "waiting")):
            await store.append(change(name, 0, wake=wake, status=status, reviews=[review(f"r-{name}", name)]))
        await store.append(
            change("d", 0, wake=T0, status="failed", reviews=[review("r-d", "d", status="approve")])
        )
        await store.set_aside(["d"], "it rings")
        assert await store.census(T0) == Census({"running": 1, "waiting": 2, "failed": 1}, 1, 0, 1, 3)
        await store.claim("w", T0, T0 + 5, 1)
        assert await store.census(T0 + 5) == Census({"running": 1, "waiting": 2, "failed": 1}, 0, 1, 1, 3)
        found = await store.census(T0 + 10)
        assert (found.due, found.held) == (1, 0)
