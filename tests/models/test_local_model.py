"""A real language model, offline, through the OpenAI provider. What it says is its own business: the protocol and the
schema are ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, Field
from tests.models.calls import alias, app_with, ask, deployment, gateways, written
from tests.unit.runs import Work, proven

from turnout import Context, Finished, open_app
from turnout.demo.local import LocalModel
from turnout.errors import ContextWindowExceeded

pytest.importorskip("xllamacpp", reason="made by `make venv`")


@pytest.fixture(scope="module")
def local():
    found = LocalModel()
    yield found
    found.close()


@pytest.fixture
def path(local, tmp_path):
    """As a user would have it: a turnout.toml that names the server."""
    terms = {"model": '"smollm2"', "key_env": '""', "priced_as": '""', "timeout": "120.0", "stall": "100.0"}
    terms["options"] = "{ max_output_tokens = 24, temperature = 0.0 }"
    whole = deployment("whole", local.url, "chat", **terms, stream="false")
    return written(
        tmp_path,
        deployment("a", local.url, "chat", **terms),
        whole,
        alias("main", "a"),
        alias("whole", "whole"),
    )


@pytest.mark.parametrize("name", ["main", "whole"])
async def test_it_answers_with_its_tokens_counted(path, name):
    async with gateways(path) as found:
        asked = await ask(found, "Say hello.", alias=name)
    assert asked.reply.text
    assert "".join(event["text"] for event in asked.shown) == asked.reply.text
    assert (len(asked.shown) > 3) == (name == "main")  # token by token, or all at once
    assert 0 < asked.reply.usage.output_tokens <= 24
    assert asked.reply.usage.input_tokens > 0
    assert asked.reply.finish in ("stop", "length")
    [attempt] = asked.attempts
    assert (attempt.error, attempt.cost_micros) == ("", None)  # what it costs nobody has said


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)
    married: bool


async def extract(state: Work, ctx: Context) -> dict:
    question = "Ann is 31 years old and married. Give her name, age and whether she is married."
    reply = await ctx.model("main", messages=question, output=Person, max_output_tokens=60)
    assert isinstance(reply.output, Person)
    return {"data": reply.output.model_dump()}


async def test_an_answer_of_a_type_keeps_to_the_schema(path):
    async with app_with(path, extract) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished), outcome
        assert Person.model_validate(outcome.state.data)
        await proven(app)


async def test_a_prompt_that_is_too_long_for_it_is_told_as_that(path):
    async with gateways(path) as found:
        asked = await ask(found, "word " * 4_000)
    assert isinstance(asked.error, ContextWindowExceeded)
    assert len(asked.attempts) == 1


@pytest.mark.e2e
@pytest.mark.slow
async def test_the_demo_runs_with_it(tmp_path: Path):
    command = [Path(sys.executable).with_name("turnout"), "demo", "--model", "local", "--no-serve"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SmolLM2-135M" in done.stdout
    assert "25 requests: 12 paid, 6 waiting, 6 rejected, 1 failed;" in done.stdout
    async with open_app(f"sqlite:///{tmp_path}/turnout-demo.db", work=False) as app:
        reviews = await app.reviews()
        assert len(reviews) == 6
        assert all(
            review.payload["summary"] and "simulated" not in review.payload["summary"] for review in reviews
        )
        [call] = [c for c in (await app.explain(reviews[0].thread)).calls if c.kind == "model"]
        assert [attempt.deployment for attempt in call.attempts][-1] == "local"
        assert call.output_tokens > 0
