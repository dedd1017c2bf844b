"""Tables and short cards: threads, one thread, reviews, in-flight proofs, what-ifs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from turnout.cli.lines import labelled
from turnout.cli.output import console, count, lasted, value, when, words
from turnout.cli.rest import decide_command
from turnout.core.aside import away, elsewhere
from turnout.core.verdict import because
from turnout.ports.clock import at
from turnout.ports.rows import LimitRow, ThreadRow
from turnout.runtime.whatif import WhatIf
from turnout.runtime.zones import zone
from turnout.service.outcome import Review
from turnout.service.proof import InFlight
from turnout.service.report import as_data
from turnout.service.schedules import Schedule

if TYPE_CHECKING:
    from turnout.ports.guard import Guard
    from turnout.service.access.tokens import Token
    from turnout.service.effects import ReviewReport
    from turnout.service.policies import Backtest
    from turnout.wiring import ModelsReport

_COLOURS = {"finished": "green", "failed": "red", "diverged": "red", "waiting": "yellow", "open": "yellow"}


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    return table


def _status(status: str) -> Text:
    return Text(status, _COLOURS.get(status, ""))


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
    table = _table("thread", "graph", "status", "run", "entries", "last entry", *used)
    for number, row in enumerate(rows):
        table.add_row(
            Text(row.thread),
            Text(row.graph),
            Text.assemble(_status(row.status), _aside(row.aside)),
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
            Text.assemble((row.thread, "bold"), f"  {row.graph}  ", _status(row.status), (facts, "dim"))
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
    table = _table("of", "name", "threads at once")
    for row in rows:
        table.add_row(row.kind, Text(row.name), str(row.at_once))
    out.print(table)


def token_table(rows: list[Token]) -> None:
    """API tokens, one a line."""
    out = console()
    if not rows:
        out.print("no tokens; `turnout token create NAME --role ROLE` makes one")
        return
    table = _table("id", "who", "roles", "review roles", "tenant", "expires", "")
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
            (data["thread"], "bold"), f"  {data['graph']}  ", _status(data["status"]), (f"  {place}", "dim")
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
            f"  {run['run']}  {run['graph']}  ", _status(run["status"]), f"  {when(run['started_at'])}"
        )
        line.append(f" to {when(run['ended_at'])}" if run["ended_at"] else "")
        line.append(f"  {words(run['error'])}" if run["error"] else "", "red")
        out.print(line, soft_wrap=True)
    if "entries" in data:
        out.print("entries")
        table = _table("seq", "time", "kind", "step", "says")
        for entry in data["entries"]:
            body = value(as_data(entry["body"]), 0 if out.width > 10_000 else 200)
            table.add_row(
                str(entry["seq"]), f"{entry['at']:%H:%M:%S}", entry["kind"], Text(entry["step"]), Text(body)
            )
        out.print(Padding(table, (0, 0, 0, 2)))


def review_table(rows: list[Review], status: str, flags: str) -> None:
    """Reviews, one a line. `flags` goes behind commands."""
    out = console()
    if not rows:
        out.print("no reviews" if status == "all" else f"no reviews with status {status}")
        return
    table = _table("review", "thread", "status", "for", "due", "question")
    rows = sorted(rows, key=lambda row: not row.escalated)
    for row in rows:
        asked = Text(words(row.question)).append(f"\n{value(row.payload, 120)}", "dim")
        roles = ", ".join(row.roles) or "anybody"
        table.add_row(Text(row.id), Text(row.thread), _status(row.status), Text(roles), _due(row), asked)
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
    out.print(Text.assemble((words(review.question), "bold"), "  ", _status(review.status)), soft_wrap=True)
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


def schedule_table(rows: list[Schedule]) -> None:
    """Schedules, one a line. Times are those of the schedule's zone."""
    out = console()
    if not rows:
        out.print("no schedules")
        return
    table = _table("name", "graph", "when", "next", "last", "note")
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


def in_flight_table(found: list[InFlight]) -> None:
    """Which unfinished runs this code would adopt."""
    out = console()
    table = _table("thread", "graph", "version", "adopted", "why")
    for one in found:
        same = one.before == one.now
        version = one.before if same else f"{one.before or '-'} -> {one.now or '?'}"
        if one.divergence is None:
            table.add_row(
                Text(one.thread), Text(one.graph), version, Text("yes", "green"), Text("; ".join(one.proof))
            )
            continue
        why = f"{one.divergence.where}: expected {words(one.divergence.expected)}, got {words(one.divergence.actual)}"
        table.add_row(Text(one.thread), Text(one.graph), version, Text("NO", "bold red"), Text(why))
    if found:
        out.print(table)
    kept = sum(one.adopted for one in found)
    out.print(f"{kept} of {len(found)} unfinished runs would be adopted" if found else "no unfinished runs")


