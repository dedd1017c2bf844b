"""Run AgentDojo's banking suite on Turnout: every user task, undisturbed and killed again and again.

    .venv-agentdojo/bin/python examples/agentdojo/run.py
    .venv-agentdojo/bin/python examples/agentdojo/run.py --task user_task_15 --kills 20 --seed 7

The processes that are killed are real ones. Exit code 0 when every task passes AgentDojo's own check, replays
identically, and leaves the same world behind whether it was killed or not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the checkout, instead of this folder

from examples.agentdojo.bank import SUITE, VERSION
from examples.agentdojo.job import Job, Result, run_job
from examples.agentdojo.kills import survive_commits, survive_random
from rich.console import Console
from rich.table import Table

AT_ONCE = 8
COLUMNS = (
    "task",
    "steps",
    "tool calls",
    "writes",
    "kills survived",
    "utility",
    "replay identical",
    "world as unkilled",
)


@dataclass(frozen=True)
class Row:
    """One task: undisturbed, and each time that it was killed. `kills` is how often, in all."""

    plain: Result
    killed: tuple[Result, ...]
    kills: int

    @property
    def utility(self) -> bool:
        return all(result.utility for result in (self.plain, *self.killed))

    @property
    def identical(self) -> bool:
        return all(result.identical for result in (self.plain, *self.killed))

    @property
    def once(self) -> bool:
        """Did the killed ones do what the undisturbed one did, each change once, asked for once?"""
        return all(
            (result.writes, result.environment, result.answer)
            == (self.plain.writes, self.plain.environment, self.plain.answer)
            and not result.asked_twice
            for result in self.killed
        )

    @property
    def good(self) -> bool:
        return self.plain.outcome == "Finished" and self.utility and self.identical and self.once


def run_plain(task: str, folder: Path) -> Result:
    """One task, undisturbed, in this process."""
    job = Job(task, folder)
    job.prepare()
    asyncio.run(run_job(job))
    return asyncio.run(job.result())


def run_task(task: str, folder: Path, seed: int, kills: int) -> Row:
    """One task, three times: undisturbed, killed around each commit of a change, killed at random moments."""
    plain = run_plain(task, folder / "plain")
    at_commits, at_random = Job(task, folder / "commits"), Job(task, folder / "random")
    at_commits.prepare()
    at_random.prepare()
    survived = survive_commits(at_commits) + survive_random(at_random, seed, kills)
    killed = (asyncio.run(at_commits.result()), asyncio.run(at_random.result()))
    return Row(plain, killed, survived)


def run_all(tasks: list[str], folder: Path, seed: int = 0, kills: int = 3) -> Iterator[Row]:
    """The rows of these tasks, in order; several are worked on at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda task: run_task(task, folder / task, seed, kills), tasks)


def main() -> int:
    """Run, print the table, and say whether all is well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", action="append", choices=list(SUITE.user_tasks), help="only this one")
    parser.add_argument("--kills", type=int, default=3, help="random kills a task (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default 0)")
    parser.add_argument("--folder", type=Path, help="keep the worlds and journals here")
    options = parser.parse_args()
    console = Console(width=120)
    table = Table(*COLUMNS, title=f"AgentDojo banking {VERSION}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch, console.status("Running and killing ...") as status:
        tasks = options.task or list(SUITE.user_tasks)
        for row in run_all(tasks, options.folder or Path(scratch), options.seed, options.kills):
            rows.append(row)
            status.update(f"{len(rows)} of {len(tasks)} tasks are through")
            counts = [row.plain.steps, row.plain.calls, len(row.plain.writes), row.kills]
            said = ["yes" if good else "[red]NO[/red]" for good in (row.utility, row.identical, row.once)]
            table.add_row(row.plain.task, *map(str, counts), *said)
    console.print(table)
    kills, writes = sum(row.kills for row in rows), sum(len(row.plain.writes) for row in rows)
    good = sum(row.good for row in rows)
    console.print(f"{good} of {len(rows)} tasks are as they should be, after {kills} kills.")
    if good == len(rows):
        console.print(f"All changes ({writes}) were made, and asked for, exactly once.")
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
