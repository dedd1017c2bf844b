"""policy: rules checked, their schema, and what other rules would have said of the calls on record."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from turnout.cli.options import graphs_option, json_option, store_option

if TYPE_CHECKING:
    from turnout.service.app import App
    from turnout.service.policies import Backtest

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@click.group()
def policy() -> None:
    """Check rules, show their schema, try them on what is on record.

    Rules are files *.cedar in the folder that turnout.toml names ([policy] folder), or in policies/.

    \b
    Example:
      turnout policy schema
      turnout policy check candidate/ --graphs desk:refunds
      turnout policy backtest candidate/ --since 30d
    """


@policy.command("schema")
@graphs_option
def schema(graphs: tuple[str, ...]) -> None:
    """Print the schema: what a rule can be about.

    It is in Cedar's own schema language. With --graphs the arguments of the graphs' tools are in it, too.

    \b
    Example:
      turnout policy schema > turnout.cedarschema
    """
    from turnout.cli.load import load
    from turnout.policy.schema import with_tools

    tools = {tool.name: tool for graph in load(graphs).graphs for tool in graph.tools.values()}
    click.echo(with_tools(tools.values()), nl=False)


@policy.command("check")
@click.argument("folder", required=False)
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings, too.")
@click.option(
    "--config", metavar="FILE", help="The turnout.toml that names the folder (or set TURNOUT_CONFIG)."
)
@graphs_option
@json_option
def check(
    folder: str | None, strict: bool, config: str | None, graphs: tuple[str, ...], as_json: bool
) -> None:
    """Check the rules of a folder.

    Problems: what Cedar can't read or doesn't fit the schema. With --graphs the arguments that rules read are checked,
    for each tool that a rule can be about. Warnings: names that the graphs don't have, rules that never matter, rules
    that contradict each other, writes that no rule allows. FOLDER is that of turnout.toml, unless it is named.

    Exits with 1 when there are problems. --json gives folder, ok, digest, rules (id, file, line, effect, reason,
    review), problems and warnings (file, line, text), unruled (writes that no rule allows).

    \b
    Example:
      turnout policy check policies/ --graphs desk:refunds
    """
    from turnout import tables
    from turnout.cli.load import load
    from turnout.cli.output import count, print_json
    from turnout.service.policies import check as check_folder
    from turnout.wiring import policy_folder

    place = Path(folder) if folder is not None else policy_folder(config)
    if place is None:
        raise click.UsageError(
            "there are no rules here: name their folder, or put files *.cedar into policies/"
        )
    code, said = load(graphs), tables.find(config)
    models = {*code.models, *(said.models if said is not None else ())}
    found = check_folder(place, {graph.name: graph.build() for graph in code.graphs}, models)
    if as_json:
        print_json({"ok": found.ok, **vars(found)})
    else:
        for problem in found.problems:
            click.echo(f"problem: {problem}")
        for warning in (*found.warnings, *found.unruled):
            click.echo(f"warning: {warning}")
        wrong = count(len(found.problems), "problem") if found.problems else "no problem"
        click.echo(f"{found.folder}: {count(len(found.rules), 'rule')}, {wrong}, digest {found.digest}")
        if not code.graphs:
            click.echo("(the arguments that rules read are checked with --graphs MODULE:GRAPH)")
    if not found.ok or (strict and (found.warnings or found.unruled)):
        raise click.exceptions.Exit(1)


@policy.command("backtest")
@click.argument("candidate")
@click.option(
    "--since", metavar="TIME", default="30d", show_default=True, help="30d, 12h, or a date: 2026-11-01."
)
@click.option("--graph", default="", metavar="NAME", help="Only calls of this graph.")
@graphs_option
@store_option
@json_option
def backtest(
    candidate: str, since: str, graph: str, graphs: tuple[str, ...], store: str, as_json: bool
) -> None:
    """Decide every recorded call again under other rules, and show what flips.

    CANDIDATE is a folder of rules. Nothing is called and nothing is changed. A call that was made without a policy
    counts as allowed; with --graphs more is known of its tool.

    Exits with 1 when anything flips. --json gives digest, since, threads, calls, derived, unchanged, and flips (graph,
    node, kind, name, before, after, calls, examples: thread, seq, at, args, before, after, reason, errors).

    \b
    Example:
      turnout policy backtest candidate/ --since 30d --graph refunds
    """
    from turnout.cli.load import load
    from turnout.cli.output import print_json, progress
    from turnout.cli.rule_cards import backtest_card
    from turnout.cli.session import with_app

    begin = moment(since, datetime.now(UTC))

    async def job(app: App) -> Backtest:
        with progress("deciding again") as tick:
            return await app.backtest(candidate, since=begin, graph=graph, progress=tick)

    found = with_app(store, job, code=load(graphs))
    if as_json:
        print_json(found)
    else:
        backtest_card(found)
    if not found.same:
        raise click.exceptions.Exit(1)


def moment(text: str, now: datetime) -> datetime:
    """A time as it is typed: so long before now, or a date, UTC unless it says otherwise."""
    ago = re.fullmatch(r"(\d{1,5})([mhdw])", text)
    if ago is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(
            f"--since {text} is no time: say 30d, 12h, or a date such as 2026-11-01"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
