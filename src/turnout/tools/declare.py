"""A tool of a server as a tool of a graph, made from what was declared and approved: no server has to be there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from turnout.core.tool import EffectClass, Tool
from turnout.errors import EffectRefused, InputInvalid, ServerUnavailable, SettingsInvalid
from turnout.settings_file import nearest
from turnout.tools.forms import SchemaForm
from turnout.tools.pins import Pins
from turnout.tools.schema import Declared, ToolSettings


def tool_of(
    server: str,
    tool: str,
    said: ToolSettings | None,
    pins: Pins,
    effect: EffectClass | None,
    name: str,
    reconcile: Callable[..., Any] | None,
) -> Tool[Any, Any]:
    """The tool. Raises `SettingsInvalid` when it isn't declared or was never approved, `InputInvalid`."""
    declared = _declared(server, tool, said)
    if effect is not None and effect != declared.effect:
        raise SettingsInvalid(
            f"the tool {server}/{tool} is taken for a {effect} here, and [mcp.{server}.tools.{tool}] of turnout.toml "
            f"says {declared.effect!r}"
        )
    if reconcile is not None and declared.effect != "write":
        raise InputInvalid(f"tool {server}/{tool}: reconcile is for effect='write'")
    pin = pins.of(server, tool)
    if pin is None:
        raise SettingsInvalid(
            f"the tool {server}/{tool} was never approved ({pins.path} has no pin of it); look at it and approve it with "
            f"`turnout tools pin {server} {tool}`"
        )

    def elsewhere(**args: Any) -> Any:
        raise InputInvalid(
            f"tool {label} lives on the server {server!r}: call it with ctx.call(...) in a node"
        )

    label = name or re.sub(r"[^A-Za-z0-9_-]", "_", f"{server}_{tool}")
    return Tool(
        fn=elsewhere,
        name=label,
        effect=declared.effect,
        description=pin.description or pin.title,
        form=SchemaForm.of(pin, declared.takes_key),
        takes_key=bool(declared.takes_key),
        reconcile=reconcile,
        did_not_happen=(EffectRefused, ServerUnavailable, SettingsInvalid)
        if declared.effect == "write"
        else (),
        pin=pin.digest,
        server=server,
        untrusted=declared.untrusted,
    )


def _declared(server: str, tool: str, said: ToolSettings | None) -> Declared:
    servers = said.mcp if said is not None else {}
    if server not in servers:
        raise SettingsInvalid(f"turnout.toml has no [mcp.{server}]; {nearest(server, servers)}")
    tools = servers[server].tools
    if tool not in tools:
        raise SettingsInvalid(
            f"the tool {server}/{tool} is not declared; say what it does: [mcp.{server}.tools.{tool}] with "
            f'effect = "read", "write" or "pure" in turnout.toml; {nearest(tool, tools)}'
        )
    return tools[tool]
