"""Working on a job in real processes that are killed: at every commit of a change, and at random moments.

A kill is SIGKILL: the process can't catch it, nothing is flushed, nothing is given back. The processes are forked
from a server that has AgentDojo loaded already, which saves the seconds that its import takes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from examples.agentdojo.job import Job, run_job

PACE = 0.04
"""Seconds that the model thinks for each reply, so that there is a middle to be killed in."""
PATIENCE = 60.0
"""Seconds after which a child that should have ended is given up."""
Point = tuple[str, int]

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["agentdojo.task_suite.load_suites", "turnout"])


def survive_commits(job: Job) -> int:
    """Work on the job and be killed right before and right after every commit of a change. Returns the kills."""
    kills = 0
    for number in range(1, job.expected_writes() + 1):
        for moment in ("before", "after"):
            child, _ = _start(job, (moment, number))
            if _ended(child) != -signal.SIGKILL:
                raise RuntimeError(
                    f"{job.task.ID} was not killed {moment} change {number}: it never came there"
                )
            kills += 1
    _finish(job)
    return kills


def survive_random(job: Job, seed: int, kills: int) -> int:
    """Work on the job and be killed at up to `kills` random moments. Returns how often it was before its end."""
    chance = random.Random(f"{seed} {job.task.ID}")  # noqa: S311 - the same seed gives the same moments
    replies = len(job.task.ground_truth(job.world.environment("before"))) + 1
    survived = 0
    for _ in range(kills):
        child, driven = _start(job)
        driven.poll(PATIENCE)
        time.sleep(chance.uniform(0, replies * PACE))
        child.kill()
        code = _ended(child)
        if code == 0:
            break
        survived += code == -signal.SIGKILL
    _finish(job)
    return survived


def _finish(job: Job) -> None:
    child, _ = _start(job)
    code = _ended(child)
    if code != 0:
        raise RuntimeError(f"the process that works on {job.task.ID} in {job.folder} ended with {code}")


def _start(job: Job, die_at: Point | None = None) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    """A process that works on the job, and a connection that says when it has begun to."""
    driven, tell = _processes.Pipe(duplex=False)
    child = _processes.Process(target=_work, args=(job.task.ID, job.folder, die_at, tell), daemon=True)
    child.start()
    tell.close()
    return child, driven


def _ended(child: multiprocessing.process.BaseProcess) -> int | None:
    child.join(PATIENCE)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise RuntimeError(f"a process was still at work after {PATIENCE:g} s")
    return child.exitcode


def _work(task: str, folder: Path, die_at: Point | None, tell: Connection) -> None:
    """What the process does."""
    job = Job(task, folder, pace=PACE, watch=partial(_die, die_at))
    asyncio.run(run_job(job, when_driven=lambda: tell.send(True)))


def _die(die_at: Point | None, moment: str, number: int) -> None:
    if (moment, number) == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
