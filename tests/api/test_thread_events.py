"""The events of a thread: each entry once, words while they come, and readers who are slow."""

import asyncio
from typing import Any

from tests.api.conftest import Served
from tests.api.watchers import finished, flat, live, seqs, take

from turnout.service.live.ears import KEPT, Piece
from turnout.service.live.watching import News


async def test_a_watcher_gets_each_entry_once_in_order_and_goes_on_where_it_was(open_desk: Served) -> None:
    head = await finished(open_desk, "t")
    whole = flat(await live(open_desk).thread(open_desk.app.store, "t", 0))
    assert seqs(await take(whole, head)) == list(range(1, head + 1))
    await whole.aclose()
    rest = flat(await live(open_desk).thread(open_desk.app.store, "t", 3))
    assert seqs(await take(rest, head - 3)) == list(range(4, head + 1))
    waiting = asyncio.ensure_future(take(rest, 1))
    await open_desk.app.start("talks", {}, thread="t")  # from outside the worker: only a notice is given
    assert seqs(await waiting) == [head + 1]
    await rest.aclose()


async def test_words_come_while_a_node_works_and_before_the_entry_that_ends_it(open_desk: Served) -> None:
    await finished(open_desk, "t")
    watch = flat(await live(open_desk).thread(open_desk.app.store, "t"))
    events: list[Any] = []

    async def to_the_end() -> None:
        while not any(isinstance(one, News) and one.entry.kind == "run.finished" for one in events):
            events.extend(await take(watch, 1))

    getting = asyncio.ensure_future(to_the_end())
    await asyncio.sleep(0.01)
    await open_desk.app.start("talks", {"words": 3}, thread="t")
    await getting
    words = [event.data["text"] for event in events if isinstance(event, Piece)]
    assert words == ["word0 ", "word1 ", "word2 "]
    kinds = [event.entry.kind if isinstance(event, News) else "piece" for event in events]
    assert kinds.index("piece") < kinds.index("step.finished")
    await watch.aclose()


async def test_who_is_too_slow_loses_the_oldest_words_and_is_told_but_no_entry(open_desk: Served) -> None:
    before = await finished(open_desk, "t")
    watch = flat(await live(open_desk).thread(open_desk.app.store, "t"))
    getting = asyncio.ensure_future(take(watch, 1))
    await asyncio.sleep(0.01)
    run = await open_desk.app.start("talks", {"words": 3 * KEPT}, thread="t")
    first = await getting
    await open_desk.app.wait(run)  # and nobody reads meanwhile
    row = await open_desk.app.store.thread("t")
    assert row is not None
    rest: list[Any] = list(first)
    while seqs(rest) != list(range(before + 1, row.head + 1)):
        rest += await take(watch, 1)
    pieces = [event for event in rest if isinstance(event, Piece)]
    assert len(pieces) + sum(piece.lost for piece in pieces) == 3 * KEPT
    assert sum(piece.lost for piece in pieces) >= KEPT
    await watch.aclose()


async def test_a_slow_reader_keeps_nobody_waiting(open_desk: Served) -> None:
    await finished(open_desk, "t")
    slow = flat(await live(open_desk).thread(open_desk.app.store, "t", 0))
    await take(slow, 1)
    quick = flat(await live(open_desk).thread(open_desk.app.store, "t"))
    for _ in range(20):
        head = await finished(open_desk, "t")
        while (found := await take(quick, 1)) and seqs(found) != [head]:
            pass
    row = await open_desk.app.store.thread("t")
    assert row is not None
    got: list[int] = []
    while len(got) < row.head - 1:
        got += seqs(await take(slow, 1))
    assert got == list(range(2, row.head + 1))
    await slow.aclose()
    await quick.aclose()
