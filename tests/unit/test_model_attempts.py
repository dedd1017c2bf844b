"""The attempts of a model call: who is asked again, after how long, what is on record, and what the node gets."""

import asyncio

import pytest
from tests.unit.gateways import Scripted, attempts, ended, gateways, limited, node, one, running
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import Context, Failed, Finished, Retry
from turnout.errors import ContextWindowExceeded, CredentialsRefused, ModelRequestRefused, ModelUnavailable
from turnout.testing import VirtualClock, open_test_app


async def test_every_attempt_is_on_record_with_what_it_cost():
    clock = VirtualClock()
    _, found = one(clock, ModelUnavailable("down"), limited(3), "yes")
    async with running(clock, found) as app:
        outcome = await ended(app, clock)
        assert isinstance(outcome, Finished)
        assert outcome.state.log == ["yes"]
        assert (await kinds(app)).count("model.attempted") == 3
        first, second, third = await attempts(app)
        assert (first.why, first.error, first.deployment, first.usage) == (
            "first",
            "ModelUnavailable",
            "a",
            None,
        )
        assert (second.why, second.error, second.message) == ("again", "ModelRateLimited", "slow down")
        assert (third.why, third.error, third.finish, third.model) == ("again", "", "stop", "said")
        assert third.usage == {"input_tokens": 10, "output_tokens": 5}
        assert third.cost_micros == outcome.state.data == 20
        assert third.price.row == {"input_mtok": "1", "output_mtok": "2"}
        assert (await app.explain("t")).totals.cost_micros == 20
        await proven(app)


async def test_a_retry_after_is_kept_to_the_microsecond_and_a_wait_of_our_own_grows():
    clock = VirtualClock()
    upstream, found = one(
        clock, limited(3), ModelUnavailable("x"), ModelUnavailable("x"), "yes", first_wait=1.0
    )
    async with running(clock, found) as app:
        await ended(app, clock)
    waits = [(b - a) / 1e6 for a, b in zip(upstream.asked, upstream.asked[1:], strict=False)]
    assert 3.0 <= waits[0] <= 3.01
    assert 1.0 <= waits[1] <= 2.0  # the second failure: half to the whole of twice the first wait
    assert 2.0 <= waits[2] <= 4.0


async def test_the_node_gets_the_last_failure_by_its_kind_the_same_in_a_replay():
    clock = VirtualClock()
    _, found = one(clock, ContextWindowExceeded("4097 is too many"))
    async with running(clock, found) as app:
        outcome = await ended(app, clock)
        assert outcome.state.log == [
            "ContextWindowExceeded",
            "model main: ContextWindowExceeded: 4097 is too many",
        ]
        await proven(app)


async def test_a_failed_call_has_its_attempts_on_record_too():
    clock = VirtualClock()
    _, found = one(clock, *[ModelUnavailable("down")] * 3, retries=2)
    async with running(clock, found) as app:
        await ended(app, clock)
        assert [a.error for a in await attempts(app)] == ["ModelUnavailable"] * 3
        [call] = (await app.explain("t")).calls
        assert (call.outcome, call.cost_micros) == ("failed", 0)
        await proven(app)


async def test_another_alias_is_asked_when_the_prompt_is_too_long():
    clock = VirtualClock()
    short, long = Scripted(clock, ContextWindowExceeded("too long")), Scripted(clock, "read it all")
    found = gateways(
        clock,
        {"short": short, "long": long},
        {
            "main": {"deployments": ["short"], "fallbacks": {"context_window": ["wide"]}},
            "wide": {"deployments": ["long"]},
        },
    )
    async with running(clock, found) as app:
        outcome = await ended(app, clock)
        assert outcome.state.log == ["read it all"]
        assert [(a.alias, a.deployment, a.why) for a in await attempts(app)] == [
            ("main", "short", "first"),
            ("wide", "long", "fallback"),
        ]


async def test_a_missing_key_is_a_refusal_like_any_other_so_that_the_next_deployment_is_asked():
    clock = VirtualClock()
    good = Scripted(clock, "ok")

    def connect(name, terms):
        if name == "bad":
            raise CredentialsRefused("deployment 'bad' has no key: the environment variable X is not set")
        return good

    models = {"main": {"deployments": ["bad", "good"]}}
    found = gateways(clock, {"bad": good, "good": good}, models)
    found.connect = connect
    async with running(clock, found) as app:
        assert (await ended(app, clock)).state.log == ["ok"]
        assert [(a.deployment, a.error) for a in await attempts(app)] == [
            ("bad", "CredentialsRefused"),
            ("good", ""),
        ]


async def test_a_wrong_request_is_sent_once():
    clock = VirtualClock()
    upstream, found = one(clock, ModelRequestRefused("no such parameter"))
    async with running(clock, found) as app:
        assert (await ended(app, clock)).state.log[0] == "ModelRequestRefused"
    assert len(upstream.asked) == 1


