"""A project with a turnout.toml for the shop, its pins, and graphs of one node that calls a tool of it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.models.upstreams import free_port
from tests.unit.runs import Work

from turnout import END, App, Context, Graph, Outcome, Tool, mcp_tool, open_app
from turnout.core import entries as e
from turnout.wiring import open_servers

HERE = Path(__file__).parent
TOKEN = "tok-4711-very-secret"
DECLARED = {
    "look_up": 'effect = "read"',
    "describe": 'effect = "read"',
    "order": 'effect = "write"\ntakes_key = "request_id"',
    "order_and_die": 'effect = "write"',
    "order_at_second_try": 'effect = "write"\ntakes_key = "request_id"',
    "huge": 'effect = "read"',
    "never": 'effect = "read"\ntime_limit = 0.7',
    "repeat": 'effect = "read"',
    "fail": 'effect = "write"',
    "picture": 'effect = "read"',
    "change": 'effect = "read"',
}


class Shop:
    """The project: in `folder`, with the server's own log as the record of what was done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_file = folder / "shop.log"
        self.config = folder / "turnout.toml"
        self.store = f"sqlite:///{folder / 'turnout.db'}"
        self.write()

    @property
    def log(self) -> list[str]:
        """What the server did, by its own account."""
        return self.log_file.read_text().splitlines() if self.log_file.exists() else []

    def write(
        self,
        *more: str,
        program: str = "shop.py",
        where: str = "",
        arguments: Iterable[str] = (),
        terms: str = "",
        allow: str = '[{ graph = "g", node = "*" }]',
        declared: dict[str, str] | None = None,
    ) -> None:
        """Write turnout.toml anew. `where` is an address, if it isn't a process."""
        args = [str(HERE / program), str(self.log_file), *arguments]
        lines = ["[mcp.shop]"]
        if where:
            lines += [f'url = "{where}"', 'headers_env = { "Authorization" = "SHOP_AUTH" }']
        else:
            quoted = ", ".join(f"'{arg}'" for arg in args)
            lines += [f"command = '{sys.executable}'", f"args = [{quoted}]", 'env_env = ["SHOP_TOKEN"]']
        lines.append(terms)
        for name, text in (DECLARED if declared is None else declared).items():
            lines += [f"[mcp.shop.tools.{name}]", text, f"allow = {allow}"]
        self.config.write_text("\n".join([*lines, *more, ""]))

    async def pin(self, *names: str) -> None:
        """Approve tools as they are."""
        servers = open_servers(self.config)
        try:
            [shop] = await servers.look(["shop"])
            assert not shop.error, shop.error
            wanted = {tool.name: tool.live for tool in shop.tools if tool.name in (names or DECLARED)}
            await servers.approve("shop", wanted)
        finally:
            await servers.close()

    def tool(self, name: str, **more: Any) -> Tool[Any, Any]:
        return mcp_tool("shop", name, config=self.config, **more)

    def graph(self, node: Callable[..., Awaitable[Any]], *names: str, **more: Any) -> Graph:
        """The graph `g` with one node that may call these tools."""
        graph = Graph("g", state=Work, tools=[self.tool(name, **more) for name in names])
        graph.node(node, name="n")
        graph.start("n")
        graph.edge("n", END)
        return graph

    def open(self, graph: Graph, **more: Any) -> App:
        return open_app(self.store, graphs=[graph], config=self.config, **more)


def calling(name: str, **args: Any) -> Callable[..., Awaitable[dict[str, Any]]]:
    """A node that makes one call and keeps what it gives, or the error's class and text."""

    async def node(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            return {"data": await ctx.call(name, **args)}
        except Exception as error:
            return {"data": None, "log": [type(error).__name__, str(error)]}

    return node


async def outcome(app: App, thread: str = "t", timeout: float = 60) -> Outcome:
    run = await app.start("g", {}, thread=thread)
    return await app.wait(run, timeout=timeout)


async def state_of(app: App, thread: str = "t") -> Any:
    found = await outcome(app, thread)
    return found.state  # type: ignore[union-attr]


async def effects(app: App, thread: str = "t") -> list[Any]:
    """What the journal has of effects."""
    kinds = (e.EffectRecorded, e.EffectIntended, e.EffectSettled)
    return [entry.body for entry in await app.entries(thread) if isinstance(entry.body, kinds)]


async def replayed(shop: Shop, graph: Graph, thread: str = "t") -> bool:
    """Does the journal replay to the same, with no server there to be asked?"""
    async with open_app(shop.store, graphs=[graph], work=False) as app:
        found = await app.replay(thread)
        assert (await app.verify(thread)).ok
        return found.identical


async def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    for _ in range(int(seconds * 50)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came to that")


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
