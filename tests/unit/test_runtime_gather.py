"""Several effects of one node at once."""

import asyncio
from typing import Any

import pytest
from tests.unit.runs import Work, chain, kinds, proven

from turnout import Context, DidNotHappen, Failed, Finished, Paused, approve, reject, tool
from turnout.errors import ToolFailed
from turnout.testing import open_test_app


async def test_two_reviews_are_asked_at_once_and_answered_in_any_order() -> None:
    async def ask(state: Any, ctx: Context) -> dict[str, Any]:
        first, second = await asyncio.gather(ctx.review("first?"), ctx.review("second?"))
        return {"log": [first.decision, second.decision]}

    async with open_test_app(graphs=[chain(ask)]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        assert {r.question for r in paused.reviews} == {"first?", "second?"}
        by_question = {r.question: r for r in paused.reviews}
        await app.resolve(by_question["second?"], reject(by="dana"))
        still = await app.wait("t/1", timeout=5)
        assert isinstance(still, Paused)
        assert [r.question for r in still.reviews] == ["first?"]
        await proven(app)
        await app.resolve(by_question["first?"], approve(by="dana"))
        done = await app.wait("t/1", timeout=5)
        assert isinstance(done, Finished)
        assert done.state.log == ["approve", "reject"]  # type: ignore[attr-defined]
        assert (await kinds(app)).count("review.requested") == 2
        await proven(app)


async def test_a_write_beside_a_review_in_a_task_group_is_sent_once_and_not_cut_off() -> None:
    sent: list[int] = []

    @tool(effect="write")
    async def send(n: int) -> int:
        await asyncio.sleep(0.05)
        sent.append(n)
        return n

    async def both(state: Any, ctx: Context) -> dict[str, Any]:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(ctx.review("go?"))
            wrote = group.create_task(ctx.call(send, n=5))
        return {"n": wrote.result(), "log": [asked.result().decision]}

    async with open_test_app(graphs=[chain(both, tools=[send])]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        settled = [e.body for e in await app.entries("t") if e.kind == "effect.settled"]
        assert [body.outcome for body in settled] == ["landed"]  # type: ignore[attr-defined]
        await app.resolve(paused.reviews[0], approve(by="dana"))
        done = await app.wait("t/1", timeout=5)
        assert isinstance(done, Finished)
        assert (done.state.n, sent) == (5, [5])  # type: ignore[attr-defined]
        await proven(app)


async def test_what_goes_on_beside_a_wait_may_ask_for_more() -> None:
    @tool(effect="read")
    async def look(n: int) -> int:
        await asyncio.sleep(0.01)
        return n + 1

    async def both(state: Any, ctx: Context) -> dict[str, Any]:
        async def three() -> int:
            n = 0
            for _ in range(3):
                n = await ctx.call(look, n=n)
            return n

        async def quick() -> str:
            return (await ctx.review("go?")).decision

        word, n = await asyncio.gather(quick(), three())
        return {"n": n, "log": [word]}

    async with open_test_app(graphs=[chain(both, tools=[look])]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        assert (await kinds(app)).count("effect.recorded") == 3
        await proven(app)  # an unfinished run: every effect on record is claimed
        await app.resolve(paused.reviews[0], approve(by="dana"))
        done = await app.wait("t/1", timeout=5)
        assert isinstance(done, Finished)
        assert done.state.n == 3  # type: ignore[attr-defined]


async def test_a_gather_whose_first_call_is_not_on_record_still_claims_the_second() -> None:
    """As after a crash in the middle of a gather: replay and adoption must not take that for a divergence."""
    hold = asyncio.Event()

    @tool(effect="read")
    async def slow() -> int:
        await hold.wait()
        return 1

    @tool(effect="read")
    async def fast() -> int:
        return 2

    async def both(state: Any, ctx: Context) -> dict[str, Any]:
        one, two = await asyncio.gather(ctx.call(slow), ctx.call(fast))
        return {"n": one + two}

    async with open_test_app(graphs=[chain(both, tools=[slow, fast])]) as app:
        run = await app.start("g", {}, thread="t")
        for _ in range(500):
            if await app.store.thread("t") and "effect.recorded" in await kinds(app):
                break
            await asyncio.sleep(0.005)
        replayed = await app.replay("t")
        assert replayed.identical, replayed.divergence
        hold.set()
        done = await app.wait(run, timeout=5)
        assert isinstance(done, Finished)
        assert done.state.n == 3  # type: ignore[attr-defined]
        await proven(app)


async def test_equal_calls_in_a_gather_each_get_their_own_answer() -> None:
    given: list[int] = []

    @tool(effect="read")
    async def draw() -> int:
        given.append(len(given))
        return given[-1]

    async def many(state: Any, ctx: Context) -> dict[str, Any]:
        got = await asyncio.gather(*(ctx.call(draw) for _ in range(5)))
        await ctx.review("ok?")
        return {"data": sorted(got)}

    async with open_test_app(graphs=[chain(many, tools=[draw])]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        await app.resolve(paused.reviews[0], approve(by="dana"))
        done = await app.wait("t/1", timeout=5)
        assert isinstance(done, Finished)
        assert done.state.data == [0, 1, 2, 3, 4]  # type: ignore[attr-defined]
        assert len(given) == 5
        await proven(app)


async def test_an_error_in_a_task_group_fails_the_step_and_the_rest_is_recorded() -> None:
    @tool(effect="read")
    async def good() -> int:
        await asyncio.sleep(0.02)
        return 1

    @tool(effect="read")
    async def bad() -> int:
        raise ValueError("no")

    async def both(state: Any, ctx: Context) -> dict[str, Any]:
        got = await asyncio.gather(ctx.call(good), ctx.call(bad), return_exceptions=True)
        return {"log": [type(x).__name__ for x in got]}

    async with open_test_app(graphs=[chain(both, tools=[good, bad])]) as app:
        done = await app.run("g", {}, thread="t")
        assert isinstance(done, Finished)
        assert done.state.log == ["int", "ToolFailed"]  # type: ignore[attr-defined]
        await proven(app)


async def test_a_divergence_beside_a_wait_is_shown() -> None:
    """The wait is the lesser reason to halt."""

    @tool(effect="write")
    async def pay(n: int) -> int:
        return n

    amount = [1]

    async def both(state: Any, ctx: Context) -> None:
        await asyncio.gather(ctx.review("go?"), ctx.call(pay, n=amount[0]))

    async with open_test_app(graphs=[chain(both, tools=[pay])]) as app:
        paused = await app.run("g", {}, thread="t")
        assert isinstance(paused, Paused)
        amount[0] = 2
        await app.resolve(paused.reviews[0], approve(by="dana"))
        stuck = await app.wait("t/1", timeout=5)
        assert isinstance(stuck, Paused)
        assert stuck.divergence is not None
        assert '"n":1' in stuck.divergence.expected
        assert '"n":2' in stuck.divergence.actual


@pytest.mark.parametrize("depth", [1, 2, 4])
async def test_a_step_replays_whose_task_group_was_broken_off_while_a_call_was_in_flight(depth: int) -> None:
    """The call that was cut off isn't on record; the step doesn't need it to fail as it did."""

    @tool(effect="read")
    async def fails() -> None:
        raise ConnectionError("no")

    @tool(effect="read")
    async def slow() -> None:
        await asyncio.sleep(60)

    async def group_of(depth: int, ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.call(slow))
            group.create_task(group_of(depth - 1, ctx) if depth > 1 else ctx.call(fails))
            group.create_task(ctx.call(slow))

    async def node(state: Work, ctx: Context) -> None:
        await group_of(depth, ctx)

    async with open_test_app(graphs=[chain(node, tools=[fails, slow])]) as app:
        ended = await app.run("g", {}, thread="t")
        assert isinstance(ended, Failed)
        assert ended.error.type == "ExceptionGroup"
        await proven(app)


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_a_step_replays_in_which_two_calls_failed_and_the_later_one_was_asked_first(kind: Any) -> None:
    """What the step fails with is what failed first, and the record knows which that was."""

    @tool(effect=kind)
    async def late() -> None:
        await asyncio.sleep(0.05)
        raise DidNotHappen("late")

    @tool(effect=kind)
    async def early() -> None:
        raise DidNotHappen("early")

    async def node(state: Work, ctx: Context) -> None:
        await ctx.once("first", lambda: 1)
        await asyncio.gather(ctx.call(late), ctx.call(early))

    async with open_test_app(graphs=[chain(node, tools=[late, early])]) as app:
        ended = await app.run("g", {}, thread="t")
        assert isinstance(ended, Failed)
        assert "early" in ended.error.message
        await proven(app)


async def test_a_step_replays_whose_group_was_broken_off_by_the_later_of_two_calls() -> None:
    @tool(effect="read")
    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        if seconds < 0.05:
            raise ValueError(f"after {seconds}")
        return seconds

    async def twice(ctx: Context) -> None:
        await ctx.call(after, seconds=0.06)
        raise ValueError("never comes")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        log: list[str] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(twice(ctx))
                group.create_task(ctx.call(after, seconds=0.01))
        except* ToolFailed as errors:
            log += [str(error) for error in errors.exceptions]
        return {"log": log}

    async with open_test_app(graphs=[chain(node, tools=[after])]) as app:
        ended = await app.run("g", {}, thread="t")
        assert isinstance(ended, Finished)
        assert ended.state.log == ["tool after: ValueError: after 0.01"]  # type: ignore[attr-defined]
        await proven(app)


async def test_a_step_replays_that_takes_answers_as_they_come() -> None:
    @tool(effect="read")
    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        calls = [ctx.call(after, seconds=seconds) for seconds in (0.06, 0.02, 0.04)]
        return {"log": [str(await call) for call in asyncio.as_completed(calls)]}

    async with open_test_app(graphs=[chain(node, tools=[after])]) as app:
        ended = await app.run("g", {}, thread="t")
        assert isinstance(ended, Finished)
        assert ended.state.log == ["0.02", "0.04", "0.06"]  # type: ignore[attr-defined]
        await proven(app)
