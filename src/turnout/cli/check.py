"""check: is a graph sound, and would this code take over what is unfinished?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from turnout.cli.options import graphs_option, json_option, store_option

if TYPE_CHECKING:
    from turnout.core.graph import Graph
    from turnout.policy.rules import RuleSet
    from turnout.service.app import App
    from turnout.service.proof import InFlight


@click.command()
@click.argument("places", metavar="[MODULE:GRAPH]...", nargs=-1)
@click.option("--mermaid", "as_mermaid", is_flag=True, help="Print a Mermaid flowchart.")
@click.option("--in-flight", is_flag=True, help="Would this code adopt the unfinished runs of the store?")
@graphs_option
@store_option
@json_option
def check(
    places: tuple[str, ...],
    as_mermaid: bool,
    in_flight: bool,
    graphs: tuple[str, ...],
    store: str,
    as_json: bool,
) -> None:
    """Check a graph, or code against unfinished runs.

    Prints the problems and warnings, or the graph. With --in-flight every unfinished run of the store is replayed on
    this code, to see which would be adopted.

    Exits with 1 when there are problems, or when a run would not be adopted. --json gives a list of objects with
    graph, ok, fingerprint, problems, warnings (file, line, found, why, use), notes (writes that no policy rule is
    about), nodes, tools; with --in-flight with
    thread, graph, adopted, before, now, divergence, proof.

    \b
    Example:
      turnout check desk:refunds --mermaid
      turnout check --in-flight --graphs desk:refunds --store sqlite:///turnout.db
    """
    from turnout.cli.load import load_some

    code = load_some([*places, *graphs])
    if not in_flight:
        _graphs(code.graphs, as_mermaid, as_json)
        return
    from turnout.cli.output import print_json, progress
    from turnout.cli.proof_cards import in_flight_table
    from turnout.cli.session import with_app

    async def job(app: App) -> list[InFlight]:
        with progress("proving") as tick:
            return await app.check_in_flight(tick)

    found = with_app(store, job, code=code)
    if as_json:
        print_json([{**vars(one), "adopted": one.adopted} for one in found])
    else:
        in_flight_table(found)
    if any(not one.adopted for one in found):
        raise click.exceptions.Exit(1)


def _graphs(graphs: list[Graph], as_mermaid: bool, as_json: bool) -> None:
    from turnout.cli.mermaid import mermaid, text
    from turnout.cli.output import print_json
    from turnout.policy.checking import unruled

    bad = False
    rules = _rules()
    data: list[dict[str, Any]] = []
    for graph in graphs:
        problems, warnings = graph.problems(), graph.warnings()
        bad = bad or bool(problems)
        if as_json:
            data.append({
                "graph": graph.name, "ok": not problems, "fingerprint": "" if problems else graph.fingerprint,
                "problems": problems, "warnings": warnings, "notes": [] if problems else unruled(rules, [graph]), "nodes": list(graph.nodes), "tools": list(graph.tools),
            })  # fmt: skip
            continue
        for problem in problems:
            click.echo(f"problem: {problem}")
        if problems:
            click.echo(f"graph {graph.name} has {len(problems)} problem(s)")
        else:
            click.echo(mermaid(graph) if as_mermaid else text(graph))
        for warning in warnings:
            click.echo(f"warning: {warning}", err=as_mermaid)
        for note in () if problems else unruled(rules, [graph]):
            click.echo(f"note: {note}", err=as_mermaid)
    if as_json:
        print_json(data)
    if bad:
        raise click.exceptions.Exit(1)


def _rules() -> RuleSet | None:
    """The rules that would be in force here, if there are any."""
    from turnout.policy.rules import load
    from turnout.wiring import policy_folder

    folder = policy_folder()
    return load(folder) if folder is not None else None
