"""A real LiteLLM proxy in front of `llmock`: chat, streaming, tools, refusals. It runs in .venv-litellm, a process apart:
Turnout never imports LiteLLM. Run by `make test-litellm`."""

from __future__ import annotations

import json

import pytest
from tests.models.calls import WEATHER, alias, app_with, ask, deployment, gateways, written
from tests.models.upstreams import ROOT, Server, free_port
from tests.unit.runs import proven

from turnout import Finished, Message
from turnout.errors import ContextWindowExceeded

pytestmark = pytest.mark.litellm
HOUSE_KEY = "sk-house-0123456789"


@pytest.fixture(scope="module")
def proxy(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("litellm")
    model = {
        "model_name": "house",
        "litellm_params": {
            "model": "openai/gpt-4o-mini",
            "api_base": f"{upstream.url}/v1",
            "api_key": "sk-x",
            "max_retries": 0,
        },
    }
    settings = {
        "model_list": [model],
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"master_key": HOUSE_KEY},
    }
    config, port = folder / "config.yaml", free_port()
    config.write_text(json.dumps(settings))  # JSON is YAML
    program = str(ROOT / ".venv-litellm/bin/litellm")
    command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_COLOR": "1"}
    server = Server(command, port, "/health/liveliness", folder / "log", environment)
    yield server
    server.stop()


@pytest.fixture
def path(proxy, tmp_path, monkeypatch):
    monkeypatch.setenv("MODEL_KEY", HOUSE_KEY)
    return written(tmp_path, deployment("a", f"{proxy.url}/v1", "chat", model='"house"'), alias("main", "a"))


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_an_answer_comes_through_the_proxy(proxy, upstream, tmp_path, monkeypatch, stream):
    monkeypatch.setenv("MODEL_KEY", HOUSE_KEY)
    path = written(
        tmp_path,
        deployment("a", f"{proxy.url}/v1", "chat", model='"house"', stream=stream),
        alias("main", "a"),
    )
    upstream.play({"type": "reply", "text": "Good day from far away."})
    async with app_with(path) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished), outcome
        assert outcome.state.log == ["Good day from far away."]
        [call] = (await app.explain("t")).calls
        assert call.input_tokens > 0
        assert call.cost_micros > 0
        await proven(app)
    assert len(upstream.requests()) == 1


async def test_tools_go_through_it_and_back(path, upstream):
    upstream.play({"type": "reply", "tool_calls": [{"name": "get_weather", "arguments": {"city": "Wien"}}]})
    async with gateways(path) as found:
        first = await ask(found, "What's the weather?", tools=(WEATHER,))
        [call] = first.reply.tool_calls
        assert dict(call.args) == {"city": "Wien"}
        upstream.play({"type": "reply", "text": "It is sunny."})
        messages = (
            Message(role="user", content="What's the weather?"),
            first.reply.message,
            Message(role="tool", content="sunny", tool_call_id=call.id),
        )
        second = await ask(found, messages=messages, tools=(WEATHER,))
    assert second.reply.text == "It is sunny."


async def test_an_answer_of_a_type_goes_through_it(path, upstream):
    upstream.play({"type": "reply", "text": '{"name": "Ann"}'})
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    async with gateways(path) as found:
        asked = await ask(found, "Who?", output=schema)
    assert asked.reply.output == {"name": "Ann"}
    assert upstream.requests()[0]["body"]["response_format"]["type"] == "json_schema"


async def test_each_request_that_the_upstream_refuses_is_an_attempt_of_ours(path, upstream):
    upstream.play({"type": "fail", "status": 503}, {"type": "fail", "status": 429, "retry_after": 1})
    async with gateways(path) as found:
        asked = await ask(found)
    assert asked.errors == ["ModelUnavailable", "ModelRateLimited", ""]
    assert [one["status"] for one in upstream.requests()] == [503, 429, 200]


async def test_a_prompt_that_is_too_long_is_told_as_that(path, upstream):
    upstream.play({
        "type": "fail", "status": 400, "code": "context_length_exceeded",
        "message": "This model's maximum context length is 8 tokens.",
    })  # fmt: skip
    async with gateways(path) as found:
        asked = await ask(found)
    assert isinstance(asked.error, ContextWindowExceeded)


async def test_a_wrong_key_of_the_house_is_refused_by_the_proxy_and_not_repeated(path, upstream, monkeypatch):
    monkeypatch.setenv("MODEL_KEY", "house-wrong-9876543210")
    upstream.play()
    async with gateways(path) as found:
        asked = await ask(found)
    assert len(asked.attempts) == 1  # without a database the proxy says 400 to it, not 401
    assert asked.error is not None
    assert "9876543210" not in str(asked.error)
    assert upstream.requests() == []
