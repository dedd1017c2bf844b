"""guards: the guardrails of turnout.toml, and what they would find in a text."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from turnout.cli.options import json_option

if TYPE_CHECKING:
    from turnout.ports.guard import Guard

config_option = click.option(
    "--config",
    metavar="FILE",
    help="The file (or set TURNOUT_CONFIG). [default: turnout.toml, if it is there]",
)


@click.group(invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def guards(context: click.Context, config: str | None, as_json: bool) -> None:
    """List the guardrails of turnout.toml, or try them on a text.

    The file is checked; every mistake in it is told with its line. Guardrails that are given in code (open_app(guards=...))
    aren't seen here.

    Exits with 1 when the file has a mistake. --json gives a list of objects with name, looks_for, action, where, kinds,
    names, graphs, nodes, roles, secret.

    \b
    Example:
      turnout guards
      turnout guards try "my card is 4111 1111 1111 1111"
    """
    if context.invoked_subcommand is not None:
        return
    from turnout.cli.output import print_json
    from turnout.cli.rule_cards import guard_table
    from turnout.service.items import guard_item

    found = _guards(config)
    if as_json:
        print_json([guard_item(guard) for guard in found])
    else:
        guard_table(found)


@guards.command("try")
@click.argument("text", metavar="FILE|TEXT|-")
@click.option("--guard", "name", default="", metavar="NAME", help="Only this guardrail.")
@config_option
@json_option
def try_(text: str, name: str, config: str | None, as_json: bool) -> None:
    """Show what the guardrails would find in a file, a text, or (-) the standard input.

    Each looks at the text as it was given. What they find is told by kind and place, and shown cut out.

    Exits with 1 when something was found. --json gives a list of objects with guard, action, found (label, start, length),
    redacted.

    \b
    Example:
      turnout guards try letter.txt
    """
    from turnout.cli.output import print_json
    from turnout.cli.rule_cards import tried_card
    from turnout.errors import UsageError
    from turnout.settings_file import nearest

    found = [guard for guard in _guards(config or _above()) if name in ("", guard.name)]
    if name and not found:
        raise UsageError(
            f"there is no guardrail {name!r}; {nearest(name, [x.name for x in _guards(config or _above())])}"
        )
    said = sys.stdin.read() if text == "-" else _read(text)
    tried = asyncio.run(_tried(found, said))
    if as_json:
        print_json(tried)
    else:
        tried_card(tried)
    if any(one["found"] for one in tried):
        raise click.exceptions.Exit(1)


def _above() -> str | None:
    context = click.get_current_context().parent
    return context.params.get("config") if context is not None else None


def _guards(config: str | None) -> tuple[Guard, ...]:
    from turnout.errors import SettingsInvalid
    from turnout.wiring import open_guards

    try:
        return open_guards(config)
    except SettingsInvalid as error:
        for problem in str(error).splitlines():
            click.echo(f"problem: {problem}", err=True)
        raise click.exceptions.Exit(1) from None


def _read(text: str) -> str:
    """The text of a file, when there is one of that name; else the words themselves."""
    path = Path(text)
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else text
    except (OSError, ValueError):
        return text


async def _tried(found: list[Guard], said: str) -> list[dict[str, Any]]:
    import inspect

    from turnout.core.redaction import redact

    tried = []
    for guard in found:
        hits: Any = guard.check(said)
        hits = await hits if inspect.isawaitable(hits) else hits
        tried.append({
            "guard": guard.name, "action": guard.action,
            "found": [{"label": hit.label, "start": hit.start, "length": hit.length} for hit in hits],
            "redacted": redact(said, hits),
        })  # fmt: skip
    return tried
