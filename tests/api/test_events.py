"""Server-sent events: of a thread and of all, gone on with after a break, with words while they come, for slow readers."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from tests.api.conftest import Served, served
from tests.api.desk import Wait, talks

from turnout import END, Context, Graph, tool
from turnout.errors import UnknownEntry, UnknownThread
from turnout.service.live import feed as feeding
from turnout.service.live import scout as scouting
from turnout.service.live import watching
from turnout.service.live.ears import KEPT, Piece
from turnout.service.live.scout import MARGIN, pause_after
from turnout.service.live.watching import Live, News, Place
from turnout.testing import open_test_app

Events = AsyncGenerator[Any]


async def flat(watch: Events) -> Events:
    """Event by event what a watcher is told in lists."""
    async with contextlib.aclosing(watch) as lists:
        async for found in lists:
            for event in found:
                yield event


async def take(events: Events, count: int) -> list[Any]:
    """The next `count` events."""
    async with asyncio.timeout(20):
        return [await anext(events) for _ in range(count)]


def seqs(events: list[Any]) -> list[int]:
    return [event.entry.seq for event in events if isinstance(event, News)]


def places(events: list[Any]) -> list[tuple[str, int]]:
    return [(event.entry.thread, event.entry.seq) for event in events if isinstance(event, News)]


async def finished(desk: Served, thread: str, graph: str = "talks", **more: Any) -> int:
    """Run a thread to its end or rest; how many entries it has then."""
    await desk.app.wait(
        await desk.app.start(graph, {"order": "A"} if graph == "refunds" else {}, thread=thread, **more)
    )
    row = await desk.app.store.thread(thread)
    assert row is not None
    return row.head


def live(desk: Served) -> Live:
    return desk.site.live


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
    for n in range(20):
        head = await finished(open_desk, "t")
        while (found := await take(quick, 1)) and seqs(found) != [head]:
            pass
        assert n >= 0
    row = await open_desk.app.store.thread("t")
    assert row is not None
    got: list[int] = []
    while len(got) < row.head - 1:
        got += seqs(await take(slow, 1))
    assert got == list(range(2, row.head + 1))
    await slow.aclose()
    await quick.aclose()


async def test_a_watcher_of_all_gets_every_entry_once_in_each_threads_order(open_desk: Served) -> None:
    watch = flat(await live(open_desk).all(open_desk.app.store))
    getting = asyncio.ensure_future(take(watch, 1))
    await asyncio.sleep(0.01)
    heads = {f"t{n}": await finished(open_desk, f"t{n}") for n in range(5)}
    found = await getting
    while len(places(found)) < sum(heads.values()):
        found += await take(watch, 1)
    assert sorted(places(found)) == sorted(
        (name, seq) for name, head in heads.items() for seq in range(1, head + 1)
    )
    assert len(set(places(found))) == len(places(found))
    for name, head in heads.items():
        assert [seq for thread, seq in places(found) if thread == name] == list(range(1, head + 1))
    await watch.aclose()


async def test_a_watcher_of_all_goes_on_exactly_while_its_last_entry_is_among_the_newest(
    open_desk: Served,
) -> None:
    keeps = flat(await live(open_desk).all(open_desk.app.store))  # somebody else watches all the time
    keeping = asyncio.ensure_future(take(keeps, 1))
    await asyncio.sleep(0.01)
    watch = flat(await live(open_desk).all(open_desk.app.store))
    getting = asyncio.ensure_future(take(watch, 6))
    await asyncio.sleep(0.01)
    await finished(open_desk, "a")
    seen = places([one for one in await getting if isinstance(one, News)])
    await watch.aclose()
    await finished(open_desk, "b")
    rest = flat(await live(open_desk).all(open_desk.app.store, after=seen[-1]))
    total = sum(row.head for row in await open_desk.app.threads())
    found: list[Any] = []
    while len(seen) + len(places(found)) < total:
        found += await take(rest, 1)
    assert len(set(seen + places(found))) == total
    assert all(event.mark for event in found if isinstance(event, News))
    await rest.aclose()
    await keeping
    await keeps.aclose()


@pytest.mark.parametrize("newest", [3, 5_000])
async def test_a_watcher_of_all_misses_nothing_however_long_it_was_away(
    open_desk: Served, monkeypatch: pytest.MonkeyPatch, newest: int
) -> None:
    monkeypatch.setattr(feeding, "NEWEST", newest)
    await finished(open_desk, "a")
    for n in range(3):
        await finished(open_desk, f"b{n}")
    await finished(open_desk, "a")
    watch = flat(await live(open_desk).all(open_desk.app.store, after=("a", 2)))
    everything = {
        (row.thread, seq) for row in await open_desk.app.threads() for seq in range(1, row.head + 1)
    }
    wanted = everything - {("a", 1), ("a", 2)}
    found: list[Any] = []
    while set(places(found)) != wanted:
        found += await take(watch, 1)
    assert not any(event.mark for event in found)  # told thread by thread: no place to go on from
    [place] = await take(watch, 1)  # but there is one behind them
    assert isinstance(place, Place)
    more = asyncio.ensure_future(take(watch, 1))
    await open_desk.app.start("waits", {}, thread="new")
    assert places(await more) == [("new", 1)]
    await watch.aclose()


async def test_a_tenants_watcher_sees_its_own_threads_alone(open_desk: Served) -> None:
    app = open_desk.app
    watch = flat(await live(open_desk).all(app.store.within("acme"), "acme"))
    getting = asyncio.ensure_future(take(watch, 1))
    await asyncio.sleep(0.01)
    await finished(open_desk, "theirs", tenant="bolt")
    await finished(open_desk, "nobodys")
    head = await finished(open_desk, "own", tenant="acme")
    found = await getting
    while len(places(found)) < head:
        found += await take(watch, 1)
    assert {thread for thread, _ in places(found)} == {"own"}
    assert {event.thread for event in found if isinstance(event, Piece)} <= {"own"}
    with pytest.raises(UnknownThread):
        await live(open_desk).thread(app.store.within("acme"), "theirs")
    with pytest.raises(UnknownEntry):
        await live(open_desk).all(app.store.within("acme"), "acme", ("theirs", 1))
    await watch.aclose()


async def test_who_goes_on_is_told_what_a_step_staged_and_committed_after_a_long_call(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (feeding, watching):
        monkeypatch.setattr(module, "MARGIN", 50_000)
    (tmp_path / "all.cedar").write_text("permit (principal, action, resource);")
    under_way, answered = asyncio.Event(), asyncio.Event()

    @tool(effect="read")
    async def slow() -> int:
        under_way.set()
        await answered.wait()
        return 1

    asks = Graph("asks", state=Wait, tools=[slow])

    @asks.node
    async def ask(state: Wait, ctx: Context) -> dict[str, Any]:
        return {"got": str(await ctx.call(slow))}

    asks.start(ask)
    asks.edge(ask, END)
    async with open_test_app(graphs=[asks, talks], policy=tmp_path) as app:
        watch = flat(await Live(app.store, app.hub, app.clock).all(app.store))
        getting = asyncio.ensure_future(take(watch, 1))
        await asyncio.sleep(0.01)
        run = await app.start("asks", {}, thread="x")
        await under_way.wait()
        told = await getting
        await asyncio.sleep(
            0.2
        )  # longer than the margin: the verdict has been staged since, and isn't durable
        await app.run("talks", {}, thread="other")
        while places(told)[-1:] != [("other", 4)]:
            told += await take(watch, 1)
        await watch.aclose()
        answered.set()
        await app.wait(run)
        wanted = {("x", entry.seq) for entry in await app.entries("x")} - set(places(told))
        assert any(
            entry.kind == "verdict.given" and ("x", entry.seq) in wanted for entry in await app.entries("x")
        )
        again = flat(await Live(app.store, app.hub, app.clock).all(app.store, after=("other", 4)))
        late: list[Any] = []
        while not wanted <= set(places(late)):
            late += await take(again, 1)
        await again.aclose()


async def test_a_watcher_of_all_is_not_told_again_what_a_fork_shares(open_desk: Served) -> None:
    head = await finished(open_desk, "p", "waits")
    watch = flat(await live(open_desk).all(open_desk.app.store, after=("p", head)))
    getting = asyncio.ensure_future(take(watch, 2))  # first that there was no gap
    await asyncio.sleep(0.01)
    await open_desk.app.fork("p", name="f")
    assert places(await getting) == [("f", head + 1)]
    await watch.aclose()


def test_the_scout_pauses_longer_after_a_long_look_and_never_as_long_as_the_margin() -> None:
    assert pause_after(0.01) == pytest.approx(0.1)
    assert pause_after(60.0) < MARGIN / 1_000_000


async def test_an_entry_that_is_stamped_before_a_watch_and_durable_after_it_began_is_told(
    open_desk: Served,
) -> None:
    """As when a server has just been started again: requests come in together with the watcher who goes on."""
    app, head = open_desk.app, await finished(open_desk, "a")

    class Ahead:
        """A clock after whose watchers have begun every entry was stamped a second before."""

        def now(self) -> int:
            return app.clock.now() + 1_000_000

    again = Live(app.store, app.hub, Ahead())  # type: ignore[arg-type]
    watch = flat(await again.all(app.store, after=("a", 1)))
    assert places(await take(watch, head - 1))[-1] == ("a", head)
    getting = asyncio.ensure_future(take(watch, 1))
    await asyncio.sleep(0.01)
    count = await finished(open_desk, "b")
    told = places(await getting)
    while len([one for one in told if one[0] == "b"]) < count:
        told += places(await take(watch, 1))
    assert ("b", 1) in told
    await watch.aclose()


async def test_a_watcher_whose_clock_is_ahead_of_the_writers_is_told_all_that_happens_since(
    open_desk: Served,
) -> None:
    app = open_desk.app

    class Ahead:
        def now(self) -> int:
            return app.clock.now() + 300_000

    watch = flat(await Live(app.store, app.hub, Ahead()).all(app.store))  # type: ignore[arg-type]
    getting = asyncio.ensure_future(take(watch, 1))
    await asyncio.sleep(0.01)
    head = await finished(open_desk, "t")
    told = places(await getting)
    while told[-1:] != [("t", head)]:
        told += places(await take(watch, 1))
    assert told == [("t", seq) for seq in range(1, head + 1)]
    await watch.aclose()


async def test_what_another_process_writes_is_told(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'two.db'}"
    async with (
        served(url, work=False) as desk,
        open_test_app(url, graphs=list(desk.app.graphs.values())) as other,
    ):
        everything = flat(await live(desk).all(desk.app.store))
        getting = asyncio.ensure_future(take(everything, 3))
        await asyncio.sleep(0.05)
        await other.wait(await other.start("waits", {}, thread="far"))
        assert places(await getting) == [("far", 1), ("far", 2), ("far", 3)]
        one = flat(await live(desk).thread(desk.app.store, "far"))
        getting = asyncio.ensure_future(take(one, 1))
        await asyncio.sleep(0.05)
        await other.signal("far", "go")
        assert seqs(await getting)[0] > 3
        await one.aclose()
        await everything.aclose()


async def test_who_goes_on_misses_nothing_of_which_a_slow_store_had_told_nobody_yet(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this process writes is told at once, what others have written only after a look at the store."""
    for module in (feeding, watching, scouting):
        monkeypatch.setattr(module, "MARGIN", 50_000)
    url = f"sqlite:///{tmp_path / 'slow.db'}"
    async with (
        served(url, work=False) as desk,
        open_test_app(url, graphs=list(desk.app.graphs.values()), work=False) as other,
        desk.client() as client,
    ):
        look, may_look = desk.app.store.threads, asyncio.Event()

        async def slow(**asked: Any) -> Any:
            await may_look.wait()
            return await look(**asked)

        monkeypatch.setattr(desk.app.store, "threads", slow)
        getting = asyncio.ensure_future(client.get("/events"))
        await asyncio.sleep(0.1)
        await other.start("waits", {}, thread="far")
        await asyncio.sleep(0.5)  # ten times the margin: the look at what others wrote has begun
        await desk.app.start("waits", {}, thread="near")
        await asyncio.sleep(0.1)
        live(desk).close()
        told = (await getting).text
        assert '"thread":"near"' in told
        assert '"thread":"far"' not in told
        last = [line.removeprefix("id: ") for line in told.split("\n") if line.startswith("id: ")][-1]
        live(desk)._closing.clear()
        may_look.set()
        getting = asyncio.ensure_future(client.get("/events", headers={"Last-Event-ID": last}))
        await asyncio.sleep(0.5)
        live(desk).close()
        assert '"thread":"far"' in (await getting).text


