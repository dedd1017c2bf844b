"""Servers of tools that die, hang, are away or are of no use; and the processes that are started for them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from tests.tools.shops import Shop, calling, effects, outcome, replayed, served, state_of
from tests.unit.runs import Work

from turnout import Context, Landed, Paused, Run, landed
from turnout.core import entries as e
from turnout.errors import ToolFailed


async def _cut_off(shop: Shop, stuck: bool) -> None:
    await shop.pin("never", "look_up")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            await ctx.call("shop_never", stuck=stuck)
        except ToolFailed as error:
            said = error.cause
        return {"data": await ctx.call("shop_look_up", item="tea"), "log": [said]}

    graph = shop.graph(node, "never", "look_up")
    async with shop.open(graph) as app:
        state = await state_of(app)
        cut_off, _ = await effects(app)
    assert state.log == ["CallTimeout"]
    assert cut_off.error.message == "it took longer than its 0.7 s"
    assert state.data["item"] == "tea"
    assert shop.log == ["never", "look_up tea"]
    assert await replayed(shop, graph)


async def test_a_tool_that_never_answers_is_cut_off_and_the_next_call_is_answered(open_shop):
    await _cut_off(open_shop, stuck=False)


async def test_a_process_that_is_stuck_altogether_is_started_again(shop):
    shop.write(terms="connect = 8.0")
    await _cut_off(shop, stuck=True)


async def test_a_write_whose_server_dies_has_an_unknown_outcome_and_the_server_is_started_again(shop):
    await shop.pin("order_and_die", "look_up")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        ordered = await ctx.call("shop_order_and_die", item="tea")
        return {"data": await ctx.call("shop_look_up", item="tea"), "log": [ordered]}

    graph = shop.graph(node, "order_and_die", "look_up")
    async with shop.open(graph) as app:
        paused = await outcome(app)
        assert isinstance(paused, Paused)
        [review] = paused.reviews
        assert "Connection closed" in review.payload["what is known"]
        assert shop.log == ["order tea"]
        await app.resolve(review, landed("ordered tea", by="dana"))
        state = (await app.wait(Run("t", 1), timeout=60)).state
    assert state.log == ["ordered tea"]
    assert shop.log == ["order tea", "look_up tea"]
    assert await replayed(shop, graph)


async def test_a_write_that_takes_a_key_is_sent_again_with_the_same_one_when_its_server_died(shop):
    await shop.pin("order_at_second_try")
    graph = shop.graph(calling("shop_order_at_second_try", item="tea"), "order_at_second_try")
    async with shop.open(graph) as app:
        state = await state_of(app)
        found = await effects(app)
    assert state.data == "ordered tea"
    key = found[0].idempotency_key
    assert shop.log == [f"order tea {key}", f"known tea {key}"]
    assert [one.outcome for one in found if isinstance(one, e.EffectSettled)] == [
        "unknown",
        "unknown",
        "landed",
    ]
    assert await replayed(shop, graph)


async def test_a_reconcile_of_ours_finds_out_what_became_of_a_write(shop):
    await shop.pin("order_and_die")

    def reconcile(item: str) -> Landed:
        return Landed(f"found: {shop.log[-1]}")

    graph = shop.graph(calling("shop_order_and_die", item="tea"), "order_and_die", reconcile=reconcile)
    async with shop.open(graph) as app:
        state = await state_of(app)
        [_, unknown, settled] = await effects(app)
    assert (unknown.outcome, settled.outcome, settled.how) == ("unknown", "landed", "reconcile")
    assert state.data == "found: order tea"
    assert shop.log == ["order tea"]


async def test_a_process_that_was_killed_between_two_calls_is_started_again(shop):
    await shop.pin("look_up")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        first = await ctx.call("shop_look_up", item="tea")
        session = app._world.servers._connections["shop"]._session  # type: ignore[union-attr]
        [child] = _children()
        os.kill(child, signal.SIGKILL)
        while session.alive:
            await asyncio.sleep(0.01)
        second = await ctx.call("shop_look_up", item="milk")
        return {"data": [first["item"], second["item"]]}

    async with shop.open(shop.graph(node, "look_up")) as app:
        state = await state_of(app)
    assert state.data == ["tea", "milk"]
    assert shop.log == ["look_up tea", "look_up milk"]
    assert _children() == []


async def test_a_server_over_http_that_was_started_again_is_found_again(shop):
    with served(shop) as (address, again):
        shop.write(where=address)
        await shop.pin("look_up", "order")

        async def node(state: Work, ctx: Context) -> dict[str, Any]:
            first = await ctx.call("shop_look_up", item="tea")
            again()
            return {"data": [first["item"], await ctx.call("shop_order", item="milk")]}

        async with shop.open(shop.graph(node, "look_up", "order")) as app:
            state = await state_of(app)
    assert state.data == ["tea", "ordered milk"]
    assert [line.rpartition(" ")[0] for line in shop.log] == ["look_up", "order milk"]


async def test_a_write_to_a_server_that_is_not_there_did_not_happen(shop):
    with served(shop) as (address, _):
        shop.write(where=address)
        await shop.pin("order")
    graph = shop.graph(calling("shop_order", item="tea"), "order")
    async with shop.open(graph) as app:
        state = await state_of(app)
        _, settled = await effects(app)
    assert (settled.outcome, settled.error.type) == ("did_not_happen", "ServerUnavailable")
    assert "can't be asked: no connection" in settled.error.message
    assert state.log[0] == "ToolFailed"
    assert shop.log == []
    assert await replayed(shop, graph)


async def test_a_server_that_hangs_holds_up_all_who_wait_for_it_once_not_one_after_the_other(shop):
    await shop.pin("look_up")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        calls = [ctx.call("shop_look_up", item=f"tea {n}") for n in range(10)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        return {"log": sorted({str(one) for one in found})}

    graph = shop.graph(node, "look_up")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shop.write(where=f"http://127.0.0.1:{silent.getsockname()[1]}/mcp", terms="connect = 1.0")
        async with shop.open(graph) as app:
            begun = time.monotonic()
            state = await state_of(app)
            assert time.monotonic() - begun < 8
    assert state.log == [
        "tool shop_look_up: ServerUnavailable: server 'shop' can't be asked: it didn't answer within 1 s"
    ]


async def test_a_process_gets_no_more_of_the_environment_than_was_named(shop, monkeypatch):
    monkeypatch.setenv("OTHER_TOKEN", "something else")
    await shop.pin("never")
    async with shop.open(shop.graph(calling("shop_never", stuck=False), "never")) as app:
        run = await app.start("g", {}, thread="t")
        while shop.log != ["never"]:
            await asyncio.sleep(0.01)
        [child] = _children()
        named = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        await app.wait(run)
    assert {pair.partition(b"=")[0] for pair in named if pair} == {b"PATH", b"SHOP_TOKEN"}


@pytest.mark.parametrize(
    ("program", "problem"), [("empty.py", "it offers no tools"), ("missing.py", "can't open file")]
)
async def test_a_server_that_is_of_no_use_is_an_error(shop, program, problem):
    await shop.pin("look_up")
    graph = shop.graph(calling("shop_look_up", item="tea"), "look_up")
    shop.write(program=program)
    async with shop.open(graph) as app:
        state = await state_of(app)
        [recorded] = await effects(app)
    assert recorded.error.type == "ServerUnavailable"
    assert problem in state.log[1]


async def test_many_calls_at_once_share_one_process(shop):
    await shop.pin("look_up")

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        found = await asyncio.gather(*(ctx.call("shop_look_up", item=f"tea {n}") for n in range(20)))
        return {"data": [one["item"] for one in found], "log": [str(len(_children()))]}

    async with shop.open(shop.graph(node, "look_up")) as app:
        state = await state_of(app)
    assert state.data == [f"tea {n}" for n in range(20)]
    assert state.log == ["1"]
    assert _children() == []


def _children() -> list[int]:
    """The processes of the shop that this one has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"shop.py" in command:
            found.append(int(entry.name))
    return found
