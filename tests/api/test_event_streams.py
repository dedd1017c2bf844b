"""Server-sent events over HTTP: what is sent, how a stream ends, and from where it is gone on with."""

import asyncio
import json
import math
import time
from typing import Any

import httpx
import pytest
from tests.api.conftest import Served, served
from tests.api.watchers import broken_entry, finished, live

from turnout.api.routers import events
from turnout.errors import StoreUnavailable
from turnout.ports.store import WAITS
from turnout.service.access import tokens
from turnout.service.live import feed as feeding
from turnout.service.live import watching


async def test_a_watcher_of_what_is_not_there_gets_a_problem(open_desk: Served) -> None:
    await finished(open_desk, "t")
    async with open_desk.client() as client:
        for path, headers, status in (
            ("/threads/nothing/events", {}, 404),
            ("/threads/t/events", {"Last-Event-ID": "t:999"}, 404),
            ("/threads/t/events", {"Last-Event-ID": "other:1"}, 422),
            ("/threads/t/events", {"Last-Event-ID": "nonsense"}, 422),
            ("/events", {"Last-Event-ID": "nothing:1"}, 404),
        ):
            assert (await client.get(path, headers=headers)).status_code == status, (path, headers)


async def test_events_are_sent_as_the_standard_says_and_end_when_the_server_does(open_desk: Served) -> None:
    head = await finished(open_desk, "näh/e%")
    async with open_desk.client() as client:
        getting = asyncio.ensure_future(client.get("/threads/n%C3%A4h%2Fe%25/events", params={"after": 0}))
        await asyncio.sleep(0.2)
        live(open_desk).close()
        said = await getting
    assert said.headers["content-type"].startswith("text/event-stream")
    blocks = [
        dict(line.split(": ", 1) for line in block.split("\n"))
        for block in said.text.strip().split("\n\n")[1:]
    ]
    assert [block["id"] for block in blocks] == [f"n%C3%A4h/e%25:{n}" for n in range(1, head + 1)]
    assert {block["event"] for block in blocks} == {"entry"}
    assert json.loads(blocks[0]["data"])["thread"] == "näh/e%"


async def ids_of(client: httpx.AsyncClient, desk: Served, path: str, **more: Any) -> list[str]:
    """The ids that a stream has within a moment."""
    getting = asyncio.ensure_future(client.get(path, **more))
    await asyncio.sleep(0.2)
    live(desk).close()
    said = await getting
    live(desk)._closing.clear()
    return [line.removeprefix("id: ") for line in said.text.split("\n") if line.startswith("id: ")]


async def test_the_events_of_a_fork_are_gone_on_with_in_what_it_shares(open_desk: Served) -> None:
    await finished(open_desk, "p", "waits")
    await open_desk.app.fork("p", name="f")
    await open_desk.app.wait("f/1")
    row = await open_desk.app.store.thread("f")
    assert row is not None
    async with open_desk.client() as client:
        await ids_of(client, open_desk, "/threads/p/events", params={"after": 0})
        ids = await ids_of(client, open_desk, "/threads/f/events", params={"after": 0})
        assert ids == [f"f:{seq}" for seq in range(1, row.head + 1)]
        rest = await ids_of(client, open_desk, "/threads/f/events", headers={"Last-Event-ID": ids[1]})
        assert rest == ids[2:]


@pytest.mark.parametrize("path", ["/threads/w/events", "/events"])
async def test_a_stream_from_now_on_that_ends_before_its_first_entry_is_gone_on_with(
    open_desk: Served, path: str
) -> None:
    head = await finished(open_desk, "w", "waits")
    async with open_desk.client() as client:
        [place] = await ids_of(client, open_desk, path)
        await open_desk.app.signal("w", "go", "x")
        await open_desk.app.wait("w/1")
        row = await open_desk.app.store.thread("w")
        assert row is not None
        getting = asyncio.ensure_future(client.get(path, headers={"Last-Event-ID": place}))
        await asyncio.sleep(0.2)
        live(open_desk).close()
        said = (await getting).text
    told = [json.loads(line[6:])["seq"] for line in said.split("\n") if line.startswith('data: {"')]
    assert told[-(row.head - head) :] == list(range(head + 1, row.head + 1))


