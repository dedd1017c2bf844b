"""The client's streams: entries and words, from where they are wanted, line by line."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.api.conftest import Served

from turnout.client import wire
from turnout.client.remote import Remote
from turnout.client.wire import lines
from turnout.core.entries import Entry
from turnout.errors import TurnoutError


async def test_a_stream_brings_entries_and_words_and_begins_where_it_is_told(remote: Remote) -> None:
    run = await remote.start("talks", {"words": 2}, thread="t")
    await remote.wait(run)
    found: list[Any] = []
    async for event in remote.stream("t", after=0):
        found.append(event)
        if isinstance(event, Entry) and event.kind == "run.finished":
            break
    assert [one.seq for one in found if isinstance(one, Entry)] == list(range(1, len(found) + 1))
    got: list[Any] = []

    async def listen() -> None:
        async for event in remote.stream("t"):
            got.append(event)
            if isinstance(event, Entry) and event.kind == "run.finished":
                return

    listening = asyncio.ensure_future(listen())
    await asyncio.sleep(0.3)
    await remote.start("talks", {"words": 2}, thread="t")
    await asyncio.wait_for(listening, 20)
    assert [one["text"] for one in got if isinstance(one, dict)] == ["word0 ", "word1 "]


async def test_a_stream_that_the_server_ends_in_an_orderly_way_misses_nothing(
    desk: Served, remote: Remote
) -> None:
    await remote.run("waits", {}, thread="w")
    got: list[Any] = []

    async def listen() -> None:
        async for event in remote.stream("w"):
            got.append(event)
            if isinstance(event, Entry) and event.kind == "run.finished":
                return

    listening = asyncio.ensure_future(listen())
    await asyncio.sleep(0.3)
    head = len(await desk.app.entries("w"))
    desk.site.live.close()
    await asyncio.sleep(0.2)
    await desk.app.signal("w", "go", "x")
    await desk.app.wait("w/1")
    desk.site.live._closing.clear()
    await asyncio.wait_for(listening, 20)
    assert [one.seq for one in got] == list(range(head + 1, head + 1 + len(got)))


async def test_a_stream_brings_texts_with_every_line_end_that_unicode_has(remote: Remote) -> None:
    order = "A\u2028B\u2029C\u0085D\x0bE\x1cF\r\nG"
    await remote.start("refunds", {"order": order}, thread="t")
    async for event in remote.stream("t", after=0):
        assert event.body.input["order"] == order
        break


async def test_lines_of_a_stream_end_where_the_standard_says_however_they_come_in() -> None:
    said = "data: one\u2028\r\n\ndata: zw\u00f6lf\r\n\r\nrest".encode()

    async def pieces(length: int) -> AsyncIterator[bytes]:
        for n in range(0, len(said), length):
            yield said[n : n + length]

    for length in range(1, len(said) + 1):
        found = [line async for line in lines(pieces(length))]
        assert found == ["data: one\u2028", "", "data: zw\u00f6lf", ""]


async def test_a_line_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LINE", 1_000)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100

    with pytest.raises(TurnoutError, match="1000 bytes"):
        [line async for line in lines(endless())]
