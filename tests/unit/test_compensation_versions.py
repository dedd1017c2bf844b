"""Compensation in forks, which leave to their parent what it has written, and in new versions of a graph."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runs import proven, until
from tests.unit.trips import Travel, outcomes, trip

from turnout import DID_NOT_HAPPEN, DidNotHappen, Failed, Landed, Paused, Tool, landed, tool
from turnout.testing import VirtualClock, open_test_app


async def test_a_new_version_that_sends_a_write_again_does_not_forget_what_undoes_it(tmp_path: Path):
    world, clock, keys = Travel(), VirtualClock(), []

    def keyed(problem: Exception | None, **options: Any) -> Tool[Any, Any]:
        @tool(effect="write", name="book_train", **options)
        async def book(place: str, idempotency_key: str) -> str:
            keys.append(idempotency_key)
            if problem is not None:
                raise problem
            return f"train-{place}"

        return book

    store = f"sqlite:///{tmp_path / 's.db'}"
    first = keyed(ConnectionError("the line is dead"), compensate=world.write("train").compensate)
    graph = trip(world, "train", tools={"train": first})
    async with open_test_app(store, graphs=[graph], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: keys, clock)
    graph = trip(world, "train", tools={"train": keyed(None)}, together=())
    async with open_test_app(store, graphs=[graph], clock=clock) as app:
        await clock.advance(60)
        paused = await app.wait(run, timeout=5)
        assert isinstance(paused, Paused)
        [review] = paused.reviews
        assert review.question == "book_train could not be undone. What now?"
        await app.resolve(review, landed(by="dana"))
        assert outcomes(await app.wait(run)) == [("book_train", "compensated")]
        assert len(set(keys)) == 1
        await proven(app)


async def test_a_fork_leaves_what_its_parent_has_written_to_the_parent():
    world = Travel()
    async with open_test_app(graphs=[trip(world, "train", "hotel")]) as app:
        assert isinstance(await app.run("g", {"data": "wait"}, thread="t"), Paused)
        hotel = next(x.seq for x in await app.entries("t") if x.kind == "step.finished")
        run = await app.fork("t", at=hotel, name="f")
        await until(lambda: len(world.log) == 3)  # it books a hotel of its own
        async with asyncio.timeout(10):
            while not isinstance(await app.wait(run), Paused):
                pass
        await app.cancel("f")
        cancelled = await app.wait(run)
        assert outcomes(cancelled) == [("book_train", "landed"), ("book_hotel", "compensated")]
        assert world.log == ["train Graz", "hotel Graz", "hotel Graz", "undo hotel Graz hotel-Graz"]
        await proven(app, "f")


@pytest.mark.parametrize("happened", [True, False])
async def test_a_fork_in_the_middle_of_a_write_leaves_that_write_to_its_parent(happened):
    """Both would undo one booking. What the fork books itself it undoes itself."""
    world = Travel()
    train = world.write("train", reconcile=True)
    async with open_test_app(graphs=[trip(world, "train", tools={"train": train})]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Failed)
        assert world.log == ["train Graz", "undo train Graz train-Graz"]
        intended = next(x for x in await app.entries("t") if x.kind == "effect.intended")
        world.said = [Landed("train-Graz") if happened else DID_NOT_HAPPEN]
        failed = await app.wait(await app.fork("t", at=intended.seq, name="f"))
        assert isinstance(failed, Failed)
        assert outcomes(failed) == [("book_train", "landed" if happened else "compensated")]
        own = [x.body for x in (await app.entries("f"))[intended.seq :] if x.kind == "effect.intended"]
        assert intended.body.idempotency_key not in {body.idempotency_key for body in own}
        assert world.log[2:] == ([] if happened else ["train Graz", "undo train Graz train-Graz"])
        await proven(app, "f")


async def test_a_fork_in_the_middle_of_a_compensation_undoes_nothing():
    world = Travel()
    world.fail = [DidNotHappen("closed")]
    async with open_test_app(graphs=[trip(world, "train", "hotel")]) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Paused)
        failed = await app.wait(await app.fork("t", name="f"))
        assert isinstance(failed, Failed)
        assert outcomes(failed) == [("book_train", "landed"), ("book_hotel", "landed")]
        await proven(app, "f")


async def test_a_version_without_the_compensation_asks_a_person(tmp_path: Any):
    world = Travel()
    store = f"sqlite:///{tmp_path}/t.db"
    async with open_test_app(store, graphs=[trip(world, "train")]) as app:
        assert isinstance(await app.run("g", {"data": "wait"}, thread="t"), Paused)

    @tool(effect="write")
    async def book_train(place: str) -> str:
        return ""

    async with open_test_app(
        store, graphs=[trip(world, "train", tools={"train": book_train}, together=())]
    ) as app:
        await app.cancel("t")
        async with asyncio.timeout(10):
            while not (reviews := await app.reviews()):
                await asyncio.sleep(0.01)
        assert "doesn't have 'cancel_train' any more" in reviews[0].payload["problem"]
        await app.resolve(reviews[0], landed(by="dana"))
        assert outcomes(await app.wait("t/1")) == [("book_train", "compensated")]
