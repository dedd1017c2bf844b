"""`turnout demo`: see it work, see it killed, see it pick itself up."""

from __future__ import annotations

import asyncio
import sys

import click
from rich.console import Console

STORE = "sqlite:///turnout-demo.db"


@click.command()
@click.option(
    "--store", default=STORE, show_default=True, metavar="URL", help="A file for the demo alone, or postgres."
)
def demo(store: str) -> None:
    """See a payments desk survive a kill.

    Takes some ten seconds. The bank and the model are simulated; nothing is sent anywhere. An earlier demo in the
    same file is replaced; any other file is left as it is. With --store postgres it starts a real Postgres for itself,
    whose data lie in the system's temporary folder.

    \b
    Example:
      turnout demo --store sqlite:////tmp/demo.db
    """
    from turnout.demo import show

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    if not asyncio.run(show.run(store, console)):
        raise SystemExit(1)
