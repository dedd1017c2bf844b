"""Against `llmock`, through the official SDKs: what works, and everything that can go wrong. The upstream's own log is
the oracle: how often it was asked, and whether it was asked before it allowed it."""

from __future__ import annotations

import json

import pytest
from tests.models.calls import APIS, WEATHER, alias, app_with, ask, deployment, gateways, node, written
from tests.unit.runs import proven

from turnout import Failed, Finished, ImagePart, Message, TextPart, ToolCall
from turnout.errors import (
    ContextWindowExceeded,
    CredentialsRefused,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestRefused,
)

KEY = "sk-test-0123456789-secret"
PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010806000000")
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "default": 0}},
    "required": ["name"],
}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("MODEL_KEY", KEY)


@pytest.fixture(params=APIS)
def api(request):
    return request.param


def place(upstream, api):
    return f"{upstream.url}/{'anthropic' if api == 'anthropic' else 'v1'}"


@pytest.fixture
def path(upstream, api, tmp_path):
    return written(tmp_path, deployment("a", place(upstream, api), api), alias("main", "a"))


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_a_plain_answer_comes_with_its_tokens_and_its_price(upstream, api, tmp_path, stream):
    path = written(tmp_path, deployment("a", place(upstream, api), api, stream=stream), alias("main", "a"))
    upstream.play({"type": "reply", "text": "Good day to you."})
    async with gateways(path) as found:
        asked = await ask(found)
    assert asked.reply.text == "Good day to you."
    assert "".join(event["text"] for event in asked.shown) == "Good day to you."
    assert len(asked.shown) > 1 if stream == "true" else len(asked.shown) == 1
    [attempt] = asked.attempts
    assert attempt.usage["input_tokens"] > 0
    assert attempt.cost_micros > 0
    assert attempt.price.source.startswith("genai-prices ")
    assert (attempt.finish, attempt.error) == ("stop", "")


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_a_tool_is_called_and_its_answer_taken(upstream, api, tmp_path, stream):
    path = written(tmp_path, deployment("a", place(upstream, api), api, stream=stream), alias("main", "a"))
    upstream.play({"type": "reply", "tool_calls": [{"name": "get_weather", "arguments": {"city": "Wien"}}]})
    async with gateways(path) as found:
        first = await ask(found, "What's the weather?", tools=(WEATHER,))
        assert first.reply.finish == "tool_calls"
        [call] = first.reply.tool_calls
        assert (call.name, dict(call.args)) == ("get_weather", {"city": "Wien"})
        upstream.play({"type": "reply", "text": "It is sunny."})
        messages = (
            Message(role="user", content="What's the weather?"),
            first.reply.message,
            Message(role="tool", content="sunny", tool_call_id=call.id, name=call.name),
        )
        second = await ask(found, messages=messages, tools=(WEATHER,))
    assert second.reply.text == "It is sunny."
    sent = json.dumps(upstream.requests()[-1]["body"])
    assert call.id in sent
    assert "sunny" in sent


async def test_an_answer_of_a_type_is_asked_for_in_the_apis_own_words(upstream, api, path):
    answer = (
        "```json\n" + json.dumps({"name": "Ann", "age": 31}) + "\n```"
        if api == "chat"
        else '{"name":"Ann","age":31}'
    )
    upstream.play({"type": "reply", "text": answer})
    async with gateways(path) as found:
        asked = await ask(found, "Who?", output=SCHEMA)
    assert asked.reply.output == {"name": "Ann", "age": 31}
    body = upstream.requests()[-1]["body"]
    if api == "chat":
        sent = body["response_format"]["json_schema"]
        assert sent["strict"] is True
        assert sent["schema"]["required"] == ["name", "age"]  # strict upstreams want all of them
    elif api == "responses":
        assert body["text"]["format"]["type"] == "json_schema"
    else:
        assert body["output_config"]["format"]["schema"]["additionalProperties"] is False


async def test_an_answer_that_is_no_object_is_wrapped_in_one_and_taken_out_again(upstream, api, path):
    upstream.play({"type": "reply", "text": '{"value": [1, 2, 3]}'})
    async with gateways(path) as found:
        asked = await ask(found, "Which?", output={"type": "array", "items": {"type": "integer"}})
    assert asked.reply.output == [1, 2, 3]


