"""What a gateway keeps from call to call: who is left alone, the minute's limits, the cache, connections."""

import asyncio

from tests.unit.gateways import Scripted, gateways, one, running

from turnout import ModelReply, Usage
from turnout.errors import ModelUnavailable
from turnout.models.gateway import Unrecorded
from turnout.testing import VirtualClock


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
