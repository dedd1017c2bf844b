"""The servers of an app: who may call what, and whether it still is what was approved."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from turnout.core.tool import KEY, Tool
from turnout.errors import (
    CallTimeout,
    Conflict,
    DidNotHappen,
    EffectRefused,
    NotSent,
    ServerUnavailable,
    SettingsInvalid,
    ToolFailed,
    ToolQuarantined,
    UnknownServer,
)
from turnout.ports.tools import ServerSeen
from turnout.settings_file import nearest
from turnout.tools import report
from turnout.tools.answers import answer_of, problem_of
from turnout.tools.connection import Connection
from turnout.tools.forms import Answer, SchemaForm
from turnout.tools.pins import Pin, Pins
from turnout.tools.schema import Declared, Server
from turnout.tools.schema_check import schema_problem


class Servers:
    """The servers of turnout.toml. Connections are made when they are needed, on the event loop that needs them."""

    def __init__(self, terms: Mapping[str, Server], pins: Path, environment: Mapping[str, str]) -> None:
        self.terms = terms
        self.pins = pins
        self._environment = environment
        self._connections = {name: Connection(name, one, environment) for name, one in terms.items()}

    async def call(self, tool: Tool[Any, Any], graph: str, node: str, /, **args: Any) -> Answer:
        """Call a tool for a node, if that node may call it and the tool is what was approved.

        Raises `EffectRefused`, `ToolQuarantined`, `ServerUnavailable` (nothing was sent), `CallTimeout`, `ToolFailed`,
        or `DidNotHappen` where that is what an error of this tool means.
        """
        assert isinstance(tool.form, SchemaForm)
        name = tool.form.name
        declared = self._permitted(tool, name, graph, node)
        if declared.takes_key:
            args[declared.takes_key] = args.pop(KEY)
        connection, terms = self._connections[tool.server], self.terms[tool.server]
        limit = declared.time_limit or terms.call
        try:
            said = await self._sent(connection, tool, name, args, limit)
        except NotSent:  # the server was started anew, say: its session is found to be over only now
            try:
                said = await self._sent(connection, tool, name, args, limit)
            except NotSent as problem:
                raise ServerUnavailable(f"server {tool.server!r} can't be asked: {problem}") from None
        if said.get("isError"):
            failed = DidNotHappen if declared.errors == "did_not_happen" else ToolFailed
            raise failed(f"the tool answered with an error: {problem_of(said, connection.secrets)}")
        return answer_of(said, terms, connection.secrets)

    async def _sent(
        self, connection: Connection, tool: Tool[Any, Any], name: str, args: Mapping[str, Any], limit: float
    ) -> dict[str, Any]:
        """What the server answers to one sending. Raises `NotSent`, and what `call` raises."""
        self._unchanged(tool, name, (await connection.tools()).get(name))
        timer = asyncio.timeout(limit)
        try:
            async with timer:
                return await connection.call(name, args)
        except TimeoutError:
            if not timer.expired():
                raise
            raise CallTimeout(f"it took longer than its {limit:g} s") from None

    async def look(self, names: Sequence[str] = (), *, ask: bool = True) -> list[ServerSeen]:
        """The servers and their tools. Raises `SettingsInvalid`."""
        pins, seen = Pins.read(self.pins), []
        for name in names:
            self._server(name)
        for name, terms in self.terms.items():
            if names and name not in names:
                continue
            live, error = (await self._live(name)) if ask else (None, "")
            seen.append(
                report.server(name, terms, pins.servers.get(name, {}), live, error, self._environment)
            )
        return seen

    async def approve(self, server: str, digests: Mapping[str, str]) -> list[ServerSeen]:
        """Approve tools of a server as they were shown; "" takes an approval away.

        Raises `Conflict`, `ServerUnavailable`, `SettingsInvalid`.
        """
        self._server(server)
        live = await self._connections[server].tools()
        approved: dict[str, Pin | None] = {}
        for tool, digest in digests.items():
            pin = live.get(tool)
            if (pin.digest if pin is not None else "") != digest:
                raise Conflict(f"the tool {server}/{tool} is no longer what was shown; look at it again")
            problem = schema_problem(pin.input) or schema_problem(pin.output or {}) if pin is not None else ""
            if problem:
                raise SettingsInvalid(f"the tool {server}/{tool} can't be used: {problem}")
            approved[tool] = pin
        Pins.read(self.pins).having(server, approved).write()
        return await self.look([server])

    async def close(self) -> None:
        """End all connections."""
        for connection in self._connections.values():
            await connection.close()

    async def _live(self, name: str) -> tuple[Mapping[str, Pin] | None, str]:
        try:
            return await self._connections[name].tools(), ""
        except ServerUnavailable as error:
            return None, str(error)

    def _server(self, name: str) -> Server:
        if name not in self.terms:
            raise UnknownServer(f"turnout.toml has no [mcp.{name}]; {nearest(name, self.terms)}")
        return self.terms[name]

    def _permitted(self, tool: Tool[Any, Any], name: str, graph: str, node: str) -> Declared:
        """Our declaration of the tool. Raises `EffectRefused` when there is none, or none for this node."""
        server = self.terms.get(tool.server)
        table = f"[mcp.{tool.server}.tools.{name}]"
        if server is None:
            raise EffectRefused(f"turnout.toml has no [mcp.{tool.server}]; say there how it is reached")
        declared = server.tools.get(name)
        if declared is None:
            raise EffectRefused(
                f"the tool {name!r} is not declared: say what it does in {table} of turnout.toml"
            )
        if declared.effect != tool.effect or bool(declared.takes_key) != tool.takes_key:
            raise EffectRefused(
                f"the graph takes the tool {name!r} for a {tool.effect}, {table} for a {declared.effect}; "
                f"build the graph with the same turnout.toml"
            )
        if not declared.allows(graph, node):
            raise EffectRefused(
                f"node {node!r} of graph {graph!r} may not call {name!r} of server {tool.server!r}; add it to "
                f'{table}: allow = [{{ graph = "{graph}", node = "{node}" }}]'
            )
        return declared

    def _unchanged(self, tool: Tool[Any, Any], name: str, live: Pin | None) -> None:
        """Raises `ToolQuarantined` when the server says something else of the tool than what was approved."""
        if live is None:
            raise ToolQuarantined(f"server {tool.server!r} has no tool {name!r} any more")
        if live.digest != tool.pin:
            raise ToolQuarantined(
                f"server {tool.server!r} has changed the tool {name!r} since it was approved; "
                f"`turnout tools diff {tool.server} {name}` shows how, and `turnout tools pin {tool.server} {name}` "
                f"approves it as it is now"
            )
