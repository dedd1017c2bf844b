"""Calls of a real MCP server, as a process and over HTTP: what is done, what is on record, and what gets through."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from tests.tools.shops import DECLARED, calling, effects, outcome, replayed, state_of
from tests.unit.runs import Work

from turnout import Context, Paused, did_not_happen
from turnout.core import entries as e
from turnout.errors import InputInvalid


async def test_a_read_is_called_once_recorded_and_replayed_without_the_server(open_shop):
    shop = open_shop
    await shop.pin("look_up")
    graph = shop.graph(calling("shop_look_up", item="tea", limit=2), "look_up")
    async with shop.open(graph) as app:
        state = await state_of(app)
        [recorded] = await effects(app)
    assert state.data == {"item": "tea", "shelves": ["tea-0", "tea-1"]}
    assert (recorded.name, recorded.args, recorded.result) == (
        "shop_look_up",
        {"item": "tea", "limit": 2},
        state.data,
    )
    assert shop.log == ["look_up tea"]
    assert await replayed(shop, graph)
    assert shop.log == ["look_up tea"]


async def test_a_write_that_says_it_only_reads_is_a_write_all_the_same(open_shop):
    shop = open_shop
    await shop.pin("order")
    assert shop.tool("order").form.input["properties"].keys() == {"item", "request_id"}
    graph = shop.graph(calling("shop_order", item="tea"), "order")
    async with shop.open(graph) as app:
        state = await state_of(app)
        intended, settled = await effects(app)
    assert state.data == "ordered tea"
    assert isinstance(intended, e.EffectIntended)
    assert (settled.outcome, settled.result) == ("landed", "ordered tea")
    assert shop.log == [f"order tea {intended.idempotency_key}"]
    assert await replayed(shop, graph)
    assert len(shop.log) == 1


async def test_an_answer_of_fifty_megabytes_is_refused_and_not_held(open_shop):
    shop = open_shop
    await shop.pin("huge", "look_up")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            await ctx.call("shop_huge", megabytes=50)
        except Exception as error:
            said = [type(error).__name__, str(error)]
        return {"data": await ctx.call("shop_look_up", item="tea"), "log": said}

    graph = shop.graph(node, "huge", "look_up")
    async with shop.open(graph) as app:
        tracemalloc.start()
        state = await state_of(app)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        refused, after = await effects(app)
    assert peak < 25_000_000
    assert state.log[0] == "ToolFailed"
    assert "4000000 byte" in state.log[1]
    assert refused.error.type == "ToolFailed"
    assert after.result["item"] == "tea"  # the connection has lived through it
    assert shop.log == ["huge 50", "look_up tea"]
    assert Path(shop.folder / "turnout.db").stat().st_size < 1_000_000
    assert await replayed(shop, graph)


async def test_a_result_over_the_cap_is_refused_though_it_could_be_read(shop):
    shop.write(terms="result_bytes = 1_500_000")
    await shop.pin("huge")
    graph = shop.graph(calling("shop_huge", megabytes=2), "huge")
    async with shop.open(graph) as app:
        state = await state_of(app)
    assert "it has 2000002 bytes; result_bytes allows 1500000" in state.log[1]
    assert await replayed(shop, graph)


async def test_an_error_of_a_tool_leaves_a_write_unknown_unless_we_have_declared_that_it_proves_something(
    shop,
):
    await shop.pin("fail")
    graph = shop.graph(calling("shop_fail", item="tea"), "fail")
    async with shop.open(graph) as app:
        paused = await outcome(app)
        assert isinstance(paused, Paused)
        [review] = paused.reviews
        assert "tea can't be ordered" in review.payload["what is known"]
        await app.resolve(review, did_not_happen(by="dana"))
        await app.cancel("t", by="dana")
    shop.write(declared={**DECLARED, "fail": 'effect = "write"\nerrors = "did_not_happen"'})
    async with shop.open(graph) as app:
        state = await state_of(app, "t2")
        _, settled = await effects(app, "t2")
    assert (settled.outcome, settled.error.type) == ("did_not_happen", "DidNotHappen")
    assert "tea can't be ordered" in state.log[1]


async def test_wrong_arguments_are_refused_before_anything_is_on_record(shop):
    await shop.pin("look_up")
    graph = shop.graph(calling("shop_look_up", item="tea", limit="many"), "look_up")
    async with shop.open(graph) as app:
        state = await state_of(app)
        assert await effects(app) == []
    assert state.log[0] == "InputInvalid"
    assert 'limit: doesn\'t fit {"type":"integer"}; it takes (item, limit)' in state.log[1]
    assert shop.log == []


async def test_the_key_of_a_write_can_not_be_given_by_a_node_and_no_model_sees_it(shop):
    await shop.pin("order")
    tool = shop.tool("order")
    assert list(tool.schema()["parameters"]["properties"]) == ["item"]
    async with shop.open(shop.graph(calling("shop_order", item="tea", request_id="mine"), "order")) as app:
        state = await state_of(app)
    assert "'request_id' is filled by Turnout" in state.log[1]


async def test_text_is_a_string_and_pictures_come_through_only_where_they_are_allowed(shop):
    await shop.pin("describe", "picture")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        said = await ctx.call("shop_describe", item="tea")
        try:
            return {"data": [said, await ctx.call("shop_picture")]}
        except Exception as error:
            return {"data": [said], "log": [str(error)]}

    graph = shop.graph(node, "describe", "picture")
    async with shop.open(graph) as app:
        state = await state_of(app)
    assert state.data == ["tea is what it is."]
    assert "it holds image; content allows text, json" in state.log[0]
    shop.write(terms='content = ["text", "image"]')
    async with shop.open(graph) as app:
        state = await state_of(app, "t2")
    text, image = state.data[1]
    assert (text, image["media_type"]) == ({"text": "a pixel"}, "image/png")


async def test_the_tool_is_no_function_to_be_called_past_the_journal(shop):
    await shop.pin("look_up")
    with pytest.raises(InputInvalid, match=r"ctx\.call"):
        shop.tool("look_up")(item="tea")
