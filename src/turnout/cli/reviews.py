"""Reviews: list, look at, decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from turnout.cli.options import (
    assignments,
    graphs_option,
    json_object,
    json_option,
    json_value,
    store_option,
)

if TYPE_CHECKING:
    from turnout.core.reviews import Judgement
    from turnout.service.app import App
    from turnout.service.outcome import Review

F = TypeVar("F", bound=Callable[..., Any])
STATUSES = ("open", "all", "withdrawn", "approve", "edit", "reject", "respond", "landed", "did_not_happen")


@click.command()
@click.argument("review", required=False)
@click.option(
    "--status",
    type=click.Choice(STATUSES),
    default="open",
    show_default=True,
    metavar="STATUS",
    help="open, all, withdrawn, or an outcome such as approve.",
)
@click.option("--thread", default="", metavar="NAME", help="Only those of this thread.")
@click.option("--role", default="", metavar="ROLE", help="Only those that this role may decide.")
@store_option
@json_option
def reviews(review: str | None, status: str, thread: str, role: str, store: str, as_json: bool) -> None:
    """List the reviews that wait, or show one whole.

    --json gives objects with id, thread, run, step, question, payload, status, purpose, allowed, roles, quorum,
    separate, requester, shown, asked_at, due_at, on_due, opinions, decisions, binds (what a yes to a call is bound to),
    escalated; payload and shown are what is asked now, after an edit the edited one.

    \b
    Example:
      turnout reviews --role finance
      turnout reviews rev-5f0c2a9d1e77
    """
    from turnout.cli.output import print_json
    from turnout.cli.rest import store_flag
    from turnout.cli.review_cards import review_card, review_table
    from turnout.cli.session import with_app

    async def job(app: App) -> None:
        if review is not None:
            found = await app.review(review)
            if as_json:
                print_json(vars(found))
                return
            report = await app.explain(found.thread)
            told = next((one for one in report.reviews if one.id == found.id), None)
            review_card(found, told, store_flag(store))
            return
        rows = await app.reviews(status="" if status == "all" else status, thread=thread, role=role)
        print_json([vars(row) for row in rows]) if as_json else review_table(rows, status, store_flag(store))

    with_app(store, job)


def deciding(command: F) -> F:
    """The options of every decision."""
    for option in (
        json_option,
        store_option,
        graphs_option,
        click.option("--shown", metavar="DIGEST", help="Refuse if the review no longer shows this."),
        click.option("--role", "roles", metavar="ROLE", multiple=True, help="As whom. May be given again."),
        click.option("--by", required=True, metavar="NAME", help="Who decides."),
        click.argument("review"),
    ):
        command = option(command)
    return command


def _comment(command: F) -> F:
    return click.option("--comment", default="", metavar="TEXT", help="A word on why.")(command)


def _decide(
    review: str,
    decision: Judgement | Callable[[Review], Judgement],
    graphs: tuple[str, ...],
    store: str,
    as_json: bool,
) -> None:
    """Record a decision, or the one that `decision` makes of the review, and go on with the thread."""
    from turnout.cli.follow import follow
    from turnout.cli.load import load

    async def job(app: App) -> tuple[str, str]:
        found = await app.review(review)
        judgement = decision(found) if callable(decision) else decision
        closed = await app.resolve(found.id, judgement)
        if closed.status == "open":
            more = closed.quorum - len({opinion["by"] for opinion in closed.opinions})
            return (
                closed.thread,
                f"noted: {judgement.decision} by {judgement.by}; {closed.id} needs {more} more to agree",
            )
        return (
            closed.thread,
            f"review {closed.id} of thread {closed.thread} is closed: {closed.status} by {judgement.by}",
        )

    follow(store, job, load(graphs), as_json=as_json)


@click.command()
@deciding
@_comment
def approve(
    review: str, by: str, roles: tuple[str, ...], comment: str, shown: str | None, graphs: tuple[str, ...], store: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Say yes to a review, as it is shown.

    REVIEW is a review's id, or the name of a thread that has just one open. With --graphs the thread goes on at once.

    \b
    Example:
      turnout approve rev-5f0c2a9d1e77 --by dana --role finance --graphs desk:refunds
    """
    from turnout.core.reviews import approve as approved

    judgement = approved(by=by, roles=roles, comment=comment, shown=shown)
    _decide(review, judgement, graphs, store, as_json)


