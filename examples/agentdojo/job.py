"""One user task of the suite as a job: its folder with the world and the journal, how it is worked on, how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentdojo.base_tasks import BaseUserTask
from examples.agentdojo.bank import EFFECTS, SUITE, bank_agent
from examples.agentdojo.model import ground_truth
from examples.agentdojo.world import Watch, World

from turnout import App, Finished, Outcome, Settings, open_app
from turnout.ports.model import Model

SETTINGS = Settings(lease=1.5, sweep=0.1, tries=0)
"""A short lease, in seconds: who starts again after a kill waits until the dead process's lease is over. And any number
of tries: a job is one long step, and it isn't what kills its worker here."""


@dataclass(frozen=True)
class Result:
    """How a job ended. `utility` is what AgentDojo's check says, `asked_twice` counts changes that were asked for again."""

    task: str
    outcome: str
    answer: str
    steps: int
    calls: int
    writes: tuple[tuple[str, dict[str, Any]], ...]
    asked_twice: int
    utility: bool
    identical: bool
    environment: str


class Job:
    """User task `task` (e.g. "user_task_3"), worked on in `folder`; `pace` is the model's, in seconds a reply."""

    def __init__(self, task: str, folder: Path, *, pace: float = 0.0, watch: Watch | None = None) -> None:
        self.task: BaseUserTask[Any] = SUITE.get_user_task_by_id(task)
        self.folder = folder
        self.pace = pace
        path = folder / "world.db"
        self.world: World[Any] = World(SUITE, path, watch) if watch else World(SUITE, path)

    def prepare(self, injections: Mapping[str, str] | None = None) -> None:
        """Make the folder and the world, as AgentDojo has it, unless they are there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = SUITE.load_and_inject_default_environment(dict(injections or {}))
        self.world.create(self.task.init_environment(environment))

    def open(
        self,
        model: Model | None = None,
        *,
        work: bool = True,
        policy: str | Path = "",
        store: str = "",
        **options: Any,
    ) -> App:
        """The app on this job's journal (or on another `store`), under the rules of the folder `policy`, if one is given.
        Without a `model` the task's ground truth is played."""
        player = model or ground_truth(self.task, self.world.environment("before"), self.pace)
        graph = bank_agent(self.world, **options)
        url = store or f"sqlite:///{self.folder / 'turnout.db'}"
        return open_app(
            url,
            graphs=[graph],
            models={"main": player},
            settings=SETTINGS,
            work=work,
            policy=policy,
            config="",
        )

    async def work(self, app: App) -> Outcome:
        """Start the task, or go on with it: the idempotency key makes both the same call."""
        given = {"messages": [{"role": "user", "content": self.task.PROMPT}]}
        run = await app.start("bank", given, thread=self.task.ID, idempotency_key=self.task.ID)
        return await app.wait(run)

    async def ended(self) -> bool:
        """Has the task come to its end? Asked of the journal; nothing is worked on."""
        async with self.open(work=False) as app:
            entries = await app.entries(self.task.ID)
        return entries[-1].kind in ("run.finished", "run.failed", "run.cancelled")

    async def result(self) -> Result:
        """What the record and the world say, once the task has ended. Nothing is worked on here."""
        async with self.open(work=False) as app:
            outcome = await self.work(app)
            replay = await app.replay(self.task.ID)
            entries = await app.entries(self.task.ID)
        answer = outcome.state.model_dump()["answer"] if isinstance(outcome, Finished) else ""
        changes = self.world.applied()
        now = self.world.environment()
        return Result(
            task=self.task.ID,
            outcome=type(outcome).__name__,
            answer=answer,
            steps=sum(entry.kind == "step.finished" for entry in entries),
            calls=sum(entry.step.startswith("call.") and entry.kind == "step.finished" for entry in entries),
            writes=tuple((change.tool, change.args) for change in changes),
            asked_twice=sum(change.asked - 1 for change in changes),
            utility=self.task.utility(answer, self.world.environment("before"), now, strict=True),
            identical=replay.identical,
            environment=now.model_dump_json(),
        )

    def expected_writes(self) -> int:
        """How many changes the task's ground truth makes."""
        truth = self.task.ground_truth(self.world.environment("before"))
        return sum(EFFECTS[call.function] == "write" for call in truth)


async def run_job(job: Job, when_driven: Callable[[], None] = lambda: None) -> None:
    """Work on a job in this process until it ends. `when_driven` is called once the thread has its writer."""
    async with job.open() as app:
        working = asyncio.ensure_future(job.work(app))
        while not working.done() and not (app.worker and app.worker.busy):
            await asyncio.sleep(0.002)
        when_driven()
        await working
