"""Calls of a real MCP server, as a process and over HTTP: what is done, what is on record, and what gets through."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.models.upstreams import free_port
from tests.tools.shops import DECLARED, HERE, TOKEN, Shop, calling, effects, outcome, replayed, state_of
from tests.unit.runs import Work

from turnout import Context, Landed, Paused, Run, did_not_happen, landed
from turnout.core import entries as e
from turnout.errors import InputInvalid, ToolFailed


@contextmanager
def served(shop: Shop) -> Iterator[tuple[str, Callable[[], None]]]:
    """The shop over HTTP: its address, and a function that kills it and starts it again."""
    port = free_port()
    command = [sys.executable, str(HERE / "shop.py"), str(shop.log_file), "--http", str(port)]
    process: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        for old in process:
            old.kill()
            old.wait()
        process.append(subprocess.Popen(command, env={**os.environ}, stdin=subprocess.DEVNULL))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the shop didn't open")

    start()
    try:
        yield f"http://127.0.0.1:{port}/mcp", start
    finally:
        process[-1].kill()
        process[-1].wait()


@pytest.fixture(params=["stdio", "http"])
def open_shop(request: pytest.FixtureRequest, shop: Shop) -> Iterator[Shop]:
    if request.param == "stdio":
        yield shop
        return
    with served(shop) as (address, _):
        shop.write(where=address)
        yield shop


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


@pytest.mark.parametrize("fails", [False, True], ids=["a result", "an error"])
async def test_credentials_are_nowhere_though_the_server_repeats_them(open_shop, fails, caplog):
    shop = open_shop
    caplog.set_level("DEBUG")
    await shop.pin("repeat")
    graph = shop.graph(calling("shop_repeat", fail=fails), "repeat")
    async with shop.open(graph) as app:
        state = await state_of(app)
    variable = "SHOP_AUTH" if "url" in shop.config.read_text() else "SHOP_TOKEN"
    if fails:
        assert f"the token [{variable}] is no good" in state.log[1]
    else:
        assert state.data == f"your token is [{variable}], thank you"
    assert await replayed(shop, graph)
    for file in shop.folder.iterdir():
        assert TOKEN.encode() not in file.read_bytes(), file.name
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/html"])
async def test_not_even_a_part_of_a_credential_gets_through_when_an_answer_can_not_be_read(shop, kind):
    await shop.pin("look_up")
    graph = shop.graph(calling("shop_look_up", item="tea"), "look_up")

    class Broken(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", kind)
            self.end_headers()
            text = f'{{"jsonrpc": "2.0", "id": 1, "{self.headers["authorization"] * 40}": '
            self.wfile.write(f"data: {text}\n\n".encode() if "event" in kind else text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shop.write(where=f"http://127.0.0.1:{server.server_port}/mcp", terms="connect = 3.0")
        async with shop.open(graph) as app:
            state = await state_of(app)
        server.shutdown()
    assert "server 'shop' can't be asked" in state.log[1]
    for length in range(6, len(TOKEN)):
        assert TOKEN[:length] not in state.log[1]
        assert TOKEN[-length:] not in state.log[1]


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


async def test_a_server_without_its_credentials_is_not_asked(shop, monkeypatch):
    await shop.pin("look_up")
    monkeypatch.delenv("SHOP_TOKEN")
    async with shop.open(shop.graph(calling("shop_look_up", item="tea"), "look_up")) as app:
        state = await state_of(app)
    assert "the environment variable SHOP_TOKEN is not set" in state.log[1]
    assert shop.log == []


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


async def test_the_tool_is_no_function_to_be_called_past_the_journal(shop):
    await shop.pin("look_up")
    with pytest.raises(InputInvalid, match=r"ctx\.call"):
        shop.tool("look_up")(item="tea")


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
