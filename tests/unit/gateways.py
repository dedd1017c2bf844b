"""Gateways on a virtual clock, whose upstreams are scripted, and runs that ask them."""

import asyncio
from contextlib import asynccontextmanager

from tests.unit.runs import Work, chain

from turnout import Context, ModelReply, Usage
from turnout.errors import ModelFailed, ModelRateLimited
from turnout.models.gateway import Gateways
from turnout.models.schema import ModelSettings
from turnout.testing import SeededChance, open_test_app

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
