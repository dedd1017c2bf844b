"""A server of the older protocol, which nothing of the SDK is in."""

from __future__ import annotations

from typing import Any

import pytest
from tests.tools.shops import Shop, calling, effects, replayed, state_of
from tests.unit.runs import Work

from turnout import Context
from turnout.errors import ToolFailed, ToolQuarantined
from turnout.wiring import open_servers

DECLARED = dict.fromkeys(("look_up", "change", "huge"), 'effect = "read"')


@pytest.fixture
def old(shop: Shop) -> Shop:
    shop.write(program="old.py", terms="recheck = 3600", declared=DECLARED)
    return shop


async def test_pages_are_read_to_the_end_and_lines_that_are_no_messages_are_passed_over(old):
    await old.pin()
    graph = old.graph(calling("shop_look_up"), "look_up")
    async with old.open(graph) as app:
        assert (await state_of(app)).data == "done"
        [seen] = await app.tools()
    assert {tool.name for tool in seen.tools} == set(DECLARED)
    assert await replayed(old, graph)


async def test_what_it_says_of_a_change_without_being_asked_is_heard(old):
    await old.pin()

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.call("shop_change")
        try:
            await ctx.call("shop_look_up")
        except ToolQuarantined as error:
            return {"log": [error.cause]}
        return {"log": ["called"]}

    async with old.open(old.graph(node, "look_up", "change")) as app:
        assert (await state_of(app)).log == ["ToolQuarantined"]
    assert old.log == ["change"]


async def test_an_answer_that_is_too_large_is_an_error_of_its_own_call_alone(old):
    await old.pin()

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            await ctx.call("shop_huge")
        except ToolFailed as error:
            said = str(error)
        return {"data": await ctx.call("shop_look_up"), "log": [said]}

    async with old.open(old.graph(node, "look_up", "huge")) as app:
        state = await state_of(app)
        assert len(await effects(app)) == 2
    assert state.log == [
        "tool shop_huge: ToolFailed: server 'shop' gave no result: the answer is larger than the 4000000 bytes that are "
        "read of one"
    ]
    assert state.data == "done"
    assert old.log == ["huge", "look_up"]


@pytest.mark.parametrize(
    ("mood", "problem"),
    [("twice", "it offers two tools named 'look_up'"), ("endless", "more than 100 pages")],
)
async def test_a_list_that_makes_no_sense_is_an_error(old, mood, problem):
    old.write(program="old.py", arguments=[mood])
    servers = open_servers(old.config)
    try:
        [seen] = await servers.look()
    finally:
        await servers.close()
    assert problem in seen.error
