"""A server of the older protocol, which nothing of the SDK is in."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.tools.shops import Shop, calling, effects, outcome, replayed, state_of
from tests.unit.runs import Work

from turnout import Context, Outcome, Paused
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
    ("code", "message"), [(-31002, "insufficient stock"), (-32600, "Session terminated")]
)
async def test_whatever_error_a_server_answers_with_does_not_prove_that_a_write_was_not_sent(
    old, code, message
):
    error = f'{{"code": {code}, "message": "{message}"}}'
    old.write(program="old.py", arguments=[f"error:{error}"], declared={"change": 'effect = "write"'})
    await old.pin("change")
    async with old.open(old.graph(calling("shop_change"), "change")) as app:
        paused = await outcome(app)
        assert isinstance(paused, Paused)
        _, settled = await effects(app)
    assert settled.outcome == "unknown"
    assert old.log == ["change"]


async def test_a_whole_number_is_sent_without_a_point_though_the_record_has_the_kind_that_the_schema_says(
    old,
):
    old.write(program="old.py", arguments=["number"], declared={"look_up": 'effect = "read"'})
    await old.pin("look_up")
    graph = old.graph(calling("shop_look_up", amount=5), "look_up")
    async with old.open(graph) as app:
        assert (await state_of(app)).data == "done"
        [recorded] = await effects(app)
    assert repr(recorded.args) == "{'amount': 5.0}"
    assert old.log == ['look_up {"amount": 5}']
    assert await replayed(old, graph)


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
async def test_numbers_that_json_does_not_have_are_refused_though_the_call_was_made(old, number):
    data = f'{{"balance": {number}}}'
    old.write(program="old.py", arguments=[f"data:{data}"], declared={"change": 'effect = "write"'})
    await old.pin("change")
    async with old.open(old.graph(calling("shop_change"), "change")) as app:
        state = await state_of(app)
        _, settled = await effects(app)
    assert (settled.outcome, settled.result, old.log) == ("landed", None, ["change"])
    assert "NaN or an infinite number" in state.log[1]


class Old(BaseHTTPRequestHandler):
    """The same over HTTP. A call is done; then what `then` says is answered."""

    protocol_version = "HTTP/1.1"
    then: str
    done: int

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "old", "version": "1"}}
        said = {
            "initialize": {"protocolVersion": "2025-06-18", **about},
            "tools/list": {
                "tools": [{"name": "look_up", "description": "", "inputSchema": {"type": "object"}}]
            },
        }.get(asked["method"])
        if asked["method"] == "tools/call":
            type(self).done += 1
            self.after(asked["id"])
        elif "id" not in asked:
            self.answer(202)
        elif said is None:
            self.answer(400)
        else:
            self.answer(200, {"jsonrpc": "2.0", "id": asked["id"], "result": said}, {"mcp-session-id": "s"})

    def do_GET(self) -> None:
        self.answer(405)

    def after(self, number: int) -> None:
        """Answer a call that was done, or (`forgotten`) the first one as nobody's that is known."""
        if self.then == "forgotten":
            error = {"code": -32600, "message": "Session not found"}
            said = {"error": error} if self.done == 1 else {"result": {"content": []}}
            self.answer(404 if self.done == 1 else 200, {"jsonrpc": "2.0", "id": number, **said})
            return
        self.close_connection = True
        self.server.socket.close()  # nobody else gets a connection
        if self.then == "elsewhere":
            self.answer(307, None, {"location": "/other"})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"id: 1\nretry: 10\ndata:\n\n")

    def answer(self, status: int, body: Any = None, more: Mapping[str, str] | None = None) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.parametrize("then", ["cut off", "elsewhere"])
async def test_a_server_that_is_gone_after_it_was_sent_a_write_does_not_prove_that_it_was_not_sent(
    shop, then
):
    found, settled, done = await over_http(shop, then)
    assert (settled.outcome, isinstance(found, Paused), done) == ("unknown", True, 1)


async def test_a_write_in_a_session_that_the_server_does_not_know_any_more_is_sent_in_a_new_one(shop):
    _, settled, done = await over_http(shop, "forgotten")
    assert (settled.outcome, done) == ("landed", 2)


async def over_http(shop: Shop, then: str) -> tuple[Outcome, Any, int]:
    """What becomes of a run that calls it once, how the call was settled, and how often it was asked to do it."""
    handler: Any = type("Handler", (Old,), {"then": then, "done": 0})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"http://127.0.0.1:{server.server_port}/mcp"
        shop.write(where=where, declared={"look_up": 'effect = "write"'})
        await shop.pin("look_up")
        async with shop.open(shop.graph(calling("shop_look_up"), "look_up")) as app:
            found = await outcome(app)
            _, settled = await effects(app)
        server.shutdown()
    return found, settled, handler.done


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