async def test_images_and_system_messages_are_sent_as_the_api_wants_them(upstream, api, path):
    upstream.play({"type": "reply", "text": "A dot."})
    messages = (
        Message(role="system", content="Be brief."),
        Message(role="user", content=(TextPart(text="What is this?"), ImagePart.of(PNG, "image/png"))),
    )
    async with gateways(path) as found:
        asked = await ask(found, messages=messages)
    assert asked.reply.text == "A dot."
    body = upstream.requests()[-1]["body"]
    data = messages[1].content[1].data
    if api == "anthropic":
        assert body["system"] == "Be brief."
        image = body["messages"][0]["content"][1]
        assert image["source"] == {"type": "base64", "media_type": "image/png", "data": data}
    elif api == "chat":
        assert body["messages"][1]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{data}"
    else:
        assert body["input"][1]["content"][1]["image_url"] == f"data:image/png;base64,{data}"


async def test_options_are_handed_on_those_of_the_call_before_those_of_the_deployment(
    upstream, api, tmp_path
):
    more = {"options": "{ temperature = 0.5, max_output_tokens = 7 }"}
    path = written(tmp_path, deployment("a", place(upstream, api), api, **more), alias("main", "a"))
    upstream.play()
    async with gateways(path) as found:
        await ask(found, options={"temperature": 0.1})
    body = upstream.requests()[-1]["body"]
    assert body["temperature"] == 0.1
    assert 7 in (body.get("max_tokens"), body.get("max_output_tokens"))


FAULTS = [
    ({"type": "fail", "status": 429, "retry_after": 0.7}, "ModelRateLimited"),
    ({"type": "fail", "status": 500, "retry_after": 0.2}, "ModelUnavailable"),
    ({"type": "fail", "status": 503, "retry_after": 0.2}, "ModelUnavailable"),
    ({"type": "fail", "status": 504, "retry_after": 0.2}, "ModelTimeout"),
    ({"type": "stream_fault", "kind": "disconnect", "after_chunks": 2}, "AnswerBroken"),
    ({"type": "stream_fault", "kind": "truncate", "after_chunks": 2}, "AnswerBroken"),
    ({"type": "stream_fault", "kind": "malformed", "after_chunks": 3}, "AnswerBroken"),
]


@pytest.mark.parametrize(
    ("fault", "error"), FAULTS, ids=[f"{f.get('status', f.get('kind'))}" for f, _ in FAULTS]
)
async def test_what_may_pass_is_tried_again_and_the_upstream_has_nothing_to_complain_of(
    upstream, api, path, fault, error
):
    upstream.play(fault)
    async with app_with(path) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished)
        [call] = (await app.explain("t")).calls
        assert [attempt.error for attempt in call.attempts] == [error, ""]
        assert len(upstream.requests()) == 2
        # 'malformed_chunk_ignored' is said when the SDK has read what came behind the broken piece before it said so
        assert set(upstream.complaints()) <= {"malformed_chunk_ignored"}
        await proven(app)


@pytest.mark.parametrize(
    "fault",
    [
        {"type": "stream_fault", "kind": "stall", "after_chunks": 2, "stall_seconds": 4},
        {"type": "slow_first_token", "seconds": 4},
        {"type": "delay", "seconds": 4},
    ],
    ids=["stall", "slow-first-piece", "slow-answer"],
)
async def test_an_upstream_that_falls_silent_is_not_waited_for(upstream, api, tmp_path, fault):
    path = written(
        tmp_path, deployment("a", place(upstream, api), api, stall="1.5"), alias("main", "a", retries="5")
    )
    upstream.play(fault)
    async with gateways(path) as found:
        asked = await ask(found)
    assert asked.errors[0] == "ModelTimeout"
    assert asked.errors[-1] == ""
    assert asked.attempts[0].ms < 4_000


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"type": "fail", "status": 400}, ModelRequestRefused),
        ({"type": "fail", "status": 401}, CredentialsRefused),
        ({"type": "fail", "status": 403}, CredentialsRefused),
        ({"type": "fail", "status": 404}, ModelNotFound),
        ({"type": "fail", "status": 422}, ModelRequestRefused),
        ({"type": "fail", "status": 400, "code": "context_length_exceeded", "message": "maximum context length is 8 tokens"}, ContextWindowExceeded),
        ({"type": "fail", "status": 429, "retry_after": 3600}, ModelRateLimited),
    ],
    ids=["400", "401", "403", "404", "422", "too-long", "429-for-an-hour"],
)  # fmt: skip
async def test_what_can_not_pass_is_asked_once(upstream, api, path, fault, error):
    upstream.play({**fault, "times": 5})
    async with gateways(path) as found:
        asked = await ask(found)
    assert type(asked.error) is error
    assert len(upstream.requests()) == 1
    assert [code for code in upstream.complaints() if code != "gave_up"] == []


