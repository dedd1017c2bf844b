"""tools: MCP servers and their tools, what was approved of them, and what they have become."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from turnout.cli.options import json_option

if TYPE_CHECKING:
    from turnout.ports.tools import ServerSeen, ToolSeen


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--config FILE."""
    return click.option(
        "--config",
        metavar="FILE",
        help="The file (or set TURNOUT_CONFIG). [default: turnout.toml, if it is there]",
    )(command)


@click.group(invoke_without_command=True)
@config_option
@click.option("--offline", is_flag=True, help="Ask no server: only what the files say.")
@json_option
@click.pass_context
def tools(context: click.Context, config: str | None, offline: bool, as_json: bool) -> None:
    """Show the MCP servers of turnout.toml and their tools.

    Each tool with what it does by our declaration, who may call it, and its state: approved; changed or new
    (quarantined: it isn't called); gone.

    Exits with 1 when a server can't be asked, or a declared tool is not what was approved. --json gives a list of
    objects with name, transport, address, missing, error, tools (name, state, effect, takes_key, untrusted, allow, pin,
    live, difference).

    \b
    Example:
      turnout tools --json
    """
    if context.invoked_subcommand is not None:
        return
    from turnout.cli.output import print_json

    found = _look(config, (), ask=not offline)
    if as_json:
        print_json(found)
    else:
        _table(found)
    unfit = [tool for server in found for tool in server.tools if tool.effect and tool.state not in _FIT]
    if unfit or any(server.error for server in found):
        raise click.exceptions.Exit(1)


@tools.command()
@click.argument("server", required=False)
@click.argument("names", metavar="[TOOL]...", nargs=-1)
@config_option
@json_option
def diff(server: str | None, names: tuple[str, ...], config: str | None, as_json: bool) -> None:
    """Show what tools have become since they were approved.

    What can't be seen on a screen is written out. Without a name: all tools that are declared or were approved.

    Exits with 1 when there is a difference, or a server can't be asked. --json gives a list of objects with server,
    tool, state, difference (lines).

    \b
    Example:
      turnout tools diff shop look_up
    """
    from turnout.cli.output import console, print_json

    found = _look(config, (server,) if server else (), ask=True)
    changed = [(one, tool) for one in found for tool in _chosen(one, names) if tool.difference]
    if as_json:
        print_json(
            [
                {"server": one.name, "tool": tool.name, "state": tool.state, "difference": tool.difference}
                for one, tool in changed
            ]
        )
    else:
        for one, tool in changed:
            _show_difference(one.name, tool)
        if not changed and not any(one.error for one in found):
            console().print("all tools are what was approved")
    for one in found:
        if one.error:
            click.echo(f"error: {one.error}", err=True)
    if changed or any(one.error for one in found):
        raise click.exceptions.Exit(1)


@tools.command()
@click.argument("server")
@click.argument("names", metavar="[TOOL]...", nargs=-1)
@click.option("--yes", is_flag=True, help="Don't ask.")
@config_option
def pin(server: str, names: tuple[str, ...], yes: bool, config: str | None) -> None:
    """Approve tools of a server as they are now.

    Shows what is new or has changed, asks, and writes turnout.pins.json beside turnout.toml: keep it with the code.
    Without a name: all tools that are declared or were approved. A graph has the new pin when its process starts anew.

    \b
    Example:
      turnout tools pin shop look_up order
    """
    from turnout.cli.output import console, count
    from turnout.errors import UsageError

    [found] = _look(config, (server,), ask=True)
    if found.error:
        raise UsageError(found.error)
    changed = [tool for tool in _chosen(found, names) if tool.difference]
    if not changed:
        console().print("nothing to approve: all tools are what was approved")
        return
    for tool in changed:
        _show_difference(found.name, tool)
    if not yes:
        click.confirm(f"Approve {count(len(changed), 'tool')} of {server} as shown?", abort=True)
    _approve(config, server, {tool.name: tool.live for tool in changed})
    console().print(f"approved: {', '.join(tool.name for tool in changed)}", soft_wrap=True)


_FIT = ("approved", "unseen")
_STYLES = {"approved": "green", "changed": "bold red", "new": "yellow", "gone": "red", "unseen": "dim"}


def _look(config: str | None, names: Sequence[str], *, ask: bool) -> list[ServerSeen]:
    """The servers. Mistakes in the file are told on lines of their own; exits with 1."""
    from turnout.errors import SettingsInvalid
    from turnout.wiring import open_servers

    async def look() -> list[ServerSeen]:
        servers = open_servers(config)
        try:
            return await servers.look(names, ask=ask)
        finally:
            await servers.close()

    try:
        return asyncio.run(look())
    except SettingsInvalid as error:
        for problem in str(error).splitlines():
            click.echo(f"problem: {problem}", err=True)
        raise click.exceptions.Exit(1) from None


def _approve(config: str | None, server: str, digests: dict[str, str]) -> None:
    from turnout.wiring import open_servers

    async def approve() -> None:
        servers = open_servers(config)
        try:
            await servers.approve(server, digests)
        finally:
            await servers.close()

    asyncio.run(approve())


def _chosen(server: ServerSeen, names: Sequence[str]) -> list[ToolSeen]:
    """The named tools, or all that somebody cares for. Raises `UnknownTool`."""
    from turnout.errors import UnknownTool

    by_name = {tool.name: tool for tool in server.tools}
    unknown = [name for name in names if name not in by_name and not server.error]
    if unknown:
        has = ", ".join(by_name) or "none"
        raise UnknownTool(f"server {server.name!r} has no tool {unknown[0]!r}; it has: {has}")
    if names:
        return [by_name[name] for name in names if name in by_name]
    return [tool for tool in server.tools if tool.effect or tool.pin]


def _table(found: list[ServerSeen]) -> None:
    from rich.table import Table
    from rich.text import Text

    from turnout.cli.output import console, words

    out = console()
    if not found:
        out.print("turnout.toml has no [mcp.NAME]: there are no MCP servers")
    for server in found:
        out.print(f"{server.name}  {server.transport}  {words(server.address)}", style="bold", soft_wrap=True)
        if server.missing:
            out.print(f"  not set: {', '.join(server.missing)}", style="red")
        if server.error:
            out.print(f"  {words(server.error)}", style="red", soft_wrap=True)
        table = Table(box=None, pad_edge=False)
        for column in ("  tool", "state", "effect", "approved", "now", "who may call it"):
            table.add_column(column, overflow="fold")
        for tool in server.tools:
            effect = tool.effect or "not declared"
            table.add_row(
                f"  {words(tool.name)}", Text(tool.state, _STYLES[tool.state]), effect, tool.pin[:12] or "-",
                tool.live[:12] or "-", ", ".join(tool.allow) or "nobody",
            )  # fmt: skip
        out.print(table)


def _show_difference(server: str, tool: ToolSeen) -> None:
    from turnout.cli.output import console, words

    out = console()
    out.print(f"{server}/{words(tool.name)}: {tool.state}", style="bold")
    for line in tool.difference[2:]:
        style = {"+": "green", "-": "red", "@": "dim"}.get(line[:1], "")
        out.print(f"  {line}", style=style, soft_wrap=True)
