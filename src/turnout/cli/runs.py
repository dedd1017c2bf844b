"""Runs: start, signal, cancel, fork."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from turnout.cli.options import (
    assignments,
    file_text,
    graphs_option,
    json_object,
    json_option,
    json_value,
    store_option,
)

if TYPE_CHECKING:
    from turnout.service.app import App
    from turnout.service.starting import IfActive


@click.command()
@click.argument("place", metavar="MODULE:GRAPH")
@click.option("--input", "given", metavar="JSON", help="The input, a JSON object.")
@click.option("--input-file", metavar="FILE", help="Read the input from a file, or - for standard input.")
@click.option("--thread", metavar="NAME", help="The thread to run on; else a new one.")
@click.option("--key", metavar="KEY", help="Idempotency key: the same input sent again is the same run.")
@click.option(
    "--if-active",
    type=click.Choice(["queue", "refuse", "replace"]),
    default="queue",
    show_default=True,
    help="What to do when a run is active on the thread.",
)
@click.option("--at", metavar="TIME", help="Start it then: 2026-12-01T09:00+01:00. A worker has to be there.")
@click.option("--by", metavar="NAME", default="", help="Who asks for this run.")
@click.option("--tenant", metavar="NAME", default="", help="The tenant that the thread belongs to.")
@click.option("--priority", default=0, help="-100 to 100; a run with more comes first when places are few.")
@graphs_option
@store_option
@json_option
def run(
    place: str, given: str | None, input_file: str | None, thread: str | None, key: str | None, if_active: str, at: str | None,
    by: str, tenant: str, priority: int, graphs: tuple[str, ...], store: str, as_json: bool,
) -> None:  # fmt: skip
    """Start a run and follow it to its end or its first pause.

    Exits with 1 when the run fails. Other threads of the graph that are due go on meanwhile. --graphs names the graphs
    of child threads, if it has some.

    \b
    Example:
      turnout run desk:refunds --input '{"order": "A-17"}' --thread case-17
    """
    from turnout.cli.load import from_environment, load_one
    from turnout.cli.rest import rest, tell
    from turnout.cli.schedules import time_given
    from turnout.cli.session import with_app

    if given is not None and input_file is not None:
        raise click.UsageError("give --input or --input-file, not both")
    text = given if input_file is None else file_text(input_file, "--input-file")
    data = json_object(text or "{}", "--input" if input_file is None else f"--input-file {input_file}")
    graph, code = load_one(place, graphs or from_environment())
    moment = time_given(at, "--at") if at is not None else None

    async def job(app: App) -> None:
        begun = await app.start(
            graph, data, thread=thread, idempotency_key=key, by=by, if_active=cast("IfActive", if_active),
            tenant=tenant, priority=priority, at=moment,
        )  # fmt: skip
        tell(store, begun, await rest(app, begun), as_json=as_json, code=code.places)

    with_app(store, job, code=code, work=True, create=True)


@click.command()
@click.argument("thread")
@click.argument("name")
@click.option("--payload", metavar="JSON", help="What the signal carries.")
@click.option("--key", metavar="KEY", help="Idempotency key: a signal sent again with it is ignored.")
@click.option("--by", metavar="NAME", default="", help="Who sends it.")
@graphs_option
@store_option
def signal(
    thread: str, name: str, payload: str | None, key: str | None, by: str, graphs: tuple[str, ...], store: str
) -> None:
    """Send a signal to a thread.

    A step that waits for it goes on; else it is kept for the next one that does.

    \b
    Example:
      turnout signal case-17 goods-returned --payload '{"parcel": 42}'
    """
    from turnout.cli.follow import follow
    from turnout.cli.load import load

    carried = json_value(payload, "--payload") if payload is not None else None

    async def job(app: App) -> tuple[str, str]:
        sent = await app.signal(thread, name, carried, by=by, idempotency_key=key)
        said = f"signal {name!r} sent to {thread}" if sent else f"a signal with key {key!r} was sent before"
        return thread, said

    follow(store, job, load(graphs))


@click.command()
@click.argument("thread")
@click.option("--run", "number", type=int, help="Which run; else the active one.")
@click.option("--by", metavar="NAME", default="", help="Who cancels.")
@click.option("--reason", metavar="TEXT", default="", help="Why.")
@graphs_option
@store_option
def cancel(
    thread: str, number: int | None, by: str, reason: str, graphs: tuple[str, ...], store: str
) -> None:
    """Ask the active run of a thread to stop and clean up.

    \b
    Example:
      turnout cancel case-17 --by dana --reason 'customer withdrew'
    """
    from turnout.cli.follow import follow
    from turnout.cli.load import load

    async def job(app: App) -> tuple[str, str]:
        asked = await app.cancel(thread, run=number, by=by, reason=reason)
        return thread, f"{asked} was asked to stop"

    follow(store, job, load(graphs), cancelled_is_fine=True)


@click.command()
@click.argument("thread")
@click.option(
    "--at", "seq", type=int, metavar="SEQ", help="The last entry to share; else the journal's last."
)
@click.option("--set", "pairs", metavar="NAME=VALUE", multiple=True, help="Change a field of the state.")
@click.option("--update", metavar="JSON", help="Change several fields.")
@click.option("--name", metavar="NAME", help="The new thread's name.")
@click.option("--by", metavar="NAME", default="", help="Who forks.")
@click.option(
    "--go", is_flag=True, help="Run the fork at once, to its end or its first pause. It calls tools anew."
)
@graphs_option
@store_option
@json_option
def fork(
    thread: str, seq: int | None, pairs: tuple[str, ...], update: str | None, name: str | None, by: str, go: bool,
    graphs: tuple[str, ...], store: str, as_json: bool,
) -> None:  # fmt: skip
    """Branch a new thread off any entry.

    It shares the journal up to that entry, and goes on with the state edited if wanted. With --go other threads of the
    graphs that are due go on meanwhile.

    \b
    Example:
      turnout fork case-17 --at 4 --set amount=100 --graphs desk:refunds --go
    """
    from turnout.cli.load import load_some
    from turnout.cli.output import print_json
    from turnout.cli.rest import rest, tell
    from turnout.cli.session import with_app
    from turnout.settings import masked

    changes = {**(json_object(update, "--update") if update else {}), **assignments(pairs)}
    code = load_some(graphs)

    async def job(app: App) -> None:
        made = await app.fork(thread, at=seq, update=changes, name=name, by=by)
        if go:
            tell(store, made, await rest(app, made), as_json=as_json, code=code.places)
        elif as_json:
            print_json({"thread": made.thread, "run": made.number, "parent": thread})
        else:
            click.echo(f"forked {thread} as {made.thread}")
            click.echo(
                f"next:\n  turnout worker {' '.join(code.places)} --until-idle --store {masked(store)}"
            )

    with_app(store, job, code=code, work=go)
