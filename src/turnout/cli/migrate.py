"""The schema of a Postgres store, made or brought up to date by who may."""

from __future__ import annotations

import asyncio

import click

from turnout.cli.options import json_option, store_option
from turnout.cli.output import print_json


@click.command()
@store_option
@json_option
def migrate(store: str, as_json: bool) -> None:
    """Make the schema of a Postgres store, or bring it up to date.

    Run it once with a role that may create schemas, before workers with fewer rights are started, and again after an
    upgrade of Turnout. Twice does no harm; two at once wait for one another.

    \b
    Example:
      turnout migrate --store postgresql://owner@db.internal/turnout
    """
    from turnout.wiring import migrate as run

    done = asyncio.run(run(store))
    if as_json:
        print_json({"migrations": done})
    else:
        click.echo(f"made: {', '.join(done)}" if done else "the schema is up to date")
