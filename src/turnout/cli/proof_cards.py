"""In-flight proofs and what-ifs."""

from __future__ import annotations

from rich.text import Text

from turnout.cli.output import console, value, words
from turnout.cli.tables import status_of, table_of
from turnout.core.verdict import because
from turnout.runtime.whatif import WhatIf
from turnout.service.proof import InFlight


def in_flight_table(found: list[InFlight]) -> None:
    """Which unfinished runs this code would adopt."""
    out = console()
    table = table_of("thread", "graph", "version", "adopted", "why")
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


def whatif_card(found: WhatIf) -> None:
    """Before and after, side by side."""
    out = console()
    if found.same:
        out.print(f"{found.thread}: the same ({found.answered} effects answered from the record)")
        return
    out.print(Text.assemble((found.thread, "bold"), "  would be ", ("different", "yellow")))
    table = table_of("", "on record", "with this code")
    table.add_row("status", status_of(found.before.status), status_of(found.after.status))
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
