"""Random threads go through export, import and export again: the second file is the first, but for its header."""

import asyncio
import io
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.test_crash_schedules import FAST, OPS, Plan, World, build, kill

from turnout import App, approve, reject
from turnout.errors import Conflict, UnknownRun
from turnout.stores.sqlite import SqliteStore
from turnout.testing import SeededChance, VirtualClock, open_test_app

NAMES = st.sampled_from(["a", "b", "c"])
DOINGS = st.one_of(
    st.tuples(st.sampled_from(["start", "answer", "refuse", "cancel", "aside"]), NAMES, st.just(0.0)),
    st.tuples(st.just("fork"), NAMES, st.floats(0, 1)),
)


WAITING = st.builds(
    Plan,
    nodes=st.lists(
        st.lists(st.sampled_from([*OPS, *["review", "signal"] * 4]), max_size=3).map(tuple),
        min_size=1,
        max_size=4,
    ).map(tuple),
    rounds=st.integers(1, 2),
    middle=st.sampled_from(["chain", "parallel", "fan"]),
)
"""Graphs that often wait for somebody."""


async def do(app: App, clock: VirtualClock, what: str, name: str, share: float, number: int) -> None:
    """Something that people do to a thread. What isn't allowed at that moment isn't done."""
    row = await app.store.thread(name)
    if what == "start" or row is None:
        await app.start("g", {}, thread=name, idempotency_key=f"{name} {number}", by="ada")
    elif what == "cancel":
        try:
            await app.cancel(name, by="eve")
        except UnknownRun:
            pass
    elif what == "aside":
        await app.set_aside(name, "it rings")
    elif what == "fork":
        await app.fork(name, at=1 + int(share * (row.head - 1)), name=f"{name}-{number}")
    else:
        view = await app.view(name)
        steps = view.run.steps.values() if view.run else ()
        for review in await app.reviews(thread=name):
            try:
                await app.resolve(review, approve(by="dana") if what == "answer" else reject(by="dana"))
            except Conflict:
                pass
        for effect in [
            x for s in steps for x in s.effects.values() if x.kind == "signal" and x.status == "waiting"
        ]:
            await app.signal(
                name, effect.name, {"long": "word " * 300}, idempotency_key=f"{effect.name} {number}"
            )
    await clock.settle()


async def live(plan: Plan, doings: list[Any], clock: VirtualClock) -> SqliteStore:
    store = SqliteStore(":memory:")
    app = open_test_app(
        store, graphs=[build(plan, World())], clock=clock, chance=SeededChance(7), settings=FAST
    )
    await app.__aenter__()
    for number, (what, name, share) in enumerate(doings):
        await do(app, clock, what, name, share, number)
    await kill()  # the process dies; the data stays
    return store


async def through_the_file(plan: Plan, doings: list[Any]) -> None:
    clock = VirtualClock()
    old, new = await live(plan, doings, clock), SqliteStore(":memory:")
    async with open_test_app(
        old, graphs=[build(plan, World())], clock=clock, settings=FAST, work=False
    ) as app:
        expected = [(await app.replay(row.thread)).identical for row in await app.threads()]
        head, first = await app.head(), io.BytesIO()
        await app.export_to(first, move=True)
    async with open_test_app(
        new, graphs=[build(plan, World())], clock=clock, settings=FAST, work=False
    ) as app:
        imported = await app.import_from(io.BytesIO(first.getvalue()))
        assert imported.ok
        verified = await app.verify(against=head)
        assert verified.ok, verified.problems
        assert [(await app.replay(row.thread)).identical for row in await app.threads()] == expected
        assert all(expected)
        again = await app.import_from(io.BytesIO(first.getvalue()))
        assert (again.new, again.continued, again.entries) == (0, 0, 0)
        second = io.BytesIO()
        await app.export_to(second, move=True)
    lines = [data.getvalue().splitlines() for data in (first, second)]
    assert lines[0][1:-1] == lines[1][1:-1]
    headers = [json.loads(found[0]) for found in lines]
    assert {**headers[0], "export": "", "at": 0} == {**headers[1], "export": "", "at": 0}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(WAITING, st.lists(DOINGS, min_size=1, max_size=8))
def test_what_goes_into_a_file_comes_out_of_it(plan: Plan, doings: list[Any]) -> None:
    asyncio.run(through_the_file(plan, doings))
