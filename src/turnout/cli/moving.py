"""Moving house: export threads to a file, import them from one."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from turnout.cli.options import json_option, store_option
from turnout.cli.show import STATUSES
from turnout.errors import StoreUnavailable

if TYPE_CHECKING:
    from turnout.service.app import App
    from turnout.service.moving.progress import Exported, Imported, Progress
    from turnout.service.moving.source import Source

EVERY = 5.0
"""Seconds between two lines of progress where there is no terminal."""
STREAM = "-"
AGAIN = "run it again: it goes on where it was"


@click.command()
@click.argument("threads", metavar="[THREAD]...", nargs=-1)
@click.option("--to", "file", metavar="FILE", required=True, help="The file to write; - is standard output.")
@click.option("--graph", default="", metavar="NAME", help="Only threads of this graph.")
@click.option("--status", type=click.Choice(STATUSES), help="Only threads with this status.")
@click.option(
    "--move", is_flag=True, help="Set the threads aside here: they go on where the file is imported."
)
@click.option("--resume", is_flag=True, help="Go on with a file that was cut off.")
@click.option(
    "--keep-going", is_flag=True, help="Leave out threads whose journal is broken, and export the others."
)
@store_option
@json_option
def export(
    threads: tuple[str, ...], file: str, graph: str, status: str | None, move: bool, resume: bool, keep_going: bool,
    store: str, as_json: bool,
) -> None:  # fmt: skip
    """Write threads to a file, to go on in another store.

    Every journal is proven as it is read. Without names or options all threads are exported.
    Without --move the file is a copy: this store goes on driving them, and the other one sets them aside.

    --json gives file, export, threads, entries, values, bytes, sha256, moved, away, taken, failed, notes.

    \b
    Example:
      turnout export --to house.jsonl
      turnout import house.jsonl --store sqlite:///new.db
    """
    from turnout.cli.output import count, print_json
    from turnout.cli.session import with_app

    if threads and (graph or status):
        raise click.UsageError("name threads, or say --graph and --status; not both")
    if file == STREAM and (as_json or resume):
        raise click.UsageError("--json and --resume need a file: --to - writes the export itself")

    async def job(app: App) -> Exported:
        with _progress() as tell:
            return await app.export_to(
                sys.stdout.buffer if file == STREAM else file, threads, graph=graph, status=status or "", move=move,
                resume=resume, keep_going=keep_going, tell=tell, say=_say,
            )  # fmt: skip

    again = "--move leaves what is in the file set aside; " if move else ""
    with _interruptible(f"{again}the same command with --resume goes on with {file}"):
        found = with_app(store, job)
    _tell_problems(found.failed)
    if as_json:
        print_json({"ok": found.ok, **vars(found)})
    else:
        away = f"; {count(found.away, 'thread')} that moved before left out" if found.away else ""
        click.echo(
            f"exported {count(found.threads, 'thread')}, {count(found.entries, 'entry', 'entries')} to {found.file}"
            f"{f'; {found.moved} set aside here' if move else ''}{away}",
            err=file == STREAM,
        )
    if not found.ok:
        raise click.exceptions.Exit(1)


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--check", is_flag=True, help="Only check the file; no store is opened.")
@click.option(
    "--keep-going", is_flag=True, help="Leave out threads that can't come in, and import the others."
)
@store_option
@json_option
def import_(file: str, check: bool, keep_going: bool, store: str, as_json: bool) -> None:
    """Bring in threads that were exported from another store.

    The whole file (- is standard input) is checked before anything is written.
    What is here already is left; an import that was cut off goes on when it is run again.

    --json gives file, export, threads, new, continued, same, entries, aside, signed, refused, notes.

    \b
    Example:
      turnout import house.jsonl --check
    """
    from turnout.cli.output import count, print_json
    from turnout.service.moving import house

    with house.opened(sys.stdin.buffer if file == STREAM else file) as source, _interruptible(AGAIN):
        found = asyncio.run(_check(source)) if check else _import(store, source, keep_going)
    _tell_problems(found.refused)
    if as_json:
        print_json({"ok": found.ok, **vars(found)})
    elif check:
        click.echo(f"{found.file} is whole: {count(found.threads, 'thread')}")
    else:
        click.echo(
            f"imported {count(found.new, 'thread')}, {count(found.entries, 'entry', 'entries')}; "
            f"{found.continued} continued, {found.same} here already"
        )
        if found.aside:
            click.echo(
                f"{count(found.aside, 'unfinished thread')} set aside, for the file is a copy: `turnout take-back THREAD` once "
                f"the old store no longer drives it"
            )
    if not found.ok:
        raise click.exceptions.Exit(1)


async def _check(source: Source) -> Imported:
    from turnout.service.moving import house

    with _progress() as tell:
        return await house.check(source, tell=tell)


def _import(store: str, source: Source, keep_going: bool) -> Imported:
    """Import into a store; a new one is made only for a file that is good."""
    from turnout.cli.session import with_app

    there = False

    async def job(app: App) -> Imported:
        nonlocal there
        there = True
        with _progress() as tell:
            return await app.import_from(source, keep_going=keep_going, tell=tell, say=_say)

    try:
        return with_app(store, job)
    except StoreUnavailable:
        if there:
            raise
    asyncio.run(_check(source))
    return with_app(store, job, create=True)


@contextlib.contextmanager
def _interruptible(what: str) -> Iterator[None]:
    """Ctrl-C ends in one line that says what to do."""
    from turnout.cli.main import Refused

    try:
        yield
    except KeyboardInterrupt:
        raise Refused(f"interrupted; {what}") from None


def _say(text: str) -> None:
    click.echo(f"note: {text}", err=True)


def _tell_problems(found: dict[str, str]) -> None:
    for why in found.values():
        click.echo(f"problem: {why}", err=True)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """On a terminal a bar, else a line every few seconds; both on stderr."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, said="")

        def tell(at: Progress) -> None:
            bar.update(task, description=at.what, completed=at.done, total=at.total or None, said=_said(at))

        yield tell


class _Lines:
    """Progress as lines."""

    def __init__(self) -> None:
        self._next = time.monotonic() + EVERY

    def __call__(self, at: Progress) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            part = f" ({100 * at.done // at.total} %)" if at.total else ""
            click.echo(f"{at.what}: {_said(at)}{part}", err=True)


def _said(at: Progress) -> str:
    from turnout.cli.output import count

    return f"{count(at.threads, 'thread')}, {count(at.entries, 'entry', 'entries')}"
