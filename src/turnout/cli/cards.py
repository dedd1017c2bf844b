"""Tables and short cards of threads, limits, tokens and schedules."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from turnout.cli.lines import labelled
from turnout.cli.output import console, value, when, words
from turnout.cli.tables import status_of, table_of
from turnout.core.aside import away, elsewhere
from turnout.ports.clock import at
from turnout.ports.rows import LimitRow, ThreadRow
from turnout.runtime.zones import zone
from turnout.service.report import as_data
from turnout.service.schedules import Schedule

if TYPE_CHECKING:
    from turnout.service.access.tokens import Token


def _aside(reason: str) -> tuple[str, str]:
    """Whether a thread is set aside, behind its status."""
    if away(reason):
        return ", moved", "dim"
    return (", set aside", "red") if reason else ("", "")


def thread_table(rows: list[ThreadRow], limit: int) -> None:
    """Threads, one a line."""
    out = console()
    if not rows:
        out.print("no threads")
        return
    more = {
        "tenant": [Text(row.tenant) for row in rows],
        "priority": [Text(str(row.priority) if row.priority else "") for row in rows],
    }
    used = {name: cells for name, cells in more.items() if any(cell.plain for cell in cells)}
    table = table_of("thread", "graph", "status", "run", "entries", "last entry", *used)
    for number, row in enumerate(rows):
        table.add_row(
            Text(row.thread),
            Text(row.graph),
            Text.assemble(status_of(row.status), _aside(row.aside)),
            str(row.run),
            str(row.head),
            when(at(row.updated_at)),
            *(cells[number] for cells in used.values()),
        )
    out.print(table)
    if len(rows) == limit:
        out.print(f"(more: turnout threads --after {rows[-1].thread})", style="dim", soft_wrap=True)


def aside_list(rows: list[ThreadRow], limit: int, flags: str) -> None:
    """Threads that are set aside, with the reason. `flags` goes behind commands."""
    out = console()
    if not rows:
        out.print("no thread is set aside")
        return
    for row in rows:
        facts = f"  last entry {when(at(row.updated_at))}" + (f"  tenant {row.tenant}" if row.tenant else "")
        out.print(
            Text.assemble((row.thread, "bold"), f"  {row.graph}  ", status_of(row.status), (facts, "dim"))
        )
        out.print(f"  {words(row.aside)}", soft_wrap=True)
    if len(rows) == limit:
        out.print(f"(more: turnout aside --after {rows[-1].thread})", style="dim", soft_wrap=True)
    name = next((row.thread for row in rows if not elsewhere(row.aside)), None)
    if name is not None:  # what moves goes on elsewhere
        out.print(
            f"next: turnout explain {name}{flags}, then turnout take-back {name}{flags}",
            style="dim",
            soft_wrap=True,
        )


def limit_table(rows: list[LimitRow]) -> None:
    """Limits, one a line."""
    out = console()
    if not rows:
        out.print("no limits")
        return
    table = table_of("of", "name", "threads at once")
    for row in rows:
        table.add_row(row.kind, Text(row.name), str(row.at_once))
    out.print(table)


def token_table(rows: list[Token]) -> None:
    """API tokens, one a line."""
    out = console()
    if not rows:
        out.print("no tokens; `turnout token create NAME --role ROLE` makes one")
        return
    table = table_of("id", "who", "roles", "review roles", "tenant", "expires", "")
    for row in rows:
        ended = f"revoked {when(row.revoked_at)}" if row.revoked_at is not None else ""
        table.add_row(
            row.id, Text(row.who), ", ".join(row.roles), Text(", ".join(row.review_roles)),
            Text("all" if row.tenant is None else row.tenant), when(row.expires_at), ended,
        )  # fmt: skip
    out.print(table)


def thread_card(data: dict[str, Any]) -> None:
    """One thread: state, runs, and entries if they are there."""
    out = console()
    place = (
        f"entry {data['at']} of {data['head']}" if data["at"] != data["head"] else f"{data['head']} entries"
    )
    out.print(
        Text.assemble(
            (data["thread"], "bold"), f"  {data['graph']}  ", status_of(data["status"]), (f"  {place}", "dim")
        )
    )
    facts = [f"tenant {data['tenant']}"] if data["tenant"] else []
    facts += [f"priority {data['priority']}"] if data["priority"] else []
    if facts:
        out.print(", ".join(facts), style="dim")
    if away(data["aside"]):
        out.print(Text(words(data["aside"]), "dim"), soft_wrap=True)
    elif data["aside"]:
        out.print(Text(f"set aside: {words(data['aside'])}", "bold red"), soft_wrap=True)
        out.print(f"  no worker takes it before `turnout take-back {data['thread']}`", soft_wrap=True)
    grid = Table.grid(padding=(0, 2))
    for name, found in data["state"].items():
        text = Text(value(found), overflow="fold")
        grid.add_row(Text(name, "dim"), labelled(text, data["labels"].get(name, ())))
    out.print("state")
    out.print(Padding(grid, (0, 0, 0, 2)))
    out.print("runs")
    for run in data["runs"]:
        line = Text.assemble(
            f"  {run['run']}  {run['graph']}  ", status_of(run["status"]), f"  {when(run['started_at'])}"
        )
        line.append(f" to {when(run['ended_at'])}" if run["ended_at"] else "")
        line.append(f"  {words(run['error'])}" if run["error"] else "", "red")
        out.print(line, soft_wrap=True)
    if "entries" in data:
        out.print("entries")
        table = table_of("seq", "time", "kind", "step", "says")
        for entry in data["entries"]:
            body = value(as_data(entry["body"]), 0 if out.width > 10_000 else 200)
            table.add_row(
                str(entry["seq"]), f"{entry['at']:%H:%M:%S}", entry["kind"], Text(entry["step"]), Text(body)
            )
        out.print(Padding(table, (0, 0, 0, 2)))


def schedule_table(rows: list[Schedule]) -> None:
    """Schedules, one a line. Times are those of the schedule's zone."""
    out = console()
    if not rows:
        out.print("no schedules")
        return
    table = table_of("name", "graph", "when", "next", "last", "note")
    for row in rows:
        coming = Text("paused", "yellow") if row.paused else Text(local(row.next_at, row.timezone))
        table.add_row(
            Text(row.name),
            Text(row.graph),
            f"{row.cron} {row.timezone}" if row.cron else "once",
            coming,
            local(row.last_at, row.timezone),
            Text(words(row.note)),
        )
    out.print(table)


def local(moment: datetime | None, timezone: str) -> str:
    """A time in a time zone, with its offset from UTC; to the second, if it has some."""
    if moment is None:
        return "-"
    said = moment.astimezone(zone(timezone)).replace(microsecond=0).isoformat(" ")
    day, clock, offset = said[:10], said[11:19].removesuffix(":00"), said[19:]
    return f"{day} {clock} {'Z' if offset == '+00:00' else offset}"
