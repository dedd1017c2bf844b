"""Guardrails and models: what a prompt has left, what an answer has left, and what of it is streamed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.guarded import CARD, KEY, stored
from tests.unit.runs import Work, chain, proven, until

from turnout import Context, Finished, ModelReply, ToolCall, guard
from turnout.core import entries as e
from turnout.errors import GuardBlocked
from turnout.testing import ScriptedModel, open_test_app


async def test_a_model_gets_and_gives_what_is_left():
    model = ScriptedModel([
        ModelReply(text=f"I'd use {CARD}", tool_calls=(ToolCall(id="call-1", name="pay", args={"card": CARD, "n": 1}),)),
    ])  # fmt: skip
    seen: list[Any] = []

    async def step(state: Work, ctx: Context) -> dict[str, Any]:
        reply = await ctx.model("main", messages=f"my key is {KEY}, my card {CARD}")
        return {"data": [reply.text, reply.tool_calls[0].args["card"], reply.tool_calls[0].id]}

    guards = [guard("k", "secrets", action="redact"), guard("pd", "personal", on="output", action="redact")]
    async with open_test_app(graphs=[chain(step)], models={"main": model}, guards=guards) as app:
        events = app.stream("t")
        listening = asyncio.ensure_future(_texts(events, seen))
        await asyncio.sleep(0)
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished)
        assert outcome.state.data == ["I'd use [redacted:card]", "[redacted:card]", "call-1"]
        assert model.requests[0].messages[0].text == f"my key is [redacted:aws-key], my card {CARD}"
        await until(lambda: seen)
        listening.cancel()
        assert seen == ["I'd use [redacted:card]"]  # nothing was shown before it was looked at
        await proven(app)


async def test_names_and_ids_in_messages_are_looked_at_too(tmp_path: Path):
    model = ScriptedModel(["fine"])
    said = [
        {"role": "assistant", "tool_calls": [{"id": KEY, "name": "look", "args": {}}]},
        {"role": "tool", "content": "x", "name": f"of {KEY}", "tool_call_id": KEY},
    ]

    async def step(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": (await ctx.model("main", messages=said)).text}

    guards = [guard("k", "secrets", on="input", action="redact")]
    store = f"sqlite:///{tmp_path}/t.db"
    async with open_test_app(store, graphs=[chain(step)], models={"main": model}, guards=guards) as app:
        assert isinstance(await app.run("g", {}, thread="t"), Finished)
        asked, answered = model.requests[0].messages
        assert (
            asked.tool_calls[0].id == answered.tool_call_id == "[redacted:aws-key]"
        )  # the pair is still one
        assert answered.name == "of [redacted:aws-key]"
        [noted] = [x.body for x in await app.entries("t") if isinstance(x.body, e.FindingNoted)]
        assert [place for place, _, _ in noted.spans] == [
            "/messages/0/tool_calls/0/id", "/messages/1/name", "/messages/1/tool_call_id",
        ]  # fmt: skip
        assert KEY.encode() not in stored(tmp_path)


async def _texts(events: Any, seen: list[Any]) -> None:
    async for event in events:
        if isinstance(event, dict) and "text" in event:
            seen.append(event["text"])


@pytest.mark.parametrize(("action", "shown"), [("block", []), ("flag", [f"take {KEY}"])])
async def test_nothing_of_a_blocked_answer_is_streamed(action: Any, shown: list[str]):
    seen: list[Any] = []

    async def step(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            return {"data": (await ctx.model("main", messages="hi")).text}
        except GuardBlocked as error:
            return {"data": str(error)}

    model = ScriptedModel([f"take {KEY}"])
    async with open_test_app(
        graphs=[chain(step)],
        models={"main": model},
        guards=[guard("k", "secrets", on="output", action=action)],
    ) as app:
        listening = asyncio.ensure_future(_texts(app.stream("t"), seen))
        await asyncio.sleep(0)
        assert isinstance(await app.run("g", {}, thread="t"), Finished)
        for _ in range(5):
            await asyncio.sleep(0.01)
        listening.cancel()
        assert seen == shown
