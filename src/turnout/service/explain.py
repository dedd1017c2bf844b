"""Explain: the four questions about a thread, answered from its journal alone.

`report` folds the journal once and notes, entry by entry, what each one says. It needs no graph, calls nothing and
knows nothing of pages: `turnout explain`, an API and a console all present the same `Report`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.fold import apply
from turnout.core.reducers import Delta, Doc
from turnout.core.view import StepView, ThreadView
from turnout.ports.clock import at as moment
from turnout.ports.rows import ReviewRow, ThreadRow
from turnout.runtime.replay import Replayed
from turnout.service.calls import Calls, Reviews, Waits
from turnout.service.effects import Call, CompensationReport, FindingReport
from turnout.service.report import (
    Change,
    Changes,
    DecisionReport,
    EntryReport,
    FailedTry,
    ForkReport,
    ReplayReport,
    Report,
    SplitReport,
    StepReport,
    TakeoverReport,
    Totals,
    as_data,
)
from turnout.service.runs import Runs

__all__ = ["Report", "as_data", "report", "with_replay"]


def report(row: ThreadRow, entries: list[e.Entry], reviews: list[ReviewRow]) -> Report:
    """The report on `entries`, which are whole and begin at 1: all of the thread's journal, or the first part of it.

    Raises `JournalDamaged` when they don't add up.
    """
    view, account = ThreadView(thread=row.thread), _Account()
    for entry in entries:
        account.before(view, entry)
        apply(view, entry)
        account.after(view, entry)
    last = entries[-1] if entries else None
    calls = account.calls.reports()
    closed = {r.review: r.closed_at for r in reviews} if last is not None and last.seq == row.head else {}
    return Report(
        thread=row.thread,
        graph=view.graph,
        status=view.status,
        tenant=view.tenant,
        priority=view.priority,
        aside=row.aside,
        at=view.seq,
        head=row.head,
        created_at=moment(row.created_at),
        updated_at=moment(last.at if last else row.updated_at),
        state=view.state,
        state_changes=tuple(account.changes),
        calls=calls,
        totals=_totals(calls),
        decisions=tuple(account.decisions),
        reviews=account.reviews.reports(set(view.reviews), closed),
        replay=ReplayReport(f"turnout replay {row.thread} --graphs MODULE:GRAPH"),
        runs=account.runs.reports(view.run.number if view.run else 0, view.status),
        steps=tuple(_open(step, view) for step in account.steps.values()),
        splits=tuple(account.splits.values()),
        waits=account.waits.reports(),
        signals=tuple(account.waits.signals),
        versions=tuple(account.runs.versions),
        forks=tuple(account.forks),
        takeovers=tuple(account.takeovers),
        findings=tuple(account.findings),
        compensations=tuple(account.compensations.values()),
        unknown_writes=tuple(call for call in calls if call.outcome == "unknown"),
        labels=view.labels,
        entries=tuple(
            EntryReport(x.seq, x.kind, moment(x.at), x.run, x.step, x.thread, x.epoch, x.digest.hex())
            for x in entries
        ),
    )


def with_replay(found: Report, replayed: Replayed) -> Report:
    """The report with the fourth question answered by a replay that was made."""
    known = replace(
        found.replay,
        identical=replayed.identical,
        entries=replayed.entries,
        divergence=replayed.divergence,
    )
    return replace(found, replay=known)


class _Account:
    """Notes what entries say, one after the other."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.reviews = Reviews(self.calls)
        self.changes: list[Changes] = []
        self.decisions: list[DecisionReport] = []
        self.runs = Runs()
        self.steps: dict[tuple[int, str], StepReport] = {}
        self.splits: dict[tuple[int, str, int], SplitReport] = {}
        self.waits = Waits()
        self.forks: list[ForkReport] = []
        self.takeovers: list[TakeoverReport] = []
        self._epoch = 0
        self._unfinished = False  # the last entry of the thread's writer left work to do
        self.findings: list[FindingReport] = []
        self.compensations: dict[tuple[int, str], CompensationReport] = {}

    def before(self, view: ThreadView, entry: e.Entry) -> None:
        """What has to be looked at before the entry is applied: the state that it is about to change."""
        body = entry.body
        if entry.epoch > self._epoch:
            if self._epoch and self._unfinished:
                self.takeovers.append(
                    TakeoverReport(entry.seq, moment(entry.at), entry.run, self._epoch, entry.epoch)
                )
            self._epoch = entry.epoch
        if isinstance(body, e.StepFinished):
            branch = view.run.steps[entry.step].branch if view.run and entry.step in view.run.steps else ""
            self._changed(view.doc(branch), entry, "step", body.delta, branch)
        elif isinstance(body, e.RunStarted):
            self._changed(view.state, entry, "input", body.delta)
        elif isinstance(body, e.BranchesJoined):
            self._changed(view.doc(body.branch), entry, "join", body.delta, body.branch)
        elif isinstance(body, e.RunAdopted):
            self._changed(view.state, entry, "adopted", body.delta)
        elif isinstance(body, e.ThreadForked):
            self._changed(view.state, entry, "fork", body.delta)
        elif isinstance(body, e.RunMigrated):
            delta: Delta = {
                "set": {k: v for k, v in body.state.items() if k not in view.state or view.state[k] != v},
                "drop": {k: None for k in view.state if k not in body.state},
            }
            self._changed(view.state, entry, "migrated", delta)

    def _changed(self, doc: Doc, entry: e.Entry, what: str, delta: Delta, branch: str = "") -> None:
        found = tuple(
            _change(doc, how, name, value)
            for how, fields in delta.items()
            for name, value in fields.items()
            if not _as_it_was(doc, how, name, value)
        )  # fmt: skip
        if found:
            self.changes.append(
                Changes(entry.seq, moment(entry.at), entry.run, what, entry.step, branch, found)
            )

    def after(self, view: ThreadView, entry: e.Entry) -> None:
        """What the entry says, on the view that has it."""
        body = entry.body
        if not body.outside:
            self._unfinished = view.run is not None and view.status == "running"
        self.calls.note(entry)
        self.reviews.note(entry)
        self.waits.note(view, entry)
        self.runs.note(entry)
        if isinstance(body, e.Decision):
            self._decision(view, entry, body)
        elif isinstance(body, e.StepFinished):
            self._end_step(entry, "finished", body.taint)
        elif isinstance(body, e.StepFailed):
            self._step_failed(entry, body)
        elif isinstance(body, e.StepCancelled):
            self._end_step(entry, "cancelled")
        elif isinstance(body, e.BranchesJoined):
            joined = [
                key
                for key, s in self.splits.items()
                if key[:2] == (entry.run, body.branch) and s.joined_seq is None
            ]
            for key in joined:
                self.splits[key] = replace(self.splits[key], joined_seq=entry.seq)
        elif isinstance(body, e.CompensationStarted | e.CompensationEnded):
            self._compensation(entry, body)
        elif isinstance(body, e.FindingNoted):
            self.findings.append(
                FindingReport(
                    entry.seq, moment(entry.at), entry.run, entry.step, body.guard, body.where, body.action, body.effect,
                    body.name, body.labels, tuple(body.spans),
                )
            )  # fmt: skip
        elif isinstance(body, e.ThreadForked):
            self.forks.append(ForkReport(entry.seq, moment(entry.at), body.parent, body.at, body.by))

    def _compensation(self, entry: e.Entry, body: e.CompensationStarted | e.CompensationEnded) -> None:
        place = (entry.run, entry.step)
        if isinstance(body, e.CompensationEnded):
            self.compensations[place] = replace(
                self.compensations[place], outcome=body.outcome, ended_seq=entry.seq
            )
            self._end_step(entry, "finished")
            return
        self.compensations[place] = CompensationReport(
            entry.seq, moment(entry.at), entry.run, entry.step, body.name, body.of, body.tool, body.why
        )
        self.steps[place] = StepReport(
            id=entry.step, node=body.tool, run=entry.run, branch="", status="open", started_seq=entry.seq,
            started_at=moment(entry.at), ended_seq=None, ended_at=None, attempt=1, failures=(),
        )  # fmt: skip

    # --- steps and routing ---------------------------------------------------------------------------------------

    def _decision(self, view: ThreadView, entry: e.Entry, body: e.Decision) -> None:
        name, _, fingerprint = body.graph.partition("@")
        when = moment(entry.at)
        self.decisions.append(
            DecisionReport(
                entry.seq, when, entry.run, body.branch, body.after, body.target, body.rule, body.why, body.reads,
                tuple((label, target) for label, target in body.others), name, fingerprint, tuple(body.taint),
            )
        )  # fmt: skip
        if body.split is not None:
            split = body.split
            self.splits[(entry.run, body.branch, entry.seq)] = SplitReport(
                entry.seq, when, entry.run, body.branch, tuple(split.nodes), len(split.items), split.join
            )
        for step in view.run.steps.values() if view.run else ():
            if step.seq == entry.seq:
                self._begin(entry, step)

    def _begin(self, entry: e.Entry, step: StepView) -> None:
        self.steps[(entry.run, step.id)] = StepReport(
            id=step.id, node=step.node, run=entry.run, branch=step.branch, status="open", started_seq=entry.seq,
            started_at=moment(entry.at), ended_seq=None, ended_at=None, attempt=1, failures=(), item=step.item,
        )  # fmt: skip
        self.runs.count_step(entry.run)

    def _end_step(self, entry: e.Entry, status: str, taint: Sequence[str] = ()) -> None:
        key = (entry.run, entry.step)
        self.steps[key] = replace(
            self.steps[key], status=status, ended_seq=entry.seq, ended_at=moment(entry.at), taint=tuple(taint)
        )

    def _step_failed(self, entry: e.Entry, body: e.StepFailed) -> None:
        key = (entry.run, entry.step)
        retry_at = moment(body.retry_at) if body.retry_at is not None else None
        failure = FailedTry(entry.seq, moment(entry.at), body.attempt, body.error, retry_at)
        step = self.steps[key]
        self.steps[key] = replace(
            step, failures=(*step.failures, failure), attempt=body.attempt + (retry_at is not None)
        )
        if retry_at is None:
            self._end_step(entry, "failed", body.taint)