@contextlib.asynccontextmanager
async def broken_entry(path: Any, thread: str, seq: int) -> AsyncGenerator[None]:
    """An entry of that thread can't be read meanwhile."""
    db = sqlite3.connect(path)
    where = "WHERE seq = ? AND number = (SELECT number FROM threads WHERE thread = ?)"
    with db:
        [(body,)] = db.execute(f"SELECT body FROM entries {where}", (seq, thread)).fetchall()
        db.execute(f"UPDATE entries SET body = x'7b22' {where}", (seq, thread))
    try:
        yield
    finally:
        with db:
            db.execute("UPDATE entries SET body = ? " + where, (body, seq, thread))
        db.close()


async def test_a_thread_that_cannot_be_read_keeps_the_events_of_no_other_and_is_told_of_later(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feeding, "LATER", 0.1)
    path = tmp_path / "broken.db"
    async with served(f"sqlite:///{path}") as desk:
        head = await finished(desk, "bad", "waits")
        watch = flat(await live(desk).all(desk.app.store))
        getting = asyncio.ensure_future(take(watch, 1))
        await asyncio.sleep(0.01)
        async with broken_entry(path, "bad", 1):
            desk.app.hub.notify("bad")
            await asyncio.sleep(0.3)  # it is read again meanwhile, and can't be
            desk.app.hub.notify("bad")
            count = await finished(desk, "good")
            found = await getting
            while len([one for one in places(found) if one[0] == "good"]) < count:
                found += await take(watch, 1)
            assert len([one for one in caplog.records if "aren't told of bad" in one.getMessage()]) == 1
        await desk.app.signal("bad", "go")
        while ("bad", head + 1) not in places(found):
            found += await take(watch, 1)
        assert len(set(places(found))) == len(places(found))
        await watch.aclose()


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