async def test_the_retry_of_a_node_waits_as_long_as_the_upstream_wants():
    clock = VirtualClock()
    upstream, found = one(clock, limited(120), "yes", longest_wait=10)

    async def plain(state: Work, ctx: Context) -> dict:
        return {"log": [(await ctx.model("main", messages="hi")).text]}

    async with running(clock, found, plain, retry=Retry(attempts=2, wait=1)) as app:
        outcome = await ended(app, clock)
        assert isinstance(outcome, Finished), outcome
        assert (upstream.asked[1] - upstream.asked[0]) / 1e6 >= 120
        await proven(app)


async def test_an_answer_that_was_shown_and_then_cut_off_is_declared_void():
    clock = VirtualClock()

    async def cut(request, emit):
        emit({"text": "half an ans"})
        return ModelUnavailable("the line went dead")

    _, found = one(clock, cut, "whole")
    shown = []
    async with running(clock, found) as app:

        async def listen():
            async for event in app.stream("t"):
                shown.append(event)

        task = asyncio.ensure_future(listen())
        await ended(app, clock)
        task.cancel()
    assert [event for event in shown if isinstance(event, dict)] == [
        {"text": "half an ans"},
        {"void": "ModelUnavailable"},
    ]


async def test_attempts_stay_on_record_when_somebody_appends_from_outside_meanwhile():
    clock = VirtualClock()

    async def down(request, emit):
        await app.signal("t", "tick")
        return ModelUnavailable("down")

    async def yes(request, emit):
        await app.signal("t", "tick")
        return "yes"

    upstream, found = one(clock, down, yes, "too often", retries=1)
    async with running(clock, found) as app:
        assert (await ended(app, clock)).state.log == ["yes"]
        assert [attempt.error for attempt in await attempts(app)] == ["ModelUnavailable", ""]
        assert len(upstream.asked) == 2
        await proven(app)


async def test_a_cancelled_call_has_its_attempt_on_record():
    clock = VirtualClock()
    forever = asyncio.Event()

    async def hang(request, emit):
        await forever.wait()

    upstream, found = one(clock, hang)
    async with running(clock, found) as app:
        run = await app.start("g", {}, thread="t")
        await until(lambda: upstream.asked, clock)
        await app.cancel("t")
        outcome = await app.wait(run)
        assert type(outcome).__name__ == "Cancelled"
        entries = [entry.body.attempt for entry in await app.entries("t") if entry.kind == "model.attempted"]
        assert [(a.error, a.usage) for a in entries] == [("Cancelled", None)]
        assert [call.outcome for call in (await app.explain("t")).calls] == ["unanswered"]
        await proven(app)


async def test_what_a_dead_process_learnt_holds_for_the_next_one(tmp_path):
    """The first app is closed while it waits; the second must not ask before the upstream's Retry-After is over."""
    clock = VirtualClock()
    upstream, found = one(clock, limited(20), "yes")
    async with open_test_app(
        f"sqlite:///{tmp_path}/t.db", graphs=[chain(node)], models=found.models(), clock=clock
    ) as app:
        await app.start("g", {}, thread="t")
        await until(lambda: upstream.asked, clock)
        await clock.advance(1)
        app.worker._task = None
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        app.worker = None
    await clock.advance(16)  # the lease has run out
    again = gateways(clock, {"a": upstream}, {"main": {"deployments": ["a"]}})
    async with open_test_app(
        f"sqlite:///{tmp_path}/t.db", graphs=[chain(node)], models=again.models(), clock=clock
    ) as app:
        for _ in range(40):
            await clock.advance(0.25)
            await asyncio.sleep(0.01)
        outcome = await asyncio.wait_for(app.wait("t/1"), 5)
        assert outcome.state.log == ["yes"]
        assert (upstream.asked[1] - upstream.asked[0]) / 1e6 >= 20
        assert [a.why for a in await attempts(app)] == ["first", "again"]
        await proven(app)


async def test_a_fork_between_two_attempts_has_all_its_attempts_and_all_its_time():
    clock = VirtualClock()
    upstream, found = one(clock, ModelUnavailable("down"), "yes", ModelUnavailable("down"), "yes", retries=1)
    async with running(clock, found) as app:
        assert (await ended(app, clock)).state.log == ["yes"]
        await clock.advance(3600)
        first = next(x.seq for x in await app.entries("t") if x.kind == "model.attempted")
        task = asyncio.ensure_future(app.wait(await app.fork("t", at=first, name="f")))
        for _ in range(400):
            await clock.advance(0.25)
        assert (await asyncio.wait_for(task, 5)).state.log == ["yes"]
        assert len(upstream.asked) == 4
        await proven(app, "f")


async def test_the_failed_run_says_which_kind_of_failure_it_was():
    clock = VirtualClock()
    _, found = one(clock, ModelRequestRefused("no"))

    async def plain(state: Work, ctx: Context) -> dict:
        return {"log": [(await ctx.model("main", messages="hi")).text]}

    async with running(clock, found, plain) as app:
        outcome = await ended(app, clock)
        assert isinstance(outcome, Failed)
        assert outcome.error.type == "ModelRequestRefused"


@pytest.mark.parametrize("retries", [0, 2])
async def test_no_more_attempts_are_made_than_declared(retries):
    clock = VirtualClock()
    upstream, found = one(clock, *[ModelUnavailable("down")] * 9, retries=retries)
    async with running(clock, found) as app:
        await ended(app, clock)
    assert len(upstream.asked) == retries + 1
