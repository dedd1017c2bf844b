"""What turnout.toml and the pins have of servers, beside what the servers say now."""

from __future__ import annotations

from collections.abc import Mapping

from turnout.ports.tools import ServerSeen, ToolSeen
from turnout.tools.pins import Pin, difference
from turnout.tools.schema import Server


def server(
    name: str,
    terms: Server,
    pins: Mapping[str, Pin],
    live: Mapping[str, Pin] | None,
    error: str,
    environment: Mapping[str, str],
) -> ServerSeen:
    """A server. `live` is None when it wasn't asked, or couldn't be."""
    tools = dict.fromkeys((*terms.tools, *pins, *(live or {})))
    return ServerSeen(
        name,
        "stdio" if terms.command else "http",
        terms.address,
        tuple(variable for variable in terms.variables if not environment.get(variable, "").strip()),
        error,
        tuple(_tool(tool, terms, pins.get(tool), live) for tool in tools),
    )


def _tool(name: str, terms: Server, pin: Pin | None, live: Mapping[str, Pin] | None) -> ToolSeen:
    declared, now = terms.tools.get(name), (live or {}).get(name)
    return ToolSeen(
        name,
        "unseen" if live is None else _state(pin, now),
        declared.effect if declared is not None else "",
        declared.takes_key if declared is not None else "",
        declared.untrusted if declared is not None else True,
        tuple(one.text for one in declared.allow) if declared is not None else (),
        pin.digest if pin is not None else "",
        now.digest if now is not None else "",
        difference(pin, now) if live is not None else (),
    )


def _state(pin: Pin | None, now: Pin | None) -> str:
    if now is None:
        return "gone"
    if pin is None:
        return "new"
    return "approved" if pin.digest == now.digest else "changed"
