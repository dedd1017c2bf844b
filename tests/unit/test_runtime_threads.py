"""Many runs on one thread: their inputs, their order, and what they leave one another."""

import asyncio
import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.postgres import fresh_database
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import Cancelled, Context, Failed, Finished, Paused, Settings, open_app, tool
from turnout.core.entries import Draft, InputReceived
from turnout.errors import InputInvalid, KeyReused, ThreadBusy
from turnout.ports.rows import RunRow
from turnout.runtime.outside import append_outside
from turnout.service import starting
from turnout.stores.sqlite import SqliteStore
from turnout.testing import open_test_app


async def answer(state: Work, ctx: Context) -> dict[str, Any]:
    if (state.data or {}).get("ask"):
        await ctx.review("ok?")
    return {"n": 1, "log": [f"answer {len(state.log)}"]}


async def test_many_runs_on_a_thread_carry_the_state_over() -> None:
    async with open_test_app(graphs=[chain(answer)]) as app:
        for i in range(1, 6):
            run = await app.start("g", {"log": [f"question {i}"]}, thread="t")
            assert run.number == i
            done = await app.wait(run, timeout=5)
            assert isinstance(done, Finished)
            assert done.state.n == i  # type: ignore[attr-defined]
        assert len(done.state.log) == 10  # type: ignore[attr-defined]
        early = await app.wait("t/2", timeout=5)
        assert isinstance(early, Finished)
        assert early.state.n == 2  # type: ignore[attr-defined]
        await proven(app)


async def test_a_second_input_waits_is_refused_or_replaces_the_first() -> None:
    async with open_test_app(graphs=[chain(answer)]) as app:
        first = await app.start("g", {"data": {"ask": True}}, thread="t")
        assert isinstance(await app.wait(first, timeout=5), Paused)
        with pytest.raises(ThreadBusy, match="run 1"):
            await app.start("g", {}, thread="t", if_active="refuse")
        queued = await app.start("g", {"data": {}, "log": ["queued"]}, thread="t")
        replacing = await app.start(
            "g", {"data": {}, "log": ["new"]}, thread="t", if_active="replace", by="dana"
        )
        done = await app.wait(replacing, timeout=5)
        assert isinstance(done, Finished)
        assert done.state.log == ["new", "answer 1"]  # type: ignore[attr-defined]
        for run in (first, queued):
            assert isinstance(await app.wait(run, timeout=5), Cancelled)
        await app.start("g", {}, thread="t", if_active="refuse")  # nothing is active now
        await proven(app)


async def test_queued_inputs_run_in_the_order_they_came() -> None:
    async with open_test_app(graphs=[chain(answer)]) as app:
        runs = await asyncio.gather(*(app.start("g", {"log": [f"q{i}"]}, thread="t") for i in range(12)))
        for run in runs:
            assert isinstance(await app.wait(run, timeout=10), Finished)
        by_number = sorted(runs, key=lambda run: run.number)
        assert [run.number for run in by_number] == list(range(1, 13))
        state = await app.state("t")
        assert [line for line in state["log"] if line.startswith("q")] == [
            f"q{runs.index(r)}" for r in by_number
        ]
        await proven(app)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_used_key_with_another_priority_or_moment_is_refused(kind: str) -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    with fresh_database(schema=True) if kind == "postgres" else contextlib.nullcontext("sqlite://") as url:
        async with open_test_app(url, graphs=[chain(answer)], work=False) as app:
            said: list[dict[str, Any]] = [{}, {"priority": 5}, {"at": moment}, {"at": moment, "priority": 5}]
            for n, first in enumerate(said):
                for other in said:
                    sent = {"thread": "t", "idempotency_key": f"k{n}"}
                    made = await app.start("g", {"log": ["q"]}, **sent, **first)
                    if other == first:
                        again = await app.start("g", {"log": ["q"]}, **sent, **other)
                        assert (str(again), again.new) == (str(made), False)
                    else:
                        with pytest.raises(KeyReused, match=f"'k{n}'"):
                            await app.start("g", {"log": ["q"]}, **sent, **other)


