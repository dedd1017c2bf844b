"""Against `@copilotkit/aimock`: a whole app on real sockets. Its journal and ours must tell the same story: every request
that it saw is an attempt on record, and no attempt is on record that it didn't see."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from pydantic import BaseModel
from tests.models.calls import alias, app_with, ask, deployment, gateways, written
from tests.unit.runs import Work, chain, proven

from turnout import Context, Finished, open_app, tool
from turnout.agents import agent
from turnout.errors import ModelFailed
from turnout.testing import open_test_app

APIS = ["chat", "responses", "anthropic", "azure"]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("MODEL_KEY", "sk-test-0123456789")


@pytest.fixture(params=APIS)
def terms(request, aimock):
    return terms_of(aimock, request.param)


def terms_of(aimock, api, **more):
    if api == "azure":
        azure = {
            "provider": '"azure"',
            "api_version": '"2024-10-21"',
            "priced_as": '"azure/gpt-4o-mini"',
        }
        return deployment("a", aimock.url, "chat", **azure, **more)
    return deployment("a", aimock.url if api == "anthropic" else f"{aimock.url}/v1", api, **more)


def said(text, *, again=None, **response):
    match = {"userMessage": text} if again is None else {"userMessage": text, "sequenceIndex": again}
    more = {
        name: response.pop(name)
        for name in ("truncateAfterChunks", "disconnectAfterMs", "latency", "chunkSize")
        if name in response
    }
    return {"match": match, "response": response, **more}


def named(request):
    """What the upstream calls a request: it says so in its answer, and an attempt has it on record."""
    return request["headers"]["x-request-id"]


async def story(app, aimock, thread="t"):
    """The attempts on record, after it was made sure that the upstream tells the same ones."""
    report = await app.explain(thread)
    attempts = [attempt for call in report.calls for attempt in call.attempts]
    seen = [named(one) for one in aimock.requests()]
    known = [attempt.request_id for attempt in attempts if attempt.request_id]
    assert known == [request for request in seen if request in known]
    assert len(attempts) == len(seen)
    return attempts


async def test_a_plain_answer(aimock, terms, tmp_path):
    counted = {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "input_tokens": 11,
        "output_tokens": 7,
        "total_tokens": 18,
    }
    aimock.play(said("Hello!", content="Hi there, friend of mine.", usage=counted))
    async with app_with(written(tmp_path, terms, alias("main", "a"))) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished), outcome
        assert outcome.state.log == ["Hi there, friend of mine."]
        [attempt] = await story(app, aimock)
        assert attempt.usage == {"input_tokens": 11, "output_tokens": 7}
        assert attempt.cost_micros > 0
        await proven(app)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        ({"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429, "retryAfter": 1}, "ModelRateLimited"),
        ({"error": {"message": "broken", "type": "server_error"}, "status": 500}, "ModelUnavailable"),
        ({"error": {"message": "overloaded", "type": "overloaded_error"}, "status": 503}, "ModelUnavailable"),
        ({"content": "this is going to be cut off", "truncateAfterChunks": 2, "chunkSize": 4}, "AnswerBroken"),
    ],
    ids=["429", "500", "503", "truncated"],
)  # fmt: skip
async def test_a_failure_and_then_an_answer(aimock, terms, tmp_path, response, error):
    aimock.play(said("Hello!", again=0, **response), said("Hello!", content="Here I am."))
    async with app_with(written(tmp_path, terms, alias("main", "a"))) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished), outcome
        assert outcome.state.log == ["Here I am."]
        first, second = await story(app, aimock)
        assert (first.error, second.error) == (error, "")
        if error == "ModelRateLimited":
            asked = [one["timestamp"] for one in aimock.requests()]
            assert asked[1] - asked[0] >= 1_000
        await proven(app)


async def test_the_agent_calls_its_tools_through_a_real_protocol(aimock, terms, tmp_path):
    @tool(effect="read")
    async def order_total(order: str) -> int:
        """The total of an order."""
        return {"A-17": 4_200}[order]

    aimock.play(
        {
            "match": {"userMessage": "How much is A-17?", "hasToolResult": False},
            "response": {
                "toolCalls": [{"id": "call_1", "name": "order_total", "arguments": {"order": "A-17"}}]
            },
        },
        {
            "match": {"userMessage": "How much is A-17?", "hasToolResult": True},
            "response": {"content": "It is 42.00."},
        },
    )
    path = written(tmp_path, terms, alias("main", "a"))
    graph = agent("desk", model="main", tools=[order_total], instructions="Be brief.")
    async with open_test_app(graphs=[graph], config=path) as app:
        outcome = await app.run(
            "desk", {"messages": [{"role": "user", "content": "How much is A-17?"}]}, thread="t"
        )
        assert outcome.state.answer == "It is 42.00."
        await story(app, aimock)
        assert "4200" in json.dumps(aimock.requests()[-1]["body"])
        await proven(app)


class Person(BaseModel):
    name: str
    age: int


async def extract(state: Work, ctx: Context) -> dict:
    try:
        reply = await ctx.model("main", messages="Who is it?", output=Person, repairs=state.data)
    except ModelFailed as error:
        return {"log": [type(error).__name__, str(error)]}
    return {"log": [f"{reply.output.name} {reply.output.age}"]}


def wrong_twice():
    return [
        {"match": {"userMessage": "Who is it?"}, "response": {"content": "It is Ann."}},
        {
            "match": {"userMessage": "Answer again", "turnIndex": 1},
            "response": {"content": '{"name": "Ann", "age": "old"}'},
        },
        {
            "match": {"userMessage": "Answer again", "turnIndex": 2},
            "response": {"content": '{"name": "Ann", "age": 31}'},
        },
    ]


async def test_each_repair_turn_is_a_call_of_its_own_on_record(aimock, terms, tmp_path):
    aimock.play(*wrong_twice())
    async with app_with(written(tmp_path, terms, alias("main", "a")), extract) as app:
        outcome = await app.run("g", {"data": 2}, thread="t")
        assert outcome.state.log == ["Ann 31"]
        report = await app.explain("t")
        assert len(report.calls) == 3
        told = report.calls[2].args["messages"][-1]["content"]
        assert "age: Input should be a valid integer" in told
        await story(app, aimock)
        await proven(app)


async def test_there_are_no_more_repair_turns_than_declared(aimock, tmp_path):
    aimock.play(*wrong_twice())
    async with app_with(written(tmp_path, terms_of(aimock, "chat"), alias("main", "a")), extract) as app:
        outcome = await app.run("g", {"data": 1}, thread="t")
        assert outcome.state.log[0] == "OutputInvalid"
        assert "doesn't fit Person: age:" in outcome.state.log[1]
        assert len(aimock.requests()) == 2
        await proven(app)


async def test_an_upstream_that_drops_the_connection_is_asked_again(aimock, terms, tmp_path):
    cut = said("Hello!", again=0, content="x" * 400, disconnectAfterMs=60, chunkSize=4, latency=20)
    aimock.play(cut, said("Hello!", content="whole"))
    async with app_with(written(tmp_path, terms, alias("main", "a"))) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished), outcome
        assert outcome.state.log == ["whole"]
        attempts = await story(app, aimock)
        assert attempts[0].error in ("AnswerBroken", "ModelUnavailable")


async def greet(state: Work, ctx: Context) -> dict:
    return {"log": [(await ctx.model("main", messages=f"Good day, {ctx.thread}")).text]}


async def test_many_threads_at_once_keep_every_retry_after_and_no_request_is_unaccounted_for(
    aimock, tmp_path
):
    """A third of the requests is refused with a Retry-After of one second, at random."""
    aimock.play(
        {
            "match": {"userMessage": "Good day"},
            "response": {"content": "Good day."},
            "chaos": {"rateLimitRate": 0.34},
        }
    )
    path = written(
        tmp_path, terms_of(aimock, "chat"), alias("main", "a", retries="20", longest_wait="60", deadline="200")
    )  # fmt: skip
    names = [f"t{n}" for n in range(12)]
    async with open_app(f"sqlite:///{tmp_path}/s.db", graphs=[chain(greet)], config=path) as app:
        outcomes = await asyncio.gather(*(app.run("g", {}, thread=name) for name in names))
        assert all(isinstance(outcome, Finished) for outcome in outcomes), outcomes
        attempts = [a for name in names for call in (await app.explain(name)).calls for a in call.attempts]
    seen = aimock.requests()
    assert sorted(a.request_id for a in attempts) == sorted(map(named, seen))
    assert [a.error for a in attempts if a.error] == ["ModelRateLimited"] * sum(
        one["response"]["status"] == 429 for one in seen
    )
    asked: dict[str, list] = {}
    for one in seen:
        asked.setdefault(one["body"]["messages"][0]["content"], []).append(one)
    assert len(asked) == len(names)
    for times in asked.values():
        for before, after in itertools.pairwise(times):
            assert before["response"]["status"] == 429  # what was answered is never asked again
            assert after["timestamp"] - before["timestamp"] >= 1_000


async def test_an_equal_request_is_answered_from_the_cache_when_the_alias_says_so(aimock, tmp_path):
    aimock.play(said("Hello!", content="Hi."))
    path = written(tmp_path, terms_of(aimock, "chat"), alias("main", "a", cache="{ seconds = 60 }"))
    async with app_with(path) as app:
        for thread in ("t", "u"):
            assert (await app.run("g", {}, thread=thread)).state.log == ["Hi."]
        assert len(aimock.requests()) == 1
        [call] = (await app.explain("u")).calls
        assert [(a.deployment, a.cost_micros) for a in call.attempts] == [("cache", 0)]
        await proven(app, "u")
    async with gateways(path) as found:
        await ask(found)
    assert len(aimock.requests()) == 2  # another process has a cache of its own
