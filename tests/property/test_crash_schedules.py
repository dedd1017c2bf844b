"""Random graphs come to the same end, with the same effects on the world, under any schedule of crashes."""

import asyncio
import sqlite3
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.crashing import CrashingStore
from tests.unit.runs import Work

from turnout import (
    DID_NOT_HAPPEN,
    END,
    App,
    Context,
    Finished,
    Graph,
    Landed,
    Paused,
    Settings,
    approve,
    fan_out,
    parallel,
    rule,
    tool,
)
from turnout import field as state_field
from turnout.errors import ReviewClosed, UnknownThread
from turnout.stores.sqlite import SqliteStore
from turnout.testing import SeededChance, VirtualClock, open_test_app

FAST = Settings(grace=0.02, poll=0.005, signing_key="5a" * 32)
OPS = (
    "read",
    "write",
    "write twice",
    "transact",
    "now",
    "random",
    "uuid",
    "once",
    "review",
    "gather",
    "braid",
    "signal",
)


@dataclass(frozen=True)
class Plan:
    """A graph in short: what each node does, how often the whole is gone through, and the shape of the middle."""

    nodes: tuple[tuple[str, ...], ...]
    rounds: int
    middle: str  # chain | parallel | fan


@dataclass
class World:
    """What the outside sees. It outlives every process."""

    ledger: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)


def build(plan: Plan, world: World) -> Graph:
    @tool(effect="read")
    async def look(what: str) -> str:
        await asyncio.sleep(0)
        return what.upper()

    async def reconcile(what: str, idempotency_key: str) -> Any:
        return Landed(world.keys[idempotency_key]) if idempotency_key in world.keys else DID_NOT_HAPPEN

    @tool(effect="write", reconcile=reconcile)
    async def write(what: str, idempotency_key: str) -> str:
        world.ledger.append(what)
        world.keys[idempotency_key] = f"did {what}"
        await asyncio.sleep(0)
        return f"did {what}"

    @tool(effect="write", transactional=True)
    async def book(what: str, transaction: sqlite3.Connection) -> str:
        transaction.execute("INSERT INTO booked VALUES (?)", (what,))
        await asyncio.sleep(0)
        return f"booked {what}"

    graph = Graph("g", state=Work, tools=[look, write, book])

    async def do(op: str, name: str, ctx: Context) -> list[str]:
        if op == "read":
            return [await ctx.call(look, what=name)]
        if op == "write":
            return [await ctx.call(write, what=name)]
        if op == "write twice":
            return [await ctx.call(write, what=f"{name} again"), await ctx.call(write, what=f"{name} again")]
        if op == "transact":
            return [await ctx.call(book, what=name)]
        if op == "gather":
            return list(
                await asyncio.gather(
                    ctx.call(write, what=f"{name} a"),
                    ctx.call(look, what=f"{name} b"),
                    ctx.call(book, what=f"{name} c"),
                )
            )
        if (
            op == "braid"
        ):  # which of the two writes is asked first differs between the first time and later ones

            async def slowly() -> str:
                await ctx.call(look, what=f"{name} a")
                return await ctx.call(write, what=f"{name} a")

            return list(await asyncio.gather(slowly(), ctx.call(write, what=f"{name} b")))
        if op == "review":
            return [(await ctx.review(f"{name}?", payload={"at": name})).decision]
        if op == "signal":
            return [str(await ctx.signal(f"{ctx.step} {name}"))]
        if op == "once":
            return [await ctx.once("name", lambda: name)]
        await getattr(ctx, op)()
        return []

    def node(index: int, ops: tuple[str, ...], result: Any = None) -> Any:
        async def run(state: Work, ctx: Context) -> Any:
            log = []
            for i, op in enumerate(ops):
                log += await do(op, f"{ctx.step}.{i}.{op}{'' if ctx.item is None else ctx.item}", ctx)
            update = {"log": log}
            return fan_out(f"n{index + 1}", ["x", "y"], update=update) if result == "fan" else update

        return graph.node(run, name=f"n{index}")

    count = len(plan.nodes)
    for index, ops in enumerate(plan.nodes):
        node(index, ops, "fan" if plan.middle == "fan" and index == 0 and count > 2 else None)

    @graph.node
    async def last(state: Work, ctx: Context) -> dict[str, Any]:
        return {"n": 1}

    graph.start("n0")
    split = plan.middle == "parallel" and count > 2
    for index in range(count):
        if split and index == 0:
            graph.edge("n0", parallel(*[f"n{i}" for i in range(1, count)], join="last"))
        else:
            graph.edge(f"n{index}", "last" if split or index == count - 1 else f"n{index + 1}")
    graph.route(last, [rule("done", state_field("n") >= plan.rounds, to=END)], default="n0")
    return graph.build()


