"""The gateway on a virtual clock: what it sends, how long it waits, what it puts on record. The upstreams are scripted."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from tests.unit.runs import Work, chain, kinds, proven, until

from turnout import Context, Failed, Finished, ModelReply, Retry, Usage
from turnout.errors import (
    ContextWindowExceeded,
    CredentialsRefused,
    ModelFailed,
    ModelRateLimited,
    ModelRequestRefused,
    ModelUnavailable,
)
from turnout.models.gateway import Gateways, Unrecorded
from turnout.models.schema import ModelSettings
from turnout.testing import SeededChance, VirtualClock, open_test_app

PRICE = {"input": "1", "output": "2"}


class Scripted:
    """An upstream that plays a script: replies, errors, seconds to take, functions. It notes when it was asked."""

    def __init__(self, clock, *lines):
        self.clock = clock
        self.lines = list(lines)
        self.asked = []
        self.closed = False

    async def complete(self, request, emit):
        self.asked.append(self.clock.now())
        line = self.lines.pop(0)
        if callable(line) and not isinstance(line, type):
            line = await line(request, emit)
        if isinstance(line, BaseException):
            raise line
        return (
            ModelReply(text=line, usage=Usage(input_tokens=10, output_tokens=5), model="said")
            if isinstance(line, str)
            else line
        )

    async def open(self):
        pass

    async def close(self):
        self.closed = True


def limited(seconds):
    error = ModelRateLimited("slow down")
    error.retry_after = seconds
    return error


def gateways(clock, upstreams, models, **terms):
    settings = ModelSettings.model_validate(
        {
            "deployments": {
                name: {"provider": "openai", "model": name, "price": PRICE, **terms.get(name, {})} for name in upstreams
            },
            "models": models,
        }
    )  # fmt: skip
    return Gateways(settings, clock, SeededChance(), lambda name, terms: upstreams[name])


def one(clock, *lines, **alias):
    upstream = Scripted(clock, *lines)
    return upstream, gateways(clock, {"a": upstream}, {"main": {"deployments": ["a"], **alias}})


async def node(state: Work, ctx: Context) -> dict:
    try:
        reply = await ctx.model("main", messages="hi")
    except ModelFailed as error:
        return {"log": [type(error).__name__, str(error)]}
    return {"log": [reply.text], "data": reply.cost_micros}


@asynccontextmanager
async def running(clock, found, fn=node, **options):
    async with open_test_app(graphs=[chain(fn, **options)], models=found.models(), clock=clock) as app:
        yield app


async def ended(app, clock, seconds=400.0):
    """The outcome of the one run, time passing in small steps."""
    task = asyncio.ensure_future(app.run("g", {}, thread="t"))
    for _ in range(int(seconds * 4)):
        await clock.advance(0.25)
        if task.done():
            break
    return await asyncio.wait_for(task, 5)


async def attempts(app):
    report = await app.explain("t")
    return [attempt for call in report.calls for attempt in call.attempts]


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


async def test_a_deployment_that_fails_again_and_again_is_left_alone_for_a_while():
    clock = VirtualClock()
    bad, good = Scripted(clock, *[ModelUnavailable("down")] * 2, "back"), Scripted(clock, *["ok"] * 9)
    models = {"main": {"deployments": ["bad", "good"]}}
    found = gateways(clock, {"bad": bad, "good": good}, models, bad={"cooldown_after": 2, "cooldown": 30})
    model = found.models()["main"]

    async def ask():
        from turnout import Message, ModelRequest

        request = ModelRequest(alias="main", messages=(Message(role="user", content="hi"),))
        return (await model.complete(request, lambda event: None)).text

    assert [await ask() for _ in range(4)] == ["ok"] * 4
    assert len(bad.asked) == 2
    await clock.advance(31)
    assert await ask() == "back"


async def test_requests_over_the_minutes_limit_wait_for_room():
    clock = VirtualClock()
    upstream = Scripted(clock, *["ok"] * 4)
    models = {"main": {"deployments": ["a"], "longest_wait": 61}}
    found = gateways(clock, {"a": upstream}, models, a={"requests_per_minute": 2})
    model = found.models()["main"]
    from turnout import Message, ModelRequest

    request = ModelRequest(alias="main", messages=(Message(role="user", content="hi"),))
    tasks = [asyncio.ensure_future(model.complete(request, lambda event: None)) for _ in range(4)]
    for _ in range(70):
        await clock.advance(1)
    assert [reply.text for reply in await asyncio.gather(*tasks)] == ["ok"] * 4
    first, second, third, fourth = upstream.asked
    assert first == second
    assert third == fourth == first + 60_000_000


async def test_tokens_over_the_minutes_limit_wait_until_what_was_used_is_a_minute_old():
    clock = VirtualClock()
    used = ModelReply(text="ok", usage=Usage(input_tokens=900, output_tokens=90))
    upstream = Scripted(clock, used, used)
    models = {"main": {"deployments": ["a"], "longest_wait": 61}}
    found = gateways(clock, {"a": upstream}, models, a={"tokens_per_minute": 1_000})
    model = found.models()["main"]
    from turnout import Message, ModelRequest

    request = ModelRequest(
        alias="main", messages=(Message(role="user", content="hi"),), options={"max_output_tokens": 50}
    )
    await model.complete(request, lambda event: None)
    task = asyncio.ensure_future(model.complete(request, lambda event: None))
    for _ in range(61):
        await clock.advance(1)
    await task
    assert upstream.asked[1] - upstream.asked[0] == 60_000_000


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


async def test_the_cache_answers_an_equal_request_and_no_other():
    from turnout import Message, ModelRequest

    clock = VirtualClock()
    upstream = Scripted(clock, "one", "two", "three", "four", "five")
    models = {"main": {"deployments": ["a"], "cache": {"seconds": 60, "entries": 2}}}
    found = gateways(clock, {"a": upstream}, models)
    model = found.models()["main"]

    class ForTenant(Unrecorded):
        def __init__(self, name):
            super().__init__()
            self.name = name

        async def tenant(self):
            return self.name

    async def ask(text, tenant="", **more):
        call = ForTenant(tenant)
        request = ModelRequest(alias="main", messages=(Message(role="user", content=text),), **more)
        reply = await model.attempt(request, lambda event: None, call)
        return reply.text, call.made[-1].deployment, reply.cost_micros

    assert await ask("hi") == ("one", "a", 20)
    assert await ask("hi") == ("one", "cache", 0)
    assert await ask("hi", options={"temperature": 1}) == ("two", "a", 20)
    assert await ask("hi", tenant="acme") == ("three", "a", 20)
    assert await ask("hi") == ("four", "a", 20)  # two are kept, and this was the third oldest
    await clock.advance(61)
    assert await ask("hi") == ("five", "a", 20)


async def test_without_being_told_to_nothing_is_cached():
    clock = VirtualClock()
    upstream, found = one(clock, "one", "two")
    async with running(clock, found) as app:
        await app.run("g", {}, thread="t")
        await app.run("g", {}, thread="u")
    assert len(upstream.asked) == 2


async def test_the_connections_are_closed():
    clock = VirtualClock()
    upstream, found = one(clock, "one")
    async with running(clock, found) as app:
        await app.run("g", {}, thread="t")
    await found.close()
    assert upstream.closed


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
