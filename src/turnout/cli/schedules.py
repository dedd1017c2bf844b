"""Schedules: declare, list, pause, resume, drop."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from turnout.cli.options import json_object, json_option, store_option

if TYPE_CHECKING:
    from datetime import datetime

    from turnout.service.app import App
    from turnout.service.schedules import Missed, Overlap, Schedule


@click.command()
@click.argument("name")
@click.argument("place", metavar="MODULE:GRAPH")
@click.option("--cron", metavar="FIELDS", help="Minute hour day-of-month month day-of-week, or @daily etc.")
@click.option("--at", metavar="TIME", help="Once, at this time: 2026-12-01T09:00+01:00.")
@click.option(
    "--timezone", metavar="ZONE", help="The zone of --cron, and of --at without an offset.  [default: UTC]"
)
@click.option("--input", "given", metavar="JSON", default="{}", help="The input of each run, a JSON object.")
@click.option(
    "--missed",
    type=click.Choice(["skip", "once", "all"]),
    default="once",
    show_default=True,
    help="What to run for times that passed while no worker was there.",
)
@click.option(
    "--overlap",
    type=click.Choice(["allow", "skip", "wait", "cancel"]),
    default="skip",
    show_default=True,
    help="What to do when the run before is unfinished.",
)
@click.option("--tenant", metavar="NAME", default="", help="For whom the runs are.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher ones are driven first.")
@click.option("--by", metavar="NAME", default="", help="Who asks for these runs.")
@store_option
@json_option
def schedule(
    name: str, place: str, cron: str | None, at: str | None, timezone: str | None, given: str, missed: str, overlap: str,
    tenant: str, priority: int, by: str, store: str, as_json: bool,
) -> None:  # fmt: skip
    """Have a graph started by the clock.

    At the times of a cron expression, or once. A worker that has the graph fires it; each time starts one run, on a
    thread NAME@2026-11-26T02:00Z. The same NAME again replaces what was declared.

    \b
    Example:
      turnout schedule nightly desk:refunds --cron '0 2 * * *' --timezone Europe/Berlin --input '{"order": "A-17"}'
    """
    from turnout.cli.cards import schedule_table
    from turnout.cli.load import load_one
    from turnout.cli.output import print_json
    from turnout.cli.rest import store_flag
    from turnout.cli.session import with_app

    data = json_object(given, "--input")
    graph, code = load_one(place)
    moment = time_given(at, "--at", timezone) if at is not None else None

    async def job(app: App) -> Schedule:
        return await app.schedule(
            name, graph, data, cron=cron, at=moment, timezone=timezone or "UTC", missed=cast("Missed", missed),
            overlap=cast("Overlap", overlap), tenant=tenant, priority=priority, by=by,
        )  # fmt: skip

    made = with_app(store, job, code=code, create=True)
    if as_json:
        print_json(vars(made))
        return
    schedule_table([made])
    if not made.paused:
        click.echo(f"next: turnout worker {place}{store_flag(store)}")


def time_given(text: str, what: str, timezone: str | None = None) -> datetime:
    """A time that somebody typed, with an offset or in a time zone. Raises `InputInvalid`."""
    from datetime import datetime

    from turnout.errors import InputInvalid
    from turnout.runtime.zones import zone

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputInvalid(f"{what} {text!r} is not a time; it looks like 2026-12-01T09:00+01:00") from None
    if found.tzinfo is None and timezone is None:
        more = " or --timezone ZONE" if what == "--at" else ""
        raise InputInvalid(
            f"{what} {text!r} doesn't say in which zone; add an offset: {text}+01:00, or Z for UTC{more}"
        )
    return found if found.tzinfo is not None else found.replace(tzinfo=zone(timezone or "UTC"))


@click.command()
@click.option("--graph", default="", metavar="NAME", help="Only those of this graph.")
@store_option
@json_option
def schedules(graph: str, store: str, as_json: bool) -> None:
    """List the schedules: when they fire next, what they fired last.

    --json gives objects with name, graph, input, cron, at, timezone, missed, overlap, paused, next_at, last_at,
    last_thread, note, by, tenant, priority, created_at, updated_at.

    \b
    Example:
      turnout schedules --graph refunds
    """
    from turnout.cli.cards import schedule_table
    from turnout.cli.output import print_json
    from turnout.cli.session import with_app

    async def job(app: App) -> list[Schedule]:
        return await app.schedules(graph)

    rows = with_app(store, job)
    if as_json:
        print_json([vars(row) for row in rows])
    else:
        schedule_table(rows)


@click.command("schedule-pause")
@click.argument("name")
@store_option
def schedule_pause(name: str, store: str) -> None:
    """Have a schedule fire nothing until it is resumed.

    What it has started goes on.

    \b
    Example:
      turnout schedule-pause nightly
    """
    from turnout.cli.session import with_app

    async def job(app: App) -> None:
        found = await app.pause_schedule(name)
        click.echo(f"schedule {found.name} is paused")

    with_app(store, job)


@click.command("schedule-resume")
@click.argument("name")
@store_option
def schedule_resume(name: str, store: str) -> None:
    """Have a paused schedule fire again.

    For the times that passed meanwhile its rule for missed ones holds.

    \b
    Example:
      turnout schedule-resume nightly
    """
    from turnout.cli.cards import local
    from turnout.cli.session import with_app

    async def job(app: App) -> None:
        found = await app.resume_schedule(name)
        when = f"next {local(found.next_at, found.timezone)}" if found.next_at else "but it has no time left"
        click.echo(f"schedule {found.name} is resumed, {when}")

    with_app(store, job)


@click.command("schedule-drop")
@click.argument("name")
@store_option
def schedule_drop(name: str, store: str) -> None:
    """Forget a schedule.

    What it has started stays, and goes on.

    \b
    Example:
      turnout schedule-drop nightly
    """
    from turnout.cli.session import with_app

    async def job(app: App) -> None:
        found = await app.drop_schedule(name)
        click.echo(f"schedule {found.name} is dropped")

    with_app(store, job)
