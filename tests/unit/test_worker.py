"""The worker among others: turns, limits, suspects, threads that are set aside, wake-ups that get lost."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.unit.runs import Work, chain, kinds, until

from turnout import App, Cancelled, Context, Finished, Graph, Paused, Settings, open_app
from turnout.errors import InputInvalid, StoreUnavailable
from turnout.ports.rows import SUSPECT, Append, ThreadRow
from turnout.runtime import hearing, worker
from turnout.stores.sqlite import SqliteStore
from turnout.testing import open_test_app

QUICK = Settings(lease=0.6, sweep=0.03, turn=0.15, poll=0.005, grace=1.0)


def settings(**more: Any) -> Settings:
    return Settings(**{**vars(QUICK), **more})


def endless(name: str = "long") -> Graph:
    """A hundred thousand steps."""
    graph = Graph(name, state=Work, step_limit=100_000)

    @graph.node
    async def step(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": 1}

    def again(state: Work) -> Literal["step", "END"]:
        return "END" if state.n >= 99_000 else "step"

    graph.start(step)
    graph.route(step, again)
    return graph


async def nothing(state: Work, ctx: Context) -> dict[str, Any]:
    return {"n": 1}


class Crowd:
    """A node that waits for its gate, and how many of its threads ran at once."""

    def __init__(self) -> None:
        self.now: list[str] = []
        self.most = 0
        self.gate = asyncio.Event()

    async def node(self, state: Work, ctx: Context) -> dict[str, Any]:
        self.now.append(state.data)
        self.most = max(self.most, len(self.now))
        try:
            await self.gate.wait()
        finally:
            self.now.remove(state.data)
        return {"n": 1}

    def graph(self, name: str = "g") -> Graph:
        async def wait(state: Work, ctx: Context) -> dict[str, Any]:
            return await self.node(state, ctx)

        return chain(wait, nothing, name=name)


async def thread_row(app: App, thread: str) -> ThreadRow:
    found = await app.store.thread(thread)
    assert found is not None
    return found


@contextlib.asynccontextmanager
async def stopping(app: App, thread: str) -> AsyncIterator[None]:
    """Cancels the thread's run at the end, so that closing needn't wait for it."""
    try:
        yield
    finally:
        await app.cancel(thread)
        assert isinstance(await app.wait(f"{thread}/1", timeout=10), Cancelled)


# --- turns ---------------------------------------------------------------------------------------------------------


async def test_a_thread_with_very_many_steps_lets_others_have_their_turn() -> None:
    graphs = [endless(), chain(nothing)]
    async with open_test_app(graphs=graphs, settings=settings(concurrency=1)) as app:
        await app.start("long", {}, thread="long")
        async with stopping(app, "long"):
            await until(lambda: app.worker and app.worker.busy)
            for n in range(3):
                run = await app.start("g", {}, thread=f"t{n}")
                assert isinstance(await app.wait(run, timeout=5), Finished)
            row = await thread_row(app, "long")
            assert row.status == "running"
            assert row.epoch >= 3, "it was given back and taken again"
            assert row.tries == 0


async def test_a_thread_that_nobody_waits_for_is_not_interrupted() -> None:
    async with open_test_app(graphs=[endless()], settings=settings(concurrency=1)) as app:
        await app.start("long", {}, thread="long")
        async with stopping(app, "long"):
            await asyncio.sleep(5 * QUICK.turn)
            assert (await thread_row(app, "long")).epoch == 1


async def test_with_places_free_nothing_has_to_give_way() -> None:
    graphs = [endless(), chain(nothing)]
    async with open_test_app(graphs=graphs, settings=settings(concurrency=2)) as app:
        await app.start("long", {}, thread="long")
        async with stopping(app, "long"):
            end = asyncio.get_running_loop().time() + 5 * QUICK.turn
            while asyncio.get_running_loop().time() < end:
                assert isinstance(await app.run("g", {}), Finished)
            assert (await thread_row(app, "long")).epoch == 1


@pytest.mark.parametrize("kind", ["graph", "tenant"])
async def test_a_long_thread_does_not_keep_a_limit_s_only_place(kind: str) -> None:
    async with open_test_app(graphs=[endless()], settings=settings(concurrency=8)) as app:
        await app.limit(kind, "long" if kind == "graph" else "acme", 1)
        await app.start("long", {}, thread="one", tenant="acme")
        async with stopping(app, "one"):
            await until(lambda: app.worker and app.worker.busy)
            await app.start("long", {}, thread="two", tenant="acme")
            async with stopping(app, "two"):
                async with asyncio.timeout(10):
                    while (await thread_row(app, "two")).head < 10 or (
                        await thread_row(app, "one")
                    ).epoch < 2:
                        await asyncio.sleep(0.01)
                await app.limit(kind, "long" if kind == "graph" else "acme", None)


async def test_a_step_that_runs_is_finished_before_the_thread_makes_room() -> None:
    crowd = Crowd()
    async with open_test_app(graphs=[crowd.graph()], settings=settings(concurrency=1)) as app:
        first = await app.start("g", {"data": "one"}, thread="one")
        await until(lambda: crowd.now == ["one"])
        second = await app.start("g", {"data": "two"}, thread="two")
        await asyncio.sleep(3 * QUICK.turn)
        assert crowd.now == ["one"]
        crowd.gate.set()
        for run in (first, second):
            assert isinstance(await app.wait(run, timeout=10), Finished)
        assert (await kinds(app, "one")).count("step.finished") == 2
        assert (await thread_row(app, "one")).epoch == 2


# --- limits --------------------------------------------------------------------------------------------------------


async def test_workers_stay_within_the_limits_and_use_what_room_there_is(tmp_path: Path) -> None:
    crowd = Crowd()
    url = f"sqlite:///{tmp_path / 't.db'}"
    graphs = [crowd.graph()]
    async with (
        open_app(url, graphs=graphs, settings=QUICK) as one,
        open_app(url, graphs=graphs, settings=QUICK) as two,
    ):
        await one.limit("graph", "g", 5)
        await one.limit("tenant", "acme", 2)
        assert [(row.kind, row.name, row.at_once) for row in await two.limits()] == [
            ("graph", "g", 5), ("tenant", "acme", 2),
        ]  # fmt: skip
        runs = [
            await one.start("g", {"data": f"{tenant}{n}"}, thread=f"{tenant}{n}", tenant=tenant)
            for tenant in ("acme", "globex") for n in range(6)
        ]  # fmt: skip
        await until(lambda: len(crowd.now) == 5)
        await asyncio.sleep(0.1)
        assert sorted(name[:-1] for name in crowd.now) == ["acme"] * 2 + ["globex"] * 3
        crowd.gate.set()
        for run in runs:
            assert isinstance(await one.wait(run, timeout=10), Finished)
    assert crowd.most == 5


@pytest.mark.parametrize(
    ("kind", "name", "at_once"),
    [("node", "g", 1), ("graph", "", 1), ("tenant", "a b", 1), ("graph", "g", -1), ("graph", "g", 1.5), ("graph", "g", True)],
)  # fmt: skip
async def test_what_can_not_be_a_limit_is_refused(kind: str, name: str, at_once: Any) -> None:
    async with open_test_app(graphs=[chain(nothing)], work=False) as app:
        with pytest.raises(InputInvalid):
            await app.limit(kind, name, at_once)
        assert await app.limits() == []


# --- who stops its workers -----------------------------------------------------------------------------------------


async def die(app: App, times: int, *threads: str) -> None:
    """So many workers in a row take the threads and are never heard of again."""
    for n in range(times):
        now = 1_000_000 * (n + 1) + 1_700_000_000_000_000
        for thread in threads:
            assert await app.store.claim(f"dead:{n}", 1 << 60, now, 1, thread=thread)


async def test_a_worker_holds_one_suspect_at_a_time(tmp_path: Path) -> None:
    crowd = Crowd()
    names = [f"t{n}" for n in range(4)]
    url = f"sqlite:///{tmp_path / 't.db'}"
    async with open_app(url, graphs=[crowd.graph()], work=False) as app:
        for name in names:
            await app.start("g", {"data": name}, thread=name)
        await die(app, SUSPECT, *names)
        await app.start("g", {"data": "fresh"}, thread="fresh")
    async with open_app(url, graphs=[crowd.graph()], settings=QUICK) as app:
        await until(lambda: len(crowd.now) == 2)
        await asyncio.sleep(0.2)
        assert len(crowd.now) == 2
        assert "fresh" in crowd.now
        crowd.gate.set()
        for name in names:
            assert isinstance(await app.wait(f"{name}/1", timeout=10), Finished)
        assert {row.tries for row in await app.threads()} == {0}


async def test_a_suspect_whose_step_has_ended_makes_room_for_the_next(tmp_path: Path) -> None:
    first, second = Crowd(), Crowd()
    second.gate.clear()

    async def one(state: Work, ctx: Context) -> dict[str, Any]:
        return await first.node(state, ctx)

    async def two(state: Work, ctx: Context) -> dict[str, Any]:
        return await second.node(state, ctx)

    graph = chain(one, two)
    first.gate.set()
    url = f"sqlite:///{tmp_path / 't.db'}"
    async with open_app(url, graphs=[graph], work=False) as app:
        for name in ("a", "b"):
            await app.start("g", {"data": name}, thread=name)
        await die(app, SUSPECT, "a", "b")
    async with open_app(url, graphs=[graph], settings=QUICK) as app:
        await until(lambda: len(second.now) == 2)  # both in their second steps: neither is suspected any more
        assert first.most == 1
        second.gate.set()
        for name in ("a", "b"):
            assert isinstance(await app.wait(f"{name}/1", timeout=10), Finished)


async def test_a_thread_is_set_aside_and_who_waits_for_it_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 't.db'}"
    async with open_app(url, graphs=[chain(nothing)], work=False) as app:
        await app.start("g", {}, thread="t")
        await app.start("g", {}, thread="t")
        await die(app, 3, "t")
    async with open_app(url, graphs=[chain(nothing)], settings=settings(tries=3)) as app:
        for run in ("t/1", "t/2"):
            outcome = await app.wait(run, timeout=10)
            assert isinstance(outcome, Paused)
            assert "stopped 3 times in a row" in outcome.aside
            assert "dead:2" in outcome.aside
        assert (await app.explain("t")).aside == outcome.aside
        assert [row.thread for row in await app.threads(aside=True)] == ["t"]
        assert await app.take_back("t")
        assert not await app.take_back("t")
        for run in ("t/1", "t/2"):
            assert isinstance(await app.wait(run, timeout=10), Finished)


async def test_without_a_number_of_tries_a_thread_is_tried_for_ever(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 't.db'}"
    async with open_app(url, graphs=[chain(nothing)], work=False) as app:
        await app.start("g", {}, thread="t")
        await die(app, 30, "t")
    async with open_app(url, graphs=[chain(nothing)], settings=settings(tries=0)) as app:
        assert isinstance(await app.wait("t/1", timeout=10), Finished)


async def test_a_thread_that_is_set_aside_by_hand_is_left_in_the_middle_of_its_step() -> None:
    crowd = Crowd()
    async with open_test_app(graphs=[crowd.graph()], settings=QUICK) as app:
        run = await app.start("g", {"data": "t"}, thread="t")
        await until(lambda: crowd.now == ["t"])
        with pytest.raises(InputInvalid, match="say why"):
            await app.set_aside("t", " ")
        with pytest.raises(InputInvalid, match="can't be shown"):
            await app.set_aside("t", "\x1b[31mit rings")
        assert await app.set_aside("t", "it rings", by="dana")
        assert not await app.set_aside("t", "it rings again")
        outcome = await app.wait(run, timeout=10)
        assert isinstance(outcome, Paused)
        assert outcome.aside == "it rings (by dana)"
        await until(lambda: crowd.now == [])  # its worker has lost it
        await app.signal("t", "late")  # taken in, but nobody looks
        assert (await kinds(app, "t"))[-1] == "signal.received"
        await asyncio.sleep(0.2)
        assert crowd.now == []
        crowd.gate.set()
        assert await app.take_back("t")
        assert isinstance(await app.wait(run, timeout=10), Finished)


async def test_who_waits_for_a_parent_is_told_that_its_child_is_set_aside() -> None:
    async def parent(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": (await ctx.run("child", {"data": "c"}))["n"]}

    crowd = Crowd()
    graphs = [chain(parent), crowd.graph("child")]
    async with open_test_app(graphs=graphs, settings=QUICK) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: crowd.now == ["c"])
        [child] = [row.thread for row in await app.threads(graph="child")]
        await app.set_aside(child, "it rings")
        outcome = await app.wait(run, timeout=10)
        assert isinstance(outcome, Paused)
        assert outcome.aside == f"child {child}: it rings"
        crowd.gate.set()
        await app.take_back(child)
        assert isinstance(await app.wait(run, timeout=10), Finished)


class Refusing(SqliteStore):
    """Appends of whoever holds a thread fail for a while."""

    refused = 0

    async def append(self, change: Append) -> None:
        if change.epoch and self.refused < 3:
            self.refused += 1
            raise StoreUnavailable("the disk hangs")
        await super().append(change)


async def test_a_store_that_fails_for_a_while_does_not_count_against_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "BACK_OFF", 50_000)
    store = Refusing(str(tmp_path / "t.db"))
    async with open_app(store, graphs=[chain(nothing)], settings=settings(lease=60, tries=1)) as app:
        run = await app.start("g", {}, thread="t")
        assert isinstance(await app.wait(run, timeout=10), Finished)  # long before the lease has run out
        assert store.refused == 3
        assert (await thread_row(app, "t")).tries == 0


# --- draining ------------------------------------------------------------------------------------------------------


async def test_a_drained_worker_finishes_its_steps_and_says_what_it_gave_back() -> None:
    crowd = Crowd()
    async with open_test_app(graphs=[crowd.graph(), chain(nothing, name="quick")], settings=QUICK) as app:
        for name in ("a", "b"):
            await app.start("g", {"data": name}, thread=name)
        await until(lambda: len(crowd.now) == 2)
        draining = asyncio.ensure_future(app.drain(5))
        await asyncio.sleep(0.05)
        await app.start("quick", {}, thread="new")
        await asyncio.sleep(0.1)
        crowd.gate.set()
        found = await draining
        assert (found.back, found.cut, found.kept) == (("a", "b"), (), ())
        for name in ("a", "b"):
            row = await thread_row(app, name)
            assert (row.owner, row.lease_until) == ("", 0)
            assert (await kinds(app, name)).count("step.finished") == 1
        assert (await thread_row(app, "new")).epoch == 0, "nothing new is taken"


async def test_a_step_that_takes_too_long_is_cut_off_and_its_lease_given_back() -> None:
    crowd, stubborn = Crowd(), Crowd()

    async def swallows(state: Work, ctx: Context) -> dict[str, Any]:
        while not stubborn.gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stubborn.node(state, ctx)
        return {}

    graphs = [crowd.graph(), chain(swallows, name="stubborn")]
    async with open_test_app(graphs=graphs, settings=QUICK) as app:
        await app.start("g", {"data": "a"}, thread="a")
        await app.start("stubborn", {"data": "b"}, thread="b")
        await until(lambda: crowd.now and stubborn.now)
        begun = asyncio.get_running_loop().time()
        found = await app.drain(1.0)
        assert asyncio.get_running_loop().time() - begun < 1.5
        assert (found.back, found.cut, found.kept) == ((), ("a", "b"), ())
        for name in ("a", "b"):
            row = await thread_row(app, name)
            assert (row.owner, row.tries) == ("", 0)
            assert row.wake_at is not None
            assert (await kinds(app, name))[-1] == "decision", "a step that is cut off says nothing"
        assert crowd.now == []
        stubborn.gate.set()


async def test_a_thread_that_ends_or_pauses_while_its_worker_drains_is_not_called_given_back() -> None:
    crowd = Crowd()

    async def asks(state: Work, ctx: Context) -> dict[str, Any]:
        await crowd.node(state, ctx)
        return {"log": [(await ctx.review("Go on?")).decision]}

    async def last(state: Work, ctx: Context) -> dict[str, Any]:
        return await crowd.node(state, ctx)

    graphs = [chain(asks), chain(last, name="ends")]
    async with open_test_app(graphs=graphs, settings=QUICK) as app:
        await app.start("g", {"data": "a"}, thread="a")
        await app.start("ends", {"data": "b"}, thread="b")
        await until(lambda: len(crowd.now) == 2)
        draining = asyncio.ensure_future(app.drain(5))
        await asyncio.sleep(0.05)
        crowd.gate.set()
        found = await draining
        assert (found.back, found.cut, found.kept) == ((), (), ())
        assert {row.thread: row.status for row in await app.threads()} == {"a": "waiting", "b": "finished"}


# --- hearing -------------------------------------------------------------------------------------------------------


class Deaf(SqliteStore):
    """Nothing is ever heard."""

    async def hear(
        self, worker: str, graphs: Sequence[str], heard: Callable[[str], None], poll: float
    ) -> None:
        await asyncio.get_running_loop().create_future()


class Chatty(SqliteStore):
    """Everything is heard three times, and what never happened too."""

    async def hear(
        self, worker: str, graphs: Sequence[str], heard: Callable[[str], None], poll: float
    ) -> None:
        def thrice(thread: str) -> None:
            for _ in range(3):
                heard(thread)
            heard("t")
            heard("nobody")

        await super().hear(worker, graphs, thrice, poll)


class Broken(SqliteStore):
    """Hearing breaks, again and again; or it ends as if that were all."""

    asked = 0

    async def hear(
        self, worker: str, graphs: Sequence[str], heard: Callable[[str], None], poll: float
    ) -> None:
        self.asked += 1
        if self.asked == 1:
            raise StoreUnavailable("the line was cut")
        if self.asked == 2:
            raise ZeroDivisionError
        if self.asked > 3:
            await super().hear(worker, graphs, heard, poll)


@pytest.mark.parametrize("kind", [Deaf, Chatty, Broken])
async def test_lost_and_doubled_wake_ups_do_no_harm(
    kind: type[SqliteStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hearing, "FIRST", 0.01)

    async def asks(state: Work, ctx: Context) -> dict[str, Any]:
        got = await ctx.signal("go")
        return {"log": [got, *(await ctx.run("child", {}))["log"]]}

    async def answers(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": ["child"]}

    graphs = [chain(asks), chain(answers, name="child")]
    path = str(tmp_path / "t.db")
    with caplog.at_level(logging.WARNING, "turnout.worker"):
        async with (
            open_app(kind(path), graphs=graphs, settings=QUICK),
            open_app(f"sqlite:///{path}", graphs=graphs, work=False) as outside,
        ):
            run = await outside.start("g", {}, thread="t")
            assert isinstance(await outside.wait(run, timeout=10), Paused)
            await outside.signal("t", "go", "now")
            outcome = await outside.wait(run, timeout=10)
            assert isinstance(outcome, Finished)
            assert outcome.state.log == ["now", "child"]  # type: ignore[attr-defined]
            found = await kinds(outside, "t")
            assert found.count("run.finished") == 1
            assert found.count("child.ended") == 1
            await asyncio.sleep(0.1)
    said = [record for record in caplog.records if "can't hear" in record.message]
    assert len(said) == (1 if kind is Broken else 0)


async def test_a_thread_that_is_driven_hears_of_an_entry_even_without_a_wake_up(tmp_path: Path) -> None:
    crowd = Crowd()
    path = str(tmp_path / "t.db")
    async with (
        open_app(Deaf(path), graphs=[crowd.graph()], settings=QUICK),
        open_app(f"sqlite:///{path}", graphs=[crowd.graph()], work=False) as outside,
    ):
        run = await outside.start("g", {"data": "t"}, thread="t")
        await until(lambda: crowd.now == ["t"])
        await outside.cancel("t")
        assert isinstance(await outside.wait(run, timeout=10), Cancelled)
