"""The page of `turnout explain`: the four questions, for somebody who was woken by them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from turnout.cli.lines import (
    BAD,
    CALM,
    GOOD,
    OUTCOMES,
    between,
    call_row,
    change_row,
    compensation_row,
    cost,
    decision_row,
    finding_row,
    labelled,
    review_row,
    wait_text,
)
from turnout.cli.output import console, count, value, when, words
from turnout.core.aside import away
from turnout.service.report import Report

T = TypeVar("T")
FIRST, LAST = 20, 40
"""How many lines of a long section are shown from its start and its end."""


def explain_page(report: Report, *, diff: bool = False, flags: str = "") -> None:
    """Print the report. Values are cut to the width of the page unless `diff`; `flags` goes behind commands."""
    page = _Page(report, diff)
    page.top()
    page.state()
    page.calls()
    page.decisions()
    page.replay(flags)


class _Page:
    def __init__(self, report: Report, diff: bool) -> None:
        self.report = report
        self.out: Console = console()
        self.cut = 0 if diff else max(self.out.width - 40, 30)

    # --- the top -------------------------------------------------------------------------------------------------

    def top(self) -> None:
        report = self.report
        colour = {"finished": GOOD, "failed": BAD, "diverged": BAD}.get(report.status, "yellow")
        title = Text.assemble((report.thread, "bold"), "  ", report.graph, "  ", (report.status, colour))
        place = (
            f"entry {report.at} of {report.head}" if report.at != report.head else f"{report.head} entries"
        )
        self.out.print(title)
        whose = f", tenant {report.tenant}" if report.tenant else ""
        self.out.print(f"{place}, {when(report.created_at)} to {when(report.updated_at)}{whose}", style=CALM)
        for fork in report.forks:
            who = f" by {words(fork.by)}" if fork.by else ""
            self.out.print(f"forked from {fork.parent} at entry {fork.entry}{who}")
        self._table(
            (f"run {run.number}", run.status, self._run(run)) for run in report.runs
        )  # fmt: skip
        if away(report.aside):
            self.out.print(words(report.aside), style=CALM, soft_wrap=True)
        elif report.aside:
            self._alarm(
                f"set aside: {words(report.aside)}",
                f"no worker takes it before `turnout take-back {report.thread}`",
            )
            for step in report.steps:
                if step.status == "open":
                    self.out.print(
                        f"in the middle of {step.id}, which began {when(step.started_at)}", style=BAD
                    )
        for call in report.unknown_writes:
            self._alarm(
                f"#{call.seq} {call.name}: sent, and nobody knows whether it landed", call.idempotency_key
            )
        for step in report.steps:
            if step.waits_for:
                self.out.print(
                    f"waiting: {step.id} waits for {', '.join(step.waits_for)}",
                    style="yellow",
                    soft_wrap=True,
                )
        for version in report.versions:
            if version.divergence is not None:
                found = version.divergence
                self._alarm(
                    f"#{version.seq} run {version.run} was not adopted by {version.fingerprint}: at {found.where}",
                    f"expected {words(found.expected)}, got {words(found.actual)}",
                )
            else:
                said = f"#{version.seq} run {version.run} was {version.what}: {version.before} -> {version.fingerprint}"
                self.out.print(said, soft_wrap=True)

    def _run(self, run: Any) -> Text:
        took = f", took {between(run.started_at, run.ended_at)}" if run.started_at and run.ended_at else ""
        text = Text(f"{count(run.steps, 'step')}{took}")
        if run.by:
            text.append(f", asked by {words(run.by)}")
        if run.due_at:
            text.append(f", for {when(run.due_at)}")
        if run.priority:
            text.append(f", priority {run.priority}")
        if run.parent:
            text.append(f", child of {run.parent}")
        if run.cancelled_by or run.reason:
            text.append(
                f", cancelled by {words(run.cancelled_by) or 'somebody'}: {words(run.reason)}", "yellow"
            )
        if run.error is not None:
            where = f" ({run.error.where})" if run.error.where else ""
            text.append(f"\n{run.error.type}: {words(run.error.message)}{where}", BAD)
        for write in run.writes:
            text.append(f"\nwrite {write.name} of {write.step}: {OUTCOMES[write.outcome]}")
        return text

    def _alarm(self, said: str, more: str = "") -> None:
        self.out.print(
            Text.assemble(("! ", BAD), (said, BAD), (f"  {more}" if more else "", CALM)), soft_wrap=True
        )

    # --- 1 -------------------------------------------------------------------------------------------------------

    def state(self) -> None:
        report = self.report
        self._question(1, "What state was the system in?", f"after entry {report.at}")
        if report.state:
            self._table(
                (name, labelled(Text(value(found, self.cut)), report.labels.get(name, ())))
                for name, found in report.state.items()
            )
        else:
            self.out.print("   nothing yet", style=CALM)
        if report.state_changes:
            self._heading("What changed it")
            self._table(change_row(change, self.cut) for change in self._some(report.state_changes))

    # --- 2 -------------------------------------------------------------------------------------------------------

    def calls(self) -> None:
        report = self.report
        self._question(2, "What calls were made?", _sums(report))
        if not report.calls and not report.waits and not report.signals:
            self.out.print("   none", style=CALM)
        self._table(call_row(call, self.cut) for call in self._some(report.calls))
        if report.findings:
            self._heading("What guardrails found")
            self._table(finding_row(found) for found in self._some(report.findings))
        if report.compensations:
            self._heading("What was undone")
            self._table(compensation_row(found) for found in self._some(report.compensations))
        failed = [(step, failure) for step in report.steps for failure in step.failures]
        if failed:
            self._heading("What went wrong in a step")
            self._table(
                (f"#{f.seq}", s.id, Text(
                    f"try {f.number}: {f.error.type}: {words(f.error.message)}"
                    + (f" ({f.error.where})" if f.error.where else "")
                    + (f"; again at {when(f.retry_at)}" if f.retry_at else "; that was the last try")
                ))
                for s, f in self._some(failed)
            )  # fmt: skip
        if report.waits or report.signals:
            self._heading("What was waited for")
            self._table(
                (f"#{wait.seq}", wait.step, wait_text(wait, self.cut)) for wait in self._some(report.waits)
            )
            self._table(
                (
                    f"#{s.seq}",
                    "signal",
                    Text(f"{words(s.name)} came in{_by(s.by)}: {value(s.payload, self.cut)}"),
                )
                for s in self._some(report.signals)
            )

    # --- 3 -------------------------------------------------------------------------------------------------------

    def decisions(self) -> None:
        report = self.report
        self._question(
            3,
            "Which branch was taken, and why?",
            f"{count(len(report.decisions), 'decision')}, {count(len(report.reviews), 'review')}",
        )
        if not report.decisions:
            self.out.print("   none yet", style=CALM)
        self._table(decision_row(found, self.cut) for found in self._some(report.decisions))
        if report.reviews:
            self._heading("Who was asked")
            self._table(review_row(review, self.cut) for review in self._some(report.reviews))

    # --- 4 -------------------------------------------------------------------------------------------------------

    def replay(self, flags: str) -> None:
        found = self.report.replay
        self._question(4, "Can we replay it?", "")
        if found.identical is None:
            self.out.print(
                f"   not tried here; this does it, calling nothing:\n   {found.command}{flags}",
                soft_wrap=True,
            )
        elif found.identical:
            self.out.print(
                Text.assemble(
                    "   ", ("yes, identically", GOOD), f": {found.entries} entries made again, nothing called"
                )
            )
        elif found.divergence is not None:
            self.out.print(
                Text.assemble(
                    "   ", ("not with this code", BAD), f": it diverges at {found.divergence.where}"
                )
            )
            self.out.print(Padding(Text(f"expected  {words(found.divergence.expected)}"), (0, 0, 0, 3)))
            self.out.print(Padding(Text(f"actual    {words(found.divergence.actual)}"), (0, 0, 0, 3)))

    # --- parts ---------------------------------------------------------------------------------------------------

    def _question(self, number: int, text: str, more: str) -> None:
        self.out.print()
        self.out.print(Text.assemble((f"{number}  {text}", "bold"), (f"  {more}" if more else "", CALM)))

    def _heading(self, text: str) -> None:
        self.out.print(Text.assemble("\n   ", (text, "underline")))

    def _table(self, rows: Iterable[Sequence[str | Text]]) -> None:
        """Rows of up to three cells: the last one takes the room that is left."""
        made = [tuple(row) for row in rows]
        if not made:
            return
        grid = Table.grid(padding=(0, 2))
        for number in range(len(made[0]) - 1):
            grid.add_column(
                no_wrap=True, max_width=30, overflow="ellipsis", style=CALM if number == 0 else None
            )
        grid.add_column(overflow="fold")
        for row in made:
            grid.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
        self.out.print(Padding(grid, (0, 0, 0, 3)))

    def _some(self, items: Sequence[T]) -> Sequence[T]:
        if len(items) <= FIRST + LAST:
            return items
        left_out = len(items) - FIRST - LAST
        self.out.print(f"   (the first {FIRST} and the last {LAST}; {left_out} more with --json)", style=CALM)
        return [*items[:FIRST], *items[-LAST:]]


def _sums(report: Report) -> str:
    totals = report.totals
    said = count(totals.calls, "call")
    if totals.model_calls:
        said += f", {totals.model_calls} of a model: {totals.input_tokens} + {totals.output_tokens} tokens"
    return said + (f", cost {cost(totals.cost_micros)}" if totals.cost_micros else "")


def _by(name: str) -> str:
    return f" from {words(name)}" if name else ""
