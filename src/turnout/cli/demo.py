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
@click.option(
    "--model",
    type=click.Choice(["scripted", "local"]),
    default="scripted",
    show_default=True,
    help="Who writes the summaries: a script, or a real and very small language model on this machine.",
)
def demo(store: str, model: str) -> None:
    """See a payments desk survive a kill.

    Takes some ten seconds (with --model local a minute). The bank and the model are simulated; nothing is sent
    anywhere. An earlier demo in the same file is replaced; any other file is left as it is. With --store postgres it
    starts a real Postgres for itself, whose data lie in the system's temporary folder.

    \b
    Example:
      turnout demo --store sqlite:////tmp/demo.db
    """
    from turnout.demo import show

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    if not asyncio.run(show.run(store, console, model)):
        raise SystemExit(1)