def _as_it_was(doc: Doc, how: str, name: str, value: Any) -> bool:
    """Does one field's part of a delta leave the field as it was?"""
    if name not in doc or how == "drop":
        return False
    old = doc[name]
    if how == "extend":
        return not value and old is not None
    if how == "add":
        return _same(old, (old or 0) + value)
    if how == "merge":
        return old is not None and all(key in old and _same(old[key], new) for key, new in value.items())
    return _same(old, value["to"] if how == "reduce" else value)


def _same(old: Any, new: Any) -> bool:
    """Is it the same data? To Python 1, 1.0 and True are equal."""
    return bool(old == new) and canon.encode(old) == canon.encode(new)


def _change(doc: Doc, how: str, name: str, value: Any) -> Change:
    """One field's part of a delta, with what was there before."""
    old = doc.get(name)
    if how == "extend":
        return Change(name, "append", wrote=value, items=len(old or []))
    if how == "add":
        return Change(name, "add", before=old, after=(old or 0) + value, wrote=value)
    if how == "merge":
        return Change(
            name, "merge", before={k: old[k] for k in value if k in old} if old else {}, wrote=value
        )
    if how == "drop":
        return Change(name, "drop", before=old)
    if how == "reduce":
        return Change(name, "reduce", before=old, after=value["to"], wrote=value["by"])
    return Change(name, "set", before=old, after=value)