def model_tables(found: ModelsReport) -> None:
    """The aliases and deployments of turnout.toml, and what they answered."""
    out = console()
    if not found.deployments:
        what = f"{found.file} is right, and has no deployments" if found.file else "no turnout.toml here"
        more = "models are given to open_app(models=...), or declared as [deployments.NAME] in turnout.toml"
        out.print(Text(f"{what}; {more}"), soft_wrap=True)
        return
    table = _table("model", "deployments", "retries", "when that fails")
    for alias in found.models:
        weights = alias.weights or [None] * len(alias.deployments)
        pairs = zip(alias.deployments, weights, strict=True)
        asked = ", ".join(name if weight is None else f"{name} ({weight})" for name, weight in pairs)
        fallbacks = "; ".join(f"{cause}: {', '.join(names)}" for cause, names in alias.fallbacks.items())
        cache = f"\ncache {alias.cache_seconds:g} s" if alias.cache_seconds else ""
        table.add_row(Text(alias.name), Text(asked + cache), str(alias.retries), Text(fallbacks))
    out.print(table)
    table = _table("deployment", "provider", "model", "a minute", "$ a million tokens", "key")
    for one in found.deployments:
        limits = [f"{one.requests_per_minute} requests" if one.requests_per_minute else "",
                  f"{one.tokens_per_minute} tokens" if one.tokens_per_minute else ""]  # fmt: skip
        price = f"{one.input} in, {one.output} out" if one.input is not None else "not known"
        missing = Text(f"{', '.join(one.missing)} not set", "red") if one.missing else Text("")
        where = f"{one.provider}{f' {one.api}' if one.api != 'chat' else ''}"
        model = f"{one.model}\n{one.base_url}" if one.base_url else one.model
        table.add_row(
            Text(one.name),
            Text(where),
            Text(model),
            Text("\n".join(filter(None, limits))),
            Text(price),
            missing,
        )
    out.print()
    out.print(table)
    for answer in found.pings or ():
        if answer.error:
            out.print(Text(f"{answer.deployment}: {words(answer.error)}", "red"), soft_wrap=True)
        else:
            said = f"{answer.deployment}: answered in {lasted(answer.ms)} ({words(answer.model)})"
            out.print(Text(said, "green"), soft_wrap=True)


def backtest_card(found: Backtest) -> None:
    """What flips under other rules, by graph, node and tool, with examples."""
    out = console()
    looked = f"{count(found.calls, 'call')} of {count(found.threads, 'thread')}"
    if found.derived:
        looked += f" ({found.derived} of them had no verdict on record)"
    for flip in found.flips:
        where = f"{flip.graph}.{flip.node}: {flip.name}"
        out.print(
            Text.assemble((words(where), "bold"), f"  {flip.before} -> ", (flip.after, "yellow"),
                          f"  {count(flip.calls, 'call')}"),
            soft_wrap=True,
        )  # fmt: skip
        for one in flip.examples:
            rules = ", ".join(map(words, one.after)) or "no rule"
            why = "; ".join(words(part) for part in (one.reason, *one.errors) if part)
            out.print(
                f"  {one.thread} #{one.seq}  {value(one.args, 120)}  {rules}" + (f": {why}" if why else ""),
                soft_wrap=True,
            )
    flipped = sum(flip.calls for flip in found.flips)
    said = f"{flipped} would be decided otherwise" if flipped else "all would be decided the same"
    out.print(f"{looked}: {said} under policy {found.digest}", soft_wrap=True)


def guard_table(found: Sequence[Guard]) -> None:
    """Guardrails, one a line, in the order in which they look."""
    out = console()
    if not found:
        out.print("no guardrails: turnout.toml has no [[guardrails]]", soft_wrap=True)
        return
    table = _table("guardrail", "looks for", "in", "of", "then")
    for guard in found:
        of = [", ".join(sorted(guard.kinds)), ", ".join(guard.names)]
        of += [f"graphs {', '.join(guard.graphs)}" if guard.graphs else ""]
        of += [f"nodes {', '.join(guard.nodes)}" if guard.nodes else ""]
        then = guard.action + (f" by {' or '.join(guard.roles)}" if guard.roles else "")
        table.add_row(
            Text(guard.name), Text(guard.about), " and ".join(sorted(guard.where)), Text("; ".join(filter(None, of))),
            Text(then),
        )  # fmt: skip
    out.print(table)


def tried_card(tried: Sequence[dict[str, Any]]) -> None:
    """What guardrails find in a text. What it is isn't shown again."""
    out = console()
    for one in tried:
        if not one["found"]:
            out.print(Text.assemble((one["guard"], "bold"), "  nothing"))
            continue
        said = ", ".join(f"{hit['label']} at {hit['start']}+{hit['length']}" for hit in one["found"])
        out.print(
            Text.assemble((one["guard"], "bold"), f"  {said}  ", (one["action"], "yellow")), soft_wrap=True
        )
        out.print(Padding(Text(value(one["redacted"])), (0, 0, 0, 2)))
    if not tried:
        out.print("no guardrails: turnout.toml has no [[guardrails]]", soft_wrap=True)


def whatif_card(found: WhatIf) -> None:
    """Before and after, side by side."""
    out = console()
    if found.same:
        out.print(f"{found.thread}: the same ({found.answered} effects answered from the record)")
        return
    out.print(Text.assemble((found.thread, "bold"), "  would be ", ("different", "yellow")))
    table = _table("", "on record", "with this code")
    table.add_row("status", _status(found.before.status), _status(found.after.status))
    longest = max(len(found.before.decisions), len(found.after.decisions))
    for number in range(longest):
        before = found.before.decisions[number] if number < len(found.before.decisions) else ""
        after = found.after.decisions[number] if number < len(found.after.decisions) else ""
        table.add_row(
            "path" if number == 0 else "",
            Text(words(before)),
            Text(words(after), "" if before == after else "yellow"),
        )
    for name, (before, after) in found.changed_fields.items():
        table.add_row(Text(name), Text(value(before, 200)), Text(value(after, 200), "yellow"))
    out.print(table)
    if found.gap is not None:
        out.print(
            f"the record ends at {found.gap.where}: {words(found.gap.actual)} is not on record",
            soft_wrap=True,
        )
    for one in found.stopped:
        question, verdict = one.question, one.verdict
        word = "denied" if verdict.decision == "deny" else "held for a review"
        out.print(
            f"{one.step}: {question.resource.name}({value(question.args, 120)}) would be {word}: {words(because(verdict))}",
            soft_wrap=True,
        )
    for unused in found.unused:
        out.print(f"not asked for any more: {words(unused)}", soft_wrap=True)
