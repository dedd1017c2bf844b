"""The feed: the events of all threads, gone on with after a break, whoever writes them."""

import asyncio
import dataclasses
from typing import Any

import pytest
from tests.api.conftest import Served, served
from tests.api.desk import Wait, talks
from tests.api.watchers import broken_entry, finished, flat, live, places, seqs, take

from turnout import END, Context, Graph, tool
from turnout.errors import UnknownEntry, UnknownThread
from turnout.service.live import feed as feeding
from turnout.service.live import scout as scouting
from turnout.service.live import watching
from turnout.service.live.ears import Piece
from turnout.service.live.scout import MARGIN, pause_after
from turnout.service.live.watching import Live, News, Place
from turnout.testing import open_test_app


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
    rest = flat(await live(open_desk).all(open_desk.app.store, after=seen[-1], told_by=live(open_desk).name))
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
    watch = flat(await live(open_desk).all(open_desk.app.store, after=("a", 2), told_by=live(open_desk).name))
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
        await asyncio.sleep(0.5)
        live(desk).close()
        told = (await getting).text
        assert '"thread":"near"' in told
        assert '"thread":"far"' not in told
        last = [line.removeprefix("id: ") for line in told.split("\n") if line.startswith("id: ")][-1]
        live(desk)._closing.clear()
        may_look.set()
        assert last.startswith("@")  # a moment: no entry was sure enough to go on behind it
        watch = flat(await live(desk).all(desk.app.store, since=int(last[1:])))
        while (event := (await take(watch, 1))[0]) and places([event]) != [("far", 1)]:
            pass
        await watch.aclose()


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


async def test_who_goes_on_at_another_process_misses_nothing_that_the_first_had_not_told_yet(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes hear of what a third part writes in different orders: the place of an entry is one process's own."""
    url = f"sqlite:///{tmp_path / 'two.db'}"
    async with (
        served(url, work=False) as first,
        served(url, work=False) as second,
        first.client() as client,
        second.client() as other,
    ):
        may_look, look = asyncio.Event(), first.app.store.threads

        async def slow(**asked: Any) -> Any:
            await may_look.wait()
            return await look(**asked)

        monkeypatch.setattr(first.app.store, "threads", slow)
        beside = flat(await live(second).all(second.app.store))
        hearing = asyncio.ensure_future(take(beside, 2))
        getting = asyncio.ensure_future(client.get("/events"))
        await asyncio.sleep(0.3)
        await second.app.start("waits", {}, thread="far")
        await first.app.start("waits", {}, thread="near")
        assert sorted(places(await hearing)) == [("far", 1), ("near", 1)]
        await asyncio.sleep(0.5)
        live(first).close()
        told = (await getting).text
        assert '"thread":"near"' in told
        assert '"thread":"far"' not in told
        last = [line.removeprefix("id: ") for line in told.split("\n") if line.startswith("id: ")][-1]
        assert last.startswith("near:1")
        getting = asyncio.ensure_future(other.get("/events", headers={"Last-Event-ID": last}))
        await asyncio.sleep(0.5)
        live(second).close()
        assert '"thread":"far"' in (await getting).text
        may_look.set()
        await beside.aclose()


async def test_a_long_run_is_told_with_marks_all_the_time_and_without_asking_the_store(
    open_desk: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this process commits follows what is known of its thread."""
    for module in (feeding, watching, scouting):
        monkeypatch.setattr(module, "MARGIN", 500_000)
    monkeypatch.setattr(scouting, "OFTEN", 10_000)
    watch = flat(await live(open_desk).all(open_desk.app.store))
    getting = asyncio.ensure_future(take(watch, 1))
    await asyncio.sleep(0.01)
    head = await finished(open_desk, "t")
    found = await getting
    while ("t", head) not in places(found):
        found += await take(watch, 1)
    last, reads, read = (await open_desk.app.entries("t"))[-1], [], feeding.Feed._read

    async def counted(feed: feeding.Feed, thread: str) -> None:
        reads.append(thread)
        await read(feed, thread)

    monkeypatch.setattr(feeding.Feed, "_read", counted)
    for seq in range(head + 1, head + 5):  # a step every half second, as a worker tells it
        await asyncio.sleep(0.5)
        step = dataclasses.replace(last, seq=seq, at=open_desk.app.clock.now())
        open_desk.app.hub.emit("t", step)
        [told] = await take(watch, 1)
        assert (told.entry, told.mark) == (step, True)
    assert reads == []
    await watch.aclose()
