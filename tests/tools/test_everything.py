"""A server that nobody here wrote: `@modelcontextprotocol/server-everything`, of npm."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.models.upstreams import HERE, free_port
from tests.tools.shops import Work, effects, replayed, state_of

from turnout import Context
from turnout.wiring import open_servers

PROGRAM = HERE / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
DECLARED = {"echo": 'effect = "read"', "get-structured-content": 'effect = "read"', "get-env": 'effect = "read"',
            "get-tiny-image": 'effect = "read"', "get-sum": 'effect = "pure"'}  # fmt: skip
pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not PROGRAM.exists(),
    reason="server-everything is an npm package: this needs node and `npm ci --prefix tests/models`",
)


@pytest.fixture(params=["stdio", "http"])
def everything(request: pytest.FixtureRequest, shop: Any, tmp_path: Path) -> Iterator[Any]:
    tables = [
        f'[mcp.all.tools.{name}]\n{text}\nallow = [{{ graph = "g", node = "n" }}]'
        for name, text in DECLARED.items()
    ]
    if request.param == "stdio":
        shop.config.write_text(
            "\n".join(["[mcp.all]", "command = 'node'", f"args = ['{PROGRAM}', 'stdio']", *tables])
        )
        yield shop
        return
    port = free_port()
    environment = {**os.environ, "PORT": str(port)}
    with (tmp_path / "everything.log").open("wb") as out:
        process = subprocess.Popen(
            ["node", str(PROGRAM), "streamableHttp"],
            env=environment,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
        )
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        shop.config.write_text("\n".join(["[mcp.all]", f"url = 'http://127.0.0.1:{port}/mcp'", *tables]))
        yield shop
    finally:
        process.kill()
        process.wait()


async def test_its_tools_are_approved_called_recorded_and_replayed(everything):
    shop = everything
    servers = open_servers(shop.config)
    try:
        [seen] = await servers.look()
        assert not seen.error
        live = {tool.name: tool.live for tool in seen.tools}
        assert live.keys() > DECLARED.keys()
        await servers.approve("all", {name: live[name] for name in DECLARED})
    finally:
        await servers.close()

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        said = await ctx.call("all_echo", message="hello")
        weather = await ctx.call("all_get-structured-content", location="New York")
        total = await ctx.call("all_get-sum", a=2, b=3)
        try:
            await ctx.call("all_get-tiny-image")
        except Exception as error:
            return {"data": [said, weather, total], "log": [str(error)]}
        return {}

    from turnout import END, Graph, mcp_tool

    tools = [mcp_tool("all", name, config=shop.config) for name in DECLARED]
    graph = Graph("g", state=Work, tools=tools)
    graph.node(node, name="n")
    graph.start("n")
    graph.edge("n", END)
    async with shop.open(graph) as app:
        state = await state_of(app)
        found = await effects(app)
    said, weather, total = state.data
    assert said == "Echo: hello"
    assert set(weather) == {"temperature", "conditions", "humidity"}  # the data, not the text beside it
    assert "5" in total
    assert "it holds image" in state.log[0]
    assert [one.error is None for one in found] == [True, True, True, False]
    assert await replayed(shop, graph)


@pytest.mark.parametrize("everything", ["stdio"], indirect=True)
async def test_its_process_sees_no_environment_of_ours(everything, monkeypatch):
    shop = everything
    monkeypatch.setenv("MY_SECRET", "hidden-from-all")
    servers = open_servers(shop.config)
    try:
        [seen] = await servers.look()
        await servers.approve("all", {tool.name: tool.live for tool in seen.tools if tool.name == "get-env"})
    finally:
        await servers.close()
    from turnout import END, Graph, mcp_tool

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": await ctx.call("all_get-env")}

    graph = Graph("g", state=Work, tools=[mcp_tool("all", "get-env", config=shop.config)])
    graph.node(node, name="n")
    graph.start("n")
    graph.edge("n", END)
    async with shop.open(graph) as app:
        state = await state_of(app)
    assert "PATH" in state.data
    assert "hidden-from-all" not in state.data