@click.command()
@deciding
@_comment
def reject(
    review: str, by: str, roles: tuple[str, ...], comment: str, shown: str | None, graphs: tuple[str, ...], store: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Say no to a review.

    \b
    Example:
      turnout reject rev-5f0c2a9d1e77 --by dana --role finance --comment 'no receipt'
    """
    from turnout.core.reviews import reject as rejected

    judgement = rejected(by=by, roles=roles, comment=comment, shown=shown)
    _decide(review, judgement, graphs, store, as_json)


@click.command()
@deciding
@_comment
@click.option("--set", "pairs", metavar="NAME=VALUE", multiple=True, help="A field of the payload to change.")
@click.option("--payload", metavar="JSON", help="The payload, or only the fields that change.")
def edit(
    review: str, by: str, roles: tuple[str, ...], comment: str, shown: str | None, pairs: tuple[str, ...],
    payload: str | None, graphs: tuple[str, ...], store: str, as_json: bool,
) -> None:  # fmt: skip
    """Say yes to a review, with changes to what is shown.

    \b
    Example:
      turnout edit rev-5f0c2a9d1e77 --set amount=100 --by dana --role finance
    """
    from turnout.core.reviews import edit as edited

    if not pairs and payload is None:
        raise click.UsageError("say what changes: --set NAME=VALUE or --payload JSON")
    changes = json_value(payload, "--payload") if payload is not None else {}
    if pairs and payload is not None:
        changes = json_object(payload, "--payload")
    assignments(pairs)  # a slip is told before the store is opened

    def decision(found: Review) -> Judgement:
        shown_now = found.payload if isinstance(found.payload, dict) else {}
        texts = [name for name, value in shown_now.items() if isinstance(value, str)]
        whole = {**changes, **assignments(pairs, texts)} if pairs else changes
        return edited(whole, by=by, roles=roles, comment=comment, shown=shown)

    _decide(review, decision, graphs, store, as_json)


@click.command()
@deciding
@click.argument("text")
def respond(
    review: str, text: str, by: str, roles: tuple[str, ...], shown: str | None, graphs: tuple[str, ...], store: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Answer a review in free text.

    \b
    Example:
      turnout respond rev-5f0c2a9d1e77 'Please ask for the receipt first.' --by dana --role finance
    """
    from turnout.core.reviews import respond as responded

    _decide(review, responded(text, by=by, roles=roles, shown=shown), graphs, store, as_json)


@click.command()
@deciding
@_comment
@click.option("--result", metavar="JSON", help="What the tool would have returned.")
def landed(
    review: str, by: str, roles: tuple[str, ...], comment: str, shown: str | None, result: str | None,
    graphs: tuple[str, ...], store: str, as_json: bool,
) -> None:  # fmt: skip
    """Say of an unknown write that it did happen.

    \b
    Example:
      turnout landed rev-5f0c2a9d1e77 --result '"R-1001"' --by dana
    """
    from turnout.core.reviews import landed as did_land

    found = json_value(result, "--result") if result is not None else None
    judgement = did_land(found, by=by, roles=roles, comment=comment, shown=shown)
    _decide(review, judgement, graphs, store, as_json)


@click.command("did-not-happen")
@deciding
@_comment
def did_not_happen(
    review: str, by: str, roles: tuple[str, ...], comment: str, shown: str | None, graphs: tuple[str, ...], store: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Say of an unknown write that it did not happen.

    It may be sent again, then.

    \b
    Example:
      turnout did-not-happen rev-5f0c2a9d1e77 --by dana
    """
    from turnout.core.reviews import did_not_happen as absent

    judgement = absent(by=by, roles=roles, comment=comment, shown=shown)
    _decide(review, judgement, graphs, store, as_json)
