"""Promise 7: a pause holds nothing."""

import asyncio
import gc
import sys
import threading
from types import CoroutineType

from pydantic import BaseModel
from tests.promises.bench import app_on, finish

from turnout import END, Finished, Graph, Paused, approve
from turnout.runtime.journal import Journal
from turnout.runtime.loop import Driver
from turnout.runtime.step import Scope
from turnout.testing import VirtualClock

STORE = ("turnout-writer", "turnout-reader")  # the store has two threads of its own, made when first needed


class S(BaseModel):
    way: str = "review"
    out: str = ""


desk = Graph("desk", state=S)


@desk.node
async def wait_for_it(state: S, ctx):
    if state.way == "review":
        return {"out": (await ctx.review("ok?")).decision}
    if state.way == "signal":
        return {"out": await ctx.signal("go")}
    await ctx.sleep(60 * 60 * 24 * 90.0)
    return {"out": "slept"}


desk.start(wait_for_it)
desk.edge(wait_for_it, END)


def held():
    """What the process holds of running threads: objects of the runtime, and coroutines of the node."""
    gc.collect()
    objects = gc.get_objects()
    coroutines = [x for x in objects if type(x).__name__ == "coroutine" and x.__name__ == "wait_for_it"]
    return {kind.__name__: sum(type(x) is kind for x in objects) for kind in (Driver, Journal, Scope)} | {
        "coroutines": len(coroutines),
        "tasks": len(asyncio.all_tasks()),
        "threads": len([t for t in threading.enumerate() if not t.name.startswith(STORE)]),
    }


async def test_five_hundred_paused_threads_hold_no_task_and_no_object(tmp_path):
    async with app_on(tmp_path / "t.db", desk) as app:
        await app.run(desk, {}, thread="first")  # everything is warm
        await asyncio.sleep(0.02)
        before = held()
        ways = ["review", "signal", "sleep"]
        for n in range(500):
            await app.start(desk, {"way": ways[n % 3]}, thread=f"t{n}")
        async with asyncio.timeout(60):
            while len(await app.threads(status="waiting", limit=1000)) < 501 or app.worker.busy:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)
        assert held() == before
        rows = await app.threads(limit=1000)
        assert {(row.owner, row.lease_until) for row in rows} == {("", 0)}
        due = [row.wake_at for row in rows if row.thread != "first"]
        assert (
            sum(wake is None for wake in due) == 334
        )  # only sleepers are ever looked at again by themselves

        [review] = await app.reviews(thread="t0")
        await app.resolve(review, approve(by="dana"))
        await app.signal("t1", "go", "now")
        assert (await finish(app, "t0/1")).state.out == "approve"
        assert (await finish(app, "t1/1")).state.out == "now"


async def test_a_paused_thread_has_given_its_lease_back(tmp_path):
    async with app_on(tmp_path / "t.db", desk) as app:
        await app.start(desk, {}, thread="t")
        async with asyncio.timeout(5):
            while (await app.threads())[0].status != "waiting" or app.worker.busy:
                await asyncio.sleep(0.005)
        [row] = await app.threads()
        assert (row.owner, row.lease_until, row.wake_at) == ("", 0, None)


async def test_a_pause_outlives_the_process(tmp_path):
    async with app_on(tmp_path / "t.db", desk) as app:
        await app.start(desk, {}, thread="t")
        assert isinstance(await finish(app), Paused)
    async with app_on(tmp_path / "t.db", desk) as app:
        [review] = await app.reviews()
        await app.resolve(review, approve(by="dana"))
        assert isinstance(await finish(app), Finished)


async def test_months_pass_on_a_virtual_clock_and_a_timer_still_fires(tmp_path):
    clock = VirtualClock()
    async with app_on(tmp_path / "t.db", desk, clock=clock) as app:
        run = await app.start(desk, {"way": "sleep"}, thread="t")
        for _ in range(200):
            await clock.settle()
            if (await app.threads())[0].status == "waiting" and not app.worker.busy:
                break
            await asyncio.sleep(0.005)
        await clock.advance(days=89)
        assert (await app.threads())[0].status == "waiting"
        await clock.advance(days=2)
        assert (await app.wait(run, timeout=10)).state.out == "slept"


async def test_an_app_without_a_worker_can_resolve_what_waits(tmp_path):
    """The pause needs nothing of the process that made it: another one records the decision, a third goes on."""
    async with app_on(tmp_path / "t.db", desk) as app:
        await app.start(desk, {}, thread="t")
        await finish(app)
    async with app_on(tmp_path / "t.db", desk, work=False) as app:
        [review] = await app.reviews()
        await app.resolve(review, approve(by="dana"))
        assert app.worker is None
    async with app_on(tmp_path / "t.db", desk) as app:
        assert isinstance(await finish(app), Finished)


def _ours(thing: object) -> bool:
    """What a held thread would consist of: objects of Turnout's, coroutines, tasks and futures."""
    kind = type(thing)
    return str(kind.__module__).startswith("turnout") or isinstance(thing, CoroutineType | asyncio.Future)


async def test_what_a_paused_thread_costs_in_memory_does_not_grow_with_their_number(tmp_path):
    async with app_on(tmp_path / "t.db", desk) as app:
        sizes = []
        for block in range(3):
            for n in range(60):
                await app.start(desk, {}, thread=f"b{block}.{n}")
            async with asyncio.timeout(30):
                while (
                    len(await app.threads(status="waiting", limit=1000)) < 60 * (block + 1) or app.worker.busy
                ):
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.02)
            gc.collect()
            sizes.append(sum(map(_ours, gc.get_objects())))
        assert sizes[2] - sizes[1] < 60, f"objects after 60, 120, 180 paused threads: {sizes} ({sys.version})"
