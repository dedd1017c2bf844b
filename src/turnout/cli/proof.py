"""Proof: replay, what-if, verify, exported heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from turnout.cli.options import file_text, graphs_option, json_object, json_option, store_option

if TYPE_CHECKING:
    from turnout.runtime.replay import Replayed
    from turnout.service.app import App


@click.command()
@click.argument("threads", metavar="THREAD...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every thread of the graphs at hand.")
@graphs_option
@store_option
@json_option
def replay(
    threads: tuple[str, ...], everything: bool, graphs: tuple[str, ...], store: str, as_json: bool
) -> None:
    """Make every entry again from the code, calling nothing.

    Exits with 1 at a divergence, and says what the record expects there and what the code does.

    --json gives a list of objects with thread, identical, entries, effects, divergence (where, expected, actual, seq).

    \b
    Example:
      turnout replay case-17 --graphs desk:refunds
    """
    from turnout.cli.load import load_some
    from turnout.cli.output import print_json, progress, words
    from turnout.cli.session import with_app

    if bool(threads) == everything:
        raise click.UsageError("name the threads to replay, or say --all")
    code = load_some(graphs)

    async def job(app: App) -> list[Replayed]:
        names = list(threads) or await _names(app)
        found = []
        with progress("replaying", len(names) if len(names) > 1 else None) as tick:
            for number, name in enumerate(names):
                if tick is not None and len(names) > 1:
                    tick(number)
                found.append(await app.replay(name, progress=tick if len(names) == 1 else None))
        return found

    found = with_app(store, job, code=code)
    if as_json:
        print_json([replay_data(one) for one in found])
    for one in () if as_json else found:
        if one.divergence is None:
            click.echo(f"{one.thread}: identical ({one.entries} entries, recorded effects: {one.effects})")
            continue
        click.echo(f"{one.thread}: diverges at {one.divergence.where}, after {one.entries} identical entries")
        click.echo(f"  expected  {words(one.divergence.expected)}")
        click.echo(f"  actual    {words(one.divergence.actual)}")
    if any(not one.identical for one in found):
        raise click.exceptions.Exit(1)


async def _names(app: App) -> list[str]:
    names: list[str] = []
    for graph in app.graphs:
        after = ""
        while rows := await app.threads(graph=graph, after=after, limit=1000):
            names += [row.thread for row in rows]
            after = rows[-1].thread
    return names


def replay_data(found: Replayed) -> dict[str, Any]:
    """The JSON of a replay."""
    return {
        "thread": found.thread, "identical": found.identical, "entries": found.entries, "effects": found.effects,
        "divergence": found.divergence,
    }  # fmt: skip


@click.command()
@click.argument("thread")
@click.option("--fail-on-change", is_flag=True, help="Exit with 1 when anything would be different.")
@click.option("--policy", metavar="FOLDER", help="And under the rules of this folder.")
@graphs_option
@store_option
@json_option
def whatif(
    thread: str, fail_on_change: bool, policy: str | None, graphs: tuple[str, ...], store: str, as_json: bool
) -> None:
    """Run a recorded thread again under other code, or another policy.

    Effects are answered from the record.
    Nothing is called and no write is made. --json gives thread, same, before and after (steps, decisions, status,
    state), changed (field: [before, after]), gap (where the record no longer answers), answered, unused, stopped (calls that
    the policy of --policy doesn't let pass: step, question, verdict).

    \b
    Example:
      turnout whatif case-17 --graphs desk_v2:refunds
    """
    from turnout.cli.load import load_some
    from turnout.cli.output import print_json
    from turnout.cli.proof_cards import whatif_card
    from turnout.cli.session import with_app

    code = load_some(graphs)
    found = with_app(store, lambda app: app.whatif(thread, policy=policy), code=code)
    if as_json:
        print_json({
            "thread": found.thread, "same": found.same, "before": found.before, "after": found.after,
            "changed": found.changed_fields, "gap": found.gap, "answered": found.answered, "unused": found.unused,
            "stopped": found.stopped,
        })  # fmt: skip
    else:
        whatif_card(found)
    if fail_on_change and not found.same:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("thread", required=False)
@click.option(
    "--against", metavar="FILE", help="An exported head (`turnout head > head.json`): finds what was cut off."
)
@click.option(
    "--signed-by",
    metavar="KEY",
    default="",
    help="The public key of the store that the threads came from, which signed it.",
)
@store_option
@json_option
def verify(thread: str | None, against: str | None, signed_by: str, store: str, as_json: bool) -> None:
    """Check that the journals are what was written.

    Exits with 1 when they are not.
    --json gives ok, threads, entries, values, heads (how many of each were checked) and problems.

    \b
    Example:
      turnout verify --against head.json
    """
    from turnout.cli.output import count, print_json, progress
    from turnout.cli.session import with_app
    from turnout.service.proof import Verified

    head = json_object(file_text(against, "--against"), f"--against {against}") if against else None

    async def job(app: App) -> Verified:
        with progress("verifying") as tick:
            return await app.verify(thread or "", against=head, progress=tick, signed_by=signed_by)

    found = with_app(store, job)
    if as_json:
        print_json({"ok": found.ok, **vars(found)})
    else:
        for problem in found.problems:
            click.echo(f"problem: {problem}")
        counted = ", ".join((
            count(found.threads, "thread"), count(found.entries, "entry", "entries"),
            count(found.values, "stored value"), count(found.heads, "signed head"),
        ))  # fmt: skip
        click.echo(f"{'verified' if found.ok else f'{len(found.problems)} problem(s)'}: {counted}")
        if found.ok and head is None:
            click.echo(
                "(a cut tail shows only against an exported head: turnout head > head.json, kept elsewhere)"
            )
    if not found.ok:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("thread", required=False)
@store_option
def head(thread: str | None, store: str) -> None:
    """Export a signed statement of how far journals are.

    Keep it somewhere else: `turnout verify --against` finds what was altered, cut off or rolled back since.

    \b
    Example:
      turnout head > head.json
    """
    from turnout.cli.output import print_json
    from turnout.cli.session import with_app

    print_json(with_app(store, lambda app: app.head(thread or "")))
