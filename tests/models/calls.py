"""What the tests of models share: a turnout.toml for an upstream, and a graph with one model call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.unit.runs import Work, chain

from turnout import App, Context, Message, ModelReply, ModelRequest
from turnout.core.attempts import Attempt
from turnout.errors import ModelFailed
from turnout.models.gateway import Gateways, Unrecorded
from turnout.testing import open_test_app
from turnout.wiring import open_gateways

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
APIS = ["chat", "responses", "anthropic"]


def deployment(name: str, url: str, api: str, **more: Any) -> str:
    """A deployment of turnout.toml at an upstream. `more` are further keys, as TOML text."""
    provider = "anthropic" if api == "anthropic" else "openai"
    lines = {
        "provider": f'"{provider}"', "model": '"claude-sonnet-5"' if api == "anthropic" else '"gpt-4o-mini"',
        "base_url": f'"{url}"', "key_env": '"MODEL_KEY"', "timeout": "30.0", "stall": "20.0",
        "priced_as": '"anthropic/claude-sonnet-5"' if api == "anthropic" else '"openai/gpt-4o-mini"',
        **({} if api == "anthropic" else {"api": f'"{api}"'}), **more,
    }  # fmt: skip
    return "\n".join([f"[deployments.{name}]", *(f"{key} = {value}" for key, value in lines.items())])


def alias(name: str, *deployments: str, **more: Any) -> str:
    lines = {"deployments": str(list(deployments)).replace("'", '"'), "first_wait": "0.2", **more}
    return "\n".join([f"[models.{name}]", *(f"{key} = {value}" for key, value in lines.items())])


def written(folder: Path, *parts: str) -> Path:
    """A turnout.toml with these parts."""
    path = folder / "turnout.toml"
    path.write_text("\n\n".join(parts) + "\n")
    return path


@asynccontextmanager
async def gateways(path: Path) -> AsyncIterator[Gateways]:
    found = open_gateways(path)
    assert found is not None
    try:
        yield found
    finally:
        await found.close()


class Asked:
    """One call outside of any thread: the reply or the failure, what was shown, the attempts."""

    def __init__(self) -> None:
        self.reply: ModelReply | None = None
        self.error: ModelFailed | None = None
        self.shown: list[Any] = []
        self.attempts: list[Attempt] = []

    @property
    def errors(self) -> list[str]:
        return [attempt.error for attempt in self.attempts]


async def ask(found: Gateways, text: str = "Hello!", *, alias: str = "main", **more: Any) -> Asked:
    asked, call = Asked(), Unrecorded()
    messages = more.pop("messages", (Message(role="user", content=text),))
    request = ModelRequest(alias=alias, messages=messages, **more)
    try:
        asked.reply = await found.models()[alias].attempt(request, asked.shown.append, call)
    except ModelFailed as error:
        asked.error = error
    asked.attempts = call.made
    return asked


async def node(state: Work, ctx: Context) -> dict[str, Any]:
    reply = await ctx.model("main", messages="Hello!")
    return {"log": [reply.text], "data": reply.cost_micros}


@asynccontextmanager
async def app_with(path: Path, fn: Any = node, **options: Any) -> AsyncIterator[App]:
    async with open_test_app(graphs=[chain(fn, **options)], config=path) as app:
        yield app