async def test_a_stream_that_ends_after_what_filled_a_gap_and_before_the_next_entry_does_not_begin_with_it_again(
    open_desk: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (feeding, watching):
        monkeypatch.setattr(module, "MARGIN", 0)
    async with open_desk.client() as client:
        [first] = await ids_of(client, open_desk, "/events")
        await finished(open_desk, "t")
        [place] = await ids_of(client, open_desk, "/events", headers={"Last-Event-ID": first})
        getting = asyncio.ensure_future(client.get("/events", headers={"Last-Event-ID": place}))
        await asyncio.sleep(0.2)
        live(open_desk).close()
        said = (await getting).text
    assert int(place[1:]) > int(first[1:])
    assert "event: entry" not in said


async def test_fifty_readers_get_all_of_it_while_one_reads_nothing(open_desk: Served) -> None:
    """Over sockets: the one who doesn't read fills its buffers and stands; nobody else notices, and it goes on later."""
    async with open_desk.socket() as url:
        port = int(url.rpartition(":")[2])
        asked = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"

        async def reader() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            streams = await asyncio.open_connection("127.0.0.1", port, limit=4096)
            streams[1].write(asked)
            await streams[0].readuntil(b"retry: 1000")
            return streams

        async def ids(stream: asyncio.StreamReader, count: int) -> set[bytes]:
            found: set[bytes] = set()
            async with asyncio.timeout(60):
                while len(found) < count:
                    line = await _line(stream)
                    if line.startswith(b"id: t"):
                        found.add(line)
            return found

        stuck, others = await reader(), [await reader() for _ in range(50)]
        await asyncio.sleep(0.1)
        runs, large = 40, "x" * 30_000
        for n in range(runs):
            await open_desk.app.start("refunds", {"order": large}, thread=f"t{n}")
        for n in range(runs):
            await open_desk.app.wait(f"t{n}/1")
        total = sum(row.head for row in await open_desk.app.threads())
        said = await asyncio.gather(*(ids(stream, total) for stream, _ in others))
        assert all(len(found) == total for found in said)
        assert await ids(stuck[0], total) == said[0]
        for _, writer in (stuck, *others):
            writer.close()


async def _line(stream: asyncio.StreamReader) -> bytes:
    """A line, however long."""
    found = b""
    while not found.endswith(b"\n"):
        try:
            found += await stream.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            found += await stream.read(error.consumed)
    return found


async def test_the_events_of_a_thread_end_where_it_cannot_be_read_and_who_goes_on_there_is_told_why(
    tmp_path: Any,
) -> None:
    """A browser begins a stream that ended again by itself, for ever, unless it gets a problem."""
    path = tmp_path / "broken.db"
    async with served(f"sqlite:///{path}") as desk, desk.client() as client:
        head = await finished(desk, "bad")
        async with broken_entry(path, "bad", 4), asyncio.timeout(20):
            said = await client.get("/threads/bad/events", params={"after": 0})
            assert said.status_code == 200
            assert [line for line in said.text.split("\n") if line.startswith("id: ")] == [
                f"id: bad:{seq}" for seq in (1, 2, 3)
            ]
            said = await client.get("/threads/bad/events", headers={"Last-Event-ID": "bad:3"})
            assert (said.status_code, said.json()["type"]) == (500, "urn:turnout:error:JournalDamaged")
            assert "entry 4" in said.json()["detail"]
            assert await ids_of(client, desk, "/threads/bad/events") == [f"bad:{head}"]  # from now on


@pytest.mark.parametrize("path", ["/threads/t/events", "/events"])
@pytest.mark.parametrize("how", ["expired", "revoked", "revoked elsewhere", "signed out"])
async def test_a_stream_on_which_nothing_happens_ends_with_the_token_it_was_asked_for_with(
    open_desk: Served, monkeypatch: pytest.MonkeyPatch, how: str, path: str
) -> None:
    if how == "revoked elsewhere":
        monkeypatch.setattr(events, "RECHECK", 0.3)
    app = open_desk.app
    await app.run("talks", {}, thread="t")
    root = await open_desk.token("root", "admin")
    now = app.clock.now()
    made = await tokens.create(
        app.store, now, "ann", ["viewer"], expires_at=now + 800_000 if how == "expired" else None
    )
    async with open_desk.socket() as url, httpx.AsyncClient(base_url=f"{url}/api/v1") as http:
        headers = {"Authorization": f"Bearer {made.secret}"}
        if how == "signed out":
            session = (await http.post("/session", json={"token": made.secret})).json()
            headers = {}
        async with http.stream("GET", path, headers=headers) as stream:
            assert stream.status_code == 200
            begun = time.monotonic()

            async def leave() -> None:
                await asyncio.sleep(0.2)
                if how == "revoked":
                    admin = {"Authorization": f"Bearer {root}"}
                    assert (await http.delete(f"/tokens/{made.token.id}", headers=admin)).status_code == 200
                elif how == "revoked elsewhere":
                    await app.store.revoke_token(made.token.id, app.clock.now())
                elif how == "signed out":
                    out = await http.delete("/session", headers={"X-CSRF-Token": session["csrf"]})
                    assert out.status_code == 204

            leaving = asyncio.ensure_future(leave())
            async with asyncio.timeout(10):
                async for _ in stream.aiter_lines():
                    pass
            await leaving
            assert time.monotonic() - begun < 3
        assert (await http.get(path, headers=headers)).status_code == 401


async def test_a_stream_goes_on_when_somebody_elses_token_is_revoked(open_desk: Served) -> None:
    app = open_desk.app
    await app.run("talks", {}, thread="t")
    root, other = await open_desk.token("root", "admin"), await open_desk.token("bob", "viewer")
    async with (
        open_desk.socket() as url,
        httpx.AsyncClient(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {root}"}) as http,
        http.stream("GET", "/threads/t/events", params={"after": 0}) as stream,
    ):
        assert (await http.delete(f"/tokens/{other.split('_')[1]}")).status_code == 200
        await asyncio.sleep(0.1)
        await app.signal("t", "go")
        async with asyncio.timeout(10):
            async for line in stream.aiter_lines():
                if "signal" in line:
                    break


async def test_a_stream_lasts_while_the_store_is_away_that_says_whether_it_may(
    open_desk: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "RECHECK", 0.05)
    await open_desk.app.run("talks", {}, thread="t")
    asked, there = [], open_desk.app.store.tokens

    async def away(**more: Any) -> Any:
        asked.append(WAITS.get())
        raise StoreUnavailable("it is restarted")

    async with (
        open_desk.socket() as url,
        httpx.AsyncClient(base_url=f"{url}/api/v1") as http,
        http.stream("GET", "/threads/t/events", params={"after": 0}) as stream,
    ):
        monkeypatch.setattr(open_desk.app.store, "tokens", away)
        while len(asked) < 3:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(open_desk.app.store, "tokens", there)
        await open_desk.app.signal("t", "go")
        async with asyncio.timeout(10):
            async for line in stream.aiter_lines():
                if "signal" in line:
                    break
    assert set(asked) == {math.inf}