async def play(app: App) -> Any:
    """What the outside does: sends the input (again), approves what is asked, signals what is awaited."""
    run = await app.start("g", {}, thread="t", idempotency_key="one")
    while True:
        outcome = await app.wait(run, timeout=20)
        if not isinstance(outcome, Paused) or outcome.divergence is not None:
            return outcome
        for review in outcome.reviews:
            try:
                await app.resolve(review, approve(by="dana"))
            except ReviewClosed:
                pass
        for name in outcome.signals:
            await app.signal("t", name, "yes", idempotency_key=name)


async def kill() -> None:
    """Nothing of a dead process goes on."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.sleep(0)


async def life(plan: Plan, crashes: list[tuple[int, bool]]) -> tuple[Any, list[str], int]:
    """The outcome, the world's ledger, and how many appends the last process made."""
    inner, clock, world = SqliteStore(":memory:"), VirtualClock(), World()
    async with inner.transaction() as tx:
        tx.connection.execute("CREATE TABLE booked (what TEXT)")
    for number, (at, after) in enumerate([*crashes, (0, False)]):
        store: Any = CrashingStore(inner, at, after=after)
        app = open_test_app(
            store, graphs=[build(plan, world)], clock=clock, chance=SeededChance(number), settings=FAST
        )
        await app.__aenter__()
        playing = asyncio.ensure_future(play(app))
        dying = asyncio.ensure_future(store.crashed.wait())
        await asyncio.wait([playing, dying], return_when=asyncio.FIRST_COMPLETED)
        if playing.done():
            outcome = playing.result()
            await app.close()
            await kill()
            break
        await kill()
        await clock.advance(60)  # past the dead worker's lease
    else:
        raise AssertionError("the last process never crashes")
    async with open_test_app(inner, graphs=[build(plan, world)], clock=clock, settings=FAST) as app:
        verified = await app.verify("t")
        assert verified.ok, verified.problems
        replayed = await app.replay("t")
        assert replayed.identical, replayed.divergence
        async with inner.transaction() as tx:
            booked = [f"booked {what}" for (what,) in tx.connection.execute("SELECT what FROM booked")]
    return outcome, sorted(world.ledger + booked), store.appends


async def compare(plan: Plan, crashes: list[tuple[int, bool]]) -> None:
    expected, ledger, _ = await life(plan, [])
    assert isinstance(expected, Finished), expected
    actual, crashed_ledger, _ = await life(plan, crashes)
    assert isinstance(actual, Finished), actual
    assert actual.state == expected.state
    assert crashed_ledger == ledger


plans = st.builds(
    Plan,
    nodes=st.lists(st.lists(st.sampled_from(OPS), max_size=3).map(tuple), min_size=1, max_size=4).map(tuple),
    rounds=st.integers(1, 2),
    middle=st.sampled_from(["chain", "parallel", "fan"]),
)
schedules = st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans, schedules)
def test_a_random_graph_comes_to_the_same_end_under_any_schedule_of_crashes(
    plan: Plan, crashes: list[tuple[int, bool]]
) -> None:
    asyncio.run(compare(plan, crashes))


RICH = Plan(
    (("write", "read"), ("review", "write twice", "now", "transact"), ("gather", "braid", "signal")),
    1,
    "chain",
)


@pytest.mark.parametrize("middle", ["chain", "parallel", "fan"])
@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_every_single_append_changes_nothing(middle: str, after: bool) -> None:
    plan = Plan(RICH.nodes, 1, middle)
    expected, ledger, appends = await life(plan, [])
    assert isinstance(expected, Finished)
    assert appends > 8
    for at in range(1, appends + 1):
        actual, crashed_ledger, _ = await life(plan, [(at, after)])
        assert isinstance(actual, Finished), (at, actual)
        assert actual.state == expected.state, at
        assert crashed_ledger == ledger, at


async def test_the_crashes_are_real() -> None:
    """The harness itself: a crash before the append loses it, one after keeps it."""
    for after in (False, True):
        inner = SqliteStore(":memory:")
        store: Any = CrashingStore(inner, 1, after=after)
        graph = build(RICH, World())
        app = open_test_app(store, graphs=[graph], settings=FAST)
        await app.__aenter__()
        starting = asyncio.ensure_future(app.start("g", {}, thread="t"))
        await store.crashed.wait()
        assert not starting.done()
        await kill()
        async with open_test_app(inner, graphs=[graph], work=False) as later:
            if after:
                assert [e.kind for e in await later.entries("t")] == ["input.received"]
            else:
                with pytest.raises(UnknownThread):
                    await later.entries("t")
