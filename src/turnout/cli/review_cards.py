"""Reviews: those that wait as a table, one of them whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from turnout.cli.output import console, value, when, words
from turnout.cli.rest import decide_command
from turnout.cli.tables import status_of, table_of
from turnout.ports.clock import at
from turnout.service.outcome import Review

if TYPE_CHECKING:
    from turnout.service.effects import ReviewReport


def review_table(rows: list[Review], status: str, flags: str) -> None:
    """Reviews, one a line. `flags` goes behind commands."""
    out = console()
    if not rows:
        out.print("no reviews" if status == "all" else f"no reviews with status {status}")
        return
    table = table_of("review", "thread", "status", "for", "due", "question")
    rows = sorted(rows, key=lambda row: not row.escalated)
    for row in rows:
        asked = Text(words(row.question)).append(f"\n{value(row.payload, 120)}", "dim")
        roles = ", ".join(row.roles) or "anybody"
        table.add_row(Text(row.id), Text(row.thread), status_of(row.status), Text(roles), _due(row), asked)
    out.print(table)
    if rows[0].status == "open":
        out.print(
            f"next: turnout reviews {rows[0].id}{flags}, then {decide_command(rows[0])}{flags}",
            style="dim",
            soft_wrap=True,
        )


def _due(review: Review) -> Text:
    return Text("escalated", "red") if review.escalated else Text(when(review.due_at))


def review_card(review: Review, told: ReviewReport | None, flags: str) -> None:
    """One review whole: what was asked, with its digest, and what it was changed to. `told` is what the journal says of
    it; `flags` goes behind commands."""
    out = console()
    asked = told or review
    out.print(Text.assemble((words(review.question), "bold"), "  ", status_of(review.status)), soft_wrap=True)
    facts = {
        "review": review.id,
        "thread": f"{review.thread}, run {review.run}, step {review.step}",
        "asked": when(review.asked_at)
        + (f" in a run of {words(review.requester)}" if review.requester else ""),
        "for": (" or ".join(review.roles) or "anybody")
        + (" (escalated: not decided in time)" if review.escalated else ""),
        "may be": ", ".join(word.replace("_", "-") for word in review.allowed),
        "needs": f"{review.quorum} people who agree" if review.quorum > 1 else "",
        "not by": words(review.requester) if review.separate else "",
        "due": f"{when(review.due_at)}, then {review.on_due}" if review.due_at else "",
        "shown": asked.shown,
        "a yes is for": _bound(review),
    }
    grid = Table.grid(padding=(0, 2))
    for name, fact in facts.items():
        if fact:
            grid.add_row(Text(name, "dim"), Text(fact))
    _payload(grid, asked.payload)
    for edit in told.edits if told is not None else ():
        grid.add_row(Text("edited", "dim"), Text(f"changed by {words(edit.by)}, {when(edit.at)}, to"))
        grid.add_row(Text("shown", "dim"), Text(edit.shown))
        _payload(grid, edit.payload)
    for opinion in review.opinions if review.status == "open" else ():
        grid.add_row(
            Text("so far", "dim"),
            Text(f"{opinion['decision']} by {words(opinion['by'])} {words(opinion['comment'])}"),
        )
    for said in review.decisions:
        action = said.get("decision") or f"nobody in time: {said.get('action')}"
        by = f" by {words(said['by'])}" if said.get("by") else ""
        grid.add_row(
            Text("decided", "dim"),
            Text(f"{action}{by}, {when(at(said['at']))} {words(said.get('comment', ''))}"),
        )
    out.print(grid)
    if review.status == "open":
        out.print(
            f"next: {decide_command(review)} --shown {review.shown}{flags}", style="dim", soft_wrap=True
        )


def _payload(grid: Table, payload: Any) -> None:
    """What a review is about, a field a line."""
    if isinstance(payload, dict):
        for name, found in payload.items():
            grid.add_row(Text(f"  {words(name)}", "dim"), Text(value(found), overflow="fold"))
    elif payload is not None:
        grid.add_row(Text("payload", "dim"), Text(value(payload), overflow="fold"))


def _bound(review: Review) -> str:
    """What an approval of a call is bound to."""
    binds = review.binds
    if binds is None:
        return ""
    pin = f", pinned as {binds.pin}" if binds.pin else ""
    hours = f"{binds.holds / 3_600_000_000:g} h"
    return f"{words(binds.name)} with just these arguments{pin}, under policy {binds.policy}, for {hours}"
