"""Limits: how many threads of a graph or a tenant are held at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from turnout.cli.options import json_option, store_option
from turnout.errors import InputInvalid

if TYPE_CHECKING:
    from turnout.ports.rows import LimitRow
    from turnout.service.app import App


@click.group(invoke_without_command=True)
@store_option
@json_option
@click.pass_context
def limits(context: click.Context, store: str, as_json: bool) -> None:
    """List, set and drop limits of graphs and tenants.

    A limit says how many threads of a graph or a tenant all workers together hold at once; 0 takes none. It holds for
    every worker from its next claim on. --json gives objects with kind, name, at_once.

    \b
    Example:
      turnout limits
      turnout limits set graph=refunds 10
      turnout limits set tenant=acme 5
      turnout limits drop graph=refunds
    """
    if context.invoked_subcommand is not None:
        return
    from turnout.cli.cards import limit_table
    from turnout.cli.output import print_json
    from turnout.cli.session import with_app

    async def job(app: App) -> list[LimitRow]:
        return await app.limits()

    rows = with_app(store, job)
    if as_json:
        print_json(rows)
    else:
        limit_table(rows)


@limits.command("set")
@click.argument("what", metavar="graph=NAME|tenant=NAME")
@click.argument("at_once", metavar="NUMBER", type=click.IntRange(0))
@store_option
@click.pass_context
def set_limit(context: click.Context, what: str, at_once: int, store: str) -> None:
    """Set a limit.

    \b
    Example:
      turnout limits set tenant=acme 5
    """
    from turnout.cli.session import named_store, with_app

    kind, name = _named(what)

    async def job(app: App) -> None:
        await app.limit(kind, name, at_once)

    with_app(named_store(context, store), job, create=True)
    click.echo(f"at most {at_once} threads of {kind} {name} at once")


@limits.command("drop")
@click.argument("what", metavar="graph=NAME|tenant=NAME")
@store_option
@click.pass_context
def drop_limit(context: click.Context, what: str, store: str) -> None:
    """Take a limit away.

    \b
    Example:
      turnout limits drop graph=refunds
    """
    from turnout.cli.session import named_store, with_app

    kind, name = _named(what)

    async def job(app: App) -> bool:
        there = any((row.kind, row.name) == (kind, name) for row in await app.limits())
        await app.limit(kind, name, None)
        return there

    there = with_app(named_store(context, store), job)
    click.echo(f"no limit for {kind} {name} any more" if there else f"{kind} {name} had no limit")


def _named(what: str) -> tuple[str, str]:
    kind, equals, name = what.partition("=")
    if not equals or not name:
        raise InputInvalid(f"{what!r} doesn't say of what; it looks like graph=refunds or tenant=acme")
    return kind, name
