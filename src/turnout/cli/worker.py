"""The embedded worker: drive what is due in a store."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from turnout.cli.logs import log_option, say, set_up
from turnout.cli.options import store_option
from turnout.settings import Settings

if TYPE_CHECKING:
    from turnout.cli.leaving import Leaving
    from turnout.ports.rows import ThreadRow
    from turnout.service.app import App

LOOK = 0.1
"""Seconds between two looks whether everything is at rest."""
PATIENT, STUCK = 4, 20
"""After so many looks at which nothing was driven here, though something is due, it is said why; then every so many."""
USUAL = Settings()


@click.command()
@click.argument("places", metavar="[MODULE:GRAPH]...", nargs=-1)
@click.option("--until-idle", is_flag=True, help="End when nothing is due any more.")
@click.option(
    "--concurrency", default=USUAL.concurrency, show_default=True, type=click.IntRange(1),
    help="Threads driven at once.",
)  # fmt: skip
@click.option(
    "--lease", default=USUAL.lease, show_default=True, type=click.FloatRange(0.1), metavar="SECONDS",
    help="How long this worker may be silent before others take its threads.",
)  # fmt: skip
@click.option(
    "--tries", default=USUAL.tries, show_default=True, type=click.IntRange(0),
    help="Set a thread aside after so many workers in a row that stopped on it; 0 never does.",
)  # fmt: skip
@click.option(
    "--grace", default=USUAL.grace, show_default=True, type=click.FloatRange(0.1), metavar="SECONDS",
    help="At most so long from the first signal to the end.",
)  # fmt: skip
@log_option
@store_option
def worker(
    places: tuple[str, ...], until_idle: bool, concurrency: int, lease: float, tries: int, grace: float,
    log_format: str, store: str,
) -> None:  # fmt: skip
    """Drive the threads of a store that are due.

    Start and stop as many as you like. On SIGTERM or Ctrl-C it takes nothing new, finishes the steps that run, gives its
    threads back and ends, within --grace: a longer step is cut off as by a crash. A second signal, half a second later or
    more, ends it at once.
    With --until-idle it ends when nothing is due any more.
    Without arguments TURNOUT_GRAPHS says which graphs. Threads that wait for somebody are left alone.

    \b
    Example:
      turnout worker desk:refunds --until-idle
    """
    from turnout.cli.leaving import Leaving, tell
    from turnout.cli.load import load_some
    from turnout.cli.session import with_app

    set_up(log_format)
    code = load_some(places)

    async def job(app: App) -> None:
        leaving.ready()
        while app.worker is not None and not app.worker.looked and not leaving.asked.is_set():
            await asyncio.sleep(0.01)
        if app.worker is not None and app.worker.claiming.error is not None:  # later trouble is waited out
            raise app.worker.claiming.error
        if until_idle:
            await _until_idle(app, leaving, log_format)
        else:
            names = ", ".join(app.graphs)
            say(log_format, f"working on {names} in {app.store.url}; Ctrl-C ends it")
            await leaving.asked.wait()
        if leaving.asked.is_set():
            found = await app.drain(leaving.grace)
            leaving.back = not found.kept
            tell(found)
            return
        counts = await _counts(app)
        said = ", ".join(f"{n} {status}" for status, n in sorted(counts.items())) or "no threads"
        click.echo(f"idle: {said}")

    with Leaving(grace) as leaving:
        with_app(store, job, code=code, work=True, concurrency=concurrency, lease=lease, tries=tries)


async def _until_idle(app: App, leaving: Leaving, log_format: str) -> None:
    """Until nothing is driven here and nothing is due, or somebody wants it to end."""
    told: set[str] = set()
    stuck = 0
    while not leaving.asked.is_set() and not await _idle(app):
        driving = app.worker is None or app.worker.busy or not app.worker.looked
        stuck = 0 if driving else stuck + 1
        if stuck % STUCK == PATIENT:
            await _tell_held(app, told, log_format)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await leaving.asked.wait()


async def _idle(app: App) -> bool:
    """Is nothing driven here, and nothing due? What another worker holds is due, too: it may have died."""
    due = await app.store.due(_now(), list(app.graphs))
    return due == 0 and app.worker is not None and app.worker.looked and not app.worker.busy


async def _tell_held(app: App, told: set[str], log_format: str) -> None:
    """Say once of each thread why it is waited for: another process holds it, which may be dead, or a limit does."""
    now = _now()
    for row in await _threads(app):
        if row.aside or row.wake_at is None or row.wake_at > now or row.thread in told:
            continue
        if not row.owner:
            why = "is due, but its graph or its tenant is at its limit (`turnout limits`)"
        elif row.lease_until > now:
            why = f"is held by worker {row.owner}; waiting until it is done or its lease runs out"
        else:  # it is about to be taken over
            continue
        told.add(row.thread)
        say(log_format, f"{row.thread} {why}")


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1_000_000)


async def _counts(app: App) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in await _threads(app):
        status = "set aside" if row.aside else row.status
        counts[status] = counts.get(status, 0) + 1
    return counts


async def _threads(app: App) -> list[ThreadRow]:
    found: list[ThreadRow] = []
    for graph in app.graphs:
        after = ""
        while rows := await app.threads(graph=graph, after=after, limit=1000):
            found += rows
            after = rows[-1].thread
    return found
