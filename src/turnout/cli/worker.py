"""The embedded worker: drive what is due in a store."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from turnout.cli.options import store_option

if TYPE_CHECKING:
    from turnout.ports.store import ThreadRow
    from turnout.service.app import App

LOOK = 0.1
"""Seconds between two looks whether everything is at rest."""


@click.command()
@click.argument("places", metavar="[MODULE:GRAPH]...", nargs=-1)
@click.option("--until-idle", is_flag=True, help="End when nothing is due any more.")
@store_option
def worker(places: tuple[str, ...], until_idle: bool, store: str) -> None:
    """Drive the threads of a store that are due.

    Until Ctrl-C, or with --until-idle until none is due any more.
    Without arguments TURNOUT_GRAPHS says which graphs. Threads that wait for somebody are left alone.

    \b
    Example:
      turnout worker desk:refunds --until-idle
    """
    from turnout.cli.load import load_some
    from turnout.cli.session import with_app

    code = load_some(places)

    async def job(app: App) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        while app.worker is not None and not app.worker.looked and not stop.is_set():
            await asyncio.sleep(0.01)
        if app.worker is not None and app.worker.trouble is not None:  # later trouble is waited out
            raise app.worker.trouble
        if not until_idle:
            names = ", ".join(app.graphs)
            click.echo(f"working on {names} in {app.store.url}; Ctrl-C ends it", err=True)
            await stop.wait()
        told: set[str] = set()
        while until_idle and not stop.is_set() and not await _idle(app):
            await _tell_held(app, told)
            await asyncio.sleep(LOOK)
        counts = await _counts(app)
        said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "no threads"
        click.echo(f"{'idle' if until_idle and not stop.is_set() else 'stopped'}: {said}")

    with_app(store, job, code=code, work=True)


async def _idle(app: App) -> bool:
    """Is nothing driven here, and nothing due?"""
    if app.worker is None or app.worker.busy or not app.worker.looked:
        return False
    now = int(datetime.now(UTC).timestamp() * 1_000_000)
    for row in await _threads(app):
        if (
            row.wake_at is not None and row.wake_at <= now
        ):  # also when another worker holds it: it may have died
            return False
    return not app.worker.busy


async def _tell_held(app: App, told: set[str]) -> None:
    """Say once of each thread that another process holds it, for it may be dead, and then its lease is waited for."""
    now = int(datetime.now(UTC).timestamp() * 1_000_000)
    for row in await _threads(app):
        held = (
            bool(row.owner)
            and app.worker is not None
            and row.owner != app.worker.name
            and row.lease_until > now
        )
        if held and row.thread not in told:
            told.add(row.thread)
            click.echo(
                f"{row.thread} is held by worker {row.owner}; waiting until it is done or its lease runs out",
                err=True,
            )


async def _counts(app: App) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in await _threads(app):
        counts[row.status] = counts.get(row.status, 0) + 1
    return counts


async def _threads(app: App) -> list[ThreadRow]:
    found: list[ThreadRow] = []
    for graph in app.graphs:
        after = ""
        while rows := await app.threads(graph=graph, after=after, limit=1000):
            found += rows
            after = rows[-1].thread
    return found
