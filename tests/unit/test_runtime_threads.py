"""Child threads, and many runs on one thread."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import Cancelled, Context, Failed, Finished, Graph, Paused, Settings, approve, open_app, tool
from turnout.core.entries import Draft, ErrorInfo, InputReceived
from turnout.errors import ChildFailed, InputInvalid, KeyReused, ThreadBusy
from turnout.ports.rows import RunRow
from turnout.runtime.calls import raised
from turnout.runtime.outside import append_outside
from turnout.stores.sqlite import SqliteStore
from turnout.testing import open_test_app

# --- children ------------------------------------------------------------------------------------------------------


async def helper(state: Work, ctx: Context) -> dict[str, Any]:
    kind = (state.data or {}).get("kind")
    if kind == "fails":
        raise ValueError("the child broke")
    if kind == "asks":
        decision = await ctx.review("child asks?")
        return {"log": [decision.decision]}
    if kind == "hangs":
        await ctx.once("for ever", asyncio.sleep, 60)
    return {"n": 5}


def parent_of(*inputs: dict[str, Any], catch: bool = False) -> list[Graph]:
    async def parent(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            got = await asyncio.gather(*(ctx.run("child", given) for given in inputs))
        except ChildFailed as error:
            if not catch:
                raise
            return {"log": [f"{type(error).__name__} {error.cause}"]}
        return {"data": [[child["n"], child["log"]] for child in got]}

    return [chain(parent), chain(helper, name="child")]


async def child_threads(app: Any) -> list[str]:
    return [row.thread for row in await app.threads(graph="child")]


async def test_a_child_gives_its_final_state_and_has_a_journal_of_its_own() -> None:
    async with open_test_app(graphs=parent_of({})) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.data == [[5, []]]  # type: ignore[attr-defined]
        [child] = await child_threads(app)
        assert child.startswith("t/1.parent.1.")
        for thread in ("t", child):
            await proven(app, thread)


async def test_two_children_run_at_once_even_with_the_same_input() -> None:
    async with open_test_app(graphs=parent_of({}, {}, {"data": {"kind": "none"}})) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert len(await child_threads(app)) == 3
        await proven(app)


@pytest.mark.parametrize("catch", [False, True])
async def test_a_child_that_fails_raises_child_failed(catch: bool) -> None:
    async with open_test_app(graphs=parent_of({"data": {"kind": "fails"}}, catch=catch)) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        if catch:
            assert isinstance(ended, Finished)
            assert ended.state.log == ["ChildFailed ValueError"]  # type: ignore[attr-defined]
        else:
            assert isinstance(ended, Failed)
            assert ended.error.type == "ChildFailed"
            assert "the child broke" in ended.error.message
        await proven(app)


async def test_a_child_whose_input_does_not_fit_fails_and_does_not_hang() -> None:
    async with open_test_app(graphs=parent_of({"nonsense": 1})) as app:
        ended = await app.wait(await app.start("g", {}, thread="t"), timeout=5)
        assert isinstance(ended, Failed)
        assert "nonsense" in ended.error.message


async def test_a_child_of_a_graph_that_nobody_has_waits_says_so_and_goes_on_when_somebody_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That a worker was started without a graph must not fail a run for good."""

    async def parent(state: Work, ctx: Context) -> None:
        await ctx.run("elsewhere", {})

    async def child(state: Work, ctx: Context) -> None:
        return None

    store = f"sqlite:///{tmp_path / 't.db'}"
    async with open_test_app(store, graphs=[chain(parent)]) as app:
        run = await app.start("g", {}, thread="t")
        with pytest.raises(TimeoutError):
            await app.wait(run, timeout=0.5)
    assert "waits for a worker that has graph 'elsewhere'" in caplog.text
    async with open_test_app(store, graphs=[chain(parent), chain(child, name="elsewhere")]) as app:
        assert isinstance(await app.wait(run, timeout=5), Finished)


async def test_a_child_that_asks_a_person_lets_its_parent_wait_and_go_on() -> None:
    async with open_test_app(graphs=parent_of({"data": {"kind": "asks"}})) as app:
        run = await app.start("g", {}, thread="t")
        for _ in range(400):
            if reviews := await app.reviews():
                break
            await asyncio.sleep(0.005)
        [review] = reviews
        assert review.thread != "t"
        await app.resolve(review, approve(by="dana"))
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert done.state.data == [[0, ["approve"]]]  # type: ignore[attr-defined]
        await proven(app)


@pytest.mark.parametrize("kind", ["asks", "hangs"])
async def test_a_cancel_reaches_down_to_the_child(kind: str) -> None:
    async with open_test_app(graphs=parent_of({"data": {"kind": kind}})) as app:
        run = await app.start("g", {}, thread="t")
        for _ in range(400):
            threads = await child_threads(app)
            if threads and "decision" in await kinds(app, threads[0]):
                break
            await asyncio.sleep(0.005)
        await app.cancel("t", by="dana")
        assert isinstance(await app.wait(run, timeout=5), Cancelled)
        [child] = await child_threads(app)
        assert isinstance(await app.wait(f"{child}/1", timeout=5), Cancelled)
        assert await app.reviews(status="open") == []
        await proven(app)
        await proven(app, child)


