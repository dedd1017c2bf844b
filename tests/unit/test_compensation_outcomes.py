"""Compensations that aren't sure: what a person approves, what fails, and what became of a write that may have landed."""

import asyncio
from typing import Any

import pytest
from tests.unit.runs import proven, until
from tests.unit.trips import Travel, outcomes, trip

from turnout import (
    CANNOT_TELL,
    DID_NOT_HAPPEN,
    Cancelled,
    DidNotHappen,
    Failed,
    Landed,
    Paused,
    approve,
    did_not_happen,
    landed,
    reject,
)
from turnout.testing import VirtualClock, open_test_app


@pytest.mark.parametrize("yes", [True, False])
async def test_a_person_approves_before_when_the_graph_says_so(yes: bool):
    world = Travel()
    async with open_test_app(graphs=[trip(world, "train", compensate_review=["ops"])]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        [review] = paused.reviews
        assert (review.question, review.purpose, review.roles) == (
            "Undo book_train?",
            "compensation",
            ("ops",),
        )
        assert review.payload == {
            "write": "book_train", "arguments": {"place": "Graz"}, "result": "train-Graz", "compensation": "cancel_train",
            "because": "the run failed: RuntimeError: no seats left",
        }  # fmt: skip
        decide = approve if yes else reject
        await app.resolve(review, decide(by="dana", roles=["ops"]))
        failed = await app.wait("t/1")
        assert outcomes(failed) == [("book_train", "compensated" if yes else "landed")]
        assert len(world.log) == (2 if yes else 1)
        await proven(app)


@pytest.mark.parametrize(
    ("judgement", "outcome", "calls"),
    [
        (approve(by="dana"), "compensated", 2),
        (landed(by="dana"), "compensated", 1),
        (reject(by="dana"), "landed", 1),
    ],
)
async def test_a_compensation_that_fails_goes_to_a_person(judgement: Any, outcome: str, calls: int):
    world = Travel()
    world.fail = [DidNotHappen("they are closed")]
    async with open_test_app(graphs=[trip(world, "train", "hotel")]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        [review] = paused.reviews
        assert review.purpose == "compensation"
        assert review.allowed == ("approve", "landed", "reject")
        assert "they are closed" in review.payload["problem"]
        assert (await app.view("t")).status == "waiting"
        steps = {step.id: step for step in (await app.explain("t")).steps}
        assert steps["undo:1"].waits_for == (f"review {review.id}",)
        await app.resolve(review, judgement)
        failed = await app.wait("t/1")
        assert isinstance(failed, Failed)
        assert outcomes(failed) == [
            ("book_train", "compensated"),
            ("book_hotel", outcome),
        ]  # the others go on
        assert len(world.keys) == calls + 1
        found = [(x.write, x.outcome) for x in (await app.explain("t")).compensations]
        assert found == [
            ("book_hotel", "left" if outcome == "landed" else outcome),
            ("book_train", "compensated"),
        ]
        await proven(app)


async def test_an_unknown_compensation_is_sent_again_with_its_key():
    world, clock = Travel(), VirtualClock()
    world.fail = [ConnectionError("the line is dead")]
    async with open_test_app(graphs=[trip(world, "train")], clock=clock) as app:
        run = await app.start("g", {}, thread="t")
        await clock.advance(600)
        assert outcomes(await app.wait(run)) == [("book_train", "compensated")]
        assert len(world.keys) == 2
        assert len(set(world.keys)) == 1
        await proven(app)


@pytest.mark.parametrize(
    ("said", "outcome", "undone"),
    [(Landed("train-Graz"), "compensated", True), (DID_NOT_HAPPEN, "did_not_happen", False)],
)
async def test_a_write_of_unknown_outcome_is_looked_into_first(said: Any, outcome: str, undone: bool):
    world, clock = Travel(), VirtualClock()
    world.lost = "train"
    world.said = [CANNOT_TELL, CANNOT_TELL, CANNOT_TELL, said]
    async with open_test_app(
        graphs=[trip(world, "train", tools={"train": world.write("train", reconcile=True)})], clock=clock
    ) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: len(world.said) == 3, clock)  # it was asked once, and waits
        await app.cancel("t")
        await clock.advance(600)
        assert outcomes(await app.wait(run)) == [("book_train", outcome)]
        assert world.log[0] == "train Graz"
        assert world.log[1:] == (["undo train Graz train-Graz"] if undone else [])
        await proven(app)


@pytest.mark.parametrize("yes", [True, False])
async def test_a_person_says_what_became_of_a_write_before_it_is_undone(yes: bool):
    world = Travel()
    world.lost = "train"
    async with open_test_app(graphs=[trip(world, "train")]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        await app.cancel("t")
        async with asyncio.timeout(10):
            while not (open_ones := [r for r in await app.reviews() if r.id != paused.reviews[0].id]):
                await asyncio.sleep(0.01)
        [review] = open_ones
        assert review.purpose == "outcome"
        await app.resolve(review, landed("train-Graz", by="dana") if yes else did_not_happen(by="dana"))
        cancelled = await app.wait("t/1")
        assert isinstance(cancelled, Cancelled)
        assert outcomes(cancelled) == [("book_train", "compensated" if yes else "did_not_happen")]
        assert len(world.log) == (2 if yes else 1)
        [first, *_] = (await app.explain("t")).calls
        assert first.outcome == ("landed" if yes else "did_not_happen")
        await proven(app)
