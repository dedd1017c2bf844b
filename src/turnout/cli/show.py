"""What is there: threads, one thread, and what happened on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from turnout.cli.options import graphs_option, json_option, store_option

if TYPE_CHECKING:
    from turnout.ports.rows import RunRow, ThreadRow
    from turnout.service.app import App
    from turnout.service.report import Report

STATUSES = ("running", "waiting", "diverged", "compensating", "finished", "failed", "cancelled", "idle")


@click.command()
@click.option("--status", type=click.Choice(STATUSES), help="Only threads with this status.")
@click.option("--graph", default="", metavar="NAME", help="Only threads of this graph.")
@click.option(
    "--search", default="", metavar="TEXT", help="Only threads with this in their names, in capitals or not."
)
@click.option("--tenant", default="", metavar="NAME", help="Only threads of this tenant.")
@click.option("--aside", is_flag=True, help="Only threads that are set aside.")
@click.option("--after", default="", metavar="NAME", help="The last name of the page before.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="How many at most.")
@store_option
@json_option
def threads(
    status: str | None, graph: str, search: str, tenant: str, aside: bool, after: str, limit: int, store: str,
    as_json: bool,
) -> None:  # fmt: skip
    """List threads, in the order of their names.

    --json gives objects with thread, graph, fingerprint, status, run, entries, owner, wake_at, created_at, updated_at,
    parent, parent_entry, tenant, priority, tries, aside, digest, epoch, lease_until.

    \b
    Example:
      turnout threads --status waiting
    """
    from turnout.cli.cards import thread_table
    from turnout.cli.output import print_json
    from turnout.cli.session import with_app
    from turnout.service.items import thread_item

    async def job(app: App) -> list[ThreadRow]:
        return await app.threads(
            graph=graph,
            status=status or "",
            search=search,
            tenant=tenant,
            aside=aside,
            after=after,
            limit=limit,
        )

    rows = with_app(store, job)
    if as_json:
        print_json([thread_item(row) for row in rows])
    else:
        thread_table(rows, limit)


@click.command()
@click.argument("thread")
@click.option("--at", "seq", type=int, metavar="SEQ", help="The state after this entry.")
@click.option("--entries", "with_entries", is_flag=True, help="The journal's entries, too.")
@store_option
@json_option
def show(thread: str, seq: int | None, with_entries: bool, store: str, as_json: bool) -> None:
    """Show a thread: its state, status and runs.

    --json gives thread, graph, status, tenant, priority, aside, at, head, state, labels, runs (run, graph, status, started_at,
    ended_at, error) and with --entries entries (seq, kind, at, run, step, body).

    \b
    Example:
      turnout show case-17 --at 4
    """
    from turnout.cli.cards import thread_card
    from turnout.cli.output import print_json
    from turnout.cli.session import with_app
    from turnout.ports.clock import at

    async def job(app: App) -> dict[str, Any]:
        view = await app.view(thread, at=seq)
        [row] = [await app.store.thread(thread)]
        entries = await app.entries(thread, upto=seq) if with_entries else []
        listed = [
            {"seq": x.seq, "kind": x.kind, "at": at(x.at), "run": x.run, "step": x.step, "body": x.body}
            for x in entries
        ]
        return {
            "thread": thread, "graph": view.graph, "status": view.status, "tenant": view.tenant,
            "priority": view.priority, "aside": row.aside if row else "", "at": view.seq,
            "head": row.head if row else view.seq, "state": view.state, "labels": view.labels,
            "runs": [run_data(run) for run in await app.store.runs(thread)],
            **({"entries": listed} if with_entries else {}),
        }  # fmt: skip

    data = with_app(store, job)
    if as_json:
        print_json(data)
    else:
        thread_card(data)


def run_data(run: RunRow) -> dict[str, Any]:
    """The JSON of a run in a list."""
    from turnout.ports.clock import at

    return {
        "run": run.run, "graph": run.graph, "status": run.status, "started_at": at(run.started_at),
        "ended_at": at(run.ended_at) if run.ended_at is not None else None, "error": run.error,
    }  # fmt: skip


@click.command()
@click.argument("thread")
@click.option("--at", "seq", type=int, metavar="SEQ", help="As things were after this entry.")
@click.option("--diff", is_flag=True, help="What each step changed, in full.")
@graphs_option
@store_option
@json_option
def explain(
    thread: str, seq: int | None, diff: bool, graphs: tuple[str, ...], store: str, as_json: bool
) -> None:
    """Tell what happened on a thread, and why.

    Answers from the record: what state was the system in, what calls were made, which branch was taken and why, can we
    replay it?
    With --graphs the thread is replayed as well. A value that is cut to the page ends in its length, as in ... (126);
    --diff shows it whole. --json gives the whole report (see turnout.service.report.Report), nothing shortened.

    \b
    Example:
      turnout explain case-17 --graphs desk:refunds
    """
    from turnout.cli.load import load
    from turnout.cli.output import print_json
    from turnout.cli.pages import explain_page
    from turnout.cli.rest import store_flag
    from turnout.cli.session import with_app
    from turnout.service.explain import with_replay

    code = load(graphs)

    async def job(app: App) -> Report:
        report = await app.explain(thread, at=seq)
        if report.graph in app.graphs:
            report = with_replay(report, await app.replay(thread))
        return report

    report = with_app(store, job, code=code)
    if as_json:
        print_json(report)
    else:
        explain_page(report, diff=diff, flags=store_flag(store))
