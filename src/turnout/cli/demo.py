"""`turnout demo`: see it work, see it killed, see it pick itself up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape

from turnout.errors import SettingsInvalid

if TYPE_CHECKING:
    from turnout.service.app import App

STORE = "sqlite:///turnout-demo.db"
HOST, PORT = "127.0.0.1", 8700
GRACE = 5.0
"""Seconds from Ctrl-C to the end, at most."""


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
@click.option("--no-serve", is_flag=True, help="End after the proof, without the console.")
@click.option(
    "--port",
    default=None,
    type=click.IntRange(0, 65535),
    help="The console's port.  [default: 8700, or a free one]",
)
def demo(store: str, model: str, no_serve: bool, port: int | None) -> None:
    """See a payments desk survive a kill, then look at it in the console.

    Takes some ten seconds (with --model local a minute), and then serves the console on this machine until Ctrl-C. The
    bank and the model are simulated; nothing is sent anywhere. An earlier demo in the same file is replaced, once it has
    ended; any other file is left as it is. With --store postgres it starts a real Postgres for itself, whose data lie in
    the system's temporary folder.

    \b
    Example:
      turnout demo --store sqlite:////tmp/demo.db
    """
    from turnout.demo import show

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    then = None if no_serve else lambda app, tell: _console(app, console, port, tell)
    if not asyncio.run(show.run(store, console, model, then)):
        raise SystemExit(1)


async def _console(app: App, console: Console, port: int | None, tell: Callable[[str], None]) -> None:
    """The desk's console, until Ctrl-C. `tell`: what other demos are to know of this one."""
    from turnout.cli.leaving import Leaving
    from turnout.cli.serve import address_of, answering, listening
    from turnout.wiring import open_door, serve_app

    try:
        site = serve_app(app, open_door(app, loopback=True))
    except SettingsInvalid as error:
        console.print(f"\n[bold]6  The console[/] isn't there: {escape(str(error))}", soft_wrap=True)
        return

    def ready() -> None:
        tell(f"process {os.getpid()}, {address_of(bound)}")
        console.print(f"\n[bold]6  The console[/]: {address_of(bound)}", soft_wrap=True)
        console.print("   The desk goes on there: see what waits, failed or was recovered. Ctrl-C ends it.")

    with contextlib.ExitStack() as stack, Leaving(GRACE) as leaving:
        leaving.ready()
        try:
            bound = stack.enter_context(listening(HOST, PORT if port is None else port))
        except SettingsInvalid:
            if port is not None:
                raise
            bound = stack.enter_context(listening(HOST, 0))
        leaving.back = not (await answering(app, site, bound, leaving, ready)).kept