async def test_a_key_that_the_upstream_repeats_gets_into_no_error_and_no_journal(upstream, path):
    upstream.play(
        {
            "type": "fail",
            "status": 401,
            "message": f"Incorrect API key provided: {KEY}. Bearer {KEY}",
            "times": 9,
        }
    )
    async with app_with(path) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Failed)
        assert "Incorrect API key provided: [key]" in outcome.error.message
        for row in await app.store.read("t"):
            assert KEY.encode() not in row.stored
    async with gateways(path) as found:
        asked = await ask(found)
    chain = asked.error
    while chain is not None:  # nothing that a traceback would print
        assert KEY not in f"{chain!r} {vars(chain)}"
        chain = chain.__cause__ or chain.__context__


async def test_an_answer_with_broken_arguments_is_asked_for_again(upstream, path):
    upstream.play({"type": "tool_fault", "kind": "malformed_arguments"})
    async with gateways(path) as found:
        asked = await ask(found, "What's the weather?", tools=(WEATHER,))
    assert asked.errors == ["AnswerBroken", ""]
    assert asked.attempts[0].usage is not None  # it was an answer all the same, and has to be paid
    assert isinstance(asked.reply.tool_calls[0], ToolCall)


async def test_a_fallback_is_another_provider(upstream, tmp_path):
    path = written(
        tmp_path,
        deployment("a", place(upstream, "chat"), "chat"),
        deployment("b", place(upstream, "anthropic"), "anthropic"),
        alias("main", "a", retries="1", fallbacks='{ error = ["spare"] }'),
        alias("spare", "b"),
    )
    upstream.play(
        {"type": "fail", "status": 503, "retry_after": 0.1, "times": None, "match": {"provider": "openai"}}
    )
    async with app_with(path) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished), outcome
        [call] = (await app.explain("t")).calls
        assert [(a.deployment, a.why) for a in call.attempts] == [
            ("a", "first"),
            ("a", "again"),
            ("b", "fallback"),
        ]
        assert [one["provider"] for one in upstream.requests()] == ["openai", "openai", "anthropic"]
        await proven(app)


async def test_the_budget_of_attempts_is_what_the_file_says_the_sdks_add_none(upstream, api, tmp_path):
    path = written(tmp_path, deployment("a", place(upstream, api), api), alias("main", "a", retries="2"))
    upstream.play({"type": "fail", "status": 503, "retry_after": 0.1, "times": None})
    async with gateways(path) as found:
        asked = await ask(found)
    assert len(upstream.requests()) == len(asked.attempts) == 3


async def test_an_upstream_that_is_not_there_is_unavailable(tmp_path, api):
    path = written(tmp_path, deployment("a", "http://127.0.0.1:9/v1", api), alias("main", "a", retries="0"))
    async with gateways(path) as found:
        asked = await ask(found)
    assert asked.errors == ["ModelUnavailable"]


async def test_a_missing_key_names_the_variable_and_sends_nothing(upstream, path, monkeypatch):
    monkeypatch.delenv("MODEL_KEY")
    upstream.play()
    async with gateways(path) as found:
        asked = await ask(found)
    assert isinstance(asked.error, CredentialsRefused)
    assert "MODEL_KEY" in str(asked.error)
    assert upstream.requests() == []


async def test_a_redirect_is_not_followed(upstream, tmp_path, api):
    """It would be a request that nobody sees, and carry the key to another host."""
    import http.server
    import threading

    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(307)
            self.send_header("Location", place(upstream, api) + "/chat/completions")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    upstream.play()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        path = written(tmp_path, deployment("a", url, api), alias("main", "a", retries="0"))
        async with gateways(path) as found:
            asked = await ask(found)
    finally:
        server.shutdown()
        server.server_close()
    assert asked.error is not None
    assert upstream.requests() == []


async def test_the_models_of_the_file_are_reached_by_ctx_model(upstream, path):
    upstream.play({"type": "reply", "text": "Here."})
    async with app_with(path, node) as app:
        outcome = await app.run("g", {}, thread="t")
        assert outcome.state.log == ["Here."]
        assert outcome.state.data > 0
