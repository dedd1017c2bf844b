"""The loop of the simulation: virtual time, processes that are frozen and killed, an order that the seed decides."""

import asyncio
import random
from typing import Any

import pytest
from tests.simulation.loop import SimulatedLoop, Stuck


def loop_of(seed: int = 0, **options: Any) -> SimulatedLoop:
    return SimulatedLoop(random.Random(seed), **options)


def test_time_jumps_to_the_next_timer() -> None:
    loop, seen = loop_of(), []

    async def main() -> None:
        loop.call_at(7, lambda: seen.append(loop.time()))
        loop.call_later(3, lambda: seen.append(loop.time()))
        await asyncio.sleep(86_400)
        seen.append(loop.time())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(6)
        seen.append(loop.time())

    loop.run(main())
    assert seen == [3, 7, 86_400, 86_405]
    loop.close()


def test_one_process_runs_first_come_first_served_and_two_take_turns_by_the_seed() -> None:
    def order(seed: int) -> list[str]:
        loop, seen = loop_of(seed), []
        processes = [loop.process(name) for name in "ab"]

        async def main() -> None:
            for n in range(6):
                for process in processes:
                    loop.call_soon(seen.append, f"{process.name}{n}", context=process.context)
            await asyncio.sleep(1)

        loop.run(main())
        loop.close()
        return seen

    orders = {tuple(order(seed)) for seed in range(20)}
    assert len(orders) > 10
    for seen in orders:
        for name in "ab":
            assert [x for x in seen if x[0] == name] == [f"{name}{n}" for n in range(6)]
    assert order(3) == order(3)


def test_a_shuffled_loop_keeps_turns_and_mixes_what_is_in_one() -> None:
    def order(seed: int) -> list[str]:
        loop, seen = loop_of(seed, shuffled=True), []

        async def one(name: str) -> None:
            for turn in range(3):
                seen.append(f"{turn}{name}")
                await asyncio.sleep(0)

        async def main() -> None:
            await asyncio.gather(*(one(name) for name in "abcd"))

        loop.run(main())
        loop.close()
        return seen

    orders = {tuple(order(seed)) for seed in range(20)}
    assert len(orders) > 10
    for seen in orders:
        assert [x[0] for x in seen] == sorted(x[0] for x in seen)


def test_a_frozen_process_stands_still_and_goes_on_where_it_was() -> None:
    loop, seen = loop_of(), []
    process = loop.process("p")

    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            seen.append(loop.time())

    async def main() -> None:
        loop.create_task(work(), context=process.context)
        await asyncio.sleep(1.5)
        loop.freeze(process)
        await asyncio.sleep(60)
        assert seen == [1]
        loop.thaw(process)
        await asyncio.sleep(60)

    loop.run(main())
    assert seen == [1, 61.5, 62.5]
    loop.close()


def test_of_a_killed_process_nothing_is_run_any_more_not_even_a_finally() -> None:
    loop, seen = loop_of(), []
    process = loop.process("p")

    async def work() -> None:
        try:
            await asyncio.sleep(5)
            seen.append("went on")
        finally:
            seen.append("cleaned up")

    async def main() -> None:
        loop.create_task(work(), context=process.context)
        await asyncio.sleep(1)
        loop.kill(process)
        loop.create_task(work(), context=process.context.copy())
        await asyncio.sleep(60)

    loop.run(main())
    assert seen == []
    loop.close()


def test_what_can_never_go_on_and_what_never_waits_is_stuck() -> None:
    async def for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    async def restless() -> None:
        while True:
            await asyncio.sleep(0)

    for main in (for_ever, restless):
        loop = loop_of()
        with pytest.raises(Stuck):
            loop.run(main())
        loop.close()


def test_an_error_that_nobody_takes_is_told() -> None:
    async def breaks() -> None:
        raise ValueError("nobody")

    async def main() -> None:
        task = asyncio.ensure_future(breaks())
        await asyncio.sleep(1)
        assert task.done()

    loop = loop_of()
    loop.run(main())
    assert ["nobody" in problem for problem in loop.lost_errors()] == [True]
    loop.close()
