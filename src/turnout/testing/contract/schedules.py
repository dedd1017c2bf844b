"""Schedules: writing, listing, finding what is due, moving on, forgetting."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from turnout.errors import StoreUnavailable, TurnoutError
from turnout.ports.rows import ScheduleRow
from turnout.ports.store import Store
from turnout.testing.contract.rows import SECOND, T0, Handles, change


def schedule(name: str, *, next_at: int | None = 0, **more: Any) -> ScheduleRow:
    """A schedule; `next_at` counts from T0."""
    row = ScheduleRow(
        name=name, graph="desk", input=b'{"order":"A-17"}', cron="0 2 * * *", zone="Europe/Berlin", at=None, missed="once",
        overlap="skip", paused=False, next_at=None if next_at is None else T0 + next_at, created_at=T0, updated_at=T0,
    )  # fmt: skip
    return replace(row, **more)


class ScheduleRows(Handles):
    """Schedules: writing, listing, finding what is due, moving on, forgetting."""

    async def test_a_schedule_is_read_back_as_it_was_written(self, store: Store) -> None:
        least = schedule("a", next_at=None)
        most = ScheduleRow(
            name="jeden-Tag-é-\U0001f600", graph="Büro", input=bytes(range(256)), cron="", zone="America/New_York", at=T0 + 7,
            missed="all", overlap="cancel", paused=True, next_at=T0 + 7, created_at=T0 + 1, updated_at=2**62, last_at=T0 + 3,
            last_thread="jeden-Tag-é@2026-01-01T00:00Z", note="“skipped”\nwegen \U0001f600", by="däna", tenant="ačme",
            priority=-3,
        )  # fmt: skip
        await store.put_schedule(least)
        await store.put_schedule(most)
        assert await store.schedules() == [least, most]
        found = (await store.schedules(name=most.name))[0]
        assert (found.paused, least.paused) == (True, False)
        assert type(found.paused) is bool
        assert type(found.input) is bytes

    async def test_a_schedule_that_is_written_again_is_replaced(self, store: Store) -> None:
        await store.put_schedule(schedule("a"))
        again = schedule("a", next_at=9, graph="shop", note="new", updated_at=T0 + 1)
        await store.put_schedule(again)
        assert await store.schedules() == [again]

    async def test_schedules_are_listed_by_code_point_and_found_by_name_and_graph(self, store: Store) -> None:
        names = ["B", "_", "a", "a-b", "é", "\U0001f600"]
        for name in reversed(names):
            await store.put_schedule(schedule(name, graph="desk" if name < "a-" else "shop"))
        assert [s.name for s in await store.schedules()] == names
        assert [s.name for s in await store.schedules(graph="desk")] == ["B", "_", "a"]
        assert [s.name for s in await store.schedules(name="a")] == ["a"]
        assert await store.schedules(name="a", graph="shop") == []
        assert await store.schedules(name="A") == []

    async def test_due_are_those_whose_time_has_come_the_longest_due_first(self, store: Store) -> None:
        for name, at in (("c", 20), ("b", 10), ("d", 30), ("e", 31), ("a", 21)):
            await store.put_schedule(schedule(name, next_at=at))
        await store.put_schedule(schedule("paused", next_at=1, paused=True))
        await store.put_schedule(schedule("never", next_at=None))
        await store.put_schedule(schedule("elsewhere", next_at=1, graph="shop"))
        assert [s.name for s in await store.due_schedules(T0 + 30, ["desk"])] == ["b", "c", "a", "d"]
        assert [s.name for s in await store.due_schedules(T0 + 30, ["desk"], 2)] == ["b", "c"]
        assert [s.name for s in await store.due_schedules(T0 + 9, ["shop", "x", "desk"])] == ["elsewhere"]
        assert [s.name for s in await store.due_schedules(2**62, ["desk"], 99)] == ["b", "c", "a", "d", "e"]
        assert await store.due_schedules(T0 + 30, []) == []

    async def test_a_schedule_moves_only_from_where_it_is(self, store: Store) -> None:
        was = schedule("a", next_at=5)
        await store.put_schedule(was)
        for other in (
            replace(was, next_at=T0 + 6),
            replace(was, next_at=None),
            replace(was, updated_at=T0 + 1),
        ):
            assert not await store.move_schedule(replace(was, note="no"), other)
        assert await store.schedules() == [was]
        moved = ScheduleRow(
            "a",
            "shop",
            b"{}",
            "",
            "UTC",
            T0,
            "skip",
            "wait",
            True,
            None,
            T0 + 1,
            T0 + 2,
            T0,
            "t",
            "n",
            "b",
            "x",
            4,
        )
        assert await store.move_schedule(moved, was) is True
        assert await store.schedules() == [moved]
        assert await store.move_schedule(moved, was) is False

    async def test_a_schedule_that_never_comes_again_can_be_moved_too(self, store: Store) -> None:
        over = schedule("a", next_at=None)
        await store.put_schedule(over)
        assert not await store.move_schedule(over, replace(over, next_at=T0))
        assert await store.move_schedule(replace(over, next_at=T0 + SECOND, updated_at=T0 + 1), over)
        assert [s.name for s in await store.due_schedules(T0 + SECOND, ["desk"])] == ["a"]

    async def test_moving_one_schedule_leaves_the_others_alone(self, store: Store) -> None:
        first, second = schedule("a"), schedule("b")
        await store.put_schedule(first)
        await store.put_schedule(second)
        assert await store.move_schedule(replace(first, next_at=T0 + 9), first)
        assert await store.schedules(name="b") == [second]

    async def test_a_schedule_that_is_not_there_is_not_moved_nor_dropped(self, store: Store) -> None:
        ghost = schedule("ghost")
        assert not await store.move_schedule(ghost, ghost)
        assert await store.drop_schedule("ghost") is False
        assert await store.schedules() == []

    async def test_a_dropped_schedule_is_gone_and_its_threads_stay(self, store: Store) -> None:
        await store.append(change("a@2026-01-01T00:00Z", 0))
        await store.put_schedule(schedule("a", last_thread="a@2026-01-01T00:00Z"))
        await store.put_schedule(schedule("b"))
        assert await store.drop_schedule("a") is True
        assert [s.name for s in await store.schedules()] == ["b"]
        assert await store.due_schedules(T0 + SECOND, ["desk"]) == [schedule("b")]
        assert len(await store.threads()) == 1

    async def test_of_many_who_move_a_schedule_at_once_one_wins(self, store: Store) -> None:
        was = schedule("a")
        await store.put_schedule(was)
        tries = [replace(was, next_at=T0 + n, updated_at=T0 + n, note=f"by {n}") for n in range(1, 9)]
        won = await asyncio.gather(*(store.move_schedule(row, was) for row in tries))
        assert won.count(True) == 1
        assert await store.schedules() == [tries[won.index(True)]]

    async def test_two_handles_that_move_a_schedule_race_and_one_wins(self, store: Store) -> None:
        was = schedule("a")
        await store.put_schedule(was)
        async with self.another(store) as second:
            for n in range(1, 21):
                tries = [replace(was, next_at=T0 + n, updated_at=T0 + n, note=mark) for mark in "xy"]
                won = await asyncio.gather(
                    store.move_schedule(tries[0], was), second.move_schedule(tries[1], was)
                )
                assert sorted(won) == [False, True]
                was = tries[won.index(True)]
                assert await store.schedules() == await second.schedules() == [was]

    async def test_what_another_handle_has_scheduled_is_seen_at_once(self, store: Store) -> None:
        async with self.another(store) as second:
            await store.put_schedule(schedule("a"))
            assert await second.due_schedules(T0, ["desk"]) == [schedule("a")]

    async def test_a_moment_that_no_store_can_keep_is_an_error_and_the_store_goes_on(
        self, store: Store
    ) -> None:
        results = await asyncio.gather(
            store.put_schedule(schedule("a", next_at=2**70)), store.put_schedule(schedule("b")), return_exceptions=True
        )  # fmt: skip
        assert isinstance(results[0], TurnoutError)
        assert results[1] is None
        assert [s.name for s in await store.schedules()] == ["b"]

    async def test_a_closed_store_says_so_of_schedules(self, store: Store) -> None:
        await store.put_schedule(schedule("a"))
        await store.close()
        for ask in (
            store.schedules,
            lambda: store.due_schedules(T0, ["desk"]),
            lambda: store.put_schedule(schedule("a")),
            lambda: store.move_schedule(schedule("a"), schedule("a")),
            lambda: store.drop_schedule("a"),
        ):
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(ask(), timeout=5)
