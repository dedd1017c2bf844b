"""The credentials of a server: none gets onto the record, not even in part, and none is sent where it isn't set."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.tools.shops import TOKEN, calling, replayed, state_of


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


async def test_a_server_without_its_credentials_is_not_asked(shop, monkeypatch):
    await shop.pin("look_up")
    monkeypatch.delenv("SHOP_TOKEN")
    async with shop.open(shop.graph(calling("shop_look_up", item="tea"), "look_up")) as app:
        state = await state_of(app)
    assert "the environment variable SHOP_TOKEN is not set" in state.log[1]
    assert shop.log == []