async def test_a_key_that_was_used_before_priority_and_moment_counted_stands_for_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_test_app(graphs=[chain(answer)], work=False) as app:
        with monkeypatch.context() as before:
            before.setattr(
                starting,
                "digest_of",
                lambda graph, given, thread, *_: starting.older_digest(graph, given, thread),
            )
            made = await app.start("g", {"log": ["q"]}, thread="t", idempotency_key="k", priority=5)
        again = await app.start("g", {"log": ["q"]}, thread="t", idempotency_key="k", priority=5)
        assert (str(again), again.new) == (str(made), False)
        with pytest.raises(KeyReused):
            await app.start("g", {"log": ["other"]}, thread="t", idempotency_key="k", priority=5)


@pytest.mark.parametrize("thread", ["t", None])
async def test_an_input_sent_twice_with_one_key_is_one_run(thread: str | None) -> None:
    async with open_test_app(graphs=[chain(answer)]) as app:
        runs = await asyncio.gather(
            *(app.start("g", {"log": ["q"]}, thread=thread, idempotency_key="k") for _ in range(8))
        )
        assert len({str(run) for run in runs}) == 1
        assert sum(run.new for run in runs) == 1
        assert isinstance(await app.wait(runs[0], timeout=5), Finished)
        assert (await kinds(app, runs[0].thread)).count("input.received") == 1
        again = await app.start("g", {"log": ["q"]}, thread=thread, idempotency_key="k")
        assert (str(again), again.new) == (str(runs[0]), False)
        with pytest.raises(KeyReused, match="'k'"):
            await app.start("g", {"log": ["other"]}, thread=thread, idempotency_key="k")
        assert (await kinds(app, runs[0].thread)).count("input.received") == 1


async def test_an_input_that_does_not_fit_changes_nothing() -> None:
    async with open_test_app(graphs=[chain(answer)]) as app:
        for bad in ({"nn": 1}, {"n": "x"}, {"data": float("nan")}, {"log": "text"}):
            with pytest.raises(InputInvalid):
                await app.start("g", bad, thread="t")
        assert await app.store.thread("t") is None
        await app.run("g", {}, thread="t")
        before = await kinds(app)
        with pytest.raises(InputInvalid, match=r"did you mean 'n'"):
            await app.start("g", {"nn": 1}, thread="t")
        assert await kinds(app) == before


@pytest.mark.parametrize("name", [".", "..", "..."])
async def test_a_name_of_dots_alone_is_for_nothing_new_and_stays_what_it_was(name: str) -> None:
    """In an address it means another place: no client could have read what it had started there."""
    async with open_test_app(graphs=[chain(answer)]) as app:
        await app.start("g", {}, thread="t")
        for refused in (
            app.start("g", {}, thread=name),
            app.fork("t", name=name),
            app.schedule(name, "g", {}, cron="@daily"),
        ):
            with pytest.raises(InputInvalid, match="dots"):
                await refused
        assert await app.store.thread(name) is None
        given = InputReceived(graph="g", input={})  # as it was taken once
        await append_outside(app.store, app.clock, name, lambda view: [Draft(1, "", given)])
        assert (await app.start("g", {}, thread=name)).number == 2
        assert isinstance(await app.wait(f"{name}/2", timeout=5), Finished)
        await proven(app, name)


async def test_a_thread_stays_with_its_graph() -> None:
    async with open_test_app(graphs=[chain(answer), chain(answer, name="other")]) as app:
        await app.run("g", {}, thread="t")
        with pytest.raises(InputInvalid, match="of graph 'g'"):
            await app.start("other", {}, thread="t")


