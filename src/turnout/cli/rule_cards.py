"""Policy backtests and guardrails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.text import Text

from turnout.cli.output import console, count, value, words
from turnout.cli.tables import table_of

if TYPE_CHECKING:
    from turnout.ports.guard import Guard
    from turnout.service.policies import Backtest


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
    table = table_of("guardrail", "looks for", "in", "of", "then")
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