@pytest.mark.parametrize("kind", ["asks", "hangs"])
async def test_a_cancel_that_comes_while_a_child_is_being_started_reaches_it(kind: str) -> None:
    async with open_test_app(graphs=parent_of({"data": {"kind": kind}})) as app:
        start_child, started, go_on = app._world.start_child, asyncio.Event(), asyncio.Event()
        assert start_child is not None

        async def slowly(child: str, given: Any) -> None:
            await start_child(child, given)
            started.set()
            await go_on.wait()

        object.__setattr__(app._world, "start_child", slowly)
        run = await app.start("g", {}, thread="t")
        await started.wait()
        await app.cancel("t", by="dana")
        await asyncio.sleep(0.05)
        go_on.set()
        assert isinstance(await app.wait(run, timeout=20), Cancelled)
        [child] = await child_threads(app)
        assert isinstance(await app.wait(f"{child}/1", timeout=20), Cancelled)
        await proven(app)
        await proven(app, child)


@pytest.mark.parametrize("kind", ["asks", "hangs"])
async def test_a_cancel_reaches_the_child_in_whatever_moment_it_comes(kind: str) -> None:
    """Also as the child is being started, and as the parent comes to rest to wait for it."""
    for turns in range(40):
        async with open_test_app(graphs=parent_of({"data": {"kind": kind}})) as app:
            run = await app.start("g", {}, thread="t")
            for _ in range(turns):
                await asyncio.sleep(0)
            await app.cancel("t", by="dana")
            assert isinstance(await app.wait(run, timeout=20), Cancelled), turns
            for child in await child_threads(app):
                assert isinstance(await app.wait(f"{child}/1", timeout=20), Cancelled), turns
            assert await app.reviews(status="open") == [], turns


async def test_a_child_of_a_child_gives_its_result_up() -> None:
    async def top(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": (await ctx.run("middle", {}))["n"] + 1}

    async def middle(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": (await ctx.run("child", {}))["n"] + 1}

    async with open_test_app(
        graphs=[chain(top), chain(middle, name="middle"), chain(helper, name="child")]
    ) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.n == 7  # type: ignore[attr-defined]


async def other_name(**parent: Any) -> str:
    """What the child of that parent is called, from somebody's own store: nothing secret goes into it."""
    async with open_test_app(graphs=parent_of({})) as own:
        await own.run("g", {}, thread="t", **parent)
        [child] = await child_threads(own)
        return child


@pytest.mark.parametrize("kind", ["ends", "asks"])
@pytest.mark.parametrize(("tenant", "stranger"), [("acme", "evil"), ("", "")])
async def test_a_thread_that_somebody_else_put_in_the_place_of_a_child_is_not_taken_for_it(
    tenant: str, stranger: str, kind: str
) -> None:
    """Its state would be taken for the child's result, in another tenant's run."""
    child = await other_name(tenant=tenant)
    async with open_test_app(graphs=parent_of({})) as app:
        theirs = await app.start("child", {"data": {"kind": kind}}, thread=child, tenant=stranger)
        before = await app.wait(theirs, timeout=5)
        ended = await app.wait(await app.start("g", {}, thread="t", tenant=tenant), timeout=5)
        assert isinstance(ended, Failed)
        assert ended.error.type == "ChildFailed"
        assert "Conflict" in ended.error.message
        assert child in ended.error.message
        assert type(await app.wait(theirs, timeout=5)) is type(before)
        assert "cancel.requested" not in await kinds(app, child)
        await proven(app)


async def test_a_thread_that_took_the_name_of_a_child_is_not_cancelled_with_the_parent() -> None:
    """As when the parent's worker stopped between putting the child on record and starting it."""
    child, started = await other_name(), asyncio.Event()

    async def lost(child: str, given: Any) -> None:
        started.set()

    async with open_test_app(graphs=parent_of({})) as app:
        object.__setattr__(app._world, "start_child", lost)
        await app.start("child", {"data": {"kind": "asks"}}, thread=child)
        assert isinstance(await app.wait(f"{child}/1", timeout=5), Paused)
        run = await app.start("g", {}, thread="t")
        await started.wait()
        await app.cancel("t")
        assert isinstance(await app.wait(run, timeout=20), Cancelled)
        assert "cancel.requested" not in await kinds(app, child)


async def test_a_fork_that_took_the_name_of_a_child_is_not_taken_for_it() -> None:
    """Its first entry is that of the thread that it was made from, maybe of another child with the same input."""
    graphs = parent_of({}, {})
    async with open_test_app(graphs=graphs) as own:
        await own.run("g", {}, thread="t")
        first, second = await child_threads(own)

    async with open_test_app(graphs=graphs) as app:
        start_child, started = app._world.start_child, asyncio.Event()
        assert start_child is not None

        async def only_one(child: str, given: Any) -> Any:
            if child == first:
                return await start_child(child, given)
            await started.wait()
            return await start_child(child, given)

        object.__setattr__(app._world, "start_child", only_one)
        run = await app.start("g", {}, thread="t")
        while await app.store.thread(first) is None:
            await asyncio.sleep(0.01)
        await app.wait(f"{first}/1", timeout=5)
        await app.fork(first, name=second)
        started.set()
        ended = await app.wait(run, timeout=5)
        assert isinstance(ended, Failed)
        assert second in ended.error.message


# --- conversations ---------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "why", ["CallRefused", "GuardBlocked", "EffectRefused", "BudgetExceeded", "ValueError"]
)
def test_whatever_a_child_died_of_its_parent_is_told_that_the_child_failed(why: str) -> None:
    error = raised("child", "helper", ErrorInfo(why, "no"))
    assert type(error) is ChildFailed
    assert error.cause == why
