"""The port to servers of tools, and what can be seen of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from turnout.core.tool import Tool


@dataclass(frozen=True)
class ToolSeen:
    """A tool of a server.

    `effect`, `takes_key`, `untrusted` and `allow` (graph/node) are our declaration; an `effect` of "" says that there is
    none. `pin` is the digest of what was approved, `live` of what the server says now. `state` is `approved`,
    `changed` or `new` (both quarantined), `gone` (approved, but the server doesn't have it), or `unseen` when the server
    wasn't asked. `difference` is between the two, line by line.
    """

    name: str
    state: str
    effect: str = ""
    takes_key: str = ""
    untrusted: bool = True
    allow: tuple[str, ...] = ()
    pin: str = ""
    live: str = ""
    difference: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerSeen:
    """A server. `missing` are environment variables that it needs and that aren't set; `error` says why it couldn't be
    asked."""

    name: str
    transport: str
    address: str
    missing: tuple[str, ...]
    error: str
    tools: tuple[ToolSeen, ...]


class ToolServers(Protocol):
    """Servers whose tools are called for us."""

    async def call(self, tool: Tool[Any, Any], graph: str, node: str, /, **args: Any) -> Any:
        """Call a tool for a node of a graph. What it returns is for `tool.dump`.

        Raises `EffectRefused`, `ToolQuarantined` or `ServerUnavailable` when nothing was sent.
        """
        ...

    async def look(self, names: Sequence[str] = (), *, ask: bool = True) -> list[ServerSeen]:
        """The servers (these, or all) and their tools, in the order of the file. `ask`: as they are now."""
        ...

    async def approve(self, server: str, digests: Mapping[str, str]) -> list[ServerSeen]:
        """Approve tools of a server as they were shown, by their digests; "" takes an approval away.

        Raises `Conflict` when a tool is no longer what was shown.
        """
        ...

    async def close(self) -> None:
        """End all connections."""
        ...
