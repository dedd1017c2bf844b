"""What one run of the benchmarks says, and its place in docs/performance.md: a part for each store, and one for plans."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import report_postgres
import report_sqlite
from plan import POSTGRES, SQLITE

Medians = dict[str, dict[str, dict[str, dict[str, dict[str, float]]]]]
"""store -> place -> measurement -> contender -> figure"""
REPORTS = {SQLITE: report_sqlite, POSTGRES: report_postgres}
PLANS = "plans"


def parts(record: dict[str, Any], medians: Medians) -> dict[str, str]:
    """Everything that is to be said, by the name of the part: a store's figures, or plans."""
    found = {
        store: text([heading(record, store), *REPORTS[store].sections(record, measured)])
        for store, measured in medians.items()
    }
    if record["plans"]:
        found[PLANS] = text(report_postgres.plans(record["plans"]))
    return found


def text(sections: list[list[str]]) -> str:
    return "\n".join(line for section in sections for line in section).rstrip() + "\n"


def heading(record: dict[str, Any], store: str) -> list[str]:
    rounds = record["rounds"][store]
    lines = [
        f"Measured {record['at']}, {'one round' if rounds == 1 else f'medians of {rounds} rounds'}, "
        f"{record['cores']} cores, load {record['load'][0]:.1f}; {'; '.join(record['places'])}.",
    ]
    if record["quick"]:
        lines.append("A quick run: it shows that everything runs, its figures say little.")
    return [*lines, *(f"Note: {note}." for note in record["notes"])]


def write_into(file: Path, found: dict[str, str]) -> None:
    """Replace what stands between the markers of each part. Raises SystemExit when the file lacks one."""
    new = file.read_text()
    for name, tables in found.items():
        begin, end = (f"<!-- bench:{name}:{edge} -->" for edge in ("begin", "end"))
        if begin not in new or end not in new:
            raise SystemExit(f"{file} lacks the markers {begin} and {end}; nothing was written")
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        new = pattern.sub(lambda _, b=begin, t=tables, e=end: f"{b}\n{t}{e}", new, count=1)
    file.write_text(new)
