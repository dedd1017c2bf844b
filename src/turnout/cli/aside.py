"""Threads that are set aside: which, why, and back again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from turnout.cli.options import json_option, store_option

if TYPE_CHECKING:
    from turnout.ports.rows import ThreadRow
    from turnout.service.app import App


@click.command()
@click.argument("thread", required=False)
@click.option("--reason", metavar="TEXT", default="", help="Why; needed with a thread.")
@click.option("--by", metavar="NAME", default="", help="Who sets it aside.")
@click.option("--after", default="", metavar="NAME", help="The last name of the page before.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="How many at most.")
@store_option
@json_option
def aside(
    thread: str | None, reason: str, by: str, after: str, limit: int, store: str, as_json: bool
) -> None:
    """List the threads that are set aside, or set one aside.

    No worker takes such a thread before somebody takes it back (`turnout take-back`). Workers set a thread aside by
    themselves when it stops them again and again. --json gives a list of objects as `turnout threads --json` does.

    \b
    Example:
      turnout aside
      turnout aside case-17 --reason 'fills the disk, see ticket 441' --by dana
    """
    from turnout.cli.cards import aside_list
    from turnout.cli.output import print_json
    from turnout.cli.rest import store_flag
    from turnout.cli.session import with_app
    from turnout.service.items import thread_item

    if thread is None and (reason or by):
        raise click.UsageError("--reason and --by go with a thread: turnout aside THREAD --reason TEXT")
    if thread is not None and not reason.strip():
        raise click.UsageError("say why with --reason TEXT: who finds the thread there wants to know")

    async def job(app: App) -> tuple[list[ThreadRow], bool]:
        done = await app.set_aside(thread, reason, by=by) if thread is not None else False
        if thread is None:
            return await app.threads(aside=True, after=after, limit=limit), done
        row = await app.store.thread(thread)
        return [row] if row is not None else [], done

    rows, done = with_app(store, job)
    if as_json:
        print_json([thread_item(row) for row in rows])
    elif thread is None:
        aside_list(rows, limit, store_flag(store))
    elif done:
        click.echo(f"{thread} is set aside; back again: turnout take-back {thread}{store_flag(store)}")
    else:
        click.echo(f"{thread} was set aside before: {rows[0].aside}" if rows else f"{thread} is gone")


@click.command("take-back")
@click.argument("thread")
@click.option(
    "--not-imported", is_flag=True, help="It was moved away; nobody has imported its file, nor will."
)
@store_option
def take_back(thread: str, not_imported: bool, store: str) -> None:
    """Have workers take a thread again that was set aside.

    Its tries begin anew. Look first at what stopped its workers: `turnout explain THREAD` shows the step that was open.
    A thread that was moved away (`turnout export --move`) goes on where its file is imported: with --not-imported it
    comes back, and two stores do its work if that isn't so.

    \b
    Example:
      turnout take-back case-17
    """
    from turnout.cli.session import with_app
    from turnout.core.view import AT_REST

    async def job(app: App) -> tuple[bool, ThreadRow | None]:
        done = await app.take_back(thread, not_imported=not_imported)
        return done, await app.store.thread(thread)

    done, row = with_app(store, job)
    if not done:
        click.echo(f"{thread} was not set aside")
    elif row is not None and row.status in AT_REST:
        click.echo(f"{thread} is set aside no more; it has nothing to do ({row.status})")
    else:
        click.echo(f"{thread} is due; a running worker takes it")