async def test_a_run_that_failed_leaves_its_state_for_the_next() -> None:
    fail = [True]

    async def first(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": 1}

    async def second(state: Work, ctx: Context) -> dict[str, Any]:
        if fail[0]:
            raise ValueError("not yet")
        return {"log": ["done"]}

    async with open_test_app(graphs=[chain(first, second)]) as app:
        failed = await app.run("g", {}, thread="t")
        assert isinstance(failed, Failed)
        assert failed.state == Work(n=1)
        fail[0] = False
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state == Work(n=2, log=["done"])


async def test_one_graph_object_serves_two_apps_at_once() -> None:
    seen: list[str] = []

    @tool(effect="write")
    async def send(to: str) -> str:
        seen.append(to)
        return to

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"log": [await ctx.call(send, to=ctx.thread)]}

    graph = chain(node, tools=[send])
    async with open_test_app(graphs=[graph]) as one, open_test_app(graphs=[graph]) as two:
        runs = [
            (app, await app.start("g", {}, thread=f"{name}{i}"))
            for app, name in ((one, "a"), (two, "b"))
            for i in range(5)
        ]
        for app, run in runs:
            assert isinstance(await app.wait(run, timeout=5), Finished)
            await proven(app, run.thread)
    assert sorted(seen) == sorted(f"{name}{i}" for name in "ab" for i in range(5))
    await until(lambda: True)


async def test_a_step_knows_which_run_of_its_thread_it_belongs_to() -> None:
    seen: list[tuple[int, str, int]] = []

    async def work(state: Work, ctx: Context) -> None:
        seen.append((ctx.run_number, ctx.step, ctx.attempt))

    async with open_test_app(graphs=[chain(work)]) as app:
        for _ in range(2):
            assert isinstance(await app.run("g", {}, thread="t"), Finished)
    assert seen == [(1, "work.1", 1), (2, "work.1", 1)]


class Untelling(SqliteStore):
    """A store that can't say whether somebody has written, as Postgres: something may always have changed."""

    looks = 0

    def changed(self) -> int:
        self.looks += 1
        return self.looks

    async def runs(self, thread: str) -> list[RunRow]:
        self.asked = getattr(self, "asked", 0) + 1
        return await super().runs(thread)


async def test_who_waits_for_a_run_of_this_process_asks_the_store_only_when_something_came_of_it(
    tmp_path: Path,
) -> None:
    """On a store that can't say whether somebody has written, every waiting caller asked it again and again."""
    go_on = asyncio.Event()

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        await go_on.wait()
        return {}

    store = Untelling(str(tmp_path / "t.db"))
    async with open_app(store, graphs=[chain(work)], settings=Settings(poll=0.01)) as app:
        runs = [await app.start(chain(work).name, {}, thread="t") for _ in range(2)]
        waiting = [asyncio.create_task(app.wait(run)) for run in runs]
        await asyncio.sleep(0.1)
        before = store.asked
        await asyncio.sleep(0.3)
        assert store.asked <= before + 2
        go_on.set()
        async with asyncio.timeout(2):
            assert all(isinstance(outcome, Finished) for outcome in await asyncio.gather(*waiting))


async def test_a_run_that_is_cancelled_but_whose_worker_has_yet_to_stop_it_waits_for_nobody(
    tmp_path: Path,
) -> None:
    """Its worker had failed to write, and had given it back for a while: whoever waited was told that it was paused."""

    async def work(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.signal("never")
        return {}

    url = f"sqlite:///{tmp_path / 't.db'}"
    async with open_app(url, graphs=[chain(work)]) as app:
        run = await app.start(chain(work).name, {}, thread="t")
        assert isinstance(await app.wait(run), Paused)
    async with open_app(url, graphs=[chain(work)], work=False) as app:
        await app.cancel("t")
        now = app._clock.now()
        [lease] = await app.store.claim("worker", now, now + 10**6, 1)
        row = await app.store.thread("t")
        assert row is not None
        assert await app.store.release(lease, row.head, now + 60 * 10**6)
        with pytest.raises(TimeoutError):
            await app.wait(run, timeout=0.3)
    async with open_app(url, graphs=[chain(work)]) as app:
        await app.store.wake(["t"], app._clock.now())
        assert isinstance(await app.wait(run), Cancelled)


async def test_a_second_input_is_checked_although_the_first_has_not_begun() -> None:
    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {}

    app = open_test_app(graphs=[chain(node)], work=False)
    await app.start("g", {"n": 1}, thread="t")
    before = await kinds(app)
    with pytest.raises(InputInvalid):
        await app.start("g", {"nonsense": 1}, thread="t")
    with pytest.raises(InputInvalid):
        await app.start("g", {"n": "many"}, thread="t")
    assert await kinds(app) == before
    await app.close()