async def test_who_goes_on_after_a_long_break_is_told_of_all_threads_that_can_be_read(tmp_path: Any) -> None:
    path = tmp_path / "broken.db"
    async with served(f"sqlite:///{path}") as desk:
        await finished(desk, "a", "waits")
        await finished(desk, "bad", "waits")
        count = await finished(desk, "good")
        async with broken_entry(path, "bad", 1):
            watch = flat(await live(desk).all(desk.app.store, after=("a", 1)))
            found = await take(watch, 2 + count)
        assert {thread for thread, _ in places(found)} == {"a", "good"}
        await watch.aclose()


async def test_who_comes_to_a_feed_that_has_died_has_it_gather_again(open_desk: Served) -> None:
    first = flat(await live(open_desk).all(open_desk.app.store))
    getting = asyncio.ensure_future(take(first, 1))
    await asyncio.sleep(0.01)
    task = live(open_desk)._feeds[None]._task
    assert task is not None
    task.cancel()
    await asyncio.sleep(0.01)
    second = flat(await live(open_desk).all(open_desk.app.store))
    waiting = asyncio.ensure_future(take(second, 1))
    await asyncio.sleep(0.01)
    await finished(open_desk, "a", "waits")
    assert places(await waiting)[0] == places(await getting)[0]
    await first.aclose()
    await second.aclose()


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
