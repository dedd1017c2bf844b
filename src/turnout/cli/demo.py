"""`turnout demo`: see it work, see it killed, see it pick itself up."""

from __future__ import annotations

import asyncio
import sys

import click
from rich.console import Console

STORE = "sqlite:///turnout-demo.db"


@click.command(
    epilog="Example:  turnout demo    or, elsewhere:  turnout demo --store sqlite:////tmp/try.db",
    short_help="A payments desk that is killed in the middle and picks itself up.",
)
@click.option("--store", default=STORE, show_default=True, metavar="URL", help="A file for the demo alone.")
def demo(store: str) -> None:
    """Run a payments desk on a batch of requests, kill it for real, and see what became of it.

    Takes some ten seconds. The bank and the model are simulated; nothing is sent anywhere. An earlier demo in the
    same file is replaced; any other file is left as it is.
    """
    from turnout.demo import show

    wide = Console(width=100) if not sys.stdout.isatty() else Console()
    if not asyncio.run(show.run(store, wide)):
        raise SystemExit(1)
