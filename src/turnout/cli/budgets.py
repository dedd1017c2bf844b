"""Budgets: caps on what calls may cost, and how they stand; and what calls have cost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from turnout.cli.options import json_option, store_option
from turnout.core.budgets import PER
from turnout.ports.rows import COSTS_BY

if TYPE_CHECKING:
    from turnout.service.app import App
    from turnout.service.budgets import BudgetReport, Cost


@click.group(invoke_without_command=True)
@store_option
@json_option
@click.pass_context
def budgets(context: click.Context, store: str, as_json: bool) -> None:
    """List, set and drop budgets.

    A budget caps money, tokens, calls and time of each run, thread, graph or tenant, or of all. Those of turnout.toml are
    set when an app that works is opened. --json gives objects with name, per, day, graph, tenant, caps, at_cap, roles,
    accounts (each with account, measure, cap, topped_up, spent, reserved, left, changed_at). Money is in millionths of a
    US dollar, time in milliseconds.

    \b
    Example:
      turnout budgets
      turnout budgets set daily --per tenant --day --dollars 5 --at-cap review --role finance
      turnout budgets drop daily
    """
    if context.invoked_subcommand is not None:
        return
    from turnout.cli.money import budget_table
    from turnout.cli.output import print_json
    from turnout.cli.session import with_app

    async def job(app: App) -> list[BudgetReport]:
        return await app.budgets()

    found = with_app(store, job)
    if as_json:
        print_json(found)
    else:
        budget_table(found)


@budgets.command("set")
@click.argument("name")
@click.option("--per", type=click.Choice(PER), required=True, help="Whose calls are counted together.")
@click.option("--day", is_flag=True, help="Each UTC day anew.")
@click.option("--graph", default="", help="Only the calls of this graph.")
@click.option("--tenant", default="", help="Only the calls of this tenant.")
@click.option("--dollars", metavar="AMOUNT", help="Cap on money, in US dollars.")
@click.option("--tokens", type=click.IntRange(0), help="Cap on tokens.")
@click.option("--calls", type=click.IntRange(0), help="Cap on calls.")
@click.option("--seconds", metavar="SECONDS", help="Cap on the time of calls.")
@click.option("--at-cap", type=click.Choice(["fail", "review"]), default="fail", show_default=True)
@click.option("--role", "roles", multiple=True, help="Who may top it up. May be given again.")
@store_option
@click.pass_context
def set_budget(context: click.Context, /, name: str, store: str, **terms: Any) -> None:
    """Set a budget, or change it.

    It holds for every reservation from then on; what was spent by then is kept.

    \b
    Example:
      turnout budgets set per-run --per run --calls 200 --seconds 600
    """
    from pydantic import ValidationError

    from turnout.cli.session import named_store, with_app
    from turnout.core.state import first_problem
    from turnout.errors import InputInvalid
    from turnout.service.budgets import BudgetTable

    try:
        budget = BudgetTable.model_validate(terms).budget(name)
    except ValidationError as error:
        raise InputInvalid(f"budget {name!r}: {first_problem(error)}") from None

    async def job(app: App) -> None:
        await app.put_budget(budget)

    with_app(named_store(context, store), job, create=True)
    click.echo(f"budget {name} is set")


@budgets.command("drop")
@click.argument("name")
@store_option
@click.pass_context
def drop_budget(context: click.Context, name: str, store: str) -> None:
    """Take a budget away. One of turnout.toml comes back when the next app is opened.

    \b
    Example:
      turnout budgets drop daily
    """
    from turnout.cli.session import named_store, with_app

    async def job(app: App) -> bool:
        return await app.drop_budget(name)

    there = with_app(named_store(context, store), job)
    click.echo(f"no budget {name} any more" if there else f"there was no budget {name}")


@budgets.command("rebuild")
@click.argument("thread", default="")
@store_option
@click.pass_context
def rebuild(context: click.Context, thread: str, store: str) -> None:
    """Put into the ledger what it lacks of the calls that journals have.

    It lacks the calls of a store that was begun by an earlier Turnout. Of those that it has, what is still reserved is
    settled where the journal says how the call has ended, and freed where its thread has moved to another store.

    \b
    Example:
      turnout budgets rebuild
    """
    from turnout.cli.output import count, progress
    from turnout.cli.session import named_store, with_app

    async def job(app: App) -> int:
        with progress("threads") as tell:
            return await app.rebuild_ledger(thread, progress=tell)

    click.echo(f"{count(with_app(named_store(context, store), job), 'call')} added to the ledger")


@click.command()
@click.option("--by", type=click.Choice(COSTS_BY), default="graph", show_default=True)
@click.option("--since", "begin", metavar="7d|12h|DATE", help="Calls that were begun then or later.")
@click.option("--graph", default="", help="Only the calls of this graph.")
@click.option("--tenant", default="", help="Only the calls of this tenant.")
@click.option("--thread", default="", help="Only the calls of this thread.")
@store_option
@json_option
def costs(store: str, as_json: bool, by: str, begin: str | None, **only: str) -> None:
    """What calls have cost: money, tokens, calls and time.

    Every attempt of a model call counts; calls of tools count where a budget does. `--by retry` parts attempts at what was
    tried before from first attempts, `--by branch` goes by parallel branch. What is assumed was reserved for calls that
    were cut off, of which nobody can say what they cost. --json gives objects with what, micros, tokens, calls, ms,
    assumed_micros, assumed_calls, reserved_micros, reserved_calls. Money is in millionths of a US dollar.

    \b
    Example:
      turnout costs --by day --since 7d
      turnout costs --by node --tenant acme --json
    """
    from turnout.cli.money import cost_table
    from turnout.cli.output import print_json
    from turnout.cli.session import with_app
    from turnout.service.budgets import since

    moment = since(begin, datetime.now(UTC)) if begin else None

    async def job(app: App) -> list[Cost]:
        return await app.costs(by, since=moment, **only)

    found = with_app(store, job)
    if as_json:
        print_json(found)
    else:
        cost_table(by, found)
