"""The runs of a thread, and the versions of the code that drove them, gathered from its entries."""

from __future__ import annotations

from dataclasses import replace

from turnout.core import entries as e
from turnout.ports.clock import at as moment
from turnout.service.report import RunReport, VersionReport


class Runs:
    """Every run from its input to its end. `versions` are the changes of version in the middle of one."""

    def __init__(self) -> None:
        self.versions: list[VersionReport] = []
        self._runs: dict[int, RunReport] = {}

    def note(self, entry: e.Entry) -> None:
        """Take in what the entry says of a run."""
        body, when = entry.body, moment(entry.at)
        if isinstance(body, e.InputReceived):
            self._runs[entry.run] = RunReport(
                number=entry.run, graph=body.graph, fingerprint="", status="queued", input=body.input, by=body.by,
                key=body.key, parent=body.parent, received_at=when, started_at=None, ended_at=None, deadline=None, steps=0,
                priority=body.priority, due_at=moment(body.at) if body.at is not None else None,
            )  # fmt: skip
            return
        run = self._runs.get(entry.run)
        if run is None:
            return
        if isinstance(body, e.RunStarted):
            deadline = moment(body.deadline) if body.deadline else None
            run = replace(
                run, status="running", fingerprint=body.fingerprint, started_at=when, deadline=deadline
            )
        elif isinstance(body, e.CancelRequested):
            run = replace(run, cancelled_by=body.by, reason=body.reason)
        elif isinstance(body, e.RunFinished):
            run = replace(run, status="finished", ended_at=when)
        elif isinstance(body, e.RunFailed):
            run = replace(run, status="failed", ended_at=when, error=body.error, writes=tuple(body.writes))
        elif isinstance(body, e.RunCancelled):
            run = replace(
                run, status="cancelled", ended_at=when, cancelled_by=body.by, reason=body.reason,
                writes=tuple(body.writes),
            )  # fmt: skip
        elif isinstance(body, e.RunDiverged):
            self.versions.append(
                VersionReport(
                    entry.seq, when, entry.run, "diverged", run.fingerprint, body.fingerprint, body.divergence
                )
            )
        elif isinstance(body, e.RunAdopted | e.RunMigrated):
            what = entry.kind.removeprefix("run.")
            proof = tuple(body.proof) if isinstance(body, e.RunAdopted) else ()
            self.versions.append(
                VersionReport(entry.seq, when, entry.run, what, body.before, body.fingerprint, proof=proof)
            )
            run = replace(run, fingerprint=body.fingerprint)
        self._runs[entry.run] = run

    def count_step(self, number: int) -> None:
        """A step of the run began."""
        run = self._runs.get(number)
        if run is not None:
            self._runs[number] = replace(run, steps=run.steps + 1)

    def reports(self, active: int, status: str) -> tuple[RunReport, ...]:
        """The runs, oldest first; the active one has the thread's status."""
        return tuple(
            replace(run, status=status) if run.number == active else run for run in self._runs.values()
        )
