"""A crash at every single append of a run that is undone: everything is undone once, in its order, whatever died when."""

import asyncio
from typing import Any

import pytest
from tests.property.crashing import CrashingStore
from tests.property.test_crash_schedules import FAST, kill
from tests.unit.runs import Work

from turnout import END, App, Context, DidNotHappen, Failed, Graph, Tool, approve, guard, tool
from turnout.stores.sqlite import SqliteStore
from turnout.testing import SeededChance, VirtualClock, open_test_app

NAMES = ("train", "hotel", "tour")
CARD = "4111111111111111"


class Travel:
    """A world that does what it is asked once a key, and keeps what is booked now and in which order things came."""

    def __init__(self, *, closed: bool) -> None:
        self.booked: list[str] = []
        self.log: list[str] = []
        self.keys: dict[str, str] = {}
        self.closed = closed  # the first try to cancel the hotel is refused

    def book(self, name: str, key: str) -> str:
        if key not in self.keys:
            self.keys[key] = f"{name}, card {CARD}"
            self.booked.append(name)
            self.log.append(name)
        return self.keys[key]

    def cancel(self, name: str, result: str, key: str) -> str:
        assert result == f"{name}, card [redacted:card]"
        if self.closed and name == "hotel":
            self.closed = False
            raise DidNotHappen("they are closed")
        if key not in self.keys:
            self.keys[key] = "gone"
            self.booked.remove(name)
            self.log.append(f"undo {name}")
        return self.keys[key]


def built(world: Travel, review: bool) -> Graph:
    def tools(name: str) -> Tool[Any, Any]:
        async def undo(result: str, idempotency_key: str) -> str:
            return world.cancel(name, result, idempotency_key)

        async def book(idempotency_key: str) -> str:
            return world.book(name, idempotency_key)

        undo.__name__, book.__name__ = f"cancel_{name}", f"book_{name}"
        return tool(effect="write", compensate=undo)(book)

    made = {name: tools(name) for name in NAMES}
    graph = Graph("g", state=Work, tools=list(made.values()), together=True, compensate_review=review)

    def booking(name: str) -> Any:
        async def step(state: Work, ctx: Context) -> dict[str, Any]:
            return {"log": [await ctx.call(made[name])]}

        return step

    for name in NAMES:
        graph.node(booking(name), name=name)

    @graph.node
    async def end(state: Work, ctx: Context) -> dict[str, Any]:
        raise RuntimeError("no seats left")

    graph.start(NAMES[0])
    for here, there in zip(NAMES, [*NAMES[1:], end], strict=True):
        graph.edge(here, there)
    graph.edge(end, END)
    return graph


async def play(app: App) -> Any:
    """Start it, unless it was, and say yes to everything, to the end."""
    run = await app.start("g", {}, thread="t", idempotency_key="once")
    while True:
        for review in await app.reviews():
            await app.resolve(review, approve(by="dana"))
        try:
            outcome = await app.wait(run, timeout=0.02)
        except TimeoutError:
            continue
        if isinstance(outcome, Failed):
            return outcome


async def life(
    crashes: list[tuple[int, bool]], *, review: bool = False, closed: bool = False
) -> tuple[Any, Travel, int]:
    """The outcome, the world, and how many appends the last process made."""
    inner, clock, world = SqliteStore(":memory:"), VirtualClock(), Travel(closed=closed)
    guards = [guard("cards", "personal", action="redact")]
    for number, (at, after) in enumerate([*crashes, (0, False)]):
        store: Any = CrashingStore(inner, at, after=after)
        app = open_test_app(
            store,
            graphs=[built(world, review)],
            clock=clock,
            chance=SeededChance(number),
            settings=FAST,
            guards=guards,
        )
        await app.__aenter__()
        playing = asyncio.ensure_future(play(app))
        dying = asyncio.ensure_future(store.crashed.wait())
        while not (playing.done() or store.crashed.is_set()):
            await asyncio.wait([playing, dying], return_when=asyncio.FIRST_COMPLETED, timeout=0.01)
            await clock.advance(1)
        if playing.done():
            outcome = playing.result()
            await app.close()
            await kill()
            break
        await kill()
        await clock.advance(60)  # past the dead worker's lease
    else:
        raise AssertionError("the last process never crashes")
    async with open_test_app(inner, graphs=[built(world, review)], clock=clock, settings=FAST) as app:
        verified = await app.verify("t")
        assert verified.ok, verified.problems
        replayed = await app.replay("t")
        assert replayed.identical, replayed.divergence
    return outcome, world, store.appends


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("review", "closed"), [(False, False), (True, True)])
async def test_a_crash_at_every_append_undoes_everything_once_and_in_order(
    review: bool, closed: bool, after: bool
):
    expected, world, appends = await life([], review=review, closed=closed)
    assert world.booked == []
    assert world.log == ["train", "hotel", "tour", "undo tour", "undo hotel", "undo train"]
    assert appends > 8
    for at in range(1, appends + 1):
        outcome, crashed, _ = await life([(at, after)], review=review, closed=closed)
        assert (crashed.booked, crashed.log) == ([], world.log), at
        assert outcome.writes == expected.writes, at
        assert {write.outcome for write in outcome.writes} == {"compensated"}, at


async def test_two_crashes_in_a_compensation_change_nothing_either():
    _, world, appends = await life([])
    for at in range(6, appends, 3):
        _, crashed, _ = await life([(at, True), (2, False)])
        assert (crashed.booked, crashed.log) == ([], world.log), at
