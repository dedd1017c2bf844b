"""The outbox: notices that wait, were sent or are dead, and sent once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from turnout.cli.options import json_option, store_option

if TYPE_CHECKING:
    from turnout.service.app import App
    from turnout.service.outbox import Outgoing

_COLOURS = {"waiting": "yellow", "dead": "red"}


@click.group(invoke_without_command=True)
@click.option("--dead", is_flag=True, help="Only those that are not tried any more.")
@click.option(
    "--status", type=click.Choice(["waiting", "sent", "dead", "withdrawn"]), help="Only those that stand so."
)
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="How many at most.")
@store_option
@json_option
@click.pass_context
def outbox(ctx: click.Context, dead: bool, status: str | None, limit: int, store: str, as_json: bool) -> None:
    """List the notices to people and other systems, the newest first.

    The channels are those of turnout.toml. A worker sends what is due, tries again what fails, and gives it up after a
    number of attempts: then it is dead until it is sent again (`turnout outbox resend`). --json gives objects with id,
    channel, event, status, thread, run, review, tenant, attempts, created_at, due_at, settled_at, error, facts.

    \b
    Example:
      turnout outbox --dead
      turnout outbox resend --all
    """
    from turnout.cli.output import print_json
    from turnout.cli.session import with_app

    if ctx.invoked_subcommand is not None:
        return
    if dead and status not in (None, "dead"):
        raise click.UsageError("--dead is --status dead; say one of them")

    async def job(app: App) -> list[Outgoing]:
        return await app.outbox(status="dead" if dead else status or "", limit=limit)

    rows = with_app(store, job)
    if as_json:
        print_json([vars(row) for row in rows])
    else:
        _show(rows)


@outbox.command()
@click.argument("notice", required=False)
@click.option("--all", "everything", is_flag=True, help="All that are dead.")
@store_option
@json_option
def resend(notice: str | None, everything: bool, store: str, as_json: bool) -> None:
    """Have a notice sent again, or all that are dead.

    It goes out under the id that it had, so whoever got it already can tell. --json gives the ids.

    \b
    Example:
      turnout outbox resend n-3f9c2a7be1d04c55a1b2c3d4
      turnout outbox resend --all
    """
    from turnout.cli.output import count, print_json
    from turnout.cli.session import with_app

    if (notice is None) == (not everything):
        raise click.UsageError("say which notice, or --all: turnout outbox resend ID")

    async def job(app: App) -> list[str]:
        return await app.resend(notice or "")

    done: Any = with_app(store, job)
    if as_json:
        print_json(done)
    else:
        click.echo(f"{count(len(done), 'notice')} will be sent again; a worker does that")


def _show(rows: list[Outgoing]) -> None:
    from rich.text import Text

    from turnout.cli.output import console, when, words
    from turnout.cli.rest import store_flag

    out = console()
    if not rows:
        out.print("no notices")
        return
    for row in rows:
        about = row.review or f"{row.thread}/{row.run}" if row.run else row.thread
        moment = (
            f"due {when(row.due_at)}" if row.status == "waiting" else f"{row.status} {when(row.settled_at)}"
        )
        tries = f"  {row.attempts} attempts" if row.attempts else ""
        out.print(
            Text.assemble((row.id, "bold"), f"  {row.event} of {about} to {row.channel}  ",
                          (moment, _COLOURS.get(row.status, "dim")), (tries, "dim")),
            soft_wrap=True,
        )  # fmt: skip
        if row.error:
            out.print(f"  {words(row.error)}", soft_wrap=True)
    dead = next((row.id for row in rows if row.status == "dead"), None)
    if dead is not None:
        flag = store_flag(click.get_current_context().params["store"])
        out.print(f"next: turnout outbox resend {dead}{flag}", style="dim", soft_wrap=True)