def _open(step: StepReport, view: ThreadView) -> StepReport:
    """An open step, with what it waits for."""
    now = view.run.steps.get(step.id) if view.run and view.run.number == step.run else None
    if step.status != "open" or now is None:
        return step
    waits = []
    for effect in now.effects.values():
        if effect.review in view.reviews:  # still open
            waits.append(f"review {effect.review}")
        elif effect.status == "waiting":
            waits.append(
                f"{'timer' if effect.kind == 'sleep' else effect.kind} {effect.child or effect.name}".strip()
            )
        elif effect.status in ("intended", "unknown"):
            waits.append(f"the outcome of {effect.name}")
    waits += [f"review {found.review}" for found in now.topups.values() if found.review in view.reviews]
    if now.retry_at is not None:
        waits.append("its next try")
    return replace(step, node=now.node, attempt=now.attempt, waits_for=tuple(waits))


def _totals(calls: tuple[Call, ...]) -> Totals:
    models = [call for call in calls if call.kind == "model"]
    return Totals(
        calls=len(calls),
        model_calls=len(models),
        input_tokens=sum(call.input_tokens for call in models),
        output_tokens=sum(call.output_tokens for call in models),
        cost_micros=sum(call.cost_micros for call in models),
        ms=sum(call.ms for call in calls),
    )
